"""Groups of pixels from nested masks, on a line of pixels where every set is known by hand."""

import numpy as np
import pytest

from nerfseg_plugins.ultrametric.groups import GroupConfig, Groups, build_groups

PIXELS = 200


def spans(*limits: tuple[int, int]) -> np.ndarray:
    """(M, 200) masks that hold the pixels from one number to another."""
    return np.array([[start <= pixel < stop for pixel in range(PIXELS)] for start, stop in limits], bool)


def built(inside: np.ndarray, parent: list[int], dup_of: list[int] | None = None, seed: int = 0, **config) -> Groups:
    repeated = np.full(len(parent), -1) if dup_of is None else np.array(dup_of)
    rng = np.random.default_rng(seed)
    return build_groups(inside, np.array(parent, np.int32), repeated, GroupConfig(**config), rng)


def within(pixels: np.ndarray, start: int, stop: int) -> bool:
    return bool(((pixels >= start) & (pixels < stop)).all())


def blocks(groups: Groups, size: int) -> list[Groups]:
    """The groups, so many at a time."""
    assert len(groups) % size == 0
    rows = np.arange(len(groups)).reshape(-1, size)
    return [Groups(groups.anchors[row], groups.positives[row], groups.negatives[row]) for row in rows]


def test_a_mask_without_relatives_knows_in_and_out() -> None:
    groups = built(spans((20, 60)), [-1], num_samples=64, num_negatives=3)
    assert groups.anchors.shape == groups.positives.shape == (64,) and groups.negatives.shape == (64, 3)
    assert groups.anchors.dtype == groups.positives.dtype == groups.negatives.dtype == np.int64
    assert within(groups.anchors, 20, 60) and within(groups.positives, 20, 60)
    assert not ((groups.negatives >= 20) & (groups.negatives < 60)).any()
    assert (groups.anchors != groups.positives).all()


def test_every_pixel_is_drawn_and_equally_often() -> None:
    groups = built(spans((20, 60)), [-1], num_samples=40_000, max_groups=40_000)
    for drawn, inside in ((groups.anchors, True), (groups.positives, True), (groups.negatives[:, 0], False)):
        counts = np.bincount(drawn, minlength=PIXELS)
        where = (np.arange(PIXELS) >= 20) & (np.arange(PIXELS) < 60)
        expected = 40_000 / (where == inside).sum()
        assert (counts[where != inside] == 0).all()
        assert np.abs(counts[where == inside] - expected).max() < 6 * np.sqrt(expected)


def test_three_levels_climb_from_the_innermost_mask_outwards() -> None:
    groups = built(spans((0, 120), (0, 60), (0, 20)), [-1, 0, 1], num_samples=32, num_negatives=2)
    flat, between, climb = blocks(groups, 32)[:3], blocks(groups, 32)[3:5], blocks(groups, 32)[5:]
    for block, stop in zip(flat, (120, 60, 20), strict=True):
        assert (
            within(block.anchors, 0, stop) and within(block.positives, 0, stop) and within(block.negatives, stop, 200)
        )
    for block, (start, stop) in zip(between, ((60, 120), (20, 60)), strict=True):
        assert within(block.anchors, start, stop) and within(block.positives, start, stop)
        assert within(block.negatives, stop, 200)
    inner, middle, outer = climb
    assert within(inner.anchors, 0, 20) and within(inner.positives, 0, 20) and within(inner.negatives, 20, 60)
    # What was a negative pair is the next mask's positive pair, with ends changed.
    assert (middle.anchors == inner.negatives[:, 0]).all() and (middle.positives == inner.anchors).all()
    assert within(middle.negatives, 60, 120)
    assert (outer.anchors == middle.negatives[:, 0]).all() and (outer.positives == middle.anchors).all()
    assert within(outer.negatives, 120, 200)


def test_siblings_climb_through_the_same_parent() -> None:
    groups = built(spans((0, 100), (0, 30), (50, 90)), [-1, 0, 0], num_samples=16)
    flat, between, climb = blocks(groups, 16)[:3], blocks(groups, 16)[3:4], blocks(groups, 16)[4:]
    assert len(flat) == 3 and len(climb) == 4
    rest = set(range(30, 50)) | set(range(90, 100))
    assert set(between[0].anchors) <= rest and set(between[0].positives) <= rest
    assert set(climb[0].negatives[:, 0]) <= set(range(30, 100))
    assert set(climb[1].negatives[:, 0]) <= set(range(50)) | set(range(90, 100))
    assert all(within(block.negatives, 100, 200) for block in climb[2:])


def test_flat_groups_ignore_parents() -> None:
    inside, parent = spans((0, 120), (0, 60)), [-1, 0]
    flat = built(inside, parent, num_samples=8, hierarchical=False)
    alone = built(inside, [-1, -1], num_samples=8, hierarchical=False)
    assert len(flat) == 16 and (flat.pairs() == alone.pairs()).all()


def test_little_own_area_gives_no_groups_of_its_own() -> None:
    few = built(spans((0, 60), (0, 51)), [-1, 0], num_samples=4)
    enough = built(spans((0, 60), (0, 50)), [-1, 0], num_samples=4)
    assert len(few) == 4 * (2 + 0 + 2) and len(enough) == 4 * (2 + 1 + 2)


@pytest.mark.parametrize("stop", [0, 1, 5, 195, 199, 200])
def test_empty_single_pixel_and_full_masks_are_dropped(stop: int) -> None:
    groups = built(spans((0, stop)), [-1])
    assert len(groups) == 0 and groups.negatives.shape == (0, 1) and groups.pairs().shape == (0, 2)


@pytest.mark.parametrize("stop", [6, 194])
def test_six_pixels_in_and_out_are_enough(stop: int) -> None:
    assert len(built(spans((0, stop)), [-1])) == 64


def test_no_masks_no_groups() -> None:
    groups = built(np.zeros((0, PIXELS), bool), [])
    assert len(groups) == 0 and groups.negatives.shape == (0, 1)


def test_the_parent_of_a_mask_whose_parent_is_dropped_is_the_next() -> None:
    # The middle mask fills all but the last pixels of what was sampled; the outermost, too.
    groups = built(spans((0, 150), (40, 44), (40, 52)), [-1, 0, 1], num_samples=8)
    # Kept are the first and the last; flat 2, between 1, climbing 2.
    assert len(groups) == 8 * 5
    assert set(blocks(groups, 8)[3].negatives[:, 0]) <= set(range(150)) - set(range(40, 52))


def test_duplicates_are_no_siblings() -> None:
    groups = built(spans((0, 100), (0, 50), (0, 49)), [-1, 0, 0], [-1, -1, 1], num_samples=8)
    alone = built(spans((0, 100), (0, 50)), [-1, 0], num_samples=8)
    assert (groups.pairs() == alone.pairs()).all()


def test_a_parent_that_adds_no_sampled_pixel_is_passed_over() -> None:
    groups = built(spans((0, 100), (0, 50), (0, 50)), [-1, 0, 1], num_samples=8)
    climb = blocks(groups, 8)[-2:]
    # The innermost and its parent hold the same pixels here: against the outermost's rest, then against the outside.
    assert within(climb[0].anchors, 0, 50) and within(climb[0].negatives, 50, 100)
    assert (climb[1].positives == climb[0].anchors).all() and within(climb[1].negatives, 100, 200)
    assert len(groups) == 8 * (3 + 1 + 2)  # only the outermost has pixels that are no child's


def test_cycles_are_refused() -> None:
    with pytest.raises(ValueError, match="earlier row"):
        built(spans((0, 50), (0, 40)), [1, 0])


def test_more_groups_than_are_allowed_are_drawn_from() -> None:
    inside = spans(*((start, start + 20) for start in range(0, 180, 20)))
    everything = built(inside, [-1] * 9, num_samples=50)
    some = built(inside, [-1] * 9, num_samples=50, max_groups=100)
    assert len(everything) == 450 and len(some) == 100
    assert {*map(tuple, some.pairs())} <= {*map(tuple, everything.pairs())}
    assert len(set(some.anchors // 20)) == 9


def test_one_seed_one_set_of_groups() -> None:
    inside, parent = spans((0, 120), (0, 60), (0, 20)), [-1, 0, 1]
    first, again, other = (built(inside, parent, seed=seed).pairs() for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_pairs_and_values_go_together() -> None:
    groups = Groups(np.array([1, 2]), np.array([3, 4]), np.array([[5, 6, 7], [8, 9, 0]]))
    pairs = groups.pairs()
    assert pairs.tolist() == [[1, 3], [2, 4], [1, 5], [1, 6], [1, 7], [2, 8], [2, 9], [2, 0]]
    positive, negatives = groups.split(pairs[:, 1])
    assert positive.tolist() == [3, 4] and negatives.tolist() == [[5, 6, 7], [8, 9, 0]]
