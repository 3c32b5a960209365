"""Thinning of surface points, by hand and against the shared downsampling."""

import numpy as np

from nerfseg_plugins.scene.points import PointCloud, voxel_downsample
from nerfseg_plugins.ultrametric.surface import Cells, isolated, thinned


def plane(num_points: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(-1, 1, (num_points, 2)), np.zeros((num_points, 1))], axis=1).astype(np.float32)


def same(points: np.ndarray) -> np.ndarray:
    return points


def test_cells_of_parts_are_those_of_all_points() -> None:
    points = plane(5000)
    expected = voxel_downsample(PointCloud(points, np.zeros((5000, 3), np.uint8)), 0.05).points
    parts = [Cells.of(part, part, 0.05) for part in np.split(points, [17, 17, 2000])]
    np.testing.assert_allclose(Cells.joined(parts).means(), expected, atol=1e-6)
    assert int(Cells.joined(parts).counts.sum()) == 5000


def test_points_are_thinned_until_there_are_few_enough() -> None:
    points = plane(40_000)
    fine = thinned(Cells.of(points, points, 0.02), same, 0.02, 10**6)
    few = thinned(Cells.of(points, points, 0.02), same, 0.02, 1000)
    assert len(fine) > 9000
    assert 400 < len(few) <= 1000
    corners = np.array([[x, y, 0] for x in (-1, 1) for y in (-1, 1)])
    assert np.linalg.norm(few[:, None] - corners, axis=-1).min(axis=0).max() < 0.1, "all of the plane is still covered"


def test_far_points_of_an_unbounded_scene_are_thinned_where_the_field_sees_them() -> None:
    points = np.array([[0.0, 0, 0], [0.01, 0, 0], [51, 0, 0], [60, 0, 0]], np.float32)

    def contract(points: np.ndarray) -> np.ndarray:
        away = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1)
        return (2 - 1 / away) * points / away

    found = Cells.of(points, contract(points), 0.004).means()
    assert found[:, 0].tolist() == np.array([0, 0.01, 55.5], np.float32).tolist()


def test_points_that_float_alone_are_dropped() -> None:
    points = np.concatenate([plane(5000), [[0, 0, 0.5]]]).astype(np.float32)
    alone = isolated(points, 0.02)
    assert alone[-1] and alone[:-1].sum() < 20


def test_a_sparse_cloud_is_not_dropped_altogether() -> None:
    grid = np.stack(np.meshgrid([0.0, 1, 2], [0.0, 1, 2], [0.0]), axis=-1).reshape(-1, 3)
    assert not isolated(grid, 0.02).any()
    assert not isolated(grid[:1], 0.02).any()


def test_no_points_at_all() -> None:
    nothing = Cells.joined([Cells.of(np.zeros((0, 3)), np.zeros((0, 3)), 0.1)] * 2)
    assert len(nothing) == 0 and len(thinned(nothing, same, 0.1, 10)) == 0
