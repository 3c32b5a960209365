"""Average linkage against scipy's, against the same rounds done plainly, and by hand on four vectors."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist

from nerfseg_plugins.ultrametric.linkage import average_linkage
from nerfseg_plugins.ultrametric.neighbors import neighbor_graph


def unit_vectors(count: int, dims: int, seed: int = 0) -> np.ndarray:
    """Random directions around a few, so that there is something to join."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(5, dims))[rng.integers(5, size=count)] + 0.3 * rng.normal(size=(count, dims))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def plain_rounds(features: np.ndarray, edges: np.ndarray) -> list[tuple[set[int], float]]:
    """All clusters and their heights: in each round, those join that touch and are each other's nearest."""
    clusters = {leaf: {leaf} for leaf in range(len(features))}
    height = dict.fromkeys(clusters, 0.0)
    touch = {frozenset(edge) for edge in edges.tolist()}
    squares = ((features[:, None] - features[None]) ** 2).sum(axis=2).astype(np.float64)
    found = []
    while touch:
        distance = {
            pair: float(np.sqrt(squares[np.ix_(*(sorted(clusters[leaf]) for leaf in pair))].mean())) for pair in touch
        }
        ends = {leaf for pair in touch for leaf in pair}
        nearest = {leaf: min((pair for pair in touch if leaf in pair), key=distance.__getitem__) for leaf in ends}
        for pair in touch:
            kept, gone = sorted(pair)
            if nearest[kept] == nearest[gone] == pair:
                height[kept] = max(distance[pair], height[kept], height[gone])
                clusters[kept] |= clusters.pop(gone)
                found.append((set(clusters[kept]), height[kept]))
        home = {leaf: name for name, members in clusters.items() for leaf in members}
        touch = {frozenset(home[leaf] for leaf in pair) for pair in touch}
        touch = {pair for pair in touch if len(pair) == 2}
    return found


def test_four_vectors_by_hand():
    """At 0, 10, 90 and 95 degrees: the two on the right, the two on the left, then all."""
    angles = np.radians([0.0, 10.0, 90.0, 95.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    tree = average_linkage(features, np.array([[0, 1], [1, 2], [2, 3]]))
    chords = [2 * np.sin(np.radians(angle / 2)) for angle in (90.0, 95.0, 80.0, 85.0)]
    expected = [2 * np.sin(np.radians(2.5)), 2 * np.sin(np.radians(5)), np.sqrt(np.mean(np.square(chords)))]
    assert np.allclose(np.sort(tree.heights), expected, atol=1e-3)
    gap = tree.bottlenecks(np.array([0, 2, 1]), np.array([1, 3, 2]))
    assert np.allclose(tree.heights[gap], [expected[1], expected[0], expected[2]], atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_where_any_two_may_join_it_is_scipys(seed: int):
    """UPGMA of squared distances."""
    features = unit_vectors(120, 12, seed)
    tree = average_linkage(features, np.zeros((0, 2), np.int64))
    first, second = np.triu_indices(120, 1)
    heights = tree.heights[tree.bottlenecks(first, second)]
    expected = np.sqrt(cophenet(linkage(pdist(features.astype(np.float64), "sqeuclidean"), "average")))
    assert np.allclose(heights, expected, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_arrays_do_what_plain_rounds_do(seed: int):
    """Every cluster of the plain way is one of the tree, at its height."""
    rng = np.random.default_rng(seed)
    features, points = unit_vectors(60, 6, seed), rng.uniform(size=(60, 3))
    edges = neighbor_graph(points, 3)
    tree = average_linkage(features, edges, touch_until=1)
    for members, height in plain_rounds(features, edges):
        places = np.sort(tree.places[sorted(members)])
        assert np.array_equal(places, np.arange(places[0], places[-1] + 1)), "a cluster is a run of neighbours"
        inside = tree.heights[places[0] : places[-1]]
        assert inside.max() == pytest.approx(height, abs=1e-3)
        around = [tree.heights[i] for i in (places[0] - 1, places[-1]) if 0 <= i < len(tree.heights)]
        assert min(around, default=np.inf) >= height - 1e-3


def test_members_that_stand_apart_join_once_few_clusters_are_left():
    """Two like patches, another between them: as one whole where any two may join, never where they must touch."""
    features = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), 20, axis=0)
    edges = np.stack([np.arange(59), np.arange(1, 60)], axis=1)
    both = tuple(np.array([leaf]) for leaf in (0, 59))
    across = tuple(np.array([leaf]) for leaf in (0, 30))
    free, bound = average_linkage(features, edges, touch_until=10), average_linkage(features, edges, touch_until=1)
    assert free.heights[free.bottlenecks(*both)] < 1e-3 < free.heights[free.bottlenecks(*across)]
    assert bound.heights[bound.bottlenecks(*both)] > 1


def test_equal_features_join_in_few_rounds(monkeypatch: pytest.MonkeyPatch):
    """A long row of equal points is no chain that waits for its end."""
    from nerfseg_plugins.ultrametric import linkage as module

    rounds = []
    plain = module._Clusters.mutual
    monkeypatch.setattr(module._Clusters, "mutual", lambda *args: rounds.append(0) or plain(*args))
    edges = np.stack([np.arange(4999), np.arange(1, 5000)], axis=1)
    tree = average_linkage(np.ones((5000, 3)) / 3**0.5, edges, touch_until=1)
    assert np.abs(tree.heights).max() < 1e-3 and len(rounds) < 60


def test_what_never_touches_is_apart():
    """Infinite gaps where nothing joins, as with more parts than are compared all with all."""
    tree = average_linkage(unit_vectors(6, 3), np.array([[0, 1], [2, 3]]), touch_until=2)
    assert np.isinf(tree.heights).sum() == 3
    single = average_linkage(unit_vectors(1, 3), np.zeros((0, 2), np.int64))
    assert single.order.tolist() == [0] and not len(single.heights)


def test_the_same_twice():
    """The choice among equals is drawn by a seed of its own."""
    features, edges = unit_vectors(200, 8), neighbor_graph(np.random.default_rng(1).uniform(size=(200, 3)), 4)
    first, second = (average_linkage(features, edges, touch_until=20) for _ in range(2))
    assert np.array_equal(first.order, second.order) and np.array_equal(first.heights, second.heights)
