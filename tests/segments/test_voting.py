"""Voxel votes on tables small enough to count by hand."""

import numpy as np
import pytest
from scipy import sparse

from nerfseg_plugins.segments.incidence import Incidence
from nerfseg_plugins.segments.voting import (
    count_ballots,
    drop_rare,
    label_shares,
    reassign,
    vote,
    voxel_parents,
)


@pytest.fixture
def table() -> Incidence:
    """Four voxels in three views; segments 0, 1 are view 0's, 2, 3 view 1's, 4 view 2's."""
    shows = np.array(
        [
            [1, 0, 1, 0, 1],
            [1, 0, 1, 0, 0],
            [0, 1, 1, 0, 0],
            [0, 1, 0, 1, 0],
        ],
        np.float32,
    )
    background = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 0]], np.float32)
    return Incidence(
        sparse.csr_matrix(shows),
        sparse.csr_matrix(background),
        np.array([0, 0, 1, 1, 2]),
        np.array([1, 2, 1, 2, 1], np.int32),
        shows.sum(axis=0).astype(np.int64),
        [np.zeros((1, 1), np.int32)] * 3,
        np.arange(4),
    )


def test_votes_are_counted_per_voxel(table: Incidence) -> None:
    cluster = np.array([0, 1, 0, 1, -1])  # the last one has no vote
    result = vote(table, cluster, background_weight=0.6, parents=[])
    # voxel 0: two for instance 0; voxel 1: two against 0.6 background; voxel 2: one each and 0.6 background: the
    # smaller label wins; voxel 3: two for instance 1
    np.testing.assert_array_equal(result.labels, [1, 1, 1, 2])
    np.testing.assert_allclose(result.votes, [2, 2.6, 2.6, 2], rtol=1e-6)
    np.testing.assert_allclose(result.share, [1, 2 / 2.6, 1 / 2.6, 1], rtol=1e-6)


def test_a_voxel_without_votes_is_unknown() -> None:
    result = count_ballots(sparse.csr_matrix(np.array([[0, 0, 0], [0.6, 0, 0], [0, 1, 3]], np.float32)))
    np.testing.assert_array_equal(result.labels, [-1, 0, 2])
    np.testing.assert_allclose(result.votes, [0, 0.6, 4], rtol=1e-6)


def test_neighbours_decide_where_a_voxel_is_silent(table: Incidence) -> None:
    coordinates = np.array([[0, 0, 0], [1, 1, 1], [2, 0, 0], [5, 0, 0]])
    parents = voxel_parents(coordinates, weight=0.1, levels=2)
    silent = Incidence(
        sparse.csr_matrix(table.shows.toarray() * np.array([[1], [0], [1], [1]], np.float32)),
        sparse.csr_matrix((4, 3), dtype=np.float32),
        table.view_of,
        table.id_of,
        table.pixels_of,
        table.voxel_of_pixel,
        table.keys,
    )
    result = vote(silent, np.array([0, 1, 0, 1, 0]), 0.6, parents)
    assert result.labels[1] == 1
    # level 1: voxels 0 and 1 share a parent with 3 votes for instance 0; level 2: voxels 0, 1, 2 share one with
    # 4 votes for instance 0 and 1 for instance 1
    assert result.votes[1] == pytest.approx(0.1 * 3 + 0.01 * 5, rel=1e-5)
    assert result.share[1] == pytest.approx((0.1 * 3 + 0.01 * 4) / (0.1 * 3 + 0.01 * 5), rel=1e-5)


def test_shares_and_new_instances(table: Incidence) -> None:
    shares = label_shares(table, np.array([1, 1, 2, -1]), num_instances=2)
    np.testing.assert_allclose(shares, [[0, 1, 0], [0, 0, 1], [0, 2 / 3, 1 / 3], [0, 0, 0], [0, 1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(reassign(table, shares, min_purity=0.5, min_views=1), [0, 1, 0, -1, 0])
    np.testing.assert_array_equal(reassign(table, shares, min_purity=0.7, min_views=1), [0, 1, -1, -1, 0])
    # Instance 1 is seen in one view alone: dropped, and the rest renumbered without gaps.
    np.testing.assert_array_equal(reassign(table, shares, min_purity=0.5, min_views=2), [0, -1, 0, -1, 0])


def test_rare_instances_are_dropped(table: Incidence) -> None:
    cluster = np.array([2, 0, 2, 2, 2])
    np.testing.assert_array_equal(drop_rare(table, cluster, 1), [1, 0, 1, 1, 1])
    np.testing.assert_array_equal(drop_rare(table, cluster, 3), [0, -1, 0, 0, 0])
    np.testing.assert_array_equal(drop_rare(table, np.full(5, -1), 1), np.full(5, -1))
