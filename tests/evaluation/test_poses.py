"""Pose errors against scipy and by hand, and a report that drops nothing."""

import json
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfseg_plugins.evaluation.poses import (
    direction_error_degrees,
    pose_report,
    rotation_error_degrees,
    translation_error,
)


def poses(rotations: np.ndarray, positions: object = (0, 0, 0)) -> np.ndarray:
    """(N, 3, 4) of rotations (N, 3, 3) and positions."""
    positions = np.broadcast_to(np.array(positions, float), (len(rotations), 3))
    return np.concatenate([rotations, positions[..., None]], axis=-1)


def turned(degrees: list[float], positions: object = (0, 0, 0)) -> np.ndarray:
    """Poses turned about z by so many degrees each."""
    vectors = np.array([[0, 0, math.radians(angle)] for angle in degrees])
    return poses(Rotation.from_rotvec(vectors).as_matrix(), positions)


def test_rotation_error_is_the_geodesic_angle():
    first, second = Rotation.random(200, random_state=0), Rotation.random(200, random_state=1)
    expected = np.degrees((first.inv() * second).magnitude())
    found = rotation_error_degrees(poses(first.as_matrix(), (1, 2, 3)), poses(second.as_matrix()))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("degrees", [0.0, 1e-9, 1e-5, 0.1, 90.0, 179.9, 179.99999, 180 - 1e-9, 180.0])
def test_rotation_error_keeps_its_digits_at_both_ends(degrees: float):
    """An arccosine would be off by 1e-6 degrees here."""
    base = Rotation.random(50, random_state=2)
    axes = np.random.default_rng(3).normal(size=(50, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    moved = Rotation.from_rotvec(axes * math.radians(degrees)) * base
    found = rotation_error_degrees(base.as_matrix(), moved.as_matrix())
    np.testing.assert_allclose(found, degrees, atol=1e-12 + 1e-13 * degrees)


def test_rotation_error_takes_rotations_alone_and_float32():
    base = np.eye(3, dtype=np.float32)[None]
    found = rotation_error_degrees(base, turned([30])[..., :3].astype(np.float32))
    assert found.dtype == np.float64 and found == pytest.approx([30], abs=1e-5)


def test_translation_error_is_a_distance():
    """Not the difference of two lengths: these two are as far from the origin as each other."""
    rotation = np.eye(3)[None]
    assert translation_error(poses(rotation, (3, 0, 0)), poses(rotation, (0, 4, 0))) == pytest.approx([5])
    assert translation_error(poses(rotation, (1, 0, 0)), poses(rotation, (0, 1, 0))) == pytest.approx([math.sqrt(2)])


def test_direction_error_knows_no_lengths():
    rotations = np.repeat(np.eye(3)[None], 4, 0)
    first = poses(rotations, [[2, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]])
    second = poses(rotations, [[7, 0, 0], [0, 0, 3], [-9, 0, 0], [5, 0, 0]])
    np.testing.assert_allclose(direction_error_degrees(first, second), [0, 90, 180, 45], atol=1e-12)


def test_direction_error_of_no_direction():
    rotation = np.eye(3)[None]
    assert np.isnan(direction_error_degrees(poses(rotation), poses(rotation, (1, 0, 0)))).all()


def test_the_report_by_hand():
    """Four trials: right; wrong rotation; wrong place, and flagged all the same; not finite."""
    estimates = turned([1, 10, 2, 0], [[0.01, 0, 0], [0.02, 0, 0], [0.2, 0, 0], [0, 0, 0]])
    estimates[3, 0, 0] = np.nan
    report = pose_report(estimates, turned([0] * 4), np.array([True, False, True, False]), scale=0.5)
    assert report["count"] == 4 and report["not_finite"] == 1
    assert report["rotation_rate"] == 0.5 and report["translation_rate"] == 0.5 and report["joint_rate"] == 0.25
    assert report["rotation_median"] == pytest.approx((2 + 10) / 2) and report["rotation_mean"] is None
    assert report["translation_median"] == pytest.approx(0.11) and report["translation_mean"] is None
    assert report["translation_median_data"] == pytest.approx(0.22) and report["translation_mean_data"] is None
    assert report["converged_rate"] == 0.5
    assert report["converged_precision"] == 0.5 and report["converged_recall"] == 1
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_means_and_an_odd_median():
    report = pose_report(turned([1, 2, 6], [[0.1, 0, 0]] * 3), turned([0] * 3), np.zeros(3, bool), scale=2.0)
    assert report["rotation_mean"] == pytest.approx(3) and report["rotation_median"] == pytest.approx(2)
    assert report["translation_mean"] == pytest.approx(0.1) and report["translation_mean_data"] == pytest.approx(0.05)


@pytest.mark.parametrize("failures, median", [(1, 2.0), (2, None), (3, None)])
def test_failures_push_the_median_up(failures: int, median: object):
    """Three good poses with 1, 2 and 3 degrees, some of them lost."""
    estimates = turned([1, 2, 3])
    estimates[3 - failures :] = np.nan
    report = pose_report(estimates, turned([0] * 3), np.ones(3, bool), scale=1.0)
    assert report["rotation_median"] == (median and pytest.approx(median))
    assert report["joint_rate"] == report["converged_precision"] == pytest.approx((3 - failures) / 3)


def test_two_failures_of_two_are_no_arithmetic():
    report = pose_report(np.full((2, 3, 4), np.nan), turned([0, 0]), np.zeros(2, bool), scale=1.0)
    assert report["rotation_median"] is None and report["joint_rate"] == 0 and report["not_finite"] == 2


def test_flags_without_ground_are_null():
    wrong = pose_report(turned([90, 90]), turned([0, 0]), np.zeros(2, bool), scale=1.0)
    assert wrong["converged_precision"] is None and wrong["converged_recall"] is None
    empty = pose_report(np.zeros((0, 3, 4)), np.zeros((0, 3, 4)), np.zeros(0, bool), scale=1.0)
    assert empty["count"] == 0 and {value for key, value in empty.items() if key not in ("count", "not_finite")} == {
        None
    }


def test_thresholds_are_strict_and_can_be_set():
    estimates = turned([4], [[0.04, 0, 0]])
    truths, flags = turned([0]), np.ones(1, bool)
    assert pose_report(estimates, truths, flags, scale=0.5)["joint_rate"] == 1
    assert pose_report(estimates, truths, flags, scale=0.5, max_rotation=3)["rotation_rate"] == 0
    assert pose_report(estimates, truths, flags, scale=0.5, max_translation=0.04)["translation_rate"] == 0
    # 0.04 scene units are 0.08 of the data's
    assert pose_report(estimates, truths, flags, scale=0.5, unit="data")["translation_rate"] == 0
    assert pose_report(estimates, truths, flags, scale=0.5, max_translation=0.09, unit="data")["joint_rate"] == 1


def test_arrays_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\) and \(1, 3, 4\)"):
        pose_report(turned([0, 0]), turned([0]), np.ones(2, bool), scale=1.0)
    with pytest.raises(ValueError, match="2 poses have flags"):
        pose_report(turned([0, 0]), turned([0, 0]), np.ones(3, bool), scale=1.0)
