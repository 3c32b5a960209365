"""A scene whose every ray is known by hand: boxes in front of a wall, as an `IsrfModel` with formulas as networks.

Along +x from x = -0.9 lie the red box, x in [-0.4, -0.3], the glossy one, [0.1, 0.2], and a blue wall, [0.7, 0.8]. The
boxes are a square of side 0.3 around the x axis; the wall fills the scene's width.
"""

from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.field_components.field_heads import FieldHeadNames
from torch import Tensor, nn

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.isrf.model import IsrfModel, IsrfModelConfig  # noqa: E402
from nerfseg_plugins.isrf.solid import VoxelSet  # noqa: E402
from nerfseg_plugins.isrf.voxels import VoxelGrid  # noqa: E402

FRONT, GLOSSY, WALL = 0, 1, 2
BOXES = torch.tensor(
    [
        [[-0.4, -0.15, -0.15], [-0.3, 0.15, 0.15]],
        [[0.1, -0.15, -0.15], [0.2, 0.15, 0.15]],
        [[0.7, -1.0, -1.0], [0.8, 1.0, 1.0]],
    ]
)
RED, BLUE = (0.8, 0.2, 0.2), (0.1, 0.2, 0.9)
GRID = VoxelGrid((-1.0, -1.0, -1.0), 0.05, (40, 40, 40), contracted=False)


def box_of(positions: Tensor) -> Tensor:
    """(...) long: the box that a position lies in, -1 in free space."""
    inside = ((positions[..., None, :] >= BOXES[:, 0]) & (positions[..., None, :] <= BOXES[:, 1])).all(dim=-1)
    return torch.where(inside.any(dim=-1), inside.long().argmax(dim=-1), -1)


def density_of(positions: Tensor) -> Tensor:
    """(..., 1): opaque in the boxes, nothing elsewhere."""
    return (box_of(positions) >= 0).float()[..., None] * 1e4


def gloss(directions: Tensor) -> Tensor:
    """What a view direction (..., 3) sees of the glossy box."""
    return (directions + 1) / 2


class BoxField(nn.Module):
    """Density and colour by formula; the feature of the geometry is the box."""

    geo_feat_dim = 1
    spatial_distortion = None

    def get_density(self, ray_samples):
        positions = ray_samples.frustums.get_positions()
        return density_of(positions), box_of(positions).float()[..., None]

    def get_outputs(self, ray_samples, density_embedding=None):
        box = density_embedding[..., 0].round().long()
        colors = torch.tensor([RED, (0.0, 0.0, 0.0), BLUE, (0.5, 0.5, 0.5)])[box]
        seen = gloss(ray_samples.frustums.directions).expand_as(colors)
        return {FieldHeadNames.RGB: torch.where((box == GLOSSY)[..., None], seen, colors)}


class BoxHead(nn.Module):
    """Three features: which box it is; nothing in free space."""

    def forward(self, positions: Tensor, geo: Tensor) -> Tensor:
        return torch.eye(4)[geo[..., 0].round().long()][..., :3]


def box_model(background: str = "black", **options: Any) -> IsrfModel:
    """The scene as a model in evaluation mode."""
    proposal = {"hidden_dim": 8, "log2_hashmap_size": 8, "num_levels": 2, "max_res": 16, "use_linear": False}
    settings: dict[str, Any] = {
        "implementation": "torch",
        "background_color": background,
        "near_plane": 0.01,
        "num_levels": 2,
        "log2_hashmap_size": 8,
        "num_proposal_iterations": 1,
        "num_proposal_samples_per_ray": (400,),
        "num_nerf_samples_per_ray": 64,
        "proposal_net_args_list": [proposal],
        "head_num_levels": 2,
        "head_log2_hashmap_size": 8,
        "feature_dim": 3,
    }
    model = IsrfModel(
        IsrfModelConfig(**{**settings, **options}),
        scene_box=SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
        num_train_data=1,
        metadata={"bounded": True},
    )
    model.field = BoxField()  # type: ignore[assignment]
    model.head = BoxHead()  # type: ignore[assignment]
    model.density_fns = [density_of]
    model.trained_positions[:3] = BOXES.mean(dim=1)
    model.head_steps += 1
    return model.eval()


def voxels_of(*boxes: int) -> VoxelSet:
    """The voxels of some boxes and the free ones beside them."""
    low, high = BOXES[list(boxes), 0] - 0.05, BOXES[list(boxes), 1] + 0.05
    steps = torch.arange(40)
    coords = torch.cartesian_prod(steps, steps, steps)
    centres = GRID.centres(coords)
    inside = ((centres[:, None] > low) & (centres[:, None] < high)).all(dim=-1).any(dim=-1)
    return VoxelSet.of_coords(GRID, coords[inside])


def cast(*origins: tuple[float, float, float], towards: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> RayBundle:
    """Rays from some places, along +x unless said otherwise."""
    count = len(origins)
    directions = nn.functional.normalize(torch.tensor(towards), dim=0).expand(count, 3).contiguous()
    indices = torch.zeros(count, 1, dtype=torch.long)
    return RayBundle(torch.tensor(origins), directions, torch.full((count, 1), 1e-6), camera_indices=indices)


MIDDLE, ASIDE = (-0.9, 0.0, 0.0), (-0.9, 0.6, 0.0)
"""Starts of a ray that meets all boxes, and of one that meets only the wall."""
