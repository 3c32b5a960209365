"""Back-projection, edge filter, even draws, voxels: against analytic scenes and plain loops."""

from collections import Counter

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene import points as p


def rays(size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A pinhole camera at (0, 0, 2) that looks along -z, 90 degrees wide; origins and unit directions (S, S, 3)."""
    u = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(u, -u)
    directions = np.stack([x, y, -np.ones_like(x)], -1)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return np.broadcast_to(np.array([0.0, 0.0, 2.0]), directions.shape), directions


def plane_view(labels: object = None, accumulation: float = 1.0) -> p.SurfaceView:
    """The camera of `rays` above the plane z = 0."""
    origins, directions = rays()
    depth = 2 / -directions[..., 2]
    rgb = np.full((*depth.shape, 3), 0.5)
    ids = None if labels is None else np.full(depth.shape, labels)
    return p.SurfaceView(origins, directions, depth, np.full(depth.shape, accumulation), rgb, ids)


def test_unproject_finds_the_plane():
    view = plane_view()
    points = p.unproject(view.depth, view.origins, view.directions)
    assert points.dtype == np.float32 and points.shape == (24, 24, 3)
    np.testing.assert_allclose(points[..., 2], 0, atol=1e-6)
    np.testing.assert_allclose(points[0, 0, :2], [-2 + 1 / 12, 2 - 1 / 12], atol=1e-6)


def test_a_slanted_plane_has_no_edges_and_a_step_has():
    _, directions = rays(64)
    # A plane at distance 1 whose normal is 40 degrees off the view axis: on the left, rays almost graze it.
    normal = np.array([np.sin(np.radians(40)), 0, -np.cos(np.radians(40))])
    depth = 1 / (directions @ normal)
    assert (depth > 0).all() and depth.max() / depth.min() > 5
    assert not p.depth_edges(depth, 0.05).any()
    step = np.where(np.arange(64) < 32, 1.0, 1.5)[None].repeat(64, 0)
    np.testing.assert_array_equal(np.flatnonzero(p.depth_edges(step, 0.05)[5]), [31, 32])
    np.testing.assert_array_equal(np.flatnonzero(p.depth_edges(step.T, 0.05)[:, 5]), [31, 32])


def test_edges_reach_the_border_and_small_pictures_have_none():
    jump = np.array([[1.0, 2.0, 2.0, 2.0]])
    assert p.depth_edges(jump, 0.05).tolist() == [[True, True, False, False]]
    assert not p.depth_edges(np.array([[1.0, 2.0], [3.0, 4.0]]), 0.05).any()


def test_surface_points_of_a_plane():
    cloud = p.surface_points([plane_view(labels=3)])
    assert len(cloud) == 24 * 24
    assert cloud.labels is not None and set(cloud.labels.tolist()) == {3}
    assert cloud.colors.dtype == np.uint8 and (cloud.colors == 128).all()
    np.testing.assert_allclose(cloud.points[:, 2], 0, atol=1e-6)


def test_thin_edges_and_bad_depths_are_left_out():
    view = plane_view()
    depth, accumulation = view.depth.copy(), view.accumulation.copy()
    depth[3, 3], depth[12, 12], accumulation[20, 5] = np.nan, 0.4, 0.5
    spoiled = p.SurfaceView(view.origins, view.directions, depth, accumulation, view.rgb)
    # With the edge filter a bad pixel takes its four neighbours along, for the jump beside it.
    assert len(p.surface_points([spoiled], edge_threshold=np.inf)) == 24 * 24 - 2
    assert len(p.surface_points([spoiled])) == 24 * 24 - 3 * 5
    assert len(p.surface_points([plane_view(accumulation=0.5)])) == 0
    assert len(p.surface_points([])) == 0


def test_the_draw_is_even_and_the_same_for_a_seed():
    views = [plane_view(labels=i) for i in range(5)]
    cloud = p.surface_points(iter(views), num_points=1000, seed=4)
    again = p.surface_points(views, num_points=1000, seed=4)
    np.testing.assert_array_equal(cloud.points, again.points)
    assert len(cloud) == 1000 and cloud.labels is not None
    counts = np.bincount(cloud.labels, minlength=5)
    # Without replacement from 5 x 576: standard deviation of a view's count is 10.2; five of them allowed.
    assert np.abs(counts - 200).max() < 51
    assert (np.diff(cloud.labels) >= 0).all()
    other = p.surface_points(views, num_points=1000, seed=5)
    assert not np.array_equal(cloud.points, other.points)


def test_draws_are_without_repetition():
    cloud = p.surface_points([plane_view()], num_points=500)
    assert len(np.unique(cloud.points, axis=0)) == 500


def test_mixed_labels_and_no_points_are_refused():
    with pytest.raises(InputError, match="labels"):
        p.surface_points([plane_view(labels=1), plane_view()])
    with pytest.raises(InputError, match="at least 1"):
        p.surface_points([plane_view()], num_points=0)


def test_voxel_downsample_equals_a_loop():
    rng = np.random.default_rng(0)
    cloud = p.PointCloud(
        rng.normal(size=(400, 3)).astype(np.float32),
        rng.integers(0, 256, (400, 3)).astype(np.uint8),
        rng.integers(-1, 4, 400).astype(np.int32),
    )
    assert cloud.labels is not None
    cells: dict[tuple[int, ...], list[int]] = {}
    for i, point in enumerate(cloud.points):
        cells.setdefault(tuple(np.floor(point / np.float64(0.7)).astype(int)), []).append(i)
    small = p.voxel_downsample(cloud, 0.7)
    assert small.labels is not None and len(small) == len(cells)
    for row, key in enumerate(sorted(cells)):
        members = cells[key]
        np.testing.assert_allclose(small.points[row], cloud.points[members].mean(0), atol=1e-5)
        assert np.abs(small.colors[row] - cloud.colors[members].astype(float).mean(0)).max() <= 0.5
        votes = Counter(cloud.labels[members].tolist())
        assert small.labels[row] == min(votes, key=lambda label: (-votes[label], label))


def test_voxel_downsample_without_labels_or_points():
    cloud = p.PointCloud(np.zeros((3, 3), np.float32), np.zeros((3, 3), np.uint8))
    assert len(p.voxel_downsample(cloud, 1.0)) == 1 and p.voxel_downsample(cloud, 1.0).labels is None
    assert len(p.voxel_downsample(cloud.take(np.zeros(0, int)), 1.0)) == 0
    with pytest.raises(InputError, match="positive"):
        p.voxel_downsample(cloud, 0.0)


def test_voxel_grid_is_cubic_and_fills_the_box():
    assert p.voxel_grid(np.array([[0, 0, 0], [2.0, 1.0, 0.5]]), 8) == ((8, 4, 2), 0.25)
    assert p.voxel_grid(np.array([[0, 0, 0], [2.0, 1.1, 0.01]]), 8) == ((8, 5, 1), 0.25)
    # 0.3 is not a sum of tenths in floating point, yet three voxels of a tenth fill it.
    assert p.voxel_grid(np.array([[0, 0, 0], [1.0, 0.3, 0.7]]), 10)[0] == (10, 3, 7)


@pytest.mark.parametrize("aabb", [[[0, 0, 0], [1, 0, 1]], [[0, 0, 0], [1, np.nan, 1]], [[1, 1, 1], [0, 0, 0]]])
def test_empty_boxes_are_refused(aabb: list):
    with pytest.raises(InputError, match="cannot fill the box"):
        p.occupied_voxels(lambda x: x[:, 0], np.array(aabb), 4, 0.5)
    with pytest.raises(InputError, match="0 voxels"):
        p.voxel_grid(np.array([[0, 0, 0], [1, 1, 1]]), 0)


@pytest.mark.parametrize("chunk", [7, 1 << 18])
@pytest.mark.parametrize("column", [False, True])
def test_occupied_voxels_of_a_ball(chunk: int, column: bool):
    def ball(x: torch.Tensor) -> torch.Tensor:
        inside = 10.0 * (x.norm(dim=-1) < 0.8)
        return inside[:, None] if column else inside

    coords, centres = p.occupied_voxels(ball, np.array([[-1, -1, -1], [1, 1, 1.0]]), 10, 1.0, chunk=chunk)
    assert coords.dtype == np.int32 and centres.dtype == np.float32
    axis = -1 + (np.arange(10) + 0.5) * 0.2
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    np.testing.assert_array_equal(coords, np.argwhere(np.linalg.norm(grid, axis=-1) < 0.8))
    np.testing.assert_allclose(centres, axis[coords], atol=1e-6)


def test_nothing_occupied():
    coords, centres = p.occupied_voxels(lambda x: torch.zeros(len(x)), np.array([[0, 0, 0], [1, 1, 1]]), 4, 0.5)
    assert coords.shape == centres.shape == (0, 3)
