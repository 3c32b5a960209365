"""Sparse tables, view consensus and greedy contraction against plain loops and small graphs."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from nerfseg_plugins.segments.consensus import contract_greedily, view_consensus
from nerfseg_plugins.segments.incidence import Incidence, build_incidence, majority
from nerfseg_plugins.segments.lift import VoxelGrid


def test_majority_by_hand() -> None:
    groups = np.array([4, 4, 4, 2, 2, 7])
    values = np.array([1, 3, 3, 5, -1, 0])  # group 2 is tied: the smaller value wins
    rows, shown = majority(groups, values)
    np.testing.assert_array_equal(rows, [2, 4, 7])
    np.testing.assert_array_equal(shown, [-1, 3, 0])


def test_majority_of_nothing() -> None:
    rows, shown = majority(np.zeros(0, int), np.zeros(0, int))
    assert len(rows) == len(shown) == 0


def test_tables_of_two_tiny_views() -> None:
    grid = VoxelGrid(np.zeros(3), half_side=2.0, resolution=4)
    line = np.array([[[-1.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [np.nan, 0, 0]]])
    first = np.array([[7, 7, 0, 7]])
    second = np.array([[3, -1, 9, 9]])
    trusted = [np.array([[True, True, True, True]]), np.array([[True, True, False, True]])]
    table = build_incidence([first, second], [line, line], trusted, grid)
    np.testing.assert_array_equal(table.view_of, [0, 1, 1])
    np.testing.assert_array_equal(table.id_of, [7, 3, 9])
    np.testing.assert_array_equal(table.pixels_of, [3, 1, 2])
    np.testing.assert_array_equal(table.voxel_of_pixel[0], [[0, 1, 2, -1]])
    # voxel 1 is unlabelled in view 1, voxel 2 is not trusted there
    np.testing.assert_array_equal(table.shows.toarray(), [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(table.background.toarray(), [[0, 0], [0, 0], [1, 0]])


def random_table(seed: int, voxels: int = 60, views: int = 5, per_view: int = 4) -> Incidence:
    """Every voxel shows a random segment, background or nothing in every view."""
    rng = np.random.default_rng(seed)
    shown = rng.integers(-2, per_view, (voxels, views))  # -2 nothing, -1 background, else a segment of the view
    # Half of the voxels agree in all views, so that some segments do contain each other.
    shown[: voxels // 2] = shown[: voxels // 2, :1]
    shows = np.zeros((voxels, views * per_view), np.float32)
    for voxel, view in itertools.product(range(voxels), range(views)):
        if shown[voxel, view] >= 0:
            shows[voxel, view * per_view + shown[voxel, view]] = 1
    return Incidence(
        shows=sparse.csr_matrix(shows),
        background=sparse.csr_matrix((shown == -1).astype(np.float32)),
        view_of=np.repeat(np.arange(views), per_view),
        id_of=np.tile(np.arange(1, per_view + 1, dtype=np.int32), views),
        pixels_of=shows.sum(axis=0).astype(np.int64),
        voxel_of_pixel=[np.zeros((1, 1), np.int32)] * views,
        keys=np.arange(voxels),
    )


def consensus_by_loops(table: Incidence, min_voxels: int, containment: float):
    """The definition of `view_consensus`, voxel set by voxel set."""
    shows, background = table.shows.toarray() > 0, table.background.toarray() > 0
    number, views = len(table.view_of), table.num_views
    home: list[list] = [[None] * views for _ in range(number)]  # None: not observed, -1: spread, else the container
    for segment, view in itertools.product(range(number), range(views)):
        own = shows[:, segment]
        inside = {other: int((own & shows[:, other]).sum()) for other in np.flatnonzero(table.view_of == view)}
        labelled = sum(inside.values())
        if labelled < min_voxels or (own & background[:, view]).sum() >= labelled:
            continue
        best = max(inside, key=lambda other: inside[other])
        home[segment][view] = best if inside[best] >= containment * labelled else -1
    observers, supporters = np.zeros((number, number)), np.zeros((number, number))
    for a, b, view in itertools.product(range(number), range(number), range(views)):
        if home[a][view] is not None and home[b][view] is not None:
            observers[a, b] += 1
            supporters[a, b] += home[a][view] == home[b][view] and home[a][view] != -1
    split = [
        sum(x == -1 for x in row) / max(sum(x is not None for x in row), 1) if any(x is not None for x in row) else 0.0
        for row in home
    ]
    return observers, supporters, np.array(split)


@pytest.mark.parametrize("seed", range(4))
def test_consensus_equals_the_plain_loops(seed: int) -> None:
    table = random_table(seed)
    result = view_consensus(table, min_voxels=3, containment=0.6)
    observers, supporters, split = consensus_by_loops(table, 3, 0.6)
    np.testing.assert_array_equal(result.observers, observers)
    np.testing.assert_array_equal(result.supporters, supporters)
    np.testing.assert_allclose(result.split_rate, split, atol=1e-6)
    assert supporters[~np.eye(len(supporters), dtype=bool)].sum() > 0


def test_contraction_adds_votes_up() -> None:
    # 0-1 and 1-2 attract, 0-2 repels by less than 1-2 attracts: one cluster; node 3 is repelled by all.
    weights = np.array([[0, 3, -1, -1], [3, 0, 2, -1], [-1, 2, 0, -1], [-1, -1, -1, 0]], float)
    np.testing.assert_array_equal(contract_greedily(weights, np.ones(4, bool)), [0, 0, 0, 1])
    # With -3 between 0 and 2 the sum of the pair {0, 1} and 2 is -1: 2 stays alone.
    weights[0, 2] = weights[2, 0] = -3
    np.testing.assert_array_equal(contract_greedily(weights, np.ones(4, bool)), [0, 0, 1, 2])


def test_inactive_nodes_stay_out() -> None:
    weights = np.full((3, 3), 5.0)
    np.testing.assert_array_equal(contract_greedily(weights, np.array([True, False, True])), [0, -1, 0])
    assert len(contract_greedily(np.zeros((0, 0)), np.zeros(0, bool))) == 0


def contract_by_loops(weights: np.ndarray) -> np.ndarray:
    """Greedy additive edge contraction with every sum taken anew."""
    clusters = [[node] for node in range(len(weights))]
    while True:
        gains = {
            (a, b): sum(weights[i, j] for i in clusters[a] for j in clusters[b])
            for a, b in itertools.combinations(range(len(clusters)), 2)
        }
        best = max(gains, key=lambda pair: gains[pair], default=None)
        if best is None or gains[best] <= 0:
            break
        clusters[best[0]] += clusters.pop(best[1])
    labels = np.zeros(len(weights), int)
    for label, nodes in enumerate(sorted(clusters, key=min)):
        labels[nodes] = label
    return labels


@pytest.mark.parametrize("seed", range(5))
def test_contraction_equals_the_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(-0.2, 1, (14, 14)).astype(np.float32)  # continuous: no ties
    weights = np.tril(weights, -1) + np.tril(weights, -1).T
    np.testing.assert_array_equal(contract_greedily(weights, np.ones(14, bool)), contract_by_loops(weights))
