"""Region merging on images whose regions are known."""

import numpy as np

from nerfseg_plugins.segments.classical import ClassicalSource, Levels, edge_strength, lasting_regions, texture_energy
from nerfseg_plugins.segments.merge_tree import MergeTree
from nerfseg_plugins.segments.region_merging import (
    MergeWeights,
    Regions,
    build_regions,
    dissimilarity,
    merge_regions,
    merge_tree,
)


def three_things(height: int = 192, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A blue square and a red disc with black spots on a noisy grey ground: RGB and true regions 0..2."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    truth = np.zeros((height, width), int)
    truth[30:120, 24:110] = 1
    truth[(rows - 110) ** 2 + (columns - 180) ** 2 < 56**2] = 2
    colours = np.array([[150, 150, 150], [40, 60, 190], [200, 50, 40]], float)[truth]
    spots = ((rows // 4 + columns // 4) % 3 == 0) & (truth == 2)
    colours[spots] *= 0.6
    return np.clip(colours + rng.normal(0, 6, colours.shape), 0, 255).astype(np.uint8), truth


def test_finds_a_square_a_spotted_disc_and_the_ground() -> None:
    rgb, truth = three_things()
    segments = ClassicalSource()(rgb)
    assert segments.ids.shape == truth.shape and segments.ids.dtype == np.int32
    assert (segments.ids > 0).all()  # a partition has no background
    assert 3 <= len(segments.segment_ids) <= 5
    for region in range(3):
        own = truth == region
        best = np.bincount(segments.ids[own]).argmax()
        assert (own & (segments.ids == best)).sum() / (own | (segments.ids == best)).sum() > 0.9


def test_two_runs_agree_and_granularity_orders() -> None:
    rgb, _ = three_things()
    np.testing.assert_array_equal(ClassicalSource()(rgb).ids, ClassicalSource()(rgb).ids)
    counts = [len(ClassicalSource(granularity=g)(rgb).segment_ids) for g in (0.05, 0.2, 5.0)]
    assert counts[0] > counts[1] > counts[2] == 1


def test_flat_images_are_one_segment() -> None:
    for value in (0, 128, 255):
        segments = ClassicalSource()(np.full((40, 50, 3), value, np.uint8))
        assert set(np.unique(segments.ids)) == {1}


def quarters() -> tuple[Regions, np.ndarray]:
    """Four 2x2 blocks of a 4x4 image: the upper two are alike, the lower ones differ from all."""
    labels = np.kron([[0, 1], [2, 3]], np.ones((2, 2), int))
    lab = np.array([[50.0, 0, 0], [52, 0, 0], [50, 60, 0], [50, 0, -60]])[labels]
    codes = np.array([0, 0, 1, 2])[labels]
    edges = np.zeros((4, 4))
    edges[2] = 4.0
    return build_regions(labels, lab, codes, 3, np.zeros((4, 4, 1)), edges), labels


def test_statistics_by_hand() -> None:
    regions, _ = quarters()
    np.testing.assert_array_equal(regions.area, [4, 4, 4, 4])
    np.testing.assert_allclose(regions.colour[1], [52, 0, 0])
    np.testing.assert_allclose(regions.histogram, [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    # 0 and 2 share two pixels' length; the stronger side of a border counts: row 2 has strength 4.
    assert regions.borders[0][2] == [2, 8.0]
    assert regions.borders[0][1] == [2, 0.0]
    assert regions.borders[2][3] == [2, 4.0]  # one pixel pair in row 2, one in row 3
    assert 3 not in regions.borders[0]


def test_dissimilarity_by_hand() -> None:
    regions, _ = quarters()
    weights = MergeWeights(histogram=1, colour=1, texture=1, edge=1, size_power=0, detachment=1)
    outline = np.full(4, 4.0)
    # histogram 0, colour 0.6 * 2 / 40 = 0.03, texture 0, edge 0, over four weights; half of the outline is shared
    np.testing.assert_allclose(dissimilarity(regions, outline, weights, 0, 1), 0.03 / 4 * 1.5)
    # histogram 1, colour min(1.3 * 60 / 40, 1.5) = 1.5, edge 8 / 2 / 8 = 0.5
    np.testing.assert_allclose(dissimilarity(regions, outline, weights, 0, 2), (1 + 1.5 + 0.5) / 4 * 1.5)


def test_merging_stops_at_the_threshold() -> None:
    for threshold, expected in ((0.0, [0, 1, 2, 3]), (0.1, [0, 0, 1, 2]), (9.0, [0, 0, 0, 0])):
        regions, _ = quarters()
        np.testing.assert_array_equal(merge_regions(regions, threshold), expected)


def test_filters_see_edges_and_texture() -> None:
    lab = np.zeros((32, 32, 3), np.float32)
    lab[:, 16:, 0] = 50
    edges = edge_strength(lab, 1.0)
    assert edges[16, 15:17].min() > 5 * edges[16, 8]
    rgb = np.full((32, 64, 3), 128, np.uint8)
    rgb[:, 32:][:, np.arange(32) % 4 < 2] = 200
    energy = texture_energy(rgb, 1.0).mean(axis=-1)
    assert energy[:, 40:56].min() > 2 * energy[:, 8:24].max()


def chain() -> MergeTree:
    """Five regions: 1 takes 2, 0 takes 3, 1 takes 4 (cheaper than the merge before), 0 takes 1."""
    return MergeTree.of_merges(5, [(1, 2), (0, 3), (1, 4), (0, 1)], [0.1, 0.4, 0.3, 0.9])


def test_a_merge_tree_by_hand() -> None:
    tree = chain()
    np.testing.assert_array_equal(tree.children, [[1, 2], [0, 3], [5, 4], [6, 7]])
    np.testing.assert_allclose(tree.costs, [0.1, 0.4, 0.4, 0.9])
    for threshold, expected in (
        (0.0, [0, 1, 2, 3, 4]),
        (0.1, [0, 1, 1, 2, 3]),
        (0.4, [0, 1, 1, 0, 1]),
        (0.9, [0, 0, 0, 0, 0]),
    ):
        np.testing.assert_array_equal(tree.cut(threshold), expected)
    members = tree.members()
    np.testing.assert_array_equal(members[:5], np.eye(5, dtype=bool))
    np.testing.assert_array_equal(
        members[5:], np.array([[0, 1, 1, 0, 0], [1, 0, 0, 1, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    )
    born, dies = tree.lifetimes()
    np.testing.assert_allclose(born, [0, 0, 0, 0, 0, 0.1, 0.4, 0.4, 0.9])
    np.testing.assert_allclose(dies, [0.4, 0.1, 0.1, 0.4, 0.4, 0.4, 0.9, 0.9, np.inf])


def test_regions_that_last_by_hand() -> None:
    area = np.array([40, 10, 10, 30, 10])
    # Nodes 0, 3, 4 and 5 live to 0.4, nodes 6 and 7 from 0.4 to 0.9, the whole image for ever.
    found = lasting_regions(chain(), area, Levels(finest=0.2, coarsest=0.5, persistence=2, min_share=0, max_share=0.9))
    np.testing.assert_array_equal(found, [0, 3, 4, 5, 6, 7])
    found = lasting_regions(chain(), area, Levels(finest=0.3, coarsest=0.5, persistence=2, min_share=0, max_share=0.9))
    np.testing.assert_array_equal(found, [6, 7])
    found = lasting_regions(chain(), area, Levels(finest=0.2, coarsest=0.3, persistence=2, min_share=0.2, max_share=1))
    np.testing.assert_array_equal(found, [0, 3, 5])
    found = lasting_regions(chain(), area, Levels(finest=0.2, coarsest=9, persistence=2, min_share=0.6, max_share=1))
    np.testing.assert_array_equal(found, [6, 8])


def test_every_cut_of_an_image_is_nested_and_agrees_with_merging_to_it() -> None:
    tree = merge_tree(quarters()[0])
    for threshold in (0.0, 0.1, 9.0):
        np.testing.assert_array_equal(tree.cut(threshold), merge_regions(quarters()[0], threshold))
    rgb, _ = three_things(96, 128)
    source = ClassicalSource()
    superpixels, regions = source._regions(rgb)
    tree = merge_tree(regions)
    assert tree.members()[-1].all() and len(tree.costs) == superpixels.max()
    finer = tree.cut(0.0)
    for threshold in np.linspace(0.05, 1.5, 20):
        coarser = tree.cut(threshold)
        assert len(np.unique(np.stack([finer, coarser]), axis=1).T) == len(np.unique(finer))
        finer = coarser


def test_levels_hold_things_and_are_nested() -> None:
    rgb, truth = three_things()
    segments, found = ClassicalSource().levels(rgb)
    np.testing.assert_array_equal(segments.ids, ClassicalSource()(rgb).ids)
    masks = found.masks().reshape(len(found), -1)
    for region in (1, 2):
        own = (truth == region).ravel()
        assert ((masks & own).sum(axis=1) / (masks | own).sum(axis=1)).max() > 0.9
    shared = masks.astype(int) @ masks.T.astype(int)
    assert ((shared == 0) | (shared == np.minimum(found.area[:, None], found.area[None]))).all()
    again = ClassicalSource().levels(rgb)[1]
    np.testing.assert_array_equal(again.bits, found.bits)


def test_a_flat_image_has_no_masks() -> None:
    segments, found = ClassicalSource().levels(np.full((40, 50, 3), 128, np.uint8))
    assert set(np.unique(segments.ids)) == {1}
    assert len(found) == 0 and found.size == (40, 50)
