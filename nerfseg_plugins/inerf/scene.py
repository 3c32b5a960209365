"""A frozen scene as a function of rays: all that pose inversion needs to know of a model."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.models.base_model import Model
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.model import ImageBasedModel


class Rendered(NamedTuple):
    """What R rays see."""

    values: Tensor
    """(R, C) colours in [0, 1], followed by other channels where features are compared."""
    depth: Tensor
    """(R,) expected distance along the ray, scene units."""
    opacity: Tensor
    """(R,) in [0, 1]."""


class Scene(Protocol):
    """Anything whose rays can be rendered differentiably; a model that first encodes source images is one as well."""

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """Render rays (R, 3), unit directions, scene frame; differentiable by both."""
        ...


class FrozenScene:
    """A trained nerfstudio model in evaluation mode whose weights take no gradient.

    Args:
        model: any ray-based model; changed in place. One that renders from source views encodes them once.
        outputs: what is compared with the photo: "rgb", or another per-ray output of the model.
        samples_per_ray: samples of a ray, if the model takes fewer: with few, the colour jumps when samples move, and
            its derivative says little about it (at 12 samples a correlation of 0.1 to 0.5, at 48 of 0.95).

    Raises:
        InputError: the model renders whole images only.
    """

    def __init__(self, model: Model, outputs: Sequence[str] = ("rgb",), samples_per_ray: int = 0) -> None:
        if not (hasattr(model, "field") or isinstance(model, ImageBasedModel)):
            raise InputError(
                f"{type(model).__name__} renders whole images, not rays; invert a run of nerfacto or of a method built "
                "on it, or of pixelnerf or gnt"
            )
        self.model = model.eval().requires_grad_(False)
        self.outputs = tuple(outputs)
        self.device = model.device
        sampler = getattr(model, "proposal_sampler", None)
        if sampler is not None:
            sampler.num_nerf_samples_per_ray = max(sampler.num_nerf_samples_per_ray, samples_per_ray)
            sampler.num_proposal_samples_per_ray = tuple(
                max(count, 2 * samples_per_ray) for count in sampler.num_proposal_samples_per_ray
            )

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """Render rays; see `Scene.render`.

        Raises:
            InputError: the model has no output of a wanted name.
        """
        found = self._outputs(origins, directions)
        if missing := [name for name in self.outputs if name not in found]:
            raise InputError(f"the run renders no {missing[0]!r}; it has {', '.join(sorted(found))}")
        values = torch.cat([found[name] for name in self.outputs], dim=-1)
        depth = found["expected_depth"] if "expected_depth" in found else found["depth"]
        return Rendered(values, depth[:, 0], found["accumulation"][:, 0])

    def _outputs(self, origins: Tensor, directions: Tensor) -> dict[str, Tensor]:
        """The model's outputs of rays; a model that takes the source views near a camera is asked camera by camera."""
        model: Any = self.model
        if not isinstance(model, ImageBasedModel) or model.config.num_source_views is None:
            return model(ray_bundle(origins, directions))
        _, lengths = torch.unique_consecutive(origins.detach(), dim=0, return_counts=True)
        parts = zip(origins.split(lengths.tolist()), directions.split(lengths.tolist()), strict=True)
        found = [model(ray_bundle(*part)) for part in parts]
        return {name: torch.cat([one[name] for one in found]) for name in found[0]}


def ray_bundle(origins: Tensor, directions: Tensor) -> RayBundle:
    """nerfstudio's form of rays (R, 3); nothing of the frozen models looks at the footprint or the camera's index."""
    column = origins[:, :1].detach()
    return RayBundle(
        origins=origins,
        directions=directions,
        pixel_area=torch.full_like(column, 1e-6),
        camera_indices=torch.zeros_like(column, dtype=torch.long),
        metadata={"directions_norm": torch.ones_like(column)},
    )
