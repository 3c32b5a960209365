"""A scene pyramid: coarse copies of a frozen scene on voxel grids, for a start that is far off.

A photo that is out of place by many pixels gives no useful gradient against a sharp rendering. Blurring the photo is
easy; a trained scene cannot be blurred, since the levels of its hash grid were never trained to stand alone. So its
opacity and mean colour are baked once into a dense grid, which is then averaged level by level. Rays through a level
see what a blurred photo shows, smoothly, at a small part of the network's cost.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from nerfstudio.cameras.rays import Frustums, RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
from torch import Tensor

from nerfseg_plugins.inerf.scene import FrozenScene, Rendered, ray_bundle

_OPAQUE = 0.995
"""Largest opacity of a cell: the logarithm behind a density must stay finite."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class PyramidConfig:
    """How a scene is baked."""

    resolution: int = 128
    """Cells along each side of the finest grid."""
    levels: int = 4
    """Grids, each with half the cells of the one before along each side."""
    views: int = 4
    """Training cameras from which a cell's colours are averaged."""


class PyramidLevel:
    """One grid of a pyramid; a `Scene`.

    Args:
        scene: what was baked; its rays begin, end and meet the background here as they do there.
        cells: (4, D, H, W) colour times opacity, and opacity, of each cell; z, y, x.
    """

    def __init__(self, scene: FrozenScene, cells: Tensor) -> None:
        self.device = scene.device
        self.cells = cells
        self.resolution = cells.shape[-1]
        self._model: Any = scene.model

    @property
    def cell_size(self) -> float:
        """Side of a cell near the scene's middle, scene units."""
        low, high = _bounds(self._model)
        return float((high - low).max()) / self.resolution

    def cell_size_at(self, points: Tensor) -> Tensor:
        """Side (N,) of a cell at points (N, 3) across the view, scene units: contraction makes far cells larger."""
        if self._model.field.spatial_distortion is None:
            return torch.full_like(points[:, 0], self.cell_size)
        distance = points.abs().amax(dim=-1).clamp_min(1)
        return self.cell_size * distance / (2 - 1 / distance)

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        """Render rays; see `Scene.render`."""
        model = self._model
        bundle = ray_bundle(origins, directions)
        if model.collider is not None:
            bundle = model.collider(bundle)
        count = max(24, int(1.5 * self.resolution))
        samples: RaySamples = model.proposal_sampler.initial_sampler(bundle, num_samples=count)
        positions = samples.frustums.get_positions()
        unit, stretch = _unit(model, positions)
        found = F.grid_sample(
            self.cells[None], unit.view(1, 1, -1, positions.shape[-2], 3) * 2 - 1, align_corners=False
        )[0, :, 0].movedim(0, -1)
        opacity = found[..., 3:].clamp(0, _OPAQUE)
        density = -torch.log1p(-opacity) / (self.cell_size * stretch)
        weights = samples.get_weights(density)
        colors = found[..., :3] / found[..., 3:].clamp_min(1e-4)
        rgb = model.renderer_rgb(rgb=colors, weights=weights)
        depth = model.renderer_expected_depth(weights=weights, ray_samples=samples)
        return Rendered(rgb, depth[..., 0], weights.sum(dim=-2)[..., 0])


def can_bake(scene: FrozenScene) -> bool:
    """Whether a model is built as nerfacto is: a field to ask at points, a sampler along rays."""
    return all(hasattr(scene.model, part) for part in ("field", "proposal_sampler", "renderer_expected_depth"))


@torch.no_grad()
def bake(scene: FrozenScene, config: PyramidConfig, eyes: Tensor) -> list[PyramidLevel]:
    """Grids of a scene, coarsest first.

    Args:
        scene: a nerfacto-family scene, whose field tells density and colour at points.
        config: sizes.
        eyes: (N, 3) places from which the scene was seen in training: from elsewhere colours are made up.
    """
    model: Any = scene.model
    side = config.resolution
    axis = (torch.arange(side, device=scene.device) + 0.5) / side
    unit = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")[::-1], dim=-1).view(-1, 3)
    positions, inside = _from_unit(model, unit)
    cells = torch.zeros(side**3, 4, device=scene.device)
    _, stretch = _unit(model, positions)
    low, high = _bounds(model)
    size = stretch * float((high - low).max()) / side
    chosen = eyes[torch.linspace(0, len(eyes) - 1, min(config.views, len(eyes))).round().long()].to(scene.device)
    for rows in inside.nonzero()[:, 0].split(_CHUNK):
        cells[rows] = _cell_values(model, positions[rows], size[rows], chosen)
    grid = cells.view(side, side, side, 4).permute(3, 0, 1, 2)
    levels = [grid]
    for _ in range(config.levels - 1):
        levels.append(_halved(levels[-1]))
    return [PyramidLevel(scene, level.contiguous()) for level in reversed(levels)]


def _halved(cells: Tensor) -> Tensor:
    """A grid (4, D, H, W) of half the side.

    A ray crosses two of the eight small cells, any of which may stop it: 1 - (1 - mean)^2.
    """
    mean = F.avg_pool3d(cells[None], 2)[0]
    opacity = mean[3:]
    return torch.cat([mean[:3] * (2 - opacity), opacity * (2 - opacity)])


def _cell_values(model: Any, positions: Tensor, size: Tensor, eyes: Tensor) -> Tensor:
    """Colour times opacity, and opacity, (N, 4) of cells of a size (N, 1) around positions (N, 3), from eyes (V, 3)."""
    density, features = model.field.get_density(_points(positions, torch.zeros_like(positions)))
    opacity = (1 - torch.exp(-density * size)).clamp(0, _OPAQUE)
    values = torch.zeros(len(positions), 4, device=positions.device)
    rows = (opacity[:, 0] > 1e-3).nonzero()[:, 0]
    if len(rows):
        colors = torch.zeros(len(rows), 3, device=positions.device)
        for eye in eyes:
            samples = _points(positions[rows], F.normalize(positions[rows] - eye, dim=-1))
            found = model.field.get_outputs(samples, density_embedding=features[rows])
            colors += found[FieldHeadNames.RGB] / len(eyes)
        values[rows] = torch.cat([colors * opacity[rows], opacity[rows]], dim=-1)
    return values


def _points(positions: Tensor, directions: Tensor) -> RaySamples:
    """Points (N, 3) seen from directions (N, 3), as the field wants them."""
    zeros = torch.zeros_like(positions[:, :1])
    return RaySamples(Frustums(positions, directions, zeros, zeros, zeros), camera_indices=zeros.long())


def _bounds(model: Any) -> tuple[Tensor, Tensor]:
    """Lower and upper corner (3,) of the grid, in scene units or in contracted ones."""
    if model.field.spatial_distortion is None:
        return model.scene_box.aabb[0].to(model.device), model.scene_box.aabb[1].to(model.device)
    two = torch.full((3,), 2.0, device=model.device)
    return -two, two


def _unit(model: Any, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Grid coordinates (..., 3) in [0, 1] of positions (..., 3), and by how much space is compressed there (..., 1)."""
    low, high = _bounds(model)
    distortion = model.field.spatial_distortion
    if distortion is None:
        return (positions - low) / (high - low), torch.ones_like(positions[..., :1])
    return (distortion(positions) - low) / (high - low), _stretch(positions.abs().amax(dim=-1, keepdim=True))


def _from_unit(model: Any, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (N, 3) of grid coordinates (N, 3), and which of them lie at a finite distance (N,).

    Inverts the contraction of Mip-NeRF 360 in the maximum norm, which nerfacto uses: a point at distance r > 1 lies at
    m = 2 - 1/r.
    """
    low, high = _bounds(model)
    points = low + unit * (high - low)
    if model.field.spatial_distortion is None:
        return points, torch.ones(len(points), dtype=torch.bool, device=points.device)
    norm = points.abs().amax(dim=-1, keepdim=True)
    far = 1 / (norm * (2 - norm).clamp_min(1e-3))
    return torch.where(norm > 1, points * far, points), norm[:, 0] < 1.99


def _stretch(distance: Tensor) -> Tensor:
    """Geometric mean of the lengths that the contraction makes one of at a distance (..., 1), maximum norm.

    Along the ray from the middle d r / d m = r^2, across it r / m.
    """
    r = distance.clamp_min(1)
    return (r * r * (r / (2 - 1 / r)) ** 2) ** (1 / 3)
