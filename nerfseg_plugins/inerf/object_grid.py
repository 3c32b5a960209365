"""A copy of an object on a grid, where a network tells what it is made of from source views.

Asking such a network costs the same for every sample of every ray. The object does not change while its pose is
searched: once its box is filled, a rendering costs a hundredth.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nerfseg_plugins.image_based.model import ImageBasedModel
from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.inerf.scene import FrozenScene, Rendered

_CHUNK = 1 << 15


@dataclass(frozen=True)
class ObjectGridConfig:
    """How an object is copied."""

    resolution: int = 48
    """Cells along each side of its box."""
    samples_per_ray: int = 48
    """Samples between the scene's near and far."""


class ObjectGrid:
    """The copy; a `Scene`.

    Args:
        cells: (4, D, H, W) colour times density, and density per scene unit, of each cell; z, y, x.
        box: (2, 3) lower and upper corner of the grid, scene frame; beyond it there is nothing.
        near: distance along unit rays at which they begin.
        far: at which they end.
        background: (3,) colour behind the object.
        samples_per_ray: evenly between near and far.
    """

    def __init__(
        self, cells: Tensor, box: Tensor, near: float, far: float, background: Tensor, samples_per_ray: int
    ) -> None:
        self.cells = cells
        self._low, self._extent = box[0], box[1] - box[0]
        self._step = (far - near) / samples_per_ray
        self._distances = near + self._step * (torch.arange(samples_per_ray, device=cells.device) + 0.5)
        self._background = background

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """Render rays; see `Scene.render`."""
        points = origins[:, None] + self._distances[:, None] * directions[:, None]
        unit = 2 * (points - self._low) / self._extent - 1
        found = F.grid_sample(self.cells[None], unit[None, None], align_corners=False)[0, :, 0]
        thickness = found[3] * self._step
        passed = torch.exp(-(thickness.cumsum(dim=-1) - thickness))
        weights = passed * -torch.expm1(-thickness)
        colors = found[:3] / found[3].clamp_min(1e-6)
        opacity = weights.sum(dim=-1)
        rgb = (weights * colors).sum(dim=-1).T + (1 - opacity)[:, None] * self._background
        depth = (weights * self._distances).sum(dim=-1) / opacity.clamp_min(1e-6)
        return Rendered(rgb, depth, opacity)


def can_copy(scene: FrozenScene) -> bool:
    """Whether a model predicts density and colour of points from source views, and a scene is open in it."""
    model: Any = scene.model
    return isinstance(model, ImageBasedModel) and hasattr(model, "field") and model.scene is not None


@torch.no_grad()
def copy_object(scene: FrozenScene, config: ObjectGridConfig) -> ObjectGrid:
    """What the scene's box holds, in the colours that its first source view sees.

    Args:
        scene: for which `can_copy` holds.
        config: sizes.
    """
    model: Any = scene.model
    views: SourceViews = model.sources(model.choose(model.scene.cameras.camera_to_worlds[0].to(scene.device)))
    box = model.scene_box.aabb.to(scene.device).float()
    side = config.resolution
    axis = (torch.arange(side, device=scene.device) + 0.5) / side
    unit = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], dim=-1).view(-1, 3)
    cells = torch.zeros(side**3, 4, device=scene.device)
    for rows in torch.arange(side**3, device=scene.device).split(_CHUNK):
        points = box[0] + unit[rows] * (box[1] - box[0])
        directions = F.normalize(points - views.c2w[0, 0, :, 3], dim=-1)
        density, colors = model.field(points[None], directions[None], views, True)
        cells[rows] = torch.cat([colors[0] * density[0, :, None], density[0, :, None]], dim=-1)
    color = model.renderer_rgb.background_color
    background = color.to(scene.device) if isinstance(color, Tensor) else torch.zeros(3, device=scene.device)
    grid = cells.view(side, side, side, 4).permute(3, 0, 1, 2).contiguous()
    return ObjectGrid(grid, box, float(views.near[0]), float(views.far[0]), background, config.samples_per_ray)
