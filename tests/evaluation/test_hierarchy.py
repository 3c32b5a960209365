"""Covering, injectivity, trees, view consistency: by hand, by brute force, and as the released evaluator draws."""

import itertools
import math

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.correspondence import Correspondence
from nerfseg_plugins.evaluation.hierarchy import (
    best_covering,
    compact,
    foreground,
    mean,
    normalized_covering,
    segmentation_injectivity,
    shared,
    tree_agreement,
)
from nerfseg_plugins.evaluation.hierarchy_report import HierarchyReport
from nerfseg_plugins.evaluation.hierarchy_sampled import sampled_consistency, sampled_covering
from nerfseg_plugins.evaluation.view_consistency import view_consistency


def row(text: str) -> np.ndarray:
    """One line of labels: digits are ids, a dot is -1."""
    return np.array([[-1 if c == "." else int(c) for c in text]], np.int32)


def all_pixels(count: int) -> Correspondence:
    return Correspondence(np.arange(count), np.arange(count))


def random_hierarchy(seed: int, size: int = 48, levels: int = 4) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """True levels (coarse to fine) and nested labels (fine to coarse) with holes, unrelated to each other."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(0, 9, size)
    truth = [np.where(fine > 0, np.array([0, 1, 1, 1, 1, 2, 2, 2, 3])[fine], 0), fine]
    truth[1][rng.integers(0, size, 3)] = -1
    truth[0][truth[1] < 0] = -1
    labels = rng.integers(0, 12, size)
    maps = [labels]
    for count in (6, 3, 1)[: levels - 1]:
        labels = rng.integers(0, count, 12)[labels]
        maps.append(labels)
    holes = rng.integers(0, size, 5)
    maps[0] = maps[0].copy()
    maps[0][holes] = -1
    return [level.reshape(6, -1).astype(np.int32) for level in truth], [m.reshape(6, -1).astype(np.int32) for m in maps]


# Covering ------------------------------------------------------------------------------------------------------------


def test_covering_by_hand():
    #             segment 1: 4 pixels, 2: 2 pixels
    truth = row("11112200")
    maps = [row("00112234"), row("00000022")]
    # Map 0: pixels 0, 1 are in {0, 1}: IoU 2/4; pixels 2, 3 in {2, 3}: 2/4. Map 1: {0..5}: 4/6. Best is 4/6 for all.
    # Segment 2: map 0 has it exactly.
    assert normalized_covering(truth, maps, min_pixels=2) == pytest.approx({1: 4 / 6, 2: 1.0})
    assert normalized_covering(truth, maps[:1], min_pixels=2) == pytest.approx({1: 0.5, 2: 1.0})
    assert normalized_covering(truth, maps, min_pixels=3) == pytest.approx({1: 4 / 6})


def test_pixels_of_a_segment_differ_in_what_covers_them():
    # Segment 1 is 4 pixels; three of them lie in one predicted segment, one in another that reaches out.
    # 3 pixels with IoU 3/4, 1 pixel with 1/(4 + 3 - 1).
    assert normalized_covering(row("1111000"), [row("0001111")], min_pixels=1)[1] == pytest.approx(
        (3 * 3 / 4 + 1 / 7) / 4
    )


def test_labels_that_are_none_cover_nothing():
    truth, labels = row("1111"), row("..00")
    assert normalized_covering(truth, [labels], min_pixels=1)[1] == pytest.approx((0 + 0 + 0.5 + 0.5) / 4)
    # The released evaluator takes them for one segment.
    assert normalized_covering(truth, [labels], min_pixels=1, released=True)[1] == pytest.approx(0.5)
    assert normalized_covering(truth, [], min_pixels=1) == {1: 0.0}


def test_ignored_pixels_count_for_nobody():
    assert normalized_covering(row("11.."), [row("0000")], min_pixels=1) == {1: 1.0}
    assert normalized_covering(row("...."), [row("0000")], min_pixels=1) == {}


def test_the_first_of_equal_maps_is_taken():
    best = best_covering(row("1122"), [row("0000"), row("0011"), row("0011")])
    assert best.which.tolist() == [1, 1, 1, 1] and best.iou.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_covering_by_brute_force(seed, released):
    (_, truth), maps = random_hierarchy(seed)
    expected = {}
    known = truth >= 0
    for segment in set(truth[truth > 0].tolist()):
        values = []
        for p in zip(*np.nonzero(truth == segment), strict=True):
            ious = [0.0]
            for labels in maps:
                mask = (labels == labels[p]) & known
                if labels[p] >= 0 or released:
                    ious.append(float(((truth == segment) & mask).sum() / ((truth == segment) | mask).sum()))
            values.append(max(ious))
        expected[segment] = sum(values) / len(values)
    assert normalized_covering(truth, maps, 1, released) == pytest.approx(expected)


@pytest.mark.parametrize("released", [False, True])
def test_the_sampled_covering_converges_to_the_exact_one(released):
    (_, truth), maps = random_hierarchy(9)
    exact = normalized_covering(truth, maps, 1, released)
    found = sampled_covering(truth, maps, np.random.default_rng(0), 4000, 1, released)
    assert found.keys() == exact.keys()
    assert max(abs(found[key] - exact[key]) for key in exact) < 4 * 0.5 / math.sqrt(4000)
    few = sampled_covering(truth, maps, np.random.default_rng(0), min_pixels=1, released=released)
    assert few != exact and sampled_covering(truth, maps, np.random.default_rng(0), 100, 1, released) == few


def test_maps_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"labels of shape \(1, 3\) and true ids of shape \(1, 4\)"):
        normalized_covering(row("1111"), [row("000")])
    with pytest.raises(InputError, match="must be of one view"):
        tree_agreement([row("1111")], [np.zeros((2, 2), np.int32)])


def test_foreground_and_means():
    assert foreground(row("01230.")).tolist() == [[1, 2, 2, 2, 1, -1]]
    assert mean({1: 0.5, 2: 1.0}) == 0.75 and mean({}) is None


# Injectivity ---------------------------------------------------------------------------------------------------------


def test_injectivity_by_hand():
    truth = row("112233")
    assert segmentation_injectivity(truth, [row("001122")], 1) == 1
    assert segmentation_injectivity(truth, [row("000000")], 1) == pytest.approx(1 / 3)
    # 1 and 2 share a segment that 3 has not.
    assert segmentation_injectivity(truth, [row("000022")], 1) == pytest.approx(2 / 3)
    # The same, but a finer map tells them apart.
    assert segmentation_injectivity(truth, [row("001122"), row("000022")], 1) == 1
    # One whole picture in two maps is still one segment.
    assert segmentation_injectivity(truth, [row("000000"), row("000000")], 1) == pytest.approx(1 / 3)
    assert segmentation_injectivity(truth, [row("......")], 1) == 0
    assert segmentation_injectivity(row("000000"), [row("000000")], 1) is None


# Trees ---------------------------------------------------------------------------------------------------------------

PARTS, OBJECTS, WHOLE = row("11223344"), row("11112222"), row("11111111")


def test_the_true_tree_agrees_with_itself():
    for scores in tree_agreement([OBJECTS, PARTS], [PARTS, OBJECTS, WHOLE], 1):
        assert set(scores.values()) == {1.0}


@pytest.mark.parametrize("maps", [[], [WHOLE], [row("........")], [row("01234567")], [row("01234567"), WHOLE]])
def test_no_tree_at_all_is_chance(maps):
    for scores in tree_agreement([OBJECTS, PARTS], maps, 1):
        assert set(scores.values()) == {0.5}


def test_a_tree_turned_round_agrees_with_nothing():
    # Each pixel first meets one of another part of its object, then all.
    # Level parts: of x's own part there is 1 other, 2 siblings of which 1 comes first: (0 + 1/2) / 1 = 0.25: the other
    # sibling ties with the own part.
    scores = tree_agreement([OBJECTS, PARTS], [row("01012323"), WHOLE], 1)[1]
    assert scores == pytest.approx({1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25})
    # Level objects: of 3 others of the object 1 comes before the 4 pixels of the other one, 2 with them: 1/3 + 2/3 / 2.
    scores = tree_agreement([OBJECTS, PARTS], [row("01012323"), WHOLE], 1)[0]
    assert scores == pytest.approx({1: 2 / 3, 2: 2 / 3})


def test_levels_without_siblings_say_nothing():
    assert tree_agreement([WHOLE, OBJECTS], [OBJECTS], 1) == [{}, {1: 1.0, 2: 1.0}]


@pytest.mark.parametrize("seed", range(4))
def test_agreement_by_all_triples(seed):
    levels, maps = random_hierarchy(seed)
    flat = [labels.reshape(-1) for labels in maps]

    def height(x: int, y: int) -> float:
        return next((k for k, m in enumerate(flat) if m[x] >= 0 and m[x] == m[y]), math.inf)

    for index, scores in enumerate(tree_agreement(levels, maps, 1)):
        ids = levels[index].reshape(-1)
        above = levels[index - 1].reshape(-1) if index else np.zeros_like(ids)
        pixels = [p for p in range(len(ids)) if ids[p] > 0]
        expected: dict[int, list[float]] = {}
        for x in pixels:
            own = [y for y in pixels if y != x and ids[y] == ids[x]]
            others = [z for z in pixels if ids[z] != ids[x] and above[z] == above[x]]
            if own and others:
                wins = sum(
                    (height(x, y) < height(x, z)) + (height(x, y) == height(x, z)) / 2
                    for y, z in itertools.product(own, others)
                )
                expected.setdefault(int(ids[x]), []).append(wins / len(own) / len(others))
        assert scores == pytest.approx({key: sum(v) / len(v) for key, v in expected.items()})


# View consistency ----------------------------------------------------------------------------------------------------


def test_consistency_by_hand():
    truth = row("11112222")
    maps = [row("00001111")]
    assert view_consistency(truth, maps, [row("55554444")], all_pixels(8), 1) == {1: 1.0, 2: 1.0}
    # In the other view a pixel of segment 1 went over to 2. For q in the first three: A = 4, B = 3, IoU 3/4; for the
    # fourth: A = 4 pixels, B = 5 pixels, 1 shared: 1/8. Segment 2: 4/5.
    found = view_consistency(truth, maps, [row("55544444")], all_pixels(8), 1)
    assert found == pytest.approx({1: (3 * 3 / 4 + 1 / 8) / 4, 2: 4 / 5})


def test_consistency_asks_the_granularity_that_covers_best():
    truth = row("1111")
    a = [row("0011"), row("0000")]
    assert view_consistency(truth, a, [row("0123"), row("0000")], all_pixels(4), 1) == {1: 1.0}
    assert view_consistency(truth, a, [row("0011"), row("0123")], all_pixels(4), 1) == {1: 0.25}


def test_consistency_of_pixels_with_a_label_in_one_view_alone():
    truth, a = row("1111"), [row("000.")]
    # Three pixels have A = 3; in the other view one of them has no label: 2/3, 2/3, 0; the last has one there: 0.
    found = view_consistency(truth, a, [row(".000")], all_pixels(4), 1)
    assert found == pytest.approx({1: (0 + 2 * (2 / 4) + 0) / 4})
    # Released: the second view's pixel without a label is not asked, the first view's is a segment of its own.
    found = view_consistency(truth, a, [row(".000")], all_pixels(4), 1, released=True)
    assert found == pytest.approx({1: (2 * (2 / 4) + 1 / 3) / 3})
    assert view_consistency(truth, a, [row("....")], all_pixels(4), 1, released=True) == {}


def test_consistency_looks_at_pairs_alone():
    truth = row("11112222")
    pairs = Correspondence(np.array([0, 1, 4]), np.array([7, 6, 0]))
    b = [row("30001122")]
    # Pairs: labels a = 0, 0, 1 and b = 2, 2, 3: consistent.
    assert view_consistency(truth, [row("00001111")], b, pairs, 1) == {1: 1.0, 2: 1.0}
    asked = np.array([False, False, True])
    assert view_consistency(truth, [row("00001111")], b, pairs, 1, asked=asked) == {2: 1.0}
    nothing = Correspondence(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert view_consistency(truth, [row("00001111")], b, nothing, 1) == {}


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_consistency_by_brute_force_and_by_draws(seed, released):
    (_, truth), a = random_hierarchy(seed)
    _, b = random_hierarchy(seed + 50)
    rng = np.random.default_rng(seed)
    pairs = Correspondence(np.sort(rng.permutation(48)[:40]), rng.integers(0, 48, 40))
    asked = rng.uniform(size=40) < 0.8
    expected = {}
    for segment in set(truth[truth > 0].tolist()):
        values = []
        for p in np.flatnonzero(truth.reshape(-1) == segment):
            best = best_covering(truth, a, released)
            if best.iou[p] == 0:
                continue
            first, second = (m[best.which[p]].reshape(-1)[index] for m, index in zip((a, b), pairs, strict=True))
            own = truth.reshape(-1)[pairs.pixels_a] == segment
            usable = own & asked & ((second >= 0) if released else (first >= 0) | (second >= 0))
            ious = []
            for q in np.flatnonzero(usable):
                inside, there = first == first[q], second == second[q]
                labelled = released or (first[q] >= 0 and second[q] >= 0)
                ious.append((inside & there).sum() / (inside | there).sum() if labelled else 0)
            if ious:
                values.append(sum(ious) / len(ious))
        if values:
            expected[segment] = sum(values) / len(values)
    exact = view_consistency(truth, a, b, pairs, 1, released, asked)
    assert exact == pytest.approx(expected)
    drawn = sampled_consistency(truth, a, b, pairs, np.random.default_rng(1), 1500, 1, released, asked)
    assert drawn.keys() == exact.keys()
    assert max(abs(drawn[key] - exact[key]) for key in exact) < 4 * 0.5 / math.sqrt(1500)


# Counting and reports ------------------------------------------------------------------------------------------------


def test_ids_that_are_far_apart_are_sorted_instead():
    ids = np.array([5, 10**12, 5, -1, 7])
    assert compact(ids).tolist() == [1, 3, 1, 0, 2]
    rng = np.random.default_rng(0)
    first, second = rng.permutation(3000), rng.integers(0, 2000, 3000)
    assert shared(compact(first), compact(second)).tolist() == [1] * 3000  # 6 million cells
    assert shared(np.array([0, 0, 1, 0]), np.array([0, 0, 0, 1])).tolist() == [2, 2, 1, 1]


def test_the_report_averages_segments_then_views_then_levels():
    report = HierarchyReport(min_pixels=1)
    assert report.metrics() == dict.fromkeys(("nc", "vc", "tree_agreement", "segmentation_injectivity"))
    # View 1: objects 1 (exact) and 2 (half), parts exact.
    report.add({"objects": row("1122"), "parts": row("1234")}, [row("0012"), row("0123")])
    # View 2: no parts are seen at all.
    report.add({"objects": row("1100"), "parts": row("0000")}, [row("0012")])
    metrics = report.metrics()
    assert metrics["nc_objects"] == pytest.approx(((1 + 0.5) / 2 + 1) / 2) and metrics["nc_parts"] == 1
    assert metrics["nc"] == pytest.approx((0.875 + 1) / 2)
    assert metrics["vc"] is None and "vc_parts" not in metrics
    assert metrics["segmentation_injectivity"] == 1
    report.add_pair({"objects": row("1122")}, [row("0011")], [row("0011")], all_pixels(4))
    assert report.metrics()["vc"] == report.metrics()["vc_objects"] == 1


def test_the_released_data_have_foreground_as_third_level():
    report = HierarchyReport(min_pixels=1)
    report.add({"collections": row("0112"), "objects": row("0123")}, [row("0111"), row("0123")])
    metrics = report.metrics()
    # Background and foreground are exact; collection 1 is 2 of the 3 pixels of a segment.
    assert metrics["nc_foreground"] == 1 and metrics["nc_objects"] == 1
    assert metrics["nc_collections"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["nc"] == pytest.approx((1 + 1 + 5 / 6) / 3)
    assert "tree_agreement_foreground" not in metrics
