"""A part of space as a set of voxels: what is asked for every sample of every ray, so it is looked up, not searched."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.voxels import VoxelGrid

SMOOTH_THRESHOLD = 0.5
"""Interpolated occupancy above which a point lies inside a smooth set."""


@dataclass(frozen=True, eq=False)
class VoxelSet:
    """Voxels of a grid, dense in the box that holds them.

    Build one with `of_coords`, `of_dense` or `of_box`, which crop.
    """

    grid: VoxelGrid
    offset: tuple[int, int, int]
    """Index in the grid of the box's first voxel."""
    occupied: Tensor
    """(X, Y, Z) bool: which voxels of the box belong to the set."""
    smooth: bool = False
    """Whether the border runs through the voxels (trilinear occupancy above a half) instead of along their faces."""
    _padded: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of_coords(cls, grid: VoxelGrid, coords: Tensor, smooth: bool = False) -> "VoxelSet":
        """The set of some voxels.

        Args:
            grid: the grid.
            coords: (N, 3) integers, indices along x, y, z; those outside the grid are left out.
            smooth: as of the class.
        """
        coords = coords.long()
        coords = coords[grid.keys(coords) >= 0]
        if not len(coords):
            return cls(grid, (0, 0, 0), torch.zeros(0, 0, 0, dtype=torch.bool, device=coords.device), smooth)
        low, high = coords.amin(dim=0), coords.amax(dim=0)
        occupied = torch.zeros(*(high - low + 1).tolist(), dtype=torch.bool, device=coords.device)
        occupied[tuple((coords - low).unbind(dim=-1))] = True
        x, y, z = low.tolist()
        return cls(grid, (x, y, z), occupied, smooth)

    @classmethod
    def of_dense(cls, grid: VoxelGrid, occupied: Tensor, smooth: bool = False) -> "VoxelSet":
        """The set that a bool array (X, Y, Z) over the whole grid marks."""
        if tuple(occupied.shape) != tuple(grid.shape):
            raise ValueError(f"the array has shape {tuple(occupied.shape)}, the grid {grid.shape}")
        return cls.of_box(grid, (0, 0, 0), occupied, smooth)

    @classmethod
    def of_box(
        cls, grid: VoxelGrid, offset: tuple[int, int, int], occupied: Tensor, smooth: bool = False
    ) -> "VoxelSet":
        """The set that a bool array (X, Y, Z) over a box of the grid marks; `offset` is the box's first voxel."""
        if not bool(occupied.any()):
            return cls.of_coords(grid, torch.zeros(0, 3, dtype=torch.long, device=occupied.device), smooth)
        used = [occupied.amax(dim=axes).nonzero()[:, 0] for axes in ((1, 2), (0, 2), (0, 1))]
        low, high = ([int(places[end]) for places in used] for end in (0, -1))
        cropped = occupied[tuple(slice(first, last + 1) for first, last in zip(low, high, strict=True))].clone()
        x, y, z = (start + first for start, first in zip(offset, low, strict=True))
        return cls(grid, (x, y, z), cropped, smooth)

    def __len__(self) -> int:
        """Number of voxels."""
        return int(self.occupied.sum())

    @property
    def num_bytes(self) -> int:
        """Memory of the box, and of the copies that `contains` looks into."""
        return sum(part.numel() * part.element_size() for part in (self.occupied, *self._padded.values()))

    def coords(self) -> Tensor:
        """(N, 3) long indices of the voxels in the grid, ascending in x, then y, then z."""
        return self.occupied.nonzero() + torch.tensor(self.offset, device=self.occupied.device)

    def centres(self) -> Tensor:
        """(N, 3) float32 centres of the voxels, scene frame."""
        return self.grid.to_scene(self.grid.centres(self.coords()))

    @torch.no_grad()
    def contains(self, positions: Tensor) -> Tensor:
        """Which positions lie in the set.

        Args:
            positions: (..., 3), scene frame; what is not finite lies nowhere.

        Returns:
            (...) bool, on the device of the positions.
        """
        if not self.occupied.numel():
            return torch.zeros_like(positions[..., 0], dtype=torch.bool)
        corner = positions.new_tensor(self.grid.corner)
        # Counted in voxels from the first one of the padded box.
        place = (
            (self.grid.to_grid(positions.detach()) - corner) / self.grid.edge - positions.new_tensor(self.offset) + 1
        )
        # Not a number fails both comparisons, and what is far away would overflow an index.
        place = torch.where((place > -1) & (place < 1 << 30), place, -1.0)
        if not self.smooth:
            return self._look_up(place.floor().long())
        place = place - 0.5  # from centre to centre
        first = place.floor()
        along = torch.stack([first + 1 - place, place - first], dim=-1)  # (..., 3, 2)
        share = torch.zeros_like(place[..., 0])
        for corner_step in product((0, 1), repeat=3):
            weight = along[..., 0, corner_step[0]] * along[..., 1, corner_step[1]] * along[..., 2, corner_step[2]]
            share += weight * self._look_up(first.long() + torch.tensor(corner_step, device=place.device))
        return share > SMOOTH_THRESHOLD

    def _look_up(self, index: Tensor) -> Tensor:
        """Occupancy (...) bool of voxels (..., 3) of the padded box; its border stands for all that is outside."""
        padded = self._padded_on(index.device)
        _, y, z = padded.shape
        # One after the other: a clamp with a tensor of bounds costs three times as much.
        i, j, k = (index[..., axis].clamp(0, side - 1) for axis, side in enumerate(padded.shape))
        return padded.view(-1)[(i * y + j) * z + k]

    def _padded_on(self, device: torch.device) -> Tensor:
        if device not in self._padded:
            x, y, z = self.occupied.shape
            padded = torch.zeros(x + 2, y + 2, z + 2, dtype=torch.bool, device=device)
            padded[1:-1, 1:-1, 1:-1] = self.occupied.to(device)
            self._padded[device] = padded
        return self._padded[device]

    # Arrays ----------------------------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for an npz file; a bit for each voxel of the box."""
        grid = self.grid
        return {
            "bits": np.packbits(self.occupied.cpu().numpy().reshape(-1)),
            "box": np.array([self.offset, self.occupied.shape], np.int64),
            "corner": np.array(grid.corner, np.float64),
            "edge": np.array(grid.edge, np.float64),
            "shape": np.array(grid.shape, np.int64),
            "flags": np.array([grid.contracted, self.smooth], np.bool_),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "VoxelSet":
        """The set that `to_arrays` wrote.

        Raises:
            InputError: the arrays are none of such a set.
        """
        try:
            found = {name: np.asarray(arrays[name]) for name in _SHAPES}
        except KeyError as error:
            raise InputError(f"{error.args[0]} is missing") from error
        for name, (kind, shape) in _SHAPES.items():
            array = found[name]
            if array.dtype != kind or (shape is not None and array.shape != shape) or array.ndim > 2:
                raise InputError(f"{name} has type {array.dtype} and shape {array.shape}, expected {kind} {shape}")
        offset, box, shape = (found["box"][0].tolist(), found["box"][1].tolist(), found["shape"].tolist())
        corner, edge = found["corner"].tolist(), float(found["edge"])
        if not (np.isfinite(corner).all() and 0 < edge < np.inf and min(shape) > 0):
            raise InputError(f"a grid with corner {corner}, edge {edge} and shape {shape} is none")
        if any(o < 0 or b < 0 or o + b > s for o, b, s in zip(offset, box, shape, strict=True)):
            raise InputError(f"a box of {box} voxels at {offset} does not lie in a grid of {shape}")
        size = box[0] * box[1] * box[2]
        if found["bits"].shape != ((size + 7) // 8,):
            raise InputError(f"bits has shape {found['bits'].shape}, but a box of {box} voxels needs {(size + 7) // 8}")
        occupied = np.unpackbits(found["bits"], count=size).astype(bool).reshape(box)
        contracted, smooth = found["flags"].tolist()
        return cls(
            VoxelGrid(tuple(corner), edge, tuple(shape), contracted), tuple(offset), torch.from_numpy(occupied), smooth
        )


_SHAPES: dict[str, tuple[type, "tuple[int, ...] | None"]] = {
    "bits": (np.uint8, None),
    "box": (np.int64, (2, 3)),
    "corner": (np.float64, (3,)),
    "edge": (np.float64, ()),
    "shape": (np.int64, (3,)),
    "flags": (np.bool_, (2,)),
}
