"""Camera paths."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.turntable import focus, look_at, orbit, surrounded, through, turntable, up_axis

UP = np.array([0.0, 0, 1])
ORIGIN = np.zeros(3)


def sphere_of_cameras(count: int, center: np.ndarray = ORIGIN, up: np.ndarray = UP) -> np.ndarray:
    """Cameras on the upper half of a sphere of radius 2, on a spiral, that look at its centre."""
    angle = np.linspace(0, 9 * np.pi, count)
    height = np.linspace(0.1, 0.9, count)
    flat = np.sqrt(1 - height**2)
    eyes = 2 * np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)
    if up[1]:
        eyes = eyes[:, [1, 2, 0]]  # z up -> y up
    return look_at(eyes + center, center, up)


def patch_of_cameras() -> np.ndarray:
    """Cameras in a 7x7 patch on one side of the scene, as a robot's arm takes them."""
    yaw, pitch = (
        grid.ravel() for grid in np.meshgrid(np.radians(np.linspace(-30, 30, 7)), np.radians([5, 15, 25, 35]))
    )
    eyes = 2 * np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=1)
    return look_at(eyes, ORIGIN, UP)


def check_rigid(cameras: np.ndarray) -> None:
    turns = cameras[:, :, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-9)


def test_four_frames_by_hand():
    """Without a side to begin at, x is the first; -30 degrees of elevation lift the camera by half the radius."""
    cameras = orbit(4, elevation=-30, radius=2, up=UP, center=ORIGIN)
    flat = 2 * np.cos(np.radians(30))
    np.testing.assert_allclose(cameras[:, :, 3], [[flat, 0, 1], [0, flat, 1], [-flat, 0, 1], [0, -flat, 1]], atol=1e-12)
    np.testing.assert_allclose(cameras[:, :, 2], cameras[:, :, 3] / 2, atol=1e-12)  # they look at the origin
    np.testing.assert_allclose(cameras[0, :, 0], [0, 1, 0], atol=1e-12)  # from the front, y is to the right
    assert (cameras[:, 2, 1] > 0.8).all(), "up is up in the picture"
    check_rigid(cameras)


def test_an_orbit_begins_where_it_is_told():
    center, source = np.array([1.0, 2, 3]), np.array([1.0, -5, 9])
    cameras = orbit(8, elevation=0, radius=1.5, up=UP, center=center, toward=source)
    np.testing.assert_allclose(cameras[0, :, 3], [1, 0.5, 3], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(cameras[:, :, 3] - center, axis=1), 1.5)
    above = orbit(4, elevation=-90, radius=1, up=UP, center=center, toward=source)
    np.testing.assert_allclose(above[:, :, 3], np.broadcast_to([1, 2, 4], (4, 3)), atol=1e-9)
    check_rigid(above)
    assert abs(above[0, :, 0] @ above[1, :, 0]) < 1e-9, "straight above, the picture turns by a quarter each"


def test_what_all_cameras_look_at():
    center = np.array([0.3, -0.2, 0.5])
    np.testing.assert_allclose(focus(sphere_of_cameras(20, center)), center, atol=1e-9)
    parallel = np.tile(np.eye(4)[:3], (5, 1, 1))
    parallel[:, 0, 3] = range(5)
    assert focus(parallel) is None
    outward = sphere_of_cameras(20, center)
    outward[:, :, [0, 2]] *= -1
    assert focus(outward) is None, "cameras that turn their backs on a point do not look at it"


@pytest.mark.parametrize("up", [UP, np.array([0.0, 1, 0])])
def test_which_way_is_up(up: np.ndarray):
    cameras = sphere_of_cameras(50, up=up)
    np.testing.assert_allclose(up_axis(cameras), up)
    tilt = Rotation.from_rotvec([0.5, 0, 0]).as_matrix()
    np.testing.assert_allclose(up_axis(tilt @ cameras), tilt @ up, atol=0.15)
    upside_down = cameras[:2].copy()
    upside_down[1, :, :2] = -upside_down[0, :, :2]
    with pytest.raises(InputError, match="no upward direction"):
        up_axis(np.concatenate([upside_down[:1], upside_down[1:]]))


def test_a_patch_does_not_surround():
    assert surrounded(sphere_of_cameras(50), ORIGIN, UP)
    assert not surrounded(patch_of_cameras(), ORIGIN, UP)
    assert not surrounded(look_at(np.array([[0.0, 0, 3]]), ORIGIN, UP), ORIGIN, UP), "from above alone"


def test_a_path_through_cameras():
    cameras = patch_of_cameras()
    path = through(cameras, 240)
    check_rigid(path)
    np.testing.assert_allclose(np.linalg.norm(path[:, :, 3], axis=1), 2, atol=0.15)
    steps = np.linalg.norm(np.diff(np.concatenate([path, path[:1]])[:, :, 3], axis=0), axis=1)
    assert steps.max() < 4 * np.median(steps), "no jump, and none from the last frame to the first"
    turns = Rotation.from_matrix(path[:, :, :3])
    assert np.degrees((turns[1:] * turns[:-1].inv()).magnitude()).max() < 4
    # It leads through some of the cameras themselves, the first frame among them.
    reached = [(np.abs(path - camera).max(axis=(1, 2)) < 0.03).any() for camera in cameras]
    assert sum(reached) >= 5
    assert np.abs(cameras - path[0]).max(axis=(1, 2)).min() < 1e-9


def test_two_cameras_are_enough():
    cameras = patch_of_cameras()[[0, 0, 5]]
    path = through(cameras, 11)
    check_rigid(path)
    assert len(path) == 11
    with pytest.raises(InputError, match="one place"):
        through(cameras[:2], 11)


def test_auto_goes_around_objects_and_through_captures():
    around = turntable(sphere_of_cameras(50), 12, -10, 1.5)
    np.testing.assert_allclose(around[:, 2, 3], 1.5 * np.sin(np.radians(10)), atol=1e-9)
    patch = patch_of_cameras()
    np.testing.assert_allclose(turntable(patch, 30, -10, 1.5), through(patch, 30))
    np.testing.assert_allclose(np.linalg.norm(turntable(patch, 5, 0, 1.5, kind="orbit")[:, :, 3], axis=1), 1.5)
    parallel = np.tile(np.eye(4)[:3], (5, 1, 1))
    parallel[:, 0, 3] = range(5)
    assert turntable(parallel, 6, 0, 1).shape == (6, 3, 4)
    with pytest.raises(InputError, match="--path cameras"):
        turntable(parallel, 6, 0, 1, kind="orbit")


@pytest.mark.parametrize(
    ("count", "elevation", "radius", "said"),
    [(0, 0, 1, "0 frames"), (4, 0, 0, "distance 0"), (4, 0, float("nan"), "nan"), (4, 91, 1, "91 degrees")],
)
def test_impossible_orbits(count: int, elevation: float, radius: float, said: str):
    with pytest.raises(InputError, match=said):
        orbit(count, elevation, radius, UP, ORIGIN)


def test_no_frames_through_cameras():
    with pytest.raises(InputError, match="0 frames"):
        through(patch_of_cameras(), 0)
