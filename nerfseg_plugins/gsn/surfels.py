"""What some views see of a scene, pixel by pixel, and how alike what lies beside each other is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import KDTree
from skimage.color import rgb2lab
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.select_config import WalkerConfig

SIGMA_JUMP = 0.03
"""By which part of the distance neighbouring pixels may lie one before the other and still be one surface."""
NEIGHBOURS = 4
"""Surfels of other views that each is linked to."""
REACH = 2.0
"""Sides of a pixel beyond which a surfel of another view is not the same place."""
PAIRS = 1 << 15
"""So many pairs of surfels are compared at once."""
_STEPS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Rows and columns to the later half of the 8 neighbours of a pixel."""


@dataclass(frozen=True)
class Picture:
    """What is rendered of one view."""

    features: Tensor
    """(H, W, C) of unit length, 0 where a ray meets nothing."""
    points: Tensor
    """(H, W, 3) where the rays end, scene frame."""
    rgb: Tensor
    """(H, W, 3) in [0, 1]."""
    depth: Tensor
    """(H, W) distance along the unit rays, scene units."""
    size: Tensor
    """(H, W) side of a pixel at that distance, scene units."""


@dataclass(frozen=True)
class Surfels:
    """N pixels of some views, those that meet something; on the CPU."""

    points: Tensor
    """(N, 3) float32, scene frame."""
    features: Tensor
    """(N, C) float16 of unit length."""
    lab: Tensor
    """(N, 3) float32 colours in CIELAB, in hundreds."""
    depth: Tensor
    """(N,) float32 distance from their view, scene units."""
    size: Tensor
    """(N,) float32 side of their pixel, scene units."""
    place: Tensor
    """(N, 3) int32 view, row and column, ascending."""

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def of(cls, pictures: Sequence[Picture]) -> "Surfels":
        """All pixels of some pictures that meet something.

        Raises:
            InputError: there are none, or a picture's features are not finite.
        """
        parts: list[tuple[Tensor, ...]] = []
        for view, picture in enumerate(pictures):
            if not bool(picture.features.isfinite().all()):
                raise InputError("the rendered features are not finite; train the run again")
            met = picture.features.any(dim=-1) & picture.points.isfinite().all(dim=-1)
            row, column = met.nonzero().unbind(dim=-1)
            place = torch.stack([torch.full_like(row, view), row, column], dim=-1).int()
            values = (picture.points, picture.features, to_lab(picture.rgb), picture.depth, picture.size)
            points, features, lab, depth, size = (value[met].float().cpu() for value in values)
            parts.append((points, features.half(), lab, depth, size, place.cpu()))
        found = cls(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        if not len(found):
            raise InputError("no view of the scene meets anything, so nothing can be selected; train the run further")
        return found


def to_lab(rgb: Tensor) -> Tensor:
    """Colours (..., 3) in [0, 1] as CIELAB in hundreds, float32 on the CPU."""
    return torch.from_numpy(rgb2lab(rgb.detach().cpu().float().clamp(0, 1).numpy()) / np.float32(100)).float()


def links(surfels: Surfels, config: WalkerConfig) -> sparse.csr_matrix:
    """How willingly a walker steps between surfels: between neighbouring pixels, and to the same place in other views.

    Two count exp(-|f_p - f_q|^2 / sigma_f - |c_p - c_q|^2 / sigma_c) of unit features f and colours c; neighbouring
    pixels less where one lies before the other, diagonal ones by their distance, and never less than the floor; those
    of other views less by how far they are apart.

    Returns:
        (N, N) float32, upper triangle.
    """
    ones, others, weights = [], [], []
    for one, other, distance in _within_views(surfels.place.numpy()):
        depth = surfels.depth.numpy()
        jump = np.abs(depth[one] - depth[other]) / np.minimum(depth[one], depth[other]) / SIGMA_JUMP
        weights.append(_alike(surfels, one, other, config, jump) / np.float32(distance) + np.float32(config.floor))
        ones.append(one)
        others.append(other)
    one, other, away = _across_views(surfels)
    ones.append(one)
    others.append(other)
    weights.append(_alike(surfels, one, other, config, 0.5 * away**2))
    entries = (np.concatenate(weights), (np.concatenate(ones), np.concatenate(others)))
    return sparse.csr_matrix(entries, shape=(len(surfels),) * 2)


def _alike(surfels: Surfels, one: np.ndarray, other: np.ndarray, config: WalkerConfig, more: np.ndarray) -> np.ndarray:
    """exp(- features - colours - more) of pairs (E,), float32."""
    found = np.empty(len(one), np.float32)
    for start in range(0, len(one), PAIRS):
        rows = slice(start, start + PAIRS)
        p, q = torch.from_numpy(one[rows]), torch.from_numpy(other[rows])
        features = (surfels.features[p].float() - surfels.features[q].float()).square().sum(dim=-1)
        colors = (surfels.lab[p] - surfels.lab[q]).square().sum(dim=-1)
        exponent = (features / config.sigma_f + colors / config.sigma_c).numpy() + more[rows]
        found[rows] = np.exp(-exponent)
    return found


def _within_views(place: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Pairs of neighbouring pixels, the earlier one first, and their distance; for each of the steps."""
    views, rows, columns = place.max(axis=0) + 1
    index = np.full((views, rows + 1, columns + 2), -1)  # a border on the sides to which steps go
    index[place[:, 0], place[:, 1], place[:, 2] + 1] = np.arange(len(place))
    for down, right in _STEPS:
        beside = index[place[:, 0], place[:, 1] + down, place[:, 2] + 1 + right]
        one = np.flatnonzero(beside >= 0)
        yield one, beside[one], float(np.hypot(down, right))


def _across_views(surfels: Surfels) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of surfels of different views, the earlier one first, each once, and their distance in sides of a pixel."""
    points, size, view = surfels.points.double().numpy(), surfels.size.numpy(), surfels.place[:, 0].numpy()
    ones, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number in np.unique(view):
        here, rest = np.flatnonzero(view == number), np.flatnonzero(view != number)
        if not len(rest):
            continue
        distance, nearest = KDTree(points[rest]).query(
            points[here], k=min(NEIGHBOURS, len(rest)), distance_upper_bound=REACH * float(size[here].max())
        )
        distance, nearest = distance.reshape(len(here), -1), nearest.reshape(len(here), -1)
        near = distance <= REACH * size[here, None]  # infinite where there is none
        ones.append(np.broadcast_to(here[:, None], near.shape)[near])
        others.append(rest[nearest[near]])
    one, other = np.concatenate(ones), np.concatenate(others)
    pairs = np.unique(np.minimum(one, other) * len(points) + np.maximum(one, other))
    one, other = np.divmod(pairs, len(points))
    apart = np.linalg.norm(points[one] - points[other], axis=1)
    return one, other, apart / np.maximum(size[one], size[other])
