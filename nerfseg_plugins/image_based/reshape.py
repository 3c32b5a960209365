"""Scenes of other shapes than the data's: mirrored, stretched and sheared, as photos of them would show them.

An affine map takes lines to lines, so what a pinhole camera saw of a scene tells what one sees of the mapped scene:
both stand at the same point of it, and their images differ by a homography. (The map leaves out that shading would
change.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from nerfseg_plugins.image_based.views import SourceViews

SIDEWAYS = (-1.0, 1.0, 1.0)
"""Mirrors left and right: x."""


@dataclass(frozen=True)
class ReshapeRule:
    """How scenes are changed by chance in training."""

    mirror: bool = False
    """Whether every second one is mirrored: x becomes -x."""
    stretch: float = 0.0
    """How far each axis is stretched or pressed at most, the logarithm of the factor; volumes stay."""
    shear: float = 0.0
    """By how much of z y is moved at most, so that what is alike left and right stays so."""

    @property
    def changes(self) -> bool:
        """Whether anything is changed."""
        return self.mirror or self.stretch > 0 or self.shear > 0

    def draw(self, rng: np.random.Generator) -> "Reshape":
        """A random change."""
        scale = rng.uniform(-self.stretch, self.stretch, 3)
        matrix = np.diag(np.exp(scale - scale.mean()))
        matrix[1, 2] = rng.uniform(-self.shear, self.shear)
        flip = self.mirror and rng.random() < 0.5
        return Reshape(torch.from_numpy(matrix).float(), flip)


@dataclass(frozen=True)
class Reshape:
    """x to matrix @ x, of the mirrored scene if `flip`; scene frame."""

    matrix: Tensor
    """(3, 3) of positive determinant."""
    flip: bool
    """Whether x becomes -x before that."""

    @property
    def whole(self) -> Tensor:
        """(3, 3) both together."""
        return self.matrix @ torch.diag(self.matrix.new_tensor(SIDEWAYS)) if self.flip else self.matrix

    def views(self, views: SourceViews) -> SourceViews:
        """Source views of the changed scene, from the same of its points; beyond what was seen images
        repeat their borders.

        Args:
            views: of scenes that are all changed alike, without maps.
        """
        assert views.maps is None
        return self._stretched(mirrored(views) if self.flip else views)

    def _stretched(self, views: SourceViews) -> SourceViews:
        matrix = self.matrix
        if torch.equal(matrix, torch.eye(3)):
            return views
        # The optical axis stays one, and so does the plane of the axis and the image's upward direction.
        back = views.c2w[..., 2] @ matrix.T
        upward = views.c2w[..., 1] @ matrix.T
        depth = back.norm(dim=-1, keepdim=True)
        back = back / depth
        upward = normalize(upward - (upward * back).sum(-1, keepdim=True) * back, dim=-1)
        rotation = torch.stack([torch.linalg.cross(upward, back), upward, back], dim=-1)
        changed = replace(
            views,
            c2w=torch.cat([rotation, matrix @ views.c2w[..., 3:]], dim=-1),
            focal=views.focal * depth,  # what is farther away by a factor keeps its size
        )
        # From where pixels of the changed views look to where the same point of the scene is in the old ones.
        turn = views.c2w[..., :3].transpose(-1, -2) @ torch.linalg.inv(matrix) @ rotation
        smallest, largest = torch.linalg.svdvals(matrix)[[2, 0]]
        return replace(
            changed,
            images=_warped(views.images, turn, views, changed),
            features=None if views.features is None else _warped(views.features, turn, views, changed),
            near=views.near * smallest,
            far=views.far * largest,
        )


def reshape_rays(rays: RayBundle, changes: Sequence[Reshape]) -> RayBundle:
    """Rays of changed scenes, through the same of their points; directions are unit.

    Args:
        rays: (B * R,) with bounds, scene by scene.
        changes: of B scenes.
    """
    assert rays.nears is not None and rays.fars is not None
    matrices = torch.stack([change.whole for change in changes]).repeat_interleave(len(rays) // len(changes), dim=0)
    directions = (matrices @ rays.directions[..., None])[..., 0]
    length = directions.norm(dim=-1, keepdim=True)
    return replace(
        rays,
        origins=(matrices @ rays.origins[..., None])[..., 0],
        directions=directions / length,
        nears=rays.nears * length,
        fars=rays.fars * length,
    )


def mirrored(views: SourceViews) -> SourceViews:
    """Source views of the scene in which x has become -x."""
    side = views.c2w.new_tensor(SIDEWAYS)
    c2w = side[:, None] * views.c2w
    c2w[..., 0] *= -1  # the image is mirrored as well, so that the axes are right-handed again
    width = views.size[1]
    center = torch.stack([width - views.center[..., 0], views.center[..., 1]], dim=-1)
    features = None if views.features is None else views.features.flip(-1)
    return replace(views, images=views.images.flip(-1), features=features, c2w=c2w, center=center)


def _warped(maps: Tensor, turn: Tensor, old: SourceViews, new: SourceViews) -> Tensor:
    """Maps (B, V, C, h, w) of old views as the new ones see them, the last value being repeated beyond the border.

    Args:
        maps: each spans its image.
        turn: (B, V, 3, 3) directions in the new camera's frame to ones, of any length, in the old one's.
        old: the views that the maps are of.
        new: the views they shall be of.
    """
    (height, width), (rows, columns) = old.size, maps.shape[-2:]
    y, x = torch.meshgrid(
        (torch.arange(rows) + 0.5) * height / rows, (torch.arange(columns) + 0.5) * width / columns, indexing="ij"
    )
    pixels = torch.stack([x, y], dim=-1).to(maps)
    sign = pixels.new_tensor([1.0, -1.0])  # y goes down in images and up in cameras
    plane = (pixels - new.center[..., None, None, :]) * sign / new.focal[..., None, None, :]
    ahead = torch.cat([plane, torch.full_like(plane[..., :1], -1.0)], dim=-1)
    found = torch.einsum("bvij,bvhwj->bvhwi", turn, ahead)
    flat = found[..., :2] / -found[..., 2:] * sign * old.focal[..., None, None, :] + old.center[..., None, None, :]
    grid = flat * flat.new_tensor([2 / width, 2 / height]) - 1
    warped = grid_sample(maps.flatten(0, 1), grid.flatten(0, 1), padding_mode="border", align_corners=False)
    return warped.unflatten(0, maps.shape[:2])
