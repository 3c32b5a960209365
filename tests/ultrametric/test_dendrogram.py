"""The dendrogram against scipy's connected components and single linkage, and by hand on five points in a row."""

from functools import partial

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.ultrametric.dendrogram import (
    MAX_GRANULARITY,
    Dendrogram,
    build_dendrogram,
    feature_distances,
    neighbor_graph,
)

single_linkage = partial(build_dendrogram, linkage="single")


def random_scene(num_points: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points on a plane, with features that change from patch to patch."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(size=(num_points, 2)), np.zeros((num_points, 1))], axis=1)
    patch = (points[:, :2] * 4).astype(int) @ [1, 4]
    features = rng.normal(size=(16, 8))[patch] + 0.2 * rng.normal(size=(num_points, 8))
    return points.astype(np.float32), features.astype(np.float32)


def row_of_five() -> Dendrogram:
    """Points 0 1 2 3 4 side by side, at angles 0, 10, 20, 80 and 85 degrees in feature space."""
    angles = np.radians([0.0, 10.0, 20.0, 80.0, 85.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.stack([np.arange(5.0), np.zeros(5), np.zeros(5)], axis=1)
    return single_linkage(points, features, neighbors=2)


def chord(degrees: float) -> float:
    """Distance of unit vectors at an angle."""
    return 2 * np.sin(np.radians(degrees) / 2)


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = np.unique(np.stack([first, second]), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))


def test_neighbors_are_joined_when_their_features_are_near_enough() -> None:
    tree = row_of_five()
    assert len(np.unique(tree.cut(chord(4)).labels)) == 5
    assert tree.cut(chord(6)).labels.tolist() == [1, 2, 3, 0, 0]
    assert tree.cut(chord(12)).labels.tolist() == [0, 0, 0, 1, 1]
    assert tree.cut(chord(61)).labels.tolist() == [0] * 5


def test_small_segments_are_dissolved() -> None:
    tree = row_of_five()
    assert tree.cut(chord(12), min_size=3).labels.tolist() == [0, 0, 0, -1, -1]
    cut = tree.cut(chord(12), min_size=6)
    assert cut.labels.tolist() == [-1] * 5 and len(cut) == 0


def test_nodes_of_a_cut_are_its_segments() -> None:
    tree = row_of_five()
    for granularity in (0.0, chord(6), chord(12), 2.0):
        cut = tree.cut(granularity)
        for segment, node in enumerate(cut.nodes):
            points = np.flatnonzero(cut.labels == segment)
            assert sorted(tree.members(node)) == points.tolist()
            assert all(tree.node_of(point, granularity) == node for point in points)
    assert tree.node_of(1, 0.0) == 1  # a point alone is its own node


def test_components_are_those_of_the_whole_graph() -> None:
    points, features = random_scene()
    tree = single_linkage(points, features)
    edges = neighbor_graph(points, 16)
    distances = feature_distances(tree.features, edges)
    for granularity in np.linspace(0, 2, 21):
        first, second = edges[distances <= granularity].T
        graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(points),) * 2)
        assert same_partition(connected_components(graph, directed=False)[1], tree.cut(granularity).labels)


def test_a_complete_graph_gives_single_linkage() -> None:
    points, features = random_scene(60)
    tree = single_linkage(points, features, neighbors=59)
    joins = linkage(tree.features.astype(np.float64), "single")
    for granularity in (0.1, 0.3, 0.5, 0.9):
        assert same_partition(fcluster(joins, granularity, "distance"), tree.cut(granularity).labels)


def test_fifty_granularities_are_nested() -> None:
    points, features = random_scene(2000)
    tree = single_linkage(points, features)
    finer = tree.cut(0.0).labels
    for granularity in np.linspace(0, 2, 51)[1:]:
        coarser = tree.cut(granularity).labels
        pairs = np.unique(np.stack([finer, coarser]), axis=1)
        assert pairs.shape[1] == finer.max() + 1  # each fine segment meets one coarse segment
        finer = coarser


def test_labels_go_by_falling_size() -> None:
    points, features = random_scene()
    sizes = np.bincount(single_linkage(points, features).cut(0.5).labels)
    assert len(sizes) > 3 and (np.diff(sizes) <= 0).all()


def test_graph_joins_the_nearest() -> None:
    points, _ = random_scene(200)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, 1:5]
    wanted = {(min(i, j), max(i, j)) for i, row in enumerate(nearest.tolist()) for j in row}
    assert {tuple(edge) for edge in neighbor_graph(points, 4).tolist()} == wanted


@pytest.mark.parametrize("min_size", [1, 20])
def test_number_of_segments_for_every_granularity(min_size: int) -> None:
    points, features = random_scene()
    tree = single_linkage(points, features)
    counts = [len(tree.cut(height, min_size)) for height in [0.0, *np.sort(tree.tree.heights)]]
    counts = counts[int(np.argmax(counts)) :]  # before, most points are not joined yet
    for wanted in range(1, 40):
        found = len(tree.cut(tree.granularity_for(wanted, min_size), min_size))
        assert abs(found - wanted) == min(abs(count - wanted) for count in counts)


def test_a_number_of_segments_is_not_found_among_crumbs() -> None:
    """While points are joined to crumbs there are few large segments, but these hold few of the points."""
    points, features = random_scene(3000)
    tree = single_linkage(points, features)
    assert len(tree.cut(0.05, 20)) == 0, "as few as wanted"
    for wanted in (1, 2, 5):
        assert (tree.cut(tree.granularity_for(wanted, 20), 20).labels >= 0).mean() > 0.5


def test_number_of_segments_takes_the_middle_of_the_widest_range() -> None:
    tree = row_of_five()
    assert tree.granularity_for(2) == pytest.approx((chord(10) + chord(60)) / 2, abs=2e-3)
    assert tree.granularity_for(1) == pytest.approx((chord(60) + 2) / 2, abs=2e-3)
    # Of two or more points: the pair is one from chord(5) on, the three others from chord(10) on.
    assert tree.granularity_for(2, min_size=2) == pytest.approx((chord(10) + chord(60)) / 2, abs=2e-3)


def test_a_click_goes_up_past_crumbs() -> None:
    angles = np.radians([0.0, 0.0, 0.0, 10.0, 40.0, 40.0, 40.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.stack([np.arange(7.0), np.zeros(7), np.zeros(7)], axis=1)
    tree = single_linkage(points, features, neighbors=2)
    start = tree.node_of(0, 0.0)
    assert sorted(tree.members(start)) == [0, 1, 2]
    assert sorted(tree.members(tree.nodes.grown(start))) == [0, 1, 2, 3]
    above = tree.nodes.grown(start, min_size=3)
    assert sorted(tree.members(above)) == list(range(7))
    assert tree.nodes.grown(above) == -1


def test_a_segment_keeps_its_colour_until_it_joins_a_larger_one() -> None:
    points, features = random_scene()
    tree = single_linkage(points, features)
    fine, coarse = tree.cut(0.4), tree.cut(0.7)
    fine_colors, coarse_colors = tree.nodes.colors(fine.nodes), tree.nodes.colors(coarse.nodes)
    assert len(np.unique(fine_colors[:20], axis=0)) == min(20, len(fine))
    for segment in range(len(coarse)):
        parts = np.unique(fine.labels[coarse.labels == segment])
        if len(parts) == 1:
            assert (coarse_colors[segment] == fine_colors[parts[0]]).all()
    assert (tree.nodes.colors(fine.nodes[3:5]) == fine_colors[3:5]).all()


def test_parts_that_nothing_joins_stay_apart_at_every_granularity() -> None:
    points, features = random_scene(100)
    far = np.concatenate([points, points + 100])
    tree = single_linkage(far, np.concatenate([features, features]), neighbors=4)
    assert np.isinf(tree.tree.heights).any()
    labels = tree.cut(MAX_GRANULARITY).labels
    assert not set(labels[:100]) & set(labels[100:])
    top = tree.node_of(0, MAX_GRANULARITY)
    assert tree.nodes.parent[top] == -1


def test_one_point() -> None:
    tree = single_linkage(np.zeros((1, 3)), np.ones((1, 4)))
    assert tree.cut(0.0).labels.tolist() == [0] and tree.node_of(0, 2.0) == 0
    assert 0 <= tree.granularity_for(5) <= 2
    assert tree.nodes.colors(tree.cut(1.0).nodes).shape == (1, 3)


def test_identical_points_and_features() -> None:
    tree = single_linkage(np.zeros((50, 3)), np.ones((50, 4)))
    assert tree.cut(0.0).labels.tolist() == [0] * 50  # edges of weight zero join
    assert tree.tree.heights.max() == 0


def test_identical_points_with_other_features() -> None:
    features = np.repeat(np.eye(2), 25, axis=0)
    labels = single_linkage(np.zeros((50, 3)), features, neighbors=30).cut(0.5).labels
    assert same_partition(labels, np.repeat([0, 1], 25))


def test_no_points() -> None:
    with pytest.raises(InputError, match=r"no surface points.*train the run for longer"):
        single_linkage(np.zeros((0, 3)), np.zeros((0, 4)))


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"\(5, 3\).*\(4, 8\)"):
        single_linkage(np.zeros((5, 3)), np.zeros((4, 8)))


def test_features_that_are_not_finite() -> None:
    features = np.ones((5, 4))
    features[2, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        single_linkage(np.zeros((5, 3)), features)


@pytest.mark.parametrize("granularity", [-0.01, 2.01, float("nan"), float("inf")])
def test_granularity_out_of_range(granularity: float) -> None:
    tree = row_of_five()
    with pytest.raises(InputError, match=r"out of range.*from 0 .* to 2"):
        tree.cut(granularity)
    with pytest.raises(InputError, match="out of range"):
        tree.node_of(0, granularity)


def test_no_segments_wanted() -> None:
    with pytest.raises(InputError, match="0 segments"):
        row_of_five().granularity_for(0)
