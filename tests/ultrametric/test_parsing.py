"""Pictures parsed by their features: against scipy's connected components, and by hand."""

import numpy as np
import pytest
from scipy.ndimage import label

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.ultrametric.parsing import ParsedPicture, pixel_edges


def checked(ids: np.ndarray) -> np.ndarray:
    """Features that are the same within an id and orthogonal between ids."""
    return np.eye(int(ids.max()) + 1, dtype=np.float32)[ids]


def test_neighbours_are_those_beside_and_below() -> None:
    seen = np.array([[True, True, False], [True, True, True]])
    assert sorted(map(tuple, pixel_edges(seen).tolist())) == [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]


def test_regions_of_equal_features_are_segments() -> None:
    ids = np.random.default_rng(0).integers(0, 3, (20, 30))
    found = ParsedPicture.of(checked(ids), np.ones((20, 30), bool)).labels(0.5, max_segments=10**6)
    expected = np.zeros((20, 30), int)
    for value in range(3):
        part = label(ids == value, output=np.int32)[0]  # type: ignore[index]
        expected[part > 0] = part[part > 0] + expected.max()
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == found.max() + 1 == expected.max()
    assert (np.diff(np.bincount(found.ravel())) <= 0).all(), "larger ones first"


def test_what_sees_nothing_separates_and_has_no_label() -> None:
    seen = np.ones((3, 5), bool)
    seen[:, 2] = False
    found = ParsedPicture.of(checked(np.zeros((3, 5), int)), seen).labels(2.0)
    assert (found[:, 2] == -1).all() and found[0, 0] != found[0, 4] and set(found[seen]) == {0, 1}


def test_a_slope_is_one_segment_where_its_steps_are_small() -> None:
    angles = np.linspace(0, np.pi / 2, 91)[None].repeat(2, axis=0)
    picture = ParsedPicture.of(np.stack([np.cos(angles), np.sin(angles)], axis=-1), np.ones((2, 91), bool))
    assert picture.labels(0.03).max() == 0, "a degree is 0.0175"
    assert len(np.unique(picture.labels(0.01))) > 80


def test_the_largest_are_kept() -> None:
    ids = np.repeat(np.arange(6), [6, 5, 4, 3, 2, 1])[None]
    picture = ParsedPicture.of(checked(ids), np.ones(ids.shape, bool))
    assert picture.labels(0.5, max_segments=3).tolist() == [[0] * 6 + [1] * 5 + [2] * 4 + [-1] * 6]
    assert picture.labels(0.5, min_size=5).tolist() == [[0] * 6 + [1] * 5 + [-1] * 10]


def test_taus_are_nested() -> None:
    rng = np.random.default_rng(1)
    picture = ParsedPicture.of(rng.normal(size=(12, 12, 4)), np.ones((12, 12), bool))
    finer = picture.labels(0.0, max_segments=10**6)
    for tau in np.linspace(0, 2, 50)[1:]:
        coarser = picture.labels(tau, max_segments=10**6)
        assert np.unique(np.stack([finer.ravel(), coarser.ravel()]), axis=1).shape[1] == finer.max() + 1
        finer = coarser


def test_a_picture_of_nothing() -> None:
    picture = ParsedPicture.of(np.zeros((3, 4, 2)), np.zeros((3, 4), bool))
    assert (picture.labels(0.5) == -1).all() and picture.labels(0.5).shape == (3, 4)


def test_a_picture_of_one_pixel() -> None:
    assert ParsedPicture.of(np.ones((1, 1, 2)), np.ones((1, 1), bool)).labels(0.0).tolist() == [[0]]


def test_tau_out_of_range() -> None:
    with pytest.raises(InputError, match="out of range"):
        ParsedPicture.of(np.ones((1, 1, 2)), np.ones((1, 1), bool)).labels(2.1)
