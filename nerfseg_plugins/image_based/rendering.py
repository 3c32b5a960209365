"""Pictures of an opened scene from many cameras, and a scene that is made of pictures in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.model import ImageBasedModel, bounded, rays_at_once
from nerfseg_plugins.image_based.views import SourceViews


@dataclass(frozen=True)
class ViewsInMemory:
    """A scene of which all views are there already; a `SceneViews`."""

    name: str
    """For messages."""
    views: SourceViews
    """Of this one scene."""
    background: Any = (1.0, 1.0, 1.0)
    """(r, g, b) in [0, 1] behind what is transparent; None where nothing is."""

    @property
    def cameras(self) -> Cameras:
        """(V,) cameras."""
        height, width = self.views.size
        (fx, fy), (cx, cy) = self.views.focal[0].T, self.views.center[0].T
        return pinhole_cameras(self.views.c2w[0], fx, fy, cx, cy, width, height)

    def take(self, indices: Sequence[int]) -> SourceViews:
        """Some of the views."""
        return self.views.select(indices)


def pinhole_cameras(c2w: Tensor, fx: Tensor, fy: Tensor, cx: Tensor, cy: Tensor, width: int, height: int) -> Cameras:
    """Cameras at poses (N, 3, 4); intrinsics in pixels, one for all or (N,)."""
    count = len(c2w)
    fx, fy, cx, cy = (torch.as_tensor(value, dtype=torch.float32).expand(count) for value in (fx, fy, cx, cy))
    return Cameras(c2w.float(), fx, fy, cx, cy, width, height, camera_type=CameraType.PERSPECTIVE)


def path_cameras(path: np.ndarray, like: Cameras, scale: float = 1.0) -> Cameras:
    """Cameras along a path with the lens of another one.

    Args:
        path: (N, 3, 4) poses, scene frame.
        like: a single camera, batch shape [1].
        scale: factor on its resolution.

    Returns:
        (N,) pinhole cameras.

    Raises:
        InputError: nothing is left of the picture.
    """
    width, height = (round(int(side.flatten()[0]) * scale) for side in (like.width, like.height))
    if width < 2 or height < 2:
        raise InputError(f"at --scale {scale:g} the pictures have {width}x{height} pixels; give a larger scale")
    x, y = width / int(like.width.flatten()[0]), height / int(like.height.flatten()[0])
    fx, fy, cx, cy = (value.flatten()[:1].cpu() for value in (like.fx, like.fy, like.cx, like.cy))
    return pinhole_cameras(torch.from_numpy(path).float(), fx * x, fy * y, cx * x, cy * y, width, height)


@torch.no_grad()
def render_cameras(
    model: ImageBasedModel, cameras: Cameras, names: Sequence[str] = ("rgb",), chunk: Optional[int] = None
) -> Iterator[dict[str, Tensor]]:
    """Render the opened scene from many cameras, small pictures several at once.

    Args:
        model: in evaluation mode, with an open scene.
        cameras: (N,) of one size.
        names: the outputs to keep.
        chunk: rays times source views rendered at once; by default as many as the model is configured for.

    Yields:
        Outputs (H, W, C) on the CPU, one dictionary a camera, in their order.

    Raises:
        InputError: the model has no output of a wanted name.
    """
    pixels = int(cameras.width.flatten()[0]) * int(cameras.height.flatten()[0])
    chosen = [model.choose(pose.to(model.device)) for pose in cameras.camera_to_worlds]
    size = rays_at_once(chunk or model.config.eval_num_rays_per_chunk, len(chosen[0])) if chosen else 1
    for group in _groups(chosen, max(1, size // pixels)):
        rays = [cameras.generate_rays(index, keep_shape=True) for index in group]
        shape = rays[0].origins.shape[:2]
        bundle = RayBundle(
            origins=torch.cat([ray.origins.flatten(0, 1) for ray in rays]),
            directions=torch.cat([ray.directions.flatten(0, 1) for ray in rays]),
            pixel_area=torch.cat([ray.pixel_area.flatten(0, 1) for ray in rays]),
            camera_indices=torch.zeros(pixels * len(group), 1, dtype=torch.long),
        ).to(model.device)
        outputs = _render(model, bundle, model.sources(chosen[group[0]]), names, size)
        for place in range(len(group)):
            rows = slice(place * pixels, (place + 1) * pixels)
            yield {name: value[rows].view(*shape, -1) for name, value in outputs.items()}


def _render(
    model: ImageBasedModel, rays: RayBundle, views: SourceViews, names: Sequence[str], size: int
) -> dict[str, Tensor]:
    """Outputs (R, C) of rays (R,) of one scene, on the CPU; so many rays at once."""
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for start in range(0, len(rays), size):
        part = rays[start : start + size]
        found = model.render(bounded(part, views), views)
        for name in names:
            if name not in found:
                raise InputError(f"the run renders no {name!r}; it has {', '.join(sorted(found))}")
            parts[name].append(found[name].cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def _groups(chosen: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Neighbours that have the same source views, at most so many at once."""
    group: list[int] = []
    for index, views in enumerate(chosen):
        if group and (len(group) == size or views != chosen[group[0]]):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def to_bytes(picture: Tensor) -> np.ndarray:
    """Colours (H, W, 3) in [0, 1] as uint8."""
    return (picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
