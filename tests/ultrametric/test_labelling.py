"""Labels of pixels by hand: a row of points of two segments, seen by a picture."""

import numpy as np
import pytest

from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, build_dendrogram
from nerfseg_plugins.ultrametric.labelling import PixelLinks, most_frequent


@pytest.fixture
def row() -> Dendrogram:
    """20 points on the x axis, one apart: 12 of a segment, 2 of another, 6 of a third."""
    points = np.stack([np.arange(20.0), np.zeros(20), np.zeros(20)], axis=1)
    features = np.repeat(np.eye(3), [12, 2, 6], axis=0)
    return build_dendrogram(points, features, neighbors=2)


def seen(*x: float, height: float = 0.1) -> np.ndarray:
    """(1, W, 3) what pixels see."""
    return np.array([[[value, height, 0] for value in x]], np.float32)


def test_pixels_take_the_segment_of_the_nearest_points(row: Dendrogram) -> None:
    links = PixelLinks.of(seen(0, 5, 10, 16, 19), row)
    assert links.labels(row.cut(0.5)).tolist() == [[0, 0, 0, 1, 1]]
    assert links.labels(row.cut(1.5)).tolist() == [[0] * 5]


def test_the_most_frequent_of_five_wins_and_the_nearest_of_equals() -> None:
    votes = [[3, 7, 7, 3, 7], [1, 2, 3, 4, 5], [4, 2, 2, 4, 9], [-1, -1, -1, -1, 6], [-1, -1, -1, -1, -1]]
    assert most_frequent(np.array(votes)).tolist() == [7, 1, 4, 6, -1]


def test_a_single_point_of_a_segment_between_others_is_outvoted(row: Dendrogram) -> None:
    # Around 13.4 lie 13, 14, 12, 15, 11, of the segments 2 1 2 1 0.
    assert PixelLinks.of(seen(13.4), row).labels(row.cut(0.5)).tolist() == [[2]]


def test_pixels_of_dissolved_segments_take_the_nearest_that_is_kept(row: Dendrogram) -> None:
    cut = row.cut(0.5, min_size=4)
    assert cut.labels.tolist() == [0] * 12 + [-1] * 2 + [1] * 6
    assert PixelLinks.of(seen(12.2, 13.2), row, neighbors=1).labels(cut).tolist() == [[0, 1]]


def test_pixels_that_see_nothing_or_an_unknown_place_have_no_label(row: Dendrogram) -> None:
    places = seen(5, 5, 5)
    places[0, 0] = np.nan
    places[0, 1] = [5, 100, 0]
    links = PixelLinks.of(places, row)
    assert links.labels(row.cut(0.5)).tolist() == [[-1, -1, 0]]
    assert PixelLinks.of(places[:, :1], row).labels(row.cut(0.5)).tolist() == [[-1]]


def test_nothing_is_kept(row: Dendrogram) -> None:
    assert PixelLinks.of(seen(5), row).labels(row.cut(0.5, min_size=21)).tolist() == [[-1]]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_maps_have_the_shape_of_what_is_seen(row: Dendrogram, shape: tuple[int, ...]) -> None:
    places = seen(0, 5, 10, 16, 19, 3).reshape(*shape, 3)
    assert PixelLinks.of(places, row).labels(row.cut(0.5)).shape == shape


def test_fewer_points_than_votes() -> None:
    one = build_dendrogram(np.zeros((1, 3)), np.ones((1, 2)))
    assert PixelLinks.of(seen(0, 1), one).labels(one.cut(0.0)).tolist() == [[0, 0]]


def test_fine_labels_nest_in_coarse_ones(row: Dendrogram) -> None:
    """With one vote, as points do."""
    links = PixelLinks.of(seen(*np.linspace(0, 19, 77)), row, neighbors=1)
    fine, coarse = links.labels(row.cut(0.5)), links.labels(row.cut(1.5))
    assert len(np.unique(np.stack([fine, coarse]).reshape(2, -1), axis=1).T) == len(np.unique(fine))
