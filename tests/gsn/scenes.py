"""A wall with a picture on it, seen by a row of cameras: small enough to compute with."""

from dataclasses import replace
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins import compat
from nerfseg_plugins.gsn.model import GntModel, GntModelConfig
from nerfseg_plugins.gsn.semantic_model import GsnModel, GsnModelConfig
from nerfseg_plugins.image_based.views import SourceViews

SIZE = 36
"""Height and width of the source views, pixels."""
WALL = 3.0
"""Distance of the wall, at z = -3."""
CHANNELS = 8

SMALL: dict[str, Any] = {
    "width": 16,
    "depth": 2,
    "num_samples": 6,
    "dropout": 0.0,
    "encoder_dim": 8,
    "encoder_widths": (8, 8, 8),
    "encoder_blocks": (1, 1, 1),
    "num_source_views": 3,
    "eval_num_rays_per_chunk": 7,
}


def wall_color(points: Tensor) -> Tensor:
    """(..., 3) colours of points (..., 3) of the wall."""
    x, y = points[..., 0], points[..., 1]
    return 0.5 + 0.4 * torch.stack([torch.sin(4 * x), torch.sin(5 * y + 1), torch.sin(3 * x - 2 * y)], -1)


def wall_features(points: Tensor) -> Tensor:
    """(..., 8) unit vectors of points (..., 3): one of two, left and right of x = 0."""
    first = torch.arange(CHANNELS) % 2 == 0
    left = (points[..., :1] < 0).expand(*points.shape[:-1], CHANNELS)
    return normalize(torch.where(left, first.float(), (~first).float()), dim=-1)


def row(count: int = 3) -> Tensor:
    """(count, 3, 4) cameras half a unit apart that look along -z."""
    c2w = torch.eye(4)[:3].repeat(count, 1, 1)
    c2w[:, 0, 3] = 0.5 * (torch.arange(count) - (count - 1) / 2)
    return c2w


def pixel_rays(c2w: Tensor, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Origins and unit directions (size * size, 3) of a camera's pixels; its focal length is its size."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    local = torch.stack([x / size - 0.5, 0.5 - y / size, -torch.ones_like(x)], -1).reshape(-1, 3)
    directions = normalize(local @ c2w[:, :3].T, dim=-1)
    return c2w[:, 3].expand_as(directions), directions


def on_wall(origins: Tensor, directions: Tensor) -> Tensor:
    return origins + directions * ((-WALL - origins[:, 2:]) / directions[:, 2:])


def wall_views(count: int = 3, features: bool = False) -> SourceViews:
    """The wall from a row of cameras."""
    poses = row(count)
    points = torch.stack([on_wall(*pixel_rays(pose)) for pose in poses])
    images = wall_color(points).reshape(1, count, SIZE, SIZE, 3).movedim(-1, 2)
    described = wall_features(points).reshape(1, count, SIZE, SIZE, CHANNELS).movedim(-1, 2) if features else None
    return SourceViews(
        images=images,
        c2w=poses[None],
        focal=torch.full((1, count, 2), float(SIZE)),
        center=torch.full((1, count, 2), SIZE / 2),
        near=torch.tensor([1.5]),
        far=torch.tensor([6.0]),
        features=described,
    )


def bundle(origins: Tensor, directions: Tensor) -> RayBundle:
    return RayBundle(origins=origins, directions=directions, pixel_area=torch.ones(len(origins), 1))


def random_rays(count: int = 64, seed: int = 0) -> tuple[RayBundle, Tensor]:
    """Rays from around the cameras to the wall, and where they meet it."""
    generator = torch.Generator().manual_seed(seed)
    origins = 0.3 * torch.randn(count, 3, generator=generator)
    targets = torch.cat([1.2 * (torch.rand(count, 2, generator=generator) - 0.5), torch.full((count, 1), -WALL)], 1)
    return bundle(origins, normalize(targets - origins, dim=-1)), targets


def _made(config: GntModelConfig, seed: int) -> Any:
    compat.apply()
    torch.manual_seed(seed)
    return config.setup(scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=0)


def gnt(seed: int = 0, **options: Any) -> GntModel:
    return _made(GntModelConfig(**{**SMALL, **options}), seed)


def gsn(seed: int = 0, **options: Any) -> GsnModel:
    return _made(GsnModelConfig(**{**SMALL, "feature_dim": CHANNELS, **options}), seed)


def turned_away(views: SourceViews, view: int) -> SourceViews:
    """The same with one camera looking the other way."""
    c2w = views.c2w.clone()
    c2w[:, view, :, :3] = c2w[:, view, :, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    return replace(views, c2w=c2w)
