"""The grid: where voxels lie, how they are numbered, contracted and found."""

import numpy as np
import pytest
import torch
from nerfstudio.field_components.spatial_distortions import SceneContraction
from scipy.spatial import cKDTree

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.voxels import CHUNK, VoxelGrid, find, neighbours, offsets, squared_differences

from .caches import random_cache

GRID = VoxelGrid((-1.0, 0.0, 2.0), 0.25, (4, 3, 5), contracted=False)
EVERYWHERE = VoxelGrid((-2.0, -2.0, -2.0), 0.25, (16, 16, 16), contracted=True)


def test_keys_number_the_voxels_in_the_order_of_an_array():
    coords = torch.from_numpy(np.argwhere(np.ones(GRID.shape)))
    keys = GRID.keys(coords)
    assert keys.tolist() == list(range(4 * 3 * 5))
    back = GRID.coords_of(keys)
    assert back.dtype == torch.int32 and torch.equal(back.long(), coords)


def test_what_lies_beside_the_grid_has_no_key():
    beside = torch.tensor([[-1, 0, 0], [4, 0, 0], [0, -1, 0], [0, 3, 0], [0, 0, -1], [0, 0, 5], [1 << 40, 0, 0]])
    assert GRID.keys(beside).tolist() == [-1] * 7
    assert GRID.keys(torch.zeros(2, 3, 3, dtype=torch.int32)).shape == (2, 3)


def test_a_voxel_reaches_from_its_lower_to_its_upper_corner():
    points = torch.tensor([[-1.0, 0.0, 2.0], [-0.76, 0.24, 2.24], [-0.75, 0.26, 2.5], [-1.01, 0.0, 2.0]])
    assert GRID.coords(points).tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 2], [-1, 0, 0]]
    centres = GRID.centres(torch.tensor([[0, 0, 0], [3, 2, 4]]))
    torch.testing.assert_close(centres, torch.tensor([[-0.875, 0.125, 2.125], [-0.125, 0.625, 3.125]]))
    assert GRID.coords(centres).tolist() == [[0, 0, 0], [3, 2, 4]]


def test_a_bounded_scene_is_divided_along_its_longest_side():
    grid = VoxelGrid.of_scene(np.array([[-1.0, 0, 0], [1, 1, 0.3]]), False, 8)
    assert grid == VoxelGrid((-1.0, 0.0, 0.0), 0.25, (8, 4, 2), contracted=False)
    for aabb, resolution in ((np.zeros((2, 3)), 8), (np.array([[0.0] * 3, [1.0] * 3]), 0)):
        with pytest.raises(InputError):
            VoxelGrid.of_scene(aabb, False, resolution)


def test_an_unbounded_scene_is_covered_whole():
    """As many voxels as asked for across the inner cube of side 2, and as many again around it."""
    assert VoxelGrid.of_scene(np.array([[-0.1] * 3, [0.1] * 3]), True, 8) == EVERYWHERE


def test_space_is_contracted_as_nerfacto_does():
    positions = 4 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    positions = torch.cat([positions, torch.tensor([[0.0, 0, 0], [1, 1, 1], [0.5, -1, 0], [1e4, 3, -1e4]])])
    contracted = EVERYWHERE.to_grid(positions)
    torch.testing.assert_close(contracted, SceneContraction(order=float("inf"))(positions))
    assert bool((contracted.abs() < 2).all())
    torch.testing.assert_close(EVERYWHERE.to_scene(contracted)[:-1], positions[:-1], rtol=1e-4, atol=1e-5)
    assert torch.equal(GRID.to_grid(positions), positions) and torch.equal(GRID.to_scene(positions), positions)


def test_steps_are_stretched_as_much_as_space_was_contracted():
    """Along the longest axis, by differences; nothing inside the inner cube."""
    points = torch.tensor([[1.2, 0.3, -0.4], [-0.1, -1.7, 0.2], [0.5, 0.2, 0.3]], dtype=torch.float64)
    axes = torch.eye(3, dtype=torch.float64)[[0, 1, 2]]
    moved = EVERYWHERE.to_scene(points + 1e-6 * axes) - EVERYWHERE.to_scene(points - 1e-6 * axes)
    length = moved.norm(dim=-1) / 2e-6
    # A step outwards also shifts along the direction from the origin, so that only its own axis is compared.
    along = (moved * axes).sum(dim=-1).abs() / 2e-6
    torch.testing.assert_close(EVERYWHERE.stretch(points), along, rtol=1e-5, atol=1e-5)
    assert bool((length >= along).all()) and float(EVERYWHERE.stretch(points)[2]) == 1.0
    assert torch.equal(GRID.stretch(torch.ones(4, 3)), torch.ones(4))


def test_keys_are_found_in_a_sorted_list():
    keys = torch.tensor([2, 5, 9])
    assert find(keys, torch.tensor([[5, 2], [-1, 10], [9, 6]])).tolist() == [[1, 0], [-1, -1], [2, -1]]
    assert find(keys[:0], torch.tensor([5, -1])).tolist() == [-1, -1]


def test_steps_around_a_voxel():
    around = offsets()
    assert around.shape == (26, 3) and len({tuple(step) for step in around.tolist()}) == 26
    assert int(around.abs().max()) == 1 and bool((around.abs().sum(dim=1) > 0).all())
    assert offsets(2).shape == (124, 3)
    half = offsets(half=True)
    both = {tuple(step) for step in torch.cat([half, -half]).tolist()}
    assert len(half) == 13 and both == {tuple(step) for step in around.tolist()}
    later = GRID.keys(torch.tensor([1, 1, 1]) + half) > GRID.keys(torch.tensor([1, 1, 1]))
    assert bool(later.all())


@pytest.mark.parametrize("shape", [(9, 8, 7), (1, 1, 30), (3, 40, 1), (2, 2, 2)])
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_neighbours_are_those_within_a_step_by_a_tree(shape: tuple[int, int, int], share: float):
    cache = random_cache(0, shape, share)
    coords = cache.coords.numpy()
    tree = cKDTree(coords)
    table = neighbours(cache.grid, cache.keys)
    assert table.dtype == torch.int32
    steps = offsets().numpy()
    for index, near in enumerate(tree.query_ball_point(coords, 1.01, p=np.inf)):
        expected = {tuple(coords[other] - coords[index]): other for other in near if other != index}
        assert [expected.get(tuple(step), -1) for step in steps] == table[index].tolist()
    assert torch.equal(neighbours(cache.grid, cache.keys, half=True), table[:, 13:])


def test_neighbours_of_some_voxels():
    cache = random_cache(1)
    some = torch.tensor([5, 0, 60, 5])
    assert torch.equal(neighbours(cache.grid, cache.keys, some), neighbours(cache.grid, cache.keys)[some])
    assert neighbours(cache.grid, cache.keys, some[:0]).shape == (0, 26)
    assert neighbours(cache.grid, cache.keys[:0], half=True).shape == (0, 13)


def test_neighbours_of_more_voxels_than_are_looked_up_at_once():
    grid = VoxelGrid((0.0, 0.0, 0.0), 1.0, (2, 2, CHUNK), contracted=False)
    keys = torch.arange(4 * CHUNK)
    table = neighbours(grid, keys)
    up = (offsets() == torch.tensor([0, 0, 1])).all(dim=1).nonzero()[0, 0]
    expected = torch.where((keys + 1) % CHUNK == 0, -1, keys + 1)
    assert torch.equal(table[:, up].long(), expected)
    # Inside, all voxels of the 2 x 2 columns within a step but itself: 2 * 2 * 3 - 1.
    assert int((table[CHUNK // 2] >= 0).sum()) == 11 and int((table[0] >= 0).sum()) == 7


def test_squared_differences():
    values = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]).half()
    found = squared_differences(values, torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0]))
    assert found.dtype == torch.float32 and found.tolist() == [25.0, 0.0, 2.0]
    many = torch.arange(5000) % 3
    assert squared_differences(values, many, torch.zeros_like(many)).tolist() == [[0.0, 25.0, 2.0][i % 3] for i in many]
    assert squared_differences(values, many[:0], many[:0]).shape == (0,)
