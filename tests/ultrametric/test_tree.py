"""Spanning trees in a line, against single linkage, connected components and minimax distances by relaxation."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

from nerfseg_plugins.ultrametric.tree import SpanningTree, spanning_tree

from .plain import minimax


def all_pairs(num_leaves: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.divmod(np.arange(num_leaves**2), num_leaves)
    return first, second


def distances(tree: SpanningTree) -> np.ndarray:
    """(N, N) bottlenecks between all leaves, -inf from a leaf to itself."""
    count = len(tree.order)
    gaps = tree.bottlenecks(*all_pairs(count))
    found = np.full(count**2, -np.inf)
    found[gaps >= 0] = tree.heights[gaps[gaps >= 0]]
    return found.reshape(count, count)


def check(tree: SpanningTree, num_leaves: int, edges: np.ndarray, weights: np.ndarray) -> None:
    """What any tree must keep to."""
    assert sorted(tree.order) == list(range(num_leaves)) and (tree.order[tree.places] == np.arange(num_leaves)).all()
    assert tree.heights.shape == tree.edges.shape == tree.ranks.shape == (num_leaves - 1,)
    assert sorted(tree.ranks) == list(range(num_leaves - 1))
    assert (tree.heights[np.argsort(tree.ranks)] == np.sort(tree.heights)).all()
    joined = tree.edges >= 0
    assert (np.isfinite(tree.heights) == joined).all()
    assert (tree.heights[joined] == weights[tree.edges[joined]]).all()
    np.testing.assert_array_equal(distances(tree), minimax(num_leaves, edges, weights))


@pytest.mark.parametrize("seed", range(6))
def test_bottlenecks_are_the_minimax_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 40))
    edges = rng.integers(0, count, (int(rng.integers(1, 4 * count)), 2))  # with loops, repeated, and often not joined
    weights = rng.integers(0, 6, len(edges)).astype(float)  # many equal, many zero
    check(spanning_tree(count, edges, weights), count, edges, weights)


def test_a_complete_graph_gives_single_linkage() -> None:
    points = np.random.default_rng(0).normal(size=(60, 3))
    flat = pdist(points)
    edges = np.stack(np.triu_indices(60, 1), axis=1)
    found = distances(spanning_tree(60, edges, flat))
    np.fill_diagonal(found, 0)
    np.testing.assert_array_equal(found, squareform(cophenet(linkage(flat, "single"))))


@pytest.mark.parametrize("limit", [0.0, 0.2, 0.4, 0.9])
def test_cuts_of_the_line_are_the_components_of_the_graph(limit: float) -> None:
    rng = np.random.default_rng(3)
    edges, weights = rng.integers(0, 200, (500, 2)), rng.random(500).round(1)
    tree = spanning_tree(200, edges, weights)
    segment = np.empty(200, int)
    segment[tree.order] = np.concatenate([[0], np.cumsum(tree.heights > limit)])
    light = weights <= limit
    graph = coo_matrix((np.ones(light.sum()), edges[light].T), shape=(200, 200))
    count, label = connected_components(graph, directed=False)
    assert len(set(segment)) == count == len(set(zip(segment, label, strict=True)))


def test_edges_of_no_weight_and_less_are_kept() -> None:
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    weights = np.array([0.0, 5.0, -2.0, 0.0])
    tree = spanning_tree(4, edges, weights)
    check(tree, 4, edges, weights)
    assert sorted(tree.edges) == [0, 2, 3]


def test_of_repeated_edges_the_lightest_counts_once() -> None:
    edges = np.array([[0, 1], [1, 0], [0, 1], [1, 1], [1, 2], [1, 2]])
    weights = np.array([3.0, 1.0, 2.0, 0.0, 4.0, 4.0])
    tree = spanning_tree(3, edges, weights)
    check(tree, 3, edges, weights)
    assert sorted(tree.edges) == [1, 4]  # and of equal ones the first


def test_what_nothing_joins_is_infinitely_far() -> None:
    edges, weights = np.array([[0, 4], [1, 3]]), np.array([1.0, 2.0])
    tree = spanning_tree(5, edges, weights)
    check(tree, 5, edges, weights)
    assert (tree.edges == -1).sum() == 2
    assert tree.edges[tree.bottlenecks(np.array([0]), np.array([2]))] == -1


def test_leaves_that_are_all_alike() -> None:
    edges = np.stack(np.triu_indices(50, 1), axis=1)
    weights = np.zeros(len(edges))
    tree = spanning_tree(50, edges, weights)
    check(tree, 50, edges, weights)
    assert (tree.heights == 0).all()


@pytest.mark.parametrize("edges", [np.zeros((0, 2), int), np.zeros((3, 2), int)])
def test_one_leaf(edges: np.ndarray) -> None:
    tree = spanning_tree(1, edges, np.zeros(len(edges)))
    assert tree.order.tolist() == [0] and len(tree.heights) == len(tree.edges) == len(tree.ranks) == 0
    assert tree.bottlenecks(np.array([0]), np.array([0])).tolist() == [-1]


def test_leaves_without_any_edge() -> None:
    tree = spanning_tree(3, np.zeros((0, 2), int), np.zeros(0))
    check(tree, 3, np.zeros((0, 2), int), np.zeros(0))
    assert tree.bottlenecks(np.zeros(0, int), np.zeros(0, int)).tolist() == []


def test_a_long_chain_is_laid_out_in_its_own_order() -> None:
    count = 5000
    edges = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)
    weights = np.arange(count - 1, dtype=float)
    tree = spanning_tree(count, edges, weights)
    assert tree.order.tolist() in (list(range(count)), list(range(count))[::-1])
    first, second = np.array([0, 10, 4999, 7]), np.array([4999, 20, 4998, 7])
    assert tree.heights[tree.bottlenecks(first, second)][:3].tolist() == [4998, 19, 4998]
    assert tree.bottlenecks(first, second)[3] == -1
