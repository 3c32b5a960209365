"""Unprojection, trust in depth and the contracted voxel grid, against formulas."""

import numpy as np
import pytest

from nerfseg_plugins.segments.lift import VoxelGrid, fit_grid, resize_nearest, trusted_pixels, unproject


def test_unproject_measures_along_unit_rays() -> None:
    depth = np.array([[5.0, 2.0]])
    directions = np.array([[[3.0, 0.0, -4.0], [0.0, 0.0, -10.0]]])  # lengths 5 and 10: normalised first
    points = unproject(depth, np.array([1.0, 2.0, 3.0]), directions)
    np.testing.assert_allclose(points, [[[4.0, 2.0, -1.0], [1.0, 2.0, 1.0]]])


def test_points_of_a_view_lie_on_the_boxes(scene) -> None:
    for view, truth in zip(scene.views, scene.truth, strict=True):
        points = view.points()
        for index, box in enumerate(scene.boxes):
            own = points[truth == index + 1]
            assert np.all(own >= box[0] - 1e-4) and np.all(own <= box[1] + 1e-4)


def test_a_grazing_floor_is_trusted_and_a_step_is_not() -> None:
    rows, columns = np.mgrid[:40, :40]
    floor = 1.0 / (0.1 + 0.01 * rows)  # disparity of a plane is linear in the image: 10 m at the top, 2 m below
    assert trusted_pixels(floor).all()
    step = np.where(columns < 20, 2.0, 2.5)
    trusted = trusted_pixels(step)
    assert not trusted[:, 19:21].any()
    assert trusted[:, :19].all() and trusted[:, 21:].all()


def test_unknown_and_transparent_pixels_are_not_trusted() -> None:
    depth = np.full((9, 9), 2.0)
    depth[0, 0], depth[4, 4], depth[8, 8] = np.nan, 0.0, np.inf
    accumulation = np.ones((9, 9))
    accumulation[0, 8] = 0.3
    trusted = trusted_pixels(depth, accumulation, min_accumulation=0.5)
    for pixel in ((0, 0), (4, 4), (8, 8), (0, 8)):
        assert not trusted[pixel]
    assert trusted[2, 2]


def test_resize_nearest_takes_the_pixel_under_the_centre() -> None:
    image = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(resize_nearest(image, (2, 2)), [[5, 7], [13, 15]])
    np.testing.assert_array_equal(resize_nearest(image[:2, :2], (4, 4)), np.kron([[0, 1], [4, 5]], np.ones((2, 2))))


def test_keys_name_voxels_and_centers_turn_back() -> None:
    grid = VoxelGrid(
        np.array([1.0, 0.0, 0.0]), half_side=2.0, resolution=4
    )  # voxels of side 1 over [-1, 3] x [-2, 2]^2
    assert grid.voxel_size == 1.0
    keys = grid.keys(np.array([[-0.9, -1.9, 0.1], [-0.1, -1.1, 0.9], [2.9, 1.9, -1.9]]))
    assert keys[0] == keys[1] != keys[2]
    np.testing.assert_array_equal(grid.coordinates(keys), [[2, 2, 4], [2, 2, 4], [5, 5, 2]])
    np.testing.assert_allclose(grid.centers(keys[[0, 2]]), [[-0.5, -1.5, 0.5], [2.5, 1.5, -1.5]])


def test_far_points_stay_inside_the_grid_and_in_order() -> None:
    grid = VoxelGrid(np.zeros(3), half_side=1.0, resolution=8)
    points = np.array([[0.9, 0, 0], [2.0, 0, 0], [50.0, 0, 0], [1e9, 0, 0]])
    along_x = grid.coordinates(grid.keys(points))[:, 0]
    # |x| = 2 is contracted to 2 - 1/2 = 1.5, of the grid's -2 .. 2 with 16 voxels: voxel 14
    np.testing.assert_array_equal(along_x, [11, 14, 15, 15])
    back = grid.centers(grid.keys(points[1:2]))[0]
    # The voxel spans 1.5 .. 1.75 contracted, its centre 1.625 is 1 / (2 - 1.625) away.
    assert back[0] == pytest.approx(1 / 0.375)


def test_the_grid_ignores_a_few_far_points() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (200, 200, 3))
    points[0, 0] = 1000.0
    grid = fit_grid([points], [np.ones((200, 200), bool)], 64)
    assert 0.9 < grid.half_side < 1.1
