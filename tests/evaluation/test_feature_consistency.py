"""How alike features of the same place are, by hand: two cameras before a plane, one two pixels beside the other."""

import math

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.correspondence import Correspondence, ViewCamera
from nerfseg_plugins.evaluation.feature_consistency import (
    FeatureView,
    cosines,
    feature_consistency,
    neighbouring,
)

HEIGHT, WIDTH = 6, 16
WALL = np.full((HEIGHT, WIDTH), 4.0)


def camera(x: float) -> ViewCamera:
    """Looks along -z from (x, 0, 0); one to the right sees the wall two pixels to the left."""
    pose = np.eye(4)[:3].copy()
    pose[0, 3] = x
    return ViewCamera(pose, 8.0, 8.0, WIDTH / 2, HEIGHT / 2)


def at(angle: np.ndarray) -> np.ndarray:
    """Features (..., 2) of an angle; of a length that does not matter."""
    return 3 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def view(x: float, angle: np.ndarray) -> FeatureView:
    return FeatureView(at(angle), WALL.copy(), camera(x))


def wall_angles(x: float) -> np.ndarray:
    """The angle that each pixel of a camera sees: one that grows by 0.1 with each pixel along the wall."""
    return np.broadcast_to(0.1 * (np.arange(WIDTH) + 2 * x), (HEIGHT, WIDTH))


def test_features_that_stick_to_places_are_wholly_consistent():
    found = feature_consistency([view(0, wall_angles(0)), view(1, wall_angles(1))])
    assert found.pairs == HEIGHT * (WIDTH - 2)
    assert found.same == pytest.approx(1) and found.other < 0.95
    assert found.contrast == pytest.approx(found.same - found.other)


def test_features_that_stick_to_pixels_differ_by_the_disparity():
    found = feature_consistency([view(0, wall_angles(0)), view(1, wall_angles(0))])
    assert found.same == pytest.approx(math.cos(0.2))


def test_features_that_are_equal_everywhere_say_nothing():
    flat = np.zeros((HEIGHT, WIDTH))
    found = feature_consistency([view(0, flat), view(1, flat)])
    assert found.same == found.other == pytest.approx(1) and found.contrast == pytest.approx(0)


def test_what_is_not_described_is_not_consistent():
    first, second = view(0, wall_angles(0)), view(1, wall_angles(1))
    first.features[: HEIGHT // 2] = 0
    assert feature_consistency([first, second]).same == pytest.approx(0.5)


def test_hidden_places_are_not_compared():
    """A thing before the wall in one view alone, which the other view does not see."""
    first, second = view(0, wall_angles(0)), view(1, wall_angles(1))
    first.depth[:, 4:8] = 1.0
    assert feature_consistency([first, second]).same == pytest.approx(1)


def test_cosines_by_hand():
    first = np.array([[[1.0, 0], [0, 2], [0, 0]]])
    second = np.array([[[1.0, 1], [0, -1], [1, 0]]])
    pairs = Correspondence(np.array([0, 1, 2, 1]), np.array([0, 1, 2, 2]))
    np.testing.assert_allclose(cosines(first, second, pairs), [1 / math.sqrt(2), -1, 0, 0], atol=1e-12)


def test_each_view_is_compared_with_those_that_stand_nearest():
    cameras = [camera(x) for x in (0, 1, 1.5, 10)]
    assert neighbouring(cameras, 1) == [(0, 1), (1, 2), (2, 3)]
    assert neighbouring(cameras, 9) == [(a, b) for a in range(4) for b in range(a + 1, 4)]
    assert neighbouring([], 2) == neighbouring(cameras[:1], 2) == []


def test_the_same_seed_draws_the_same():
    views = [view(0, wall_angles(0)), view(1, wall_angles(1))]
    assert feature_consistency(views, seed=1) == feature_consistency(views, seed=1)
    assert feature_consistency(views, seed=1).other != feature_consistency(views, seed=2).other


def test_views_without_a_common_place_are_refused():
    with pytest.raises(InputError, match="no two views see the same place"):
        feature_consistency([view(0, wall_angles(0)), view(100, wall_angles(0))])


def test_features_of_another_size_are_refused():
    small = FeatureView(at(wall_angles(0)[:3]), WALL, camera(0))
    with pytest.raises(InputError, match="features of 16x3 pixels cannot be compared by depth of 16x6"):
        feature_consistency([small, view(1, wall_angles(1))])
