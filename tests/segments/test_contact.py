"""Joining pieces that touch, on voxels counted by hand."""

import numpy as np

from nerfseg_plugins.segments.contact import join_touching, touching
from nerfseg_plugins.segments.masks import Segments
from nerfseg_plugins.segments.match import match_segments
from nerfseg_plugins.segments.match_config import MatchConfig


def test_contact_and_rim_by_hand() -> None:
    # A row of voxels 1 1 2 2 0, and a 3 far away; one more voxel has no label.
    coordinates = np.array([[x, 0, 0] for x in range(5)] + [[20, 0, 0], [5, 0, 0]])
    labels = np.array([1, 1, 2, 2, 0, 3, -1])
    contact, rim = touching(coordinates, labels, 3)
    np.testing.assert_array_equal(contact, [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(rim, [1, 1, 2, 0])


def test_a_voxel_counts_a_neighbour_label_once() -> None:
    coordinates = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1]])
    contact, rim = touching(coordinates, np.array([1, 2, 2, 2]), 2)
    assert contact[1, 2] == 1 and contact[2, 1] == 3
    np.testing.assert_array_equal(rim, [0, 1, 3])


def test_joins_the_most_enclosed_first() -> None:
    # 2 meets 1 along its whole rim; 3 meets 1 along half and the floor (0) along half.
    contact = np.array([[0, 6, 0, 5], [6, 0, 10, 5], [0, 10, 0, 0], [5, 5, 0, 0]])
    rim = np.array([50, 21, 10, 10])
    np.testing.assert_array_equal(join_touching(contact, rim, 0.6, np.ones(4, bool)), [0, 1, 1, 3])
    np.testing.assert_array_equal(join_touching(contact, rim, 0.5, np.ones(4, bool)), [0, 1, 1, 1])
    np.testing.assert_array_equal(join_touching(contact, rim, 1.1, np.ones(4, bool)), [0, 1, 2, 3])
    # Background is never joined, and neither is what must not be.
    np.testing.assert_array_equal(join_touching(contact, rim, 0.1, np.array([1, 1, 0, 1], bool)), [0, 1, 2, 1])


def test_halves_of_boxes_become_boxes(scene) -> None:
    # Each box is cut in two by the plane through its middle: four pieces of two things, in a room of one segment.
    maps = []
    for view, truth in zip(scene.views, scene.truth, strict=True):
        points = view.points()
        ids = np.full(truth.shape, 5, np.int32)
        for index, box in enumerate(scene.boxes):
            own = truth == index + 1
            ids[own] = np.where(points[own][:, 2] > box[:, 2].mean(), 2 * index + 1, 2 * index + 2)
        maps.append(ids)
    segments = [Segments.of_ids(ids) for ids in maps]
    assert len(match_segments(segments, scene.views, MatchConfig(resolution=48, join=0.0)).instances) == 4
    result = match_segments(segments, scene.views, MatchConfig(resolution=48, join=0.3))
    assert len(result.instances) == 2
    flat, truth = (np.concatenate([ids.ravel() for ids in x]) for x in (result.ids, scene.truth))
    for number in (1, 2):
        found = np.bincount(np.maximum(flat[truth == number], 0)).argmax()
        assert ((flat == found) & (truth == number)).sum() / ((flat == found) | (truth == number)).sum() > 0.9
