"""Bounding planes of rooms whose planes are known."""

import numpy as np
import pytest

from nerfseg_plugins.segments.structure import bounding_planes, local_normals, on_planes

CAMERAS = np.array([[0.0, 0.0, 1.5], [1.0, 0.5, 1.2]])


@pytest.fixture
def room() -> np.ndarray:
    """Floor z = 0, wall x = 3 and a table top z = 0.7 in front of it, with 5 mm of noise; the floor goes on below."""
    rng = np.random.default_rng(0)
    floor = np.column_stack([rng.uniform(-3, 3, (4000, 2)), np.zeros(4000)])
    wall = np.column_stack([np.full(3000, 3.0), rng.uniform(-3, 3, 3000), rng.uniform(0, 2.5, 3000)])
    table = np.column_stack([rng.uniform(1, 2.5, 2500), rng.uniform(-1, 1, 2500), np.full(2500, 0.7)])
    return np.concatenate([floor, wall, table]) + rng.normal(0, 0.005, (9500, 3))


def test_floor_and_wall_bound_the_room_and_the_table_does_not(room: np.ndarray) -> None:
    planes = bounding_planes(room, CAMERAS, tolerance=0.05)
    assert len(planes) == 2
    np.testing.assert_allclose(planes[0].normal, [0, 0, 1], atol=0.01)
    np.testing.assert_allclose(planes[1].normal, [-1, 0, 0], atol=0.01)
    np.testing.assert_allclose([planes[0].offset, planes[1].offset], [0, -3], atol=0.01)
    lying = on_planes(room, planes, 0.05)
    assert lying[:7000].mean() > 0.99
    assert lying[7000:].mean() == 0


def test_what_lies_behind_a_plane_is_structure_too(room: np.ndarray) -> None:
    planes = bounding_planes(room, CAMERAS, tolerance=0.05)
    points = np.array([[3.6, 0, 1.0], [0, 0, -0.4], [0, 0, 0.5]])
    np.testing.assert_array_equal(on_planes(points, planes, 0.05), [True, True, False])


def test_two_runs_agree(room: np.ndarray) -> None:
    first, second = (bounding_planes(room, CAMERAS, tolerance=0.05, seed=3) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.normal, b.normal)


def test_a_ball_has_no_planes() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(3000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert bounding_planes(points, np.array([[3.0, 0, 0]]), tolerance=0.01) == []
    assert bounding_planes(points[:10], CAMERAS, tolerance=0.01) == []


def test_normals_of_a_plane() -> None:
    rng = np.random.default_rng(2)
    points = np.column_stack([rng.uniform(0, 1, (200, 2)), np.zeros(200)])
    np.testing.assert_allclose(np.abs(local_normals(points)), np.tile([0, 0, 1], (200, 1)), atol=1e-6)
