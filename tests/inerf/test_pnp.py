"""Poses from directions to known points."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfseg_plugins.inerf.pnp import PnPConfig, Pose, Sightings, angular_errors, refine_pose, solve_pnp

PIXEL = 1 / 500
CONFIG = PnPConfig()
C2W = np.concatenate(
    [Rotation.from_euler("xyz", [20, -150, 35], degrees=True).as_matrix(), [[0.4], [-1.2], [2.0]]], axis=1
)


def in_view(count: int, seed: int, wide: float = 0.4, near: float = 2.0, far: float = 5.0) -> np.ndarray:
    """Points (count, 3) ahead of C2W, scene frame."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(near, far, count)
    flat = rng.uniform(-wide, wide, (count, 2)) * depth[:, None]
    return np.column_stack([flat, -depth]) @ C2W[:, :3].T + C2W[:, 3]


def seen(points: np.ndarray, noise: float = 0.0, seed: int = 0, c2w: np.ndarray = C2W) -> Sightings:
    """What the camera sees of points, each a keypoint, with noise in pixels."""
    local = (points - c2w[:, 3]) @ c2w[:, :3]
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    local += noise * PIXEL * np.random.default_rng(seed).normal(size=local.shape)
    return Sightings(local / np.linalg.norm(local, axis=1, keepdims=True), points, np.arange(len(points)))


def solved(sightings: Sightings, seed: int = 0) -> Pose:
    pose = solve_pnp(sightings, PIXEL, CONFIG, seed)
    assert isinstance(pose, Pose), pose
    return pose


def refused(sightings: Sightings, config: PnPConfig = CONFIG) -> str:
    reason = solve_pnp(sightings, PIXEL, config)
    assert isinstance(reason, str)
    return reason


def with_strays(sightings: Sightings, share: float) -> Sightings:
    """The same with a share of the points put anywhere."""
    points = sightings.points.copy()
    strays = int(share * len(points))
    points[:strays] = np.random.default_rng(5).uniform(-5, 5, (strays, 3))
    return sightings._replace(points=points)


def test_exact_directions_give_the_exact_pose():
    pose = solved(seen(in_view(40, 0)))
    np.testing.assert_allclose(pose.c2w, C2W, atol=1e-9)
    assert pose.inliers.all()
    assert pose.rms < 1e-6


def test_a_camera_without_rotation_looks_along_minus_z_with_x_right_and_y_up():
    directions = np.array([[x, y, -1.0] for x in (-0.3, 0.1, 0.4) for y in (-0.4, -0.1, 0.2, 0.3)])
    depth = np.linspace(2, 4, 12)
    points = directions * depth[:, None] + [1.0, 2.0, 3.0]
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    pose = solved(Sightings(unit, points, np.arange(12)))
    np.testing.assert_allclose(pose.c2w, [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3]], atol=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_wrong_matches_are_left_out(share):
    pose = solved(with_strays(seen(in_view(100, 1), noise=0.3), share))
    assert not pose.inliers[: int(100 * share)].any()
    assert pose.inliers[int(100 * share) :].all()
    np.testing.assert_allclose(pose.c2w, C2W, atol=0.01)


def test_the_seed_decides():
    sightings = with_strays(seen(in_view(60, 2), noise=0.5), 0.5)
    first, again = solved(sightings, 1), solved(sightings, 1)
    assert np.array_equal(first.c2w, again.c2w)
    np.testing.assert_allclose(solved(sightings, 2).c2w, first.c2w, atol=0.02)


def test_directions_that_no_flat_image_holds_are_left_out():
    sightings = seen(in_view(40, 3))
    directions = sightings.directions.copy()
    directions[0] = np.nan
    directions[1] = [0, 0, 1]
    directions[2] = [np.sin(np.radians(85)), 0, -np.cos(np.radians(85))]
    points = sightings.points.copy()
    points[3] = np.inf
    pose = solved(sightings._replace(directions=directions, points=points))
    assert pose.inliers.tolist() == [False] * 4 + [True] * 36
    np.testing.assert_allclose(pose.c2w, C2W, atol=1e-9)


def test_wide_views_are_solved():
    """Directions up to 70 degrees off the axis."""
    pose = solved(seen(in_view(80, 4, wide=2.0), noise=0.3))
    np.testing.assert_allclose(pose.c2w, C2W, atol=0.01)


# No pose -------------------------------------------------------------------------------------------------------------


def test_too_few_matches():
    assert refused(seen(in_view(11, 0))) == "only 11 keypoints of the photo match the scene, of the 12 needed"
    nothing = Sightings(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    assert "only 0 keypoints" in refused(nothing)


def test_matches_of_one_keypoint_count_once():
    sightings = seen(in_view(40, 0))
    assert "only 10 keypoints" in refused(sightings._replace(keypoints=np.arange(40) // 4))


def test_matches_that_do_not_agree():
    assert "agree" in refused(with_strays(seen(in_view(60, 0)), 0.9))
    assert "agree" in refused(with_strays(seen(in_view(60, 0)), 1.0))


def test_points_that_are_all_the_same():
    same = np.repeat(in_view(1, 0), 30, axis=0)
    assert "keypoints of the photo" in refused(seen(same, noise=0.3))


def test_points_on_a_line():
    start, end = in_view(2, 7)
    points = start + np.linspace(0, 1, 30)[:, None] * (end - start)
    assert "keypoints of the photo" in refused(seen(points, noise=0.3))


def test_points_on_a_line_of_the_photo():
    """A wall seen from its edge: in a plane through the camera, so that the photo has them on one line."""
    depth = np.random.default_rng(0).uniform(2, 5, 40)
    local = np.column_stack([np.random.default_rng(1).uniform(-0.4, 0.4, 40) * depth, 0 * depth, -depth])
    assert "lie on one line" in refused(seen(local @ C2W[:, :3].T + C2W[:, 3], noise=0.2))


def test_points_in_one_spot():
    assert "one small spot" in refused(seen(in_view(40, 0, wide=0.02), noise=0.2))


def test_a_small_slanted_plane_has_two_poses():
    rng = np.random.default_rng(0)
    slant = Rotation.from_euler("xy", [40, 10], degrees=True).as_matrix()
    local = np.column_stack([rng.uniform(-0.6, 0.6, (60, 2)), np.zeros(60)]) @ slant.T + [0, 0, -8]
    reason = refused(seen(local @ C2W[:, :3].T + C2W[:, 3], noise=0.5))
    assert "lie on a plane" in reason
    assert 60 < float(reason.split("another pose ")[1].split()[0]) < 100, "mirrored: twice the slant"


def test_a_large_plane_has_one_pose():
    rng = np.random.default_rng(0)
    slant = Rotation.from_euler("xy", [40, 10], degrees=True).as_matrix()
    local = np.column_stack([rng.uniform(-1.2, 1.2, (60, 2)), np.zeros(60)]) @ slant.T + [0, 0, -3]
    pose = solved(seen(local @ C2W[:, :3].T + C2W[:, 3], noise=0.3))
    np.testing.assert_allclose(pose.c2w, C2W, atol=0.02)


def test_a_position_that_is_left_open():
    """Few points within four degrees of each other: their distance is anyone's guess."""
    reason = refused(seen(in_view(14, 0, wide=0.07), noise=1.0), PnPConfig(max_uncertainty=0.002))
    assert "leave the camera's position open" in reason


# Refinement ----------------------------------------------------------------------------------------------------------


def test_refinement_walks_back_to_the_pose():
    sightings = seen(in_view(50, 1))
    turn = Rotation.from_rotvec([0.002, -0.003, 0.001]).as_matrix()
    start = np.concatenate([turn @ C2W[:, :3], C2W[:, 3:] + 0.003], axis=1)
    assert 0.5 * PIXEL < angular_errors(start, sightings).max() < 3 * PIXEL
    np.testing.assert_allclose(refine_pose(start, sightings, PIXEL, 3.0).c2w, C2W, atol=1e-9)


def test_the_covariance_is_that_of_repeated_trials():
    points = in_view(40, 2)
    trials = [refine_pose(C2W, seen(points, noise=0.3, seed=seed), PIXEL, 3.0) for seed in range(200)]
    shifts = np.array([trial.c2w[:, 3] - C2W[:, 3] for trial in trials])
    turns = np.array([Rotation.from_matrix(trial.c2w[:, :3] @ C2W[:, :3].T).as_rotvec() for trial in trials])
    predicted = np.mean([np.sqrt(np.diag(trial.covariance)) for trial in trials], axis=0)
    np.testing.assert_allclose(np.concatenate([shifts, turns], axis=1).std(axis=0), predicted, rtol=0.25)
