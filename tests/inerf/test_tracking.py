"""A camera that is followed through the inside of a painted sphere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.dataparsers.frame_values import Intrinsics
from nerfseg_plugins.inerf.config import PRESETS
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.lens import make_camera
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.tracking import Tracker, light

from .scenes import SphereScene, look, photo_of, pose_errors

WIDTH, HEIGHT = 32, 24


def walk(count: int) -> list[torch.Tensor]:
    """(3, 4) poses along an arc, 0.06 units and 2 degrees apart."""
    angles = np.linspace(0, 0.06 * (count - 1) / 0.6, count)
    return [look((0.6 * np.cos(a), 0.1, 0.6 * np.sin(a)), (-np.sin(a), 0.0, 1.0 + np.cos(a))) for a in angles]


def film(poses: list[torch.Tensor]) -> list[Query]:
    """What the camera sees on its way."""
    camera = make_camera(Intrinsics(32.0, 32.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT, (0.0,) * 6, "OPENCV"))
    blank = Query(
        "0", Path("0.png"), torch.zeros(HEIGHT, WIDTH, 3), torch.ones(HEIGHT, WIDTH, dtype=torch.bool), camera
    )
    directions = blank.directions.reshape(-1, 3)
    queries = []
    for index, pose in enumerate(poses):
        image = photo_of(SphereScene(), pose, directions).target.view(HEIGHT, WIDTH, 3)
        queries.append(replace(blank, name=str(index), path=Path(f"{index}.png"), image=image))
    return queries


@pytest.fixture
def tracker() -> Tracker:
    """Of the sphere; a lost camera is searched near the first frame."""
    config = replace(PRESETS["best"], init="global", hypotheses=32, rays=256)
    return Tracker(Estimator(SphereScene(), config, [], torch.stack(walk(1))), rays=256)


def test_from_frame_to_frame(tracker: Tracker):
    poses = walk(6)
    found = [light(tracked) for tracked in tracker.track(film(poses))]
    assert [tracked.how for tracked in found] == ["searched", *["tracked"] * 5]
    assert all(tracked.estimate.converged for tracked in found)
    degrees, distances = pose_errors(torch.stack([tracked.estimate.c2w for tracked in found]), poses[0])
    truth_degrees, truth_distances = pose_errors(torch.stack(poses), poses[0])
    np.testing.assert_allclose(degrees, truth_degrees, atol=0.3)
    np.testing.assert_allclose(distances, truth_distances, atol=0.01)
    assert all(tracked.query.image.numel() == 0 and len(tracked.estimate.trajectory) == 1 for tracked in found)


def test_a_lost_camera_is_searched_and_tracking_goes_on(tracker: Tracker):
    """The lens is covered for one frame: nothing there may converge, and the next frames are found."""
    frames = film(walk(5))
    covered = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    frames[2] = replace(frames[2], image=covered)
    found = list(tracker.track(frames))
    assert [tracked.estimate.converged for tracked in found] == [True, True, False, True, True]
    assert [tracked.how for tracked in found[3:]] == ["tracked", "tracked"]
