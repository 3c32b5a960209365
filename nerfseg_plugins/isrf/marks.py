"""How a scene is marked in pictures: what share of a ray lies in each part."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from nerfseg_plugins.isrf.edits import labels_at
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.scene.colors import palette

TINT = 0.6
"""Share of the marking colour in what is marked."""
SEED_COLOR = (1.0, 1.0, 0.2)


class Marks(NamedTuple):
    """What of R rays is marked."""

    shares: Tensor
    """(R, E) of what each ray meets that lies in each of E parts; what lies in several belongs to the last."""
    ids: Tensor
    """(R,) long: 1..E where more than half lies in one part, else 0."""
    colors: Tensor
    """(R, 3) the picture with the parts in their palette colours, and the seed in its own."""


def shares_of(positions: Tensor, weights: Tensor, parts: Sequence[VoxelSet]) -> Tensor:
    """What of each ray lies in each part: `Marks.shares`, with the arguments of `mark`."""
    weights = weights.float() / weights.sum(dim=-1, keepdim=True).clamp_min(1e-9)
    shares = weights.new_zeros(len(weights), len(parts) + 1)
    return shares.scatter_add(1, labels_at(parts, positions), weights)[:, 1:]


def ids_of(shares: Tensor) -> Tensor:
    """Which part each ray belongs to: `Marks.ids` of `Marks.shares`."""
    return ((shares > 0.5) * torch.arange(1, shares.shape[1] + 1, device=shares.device)).sum(dim=-1)


def mark(
    positions: Tensor,
    weights: Tensor,
    rgb: Tensor,
    parts: Sequence[VoxelSet],
    seed: Optional[VoxelSet] = None,
) -> Marks:
    """Mark parts of a scene.

    Args:
        positions: (R, S, 3) samples of the rays, scene frame.
        weights: (R, S) of the samples; all zero where a ray meets nothing.
        rgb: (R, 3) the picture.
        parts: E sets of voxels.
        seed: voxels that are marked over the others, and count for nothing.
    """
    shares = shares_of(positions, weights, parts)
    colors = rgb
    if parts:
        paint = torch.from_numpy(palette(len(parts) + 1)[1:]).to(shares) / 255
        colors = rgb * (1 - TINT * shares.sum(dim=-1, keepdim=True)) + TINT * shares @ paint
    if seed is not None:
        share = TINT * shares_of(positions, weights, [seed])
        colors = torch.lerp(colors, colors.new_tensor(SEED_COLOR).expand_as(colors), share.to(colors))
    return Marks(shares, ids_of(shares), colors)
