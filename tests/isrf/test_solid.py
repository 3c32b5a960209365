"""Sets of voxels, asked by position."""

import itertools

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.isrf.voxels import VoxelGrid

GRID = VoxelGrid((-1.0, -2.0, 0.5), 0.25, (8, 10, 6), contracted=False)
COORDS = torch.tensor([[2, 3, 1], [3, 3, 1], [3, 4, 4]])


def points(count: int, spread: float = 2.0, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def by_loop(voxels: VoxelSet, positions: torch.Tensor) -> list[bool]:
    """One point after the other, in the words of the definition."""
    members = {tuple(coords) for coords in voxels.coords().tolist()}
    grid = voxels.grid
    found = []
    for place in ((grid.to_grid(positions).double() - torch.tensor(grid.corner)) / grid.edge).tolist():
        if not voxels.smooth:
            found.append(tuple(int(np.floor(value)) for value in place) in members)
            continue
        first = [int(np.floor(value - 0.5)) for value in place]
        share = 0.0
        for step in itertools.product((0, 1), repeat=3):
            near = [1 - abs(value - 0.5 - f - s) for value, f, s in zip(place, first, step, strict=True)]
            share += float(np.prod(near)) * (tuple(f + s for f, s in zip(first, step, strict=True)) in members)
        found.append(share > 0.5)
    return found


def test_a_voxel_reaches_from_face_to_face():
    voxels = VoxelSet.of_coords(GRID, COORDS)
    assert voxels.offset == (2, 3, 1) and voxels.occupied.shape == (2, 2, 4) and len(voxels) == 3
    # Voxel (2, 3, 1) covers x -0.5..-0.25, y -1.25..-1, z 0.75..1; its neighbour in x goes on to 0.
    inside = [[-0.49, -1.24, 0.76], [-0.26, -1.01, 0.99], [-0.01, -1.1, 0.8], [-0.1, -0.9, 1.6]]
    outside = [[-0.51, -1.1, 0.8], [0.01, -1.1, 0.8], [-0.4, -1.26, 0.8], [-0.4, -1.1, 1.01], [-0.4, -0.9, 1.6]]
    assert voxels.contains(torch.tensor(inside)).all() and not voxels.contains(torch.tensor(outside)).any()


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("contracted", [False, True])
def test_any_point_as_in_the_definition(smooth: bool, contracted: bool):
    """Also at the grid's border, and far away in a contracted scene."""
    grid = VoxelGrid((-2.0, -2.0, -2.0), 0.25, (16, 16, 16), True) if contracted else GRID
    marked = torch.rand(*grid.shape, generator=torch.Generator().manual_seed(3)) < 0.6
    marked[0], marked[:, -1] = True, True
    voxels = VoxelSet.of_dense(grid, marked, smooth)
    positions = points(3000)
    if not contracted:
        size = torch.tensor([2.0, 2.5, 1.5])
        positions = size * (1.2 * torch.rand(3000, 3, generator=torch.Generator().manual_seed(1)) - 0.1)
        positions = positions + torch.tensor(grid.corner)
    expected = by_loop(voxels, positions)
    assert 300 < sum(expected) < 2700
    assert voxels.contains(positions).tolist() == expected
    assert voxels.contains(positions.view(30, 10, 10, 3)).shape == (30, 10, 10)


def test_a_smooth_border_cuts_corners_and_passes_through_faces():
    one = VoxelSet.of_coords(GRID, torch.tensor([[2, 3, 1]]), smooth=True)
    centre = one.centres()[0]
    assert one.contains(centre)
    # A single voxel's occupancy falls as (1 - d) along an axis, and as (1 - d)^3 along the diagonal.
    assert one.contains(centre + torch.tensor([0.12, 0, 0])) and not one.contains(centre + torch.tensor([0.13, 0, 0]))
    assert not one.contains(centre + 0.06), "0.76 cubed is below a half"


def test_what_is_not_finite_lies_nowhere():
    voxels = VoxelSet.of_dense(GRID, torch.ones(8, 10, 6, dtype=torch.bool))
    bad = torch.tensor([[torch.nan, 0, 1], [torch.inf, 0, 1], [0, -torch.inf, 1], [1e30, 0, 1], [-1e30, 0, 1]])
    assert not voxels.contains(bad).any() and voxels.contains(torch.tensor([0.0, 0, 1]))


def test_nothing_contains_nothing():
    empty = VoxelSet.of_coords(GRID, torch.tensor([[8, 0, 0], [-1, 0, 0]]))
    assert len(empty) == 0 and not empty.contains(points(10)).any() and empty.centres().shape == (0, 3)
    assert len(VoxelSet.from_arrays(empty.to_arrays())) == 0


def test_arrays_bring_the_set_back():
    voxels = VoxelSet.of_coords(GRID, COORDS, smooth=True)
    back = VoxelSet.from_arrays(voxels.to_arrays())
    assert back.grid == GRID and back.smooth and back.offset == voxels.offset
    assert torch.equal(back.occupied, voxels.occupied) and torch.equal(back.coords(), COORDS)


def test_a_set_is_small():
    voxels = VoxelSet.of_coords(VoxelGrid((0.0, 0.0, 0.0), 0.1, (512, 512, 512), False), torch.tensor([[0, 0, 0]]))
    voxels.contains(points(1))
    assert voxels.num_bytes == 1 + 27, "the voxel, and itself with a border"


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("bits", np.zeros(1, np.uint8), "bits has shape"),
        ("bits", np.zeros(2, np.float32), "bits has type float32"),
        ("box", np.array([[0, 0, 0], [9, 2, 4]]), "does not lie in a grid"),
        ("box", np.array([[-1, 0, 0], [2, 2, 4]]), "does not lie in a grid"),
        ("edge", np.array(np.nan), "is none"),
        ("edge", np.array(0.0), "is none"),
        ("corner", np.array([0.0, np.inf, 0]), "is none"),
        ("shape", np.array([8, 10]), "shape has type"),
        ("flags", np.array([1, 0]), "flags has type"),
    ],
)
def test_arrays_of_no_set_are_refused(name: str, value: np.ndarray, match: str):
    arrays = {**VoxelSet.of_coords(GRID, COORDS).to_arrays(), name: value}
    with pytest.raises(InputError, match=match):
        VoxelSet.from_arrays(arrays)


def test_a_missing_array_is_named():
    arrays = VoxelSet.of_coords(GRID, COORDS).to_arrays()
    del arrays["edge"]
    with pytest.raises(InputError, match="edge is missing"):
        VoxelSet.from_arrays(arrays)
