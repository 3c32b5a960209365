"""ISRF's model: 2D features distilled into a field on frozen geometry (arXiv 2212.13545, sections 3.1 and 3.2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import Frustums, RayBundle, RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
from torch import Tensor, nn
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import CacheConfig, VoxelCache, build_cache
from nerfseg_plugins.isrf.edit_file import load_edits
from nerfseg_plugins.isrf.edits import DensityFn, Edit, edited_density, edited_field, hides_the_rest
from nerfseg_plugins.isrf.marks import ids_of, mark, shares_of
from nerfseg_plugins.isrf.panel import SegmentPanel
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.scene.colors import BACKGROUND_COLOR
from nerfseg_plugins.scene.feature_model import MIN_ACCUMULATION, FeatureModel
from nerfseg_plugins.scene.fingerprint import fingerprint
from nerfseg_plugins.scene.head_model import FrozenSamples, HeadModelConfig, ShownField
from nerfseg_plugins.scene.likeness import likeness_colors


@dataclass
class IsrfModelConfig(HeadModelConfig):
    """Configuration of the feature field."""

    _target: type = field(default_factory=lambda: IsrfModel)
    """target class to instantiate"""
    feature_dim: int = 64
    """Channels of the features that are distilled."""
    distill_weight: float = 0.001
    """Weight of the distillation loss, as in the original implementation."""
    tv_weight: float = 0.0
    """Weight of the features' total variation between neighbouring cells of the finest grid; 0 turns it off."""
    edit: Optional[Path] = None
    """A saved edit that is shown; it belongs to the weights it was made for."""


class IsrfModel(FeatureModel):
    """C feature channels per position, composited with the frozen weights, and what a person does with them.

    Outputs beside nerfacto's, per ray: `features` (C, of unit length, 0 where the ray meets nothing),
    `feature_colormap` (3), `similarity_colormap` (3, likeness to the query), `selection` (1, share of what the ray
    meets that is marked), `selection_id` (1, see `predict_ids`) and `selection_colormap` (3).
    """

    config: IsrfModelConfig

    def populate_modules(self) -> None:
        """Build the scene and the feature field; nothing is selected or edited."""
        super().populate_modules()
        self._cache: Optional[tuple[int, CacheConfig, VoxelCache]] = None
        self.selected: Optional[VoxelSet] = None
        """What is marked."""
        self.seeded: Optional[VoxelSet] = None
        """The seed, marked in a colour of its own."""
        self.query: Optional[Tensor] = None
        """(K, C) centroids of the positive strokes' features."""
        self.edits: list[Edit] = []
        """What is done to the scene, wherever it is shown."""
        self.panel = SegmentPanel(self)

    def head_dim(self) -> int:
        """Channels of the features."""
        return self.config.feature_dim

    def head_lacks(self) -> Optional[str]:
        """Features of as many channels as the head has; the datamanager says how many theirs have."""
        found = self.kwargs["metadata"].get("feature_channels", self.head_dim())
        if found == self.head_dim():
            return None
        return (
            f"their features have {found} channels and the head has {self.head_dim()}; pass "
            f"--pipeline.model.feature-dim {found}, or make features of as many channels"
        )

    def voxel_cache(self, cameras: Cameras, config: Optional[CacheConfig] = None) -> VoxelCache:
        """The cache that strokes select from, made when it is first asked for.

        Args:
            cameras: those of the training views, scene frame.
            config: what to keep.

        Raises:
            InputError: the head is not trained, or the training views see no surface.
        """
        if not self.head_trained:
            raise InputError("the run's features are not trained yet, so nothing can be selected; train on")
        wanted = (int(self.head_steps), config or CacheConfig())
        if self._cache is None or self._cache[:2] != wanted:
            self._cache = (*wanted, build_cache(self, cameras.to(self.device), wanted[1]))
        return self._cache[2]

    def panels(self) -> dict[str, nn.Module]:
        """What strokes are drawn with."""
        return {"Segment": self.panel}

    def after_loading(self) -> None:
        """Read the configured edit.

        Raises:
            InputError: it cannot be read, or was made for other weights.
        """
        if self.config.edit is not None:
            self.edits = load_edits(self.config.edit, fingerprint(self))

    # What the head adds ----------------------------------------------------------------------------------------------

    def features(self, samples: FrozenSamples) -> Tensor:
        """Composited features (R, C): the weighted sum over samples, without a background term."""
        return (samples.weights * self.head(samples.positions, samples.geo)).sum(dim=-2)

    def head_train_outputs(self, samples: FrozenSamples) -> dict[str, Tensor]:
        """Features, and their variation where it is regularised."""
        self.remember(samples)
        outputs = {"features": self.features(samples)}
        if self.config.tv_weight > 0:
            outputs["variation"] = self._variation(samples)
        return outputs

    def head_eval_outputs(self, samples: FrozenSamples, scene: dict[str, Tensor]) -> dict[str, Tensor]:
        """Features, their colours, their likeness to the query, and what is marked."""
        met = scene["accumulation"] >= MIN_ACCUMULATION
        features = normalize(self.features(samples), dim=-1) * met
        return {
            "features": features,
            "feature_colormap": self.feature_colors(features, met),
            "similarity_colormap": likeness_colors(features, self.query, met),
            **self._marked(samples, met, scene["rgb"]),
        }

    def predict_ids(self, outputs: dict[str, Tensor]) -> Tensor:
        """Ids (...) long: 1..E for the edits' parts in their order, E + 1 for the selection, else 0.

        A ray has the id of that which most of what it meets belongs to.
        """
        return outputs["selection_id"][..., 0].round().long()

    @torch.no_grad()
    def ids_in(self, camera: Cameras) -> Tensor:
        """Ids of a view as of `predict_ids`, in the scene as it was trained: nothing is removed or moved.

        Colours and features are not computed, so it takes a fraction of the time of all outputs.

        Args:
            camera: one camera (batch of 1), scene frame.

        Returns:
            (H, W) long.
        """
        rays = camera.to(self.device).generate_rays(camera_indices=0, keep_shape=True)
        flat, size = rays.flatten(), self.config.eval_num_rays_per_chunk
        ids = [self._ids_along(flat[start : start + size]) for start in range(0, len(flat), size)]
        return torch.cat(ids).view(rays.shape)

    def why_no_ids(self) -> Optional[str]:
        """One sentence on why there are no ids; None when there are."""
        if self.edits or self.selected is not None:
            return None
        return "nothing is selected in this run; select with nerfseg segment and pass the RUN/NAME.yml that it writes"

    # Losses ----------------------------------------------------------------------------------------------------------

    def head_loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Mean squared difference between rendered and 2D features, and total variation; undescribed pixels aside.

        Raises:
            InputError: the 2D features have another number of channels.
        """
        config, found = self.config, outputs["features"]
        target, described = self._target(batch)
        squares = ((found - target).square() * described).sum() / (described.sum() * target.shape[-1]).clamp_min(1)
        losses = {"distill_loss": config.distill_weight * squares}
        if "variation" in outputs:
            losses["tv_loss"] = config.tv_weight * outputs["variation"].mean()
        return losses

    def head_metrics(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """Mean cosine between rendered and 2D features."""
        target, described = self._target(batch)
        cosine = (normalize(outputs["features"], dim=-1) * target * described).sum()
        return {"feature_cosine": cosine / described.sum().clamp_min(1)}

    def _target(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """2D features (R, C), and whether they say anything (R, 1)."""
        target = batch["features"].to(self.device)
        if target.shape[-1] != self.head_dim():
            raise InputError(
                f"the 2D features have {target.shape[-1]} channels and the head has {self.head_dim()}; pass "
                f"--pipeline.model.feature-dim {target.shape[-1]}"
            )
        return target, target.any(dim=-1, keepdim=True)

    def _variation(self, samples: FrozenSamples) -> Tensor:
        """(R, 1) squared difference of the features at each ray's heaviest sample and one cell beside it."""
        heaviest = samples.weights.argmax(dim=-2, keepdim=True)
        positions = samples.positions.gather(-2, heaviest.expand(-1, -1, 3))[:, 0]
        geo = samples.geo.gather(-2, heaviest.expand(-1, -1, samples.geo.shape[-1]))[:, 0]
        beside = positions + self._cell(positions) * torch.randn_like(positions)
        _, geo_beside = self.query_geometry(beside)
        difference = self.head(positions, geo) - self.head(beside, geo_beside)
        return difference.square().mean(dim=-1, keepdim=True)

    def _cell(self, positions: Tensor) -> Tensor:
        """(N, 3) edges of the finest grid's cells at positions (N, 3), scene units."""
        if self.field.spatial_distortion is None:
            box = self.scene_box.aabb.to(positions)
            return (box[1] - box[0]).expand_as(positions) / self.config.head_max_res
        # The contracted cube has a side of 4; beyond the unit cube a cell grows with the distance or faster.
        return (
            4 / self.config.head_max_res * positions.abs().amax(dim=-1, keepdim=True).clamp_min(1).expand_as(positions)
        )

    # What is shown ---------------------------------------------------------------------------------------------------

    def shown_field(self, ray_samples: RaySamples) -> ShownField:
        """The field after the edits."""
        shown = super().shown_field(ray_samples)
        directions = ray_samples.frustums.directions.expand_as(shown.positions)
        return edited_field(shown, directions, self.edits, self._content, self._empty_color())

    def shown_density(self, density_fn: DensityFn) -> DensityFn:
        """A proposal's density after the edits."""
        return edited_density(density_fn, self.edits)

    def backdrop(self) -> Optional[Tensor]:
        """A plain colour where only some parts are kept."""
        return self._empty_color() if hides_the_rest(self.edits) else None

    @contextmanager
    def as_trained(self) -> Iterator[None]:
        """Nothing is edited or marked inside this context."""
        kept = self.edits, self.selected, self.seeded, self.query
        self.edits, self.selected, self.seeded, self.query = [], None, None, None
        try:
            yield
        finally:
            self.edits, self.selected, self.seeded, self.query = kept

    def _empty_color(self) -> Tensor:
        return torch.tensor(BACKGROUND_COLOR, device=self.device) / 255

    def _content(self, positions: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Density (N, 1), geometry's features (N, G) and colour (N, 3) as trained at positions (N, 3), scene frame."""
        zeros = torch.zeros_like(positions[:, :1])
        samples = RaySamples(
            frustums=Frustums(positions, directions, zeros, zeros, zeros),
            camera_indices=torch.zeros_like(zeros, dtype=torch.long),
        )
        density, geo = self.field.get_density(samples)
        return density, geo, self.field.get_outputs(samples, density_embedding=geo)[FieldHeadNames.RGB]

    def _parts(self) -> list[VoxelSet]:
        """What is marked, in the order of ids."""
        return [edit.voxels for edit in self.edits] + ([] if self.selected is None else [self.selected])

    def _ids_along(self, rays: RayBundle) -> Tensor:
        """Ids (R,) of what rays meet in the scene as it was trained."""
        rays = rays if self.collider is None else self.collider(rays)
        ray_samples, _, _ = self.proposal_sampler(rays, density_fns=self.density_fns)
        density, geo = self.field.get_density(ray_samples)
        weights = ray_samples.get_weights(density)
        # Whether a ray meets anything is up to all samples, what it meets to those that the head sees.
        met = self.renderer_accumulation(weights=weights) >= MIN_ACCUMULATION
        samples = self._heaviest(ray_samples, weights, geo, ray_samples.frustums.get_positions())
        return ids_of(shares_of(samples.positions, samples.weights[..., 0] * met, self._parts()))

    def _marked(self, samples: FrozenSamples, met: Tensor, rgb: Tensor) -> dict[str, Tensor]:
        """What of the rays' samples is marked: the edits' parts and the selection."""
        marks = mark(samples.positions, samples.weights[..., 0] * met, rgb, self._parts(), self.seeded)
        shares = marks.shares if self.selected is None else marks.shares[:, -1:]
        return {
            "selection": shares.sum(dim=-1, keepdim=True),
            "selection_id": marks.ids[:, None].float(),
            "selection_colormap": marks.colors,
        }
