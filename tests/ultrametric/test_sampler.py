"""Pixels of a step, and runs of four inside the innermost masks."""

import numpy as np
import pytest

from nerfseg_plugins.segments.hierarchy import MaskHierarchy
from nerfseg_plugins.ultrametric.sampler import sample_pixels, sample_quadruples

HEIGHT, WIDTH = 20, 31


def rectangle(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def quadruples(*masks: np.ndarray, num_pixels: int = 16, seed: int = 0) -> np.ndarray:
    hierarchy = MaskHierarchy.of_masks(np.array(masks).reshape(-1, HEIGHT, WIDTH))
    return sample_quadruples(hierarchy, num_pixels, np.random.default_rng(seed))


def test_pixels_are_drawn_once_each_and_anywhere() -> None:
    rng = np.random.default_rng(0)
    found = sample_pixels((HEIGHT, WIDTH), 400, rng)
    assert found.shape == (400,) and len(set(found)) == 400 and found.min() >= 0 and found.max() < HEIGHT * WIDTH
    counts = np.bincount(np.concatenate([sample_pixels((3, 4), 5, rng) for _ in range(6000)]), minlength=12)
    assert np.abs(counts - 2500).max() < 6 * np.sqrt(2500)


def test_a_small_image_gives_all_its_pixels() -> None:
    assert sorted(sample_pixels((4, 5), 4096, np.random.default_rng(0))) == list(range(20))


def test_one_seed_one_sample() -> None:
    first, again, other = (sample_pixels((99, 99), 50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
    part = rectangle(2, 2, 9, 9)
    assert (quadruples(part, seed=1) == quadruples(part, seed=1)).all()


def test_runs_are_straight_and_wholly_inside_one_innermost_mask() -> None:
    table, cup, plate = rectangle(0, 0, 20, 31), rectangle(3, 3, 7, 9), rectangle(8, 20, 10, 11)
    runs = quadruples(table, cup, plate, num_pixels=40)
    steps = np.diff(runs, axis=1)
    across, down = (steps == 1).all(axis=1), (steps == WIDTH).all(axis=1)
    assert (across | down).all() and across.sum() > 20 and down.sum() > 20
    in_cup, in_plate = cup.reshape(-1)[runs], plate.reshape(-1)[runs]
    assert (in_cup.all(axis=1) | in_plate.all(axis=1)).all()  # and so none on the table beside them
    assert in_cup.all(axis=1).any() and in_plate.all(axis=1).any()


def test_a_mask_around_a_hole_has_no_runs_across_it() -> None:
    ring = rectangle(0, 0, 20, 31) & ~rectangle(4, 4, 12, 23)
    runs = quadruples(ring, num_pixels=500)
    assert ring.reshape(-1)[runs].all() and len(runs) > 100


def test_runs_do_not_leave_the_image() -> None:
    runs = quadruples(rectangle(0, 0, HEIGHT, WIDTH), num_pixels=HEIGHT * WIDTH)
    assert len(runs) == HEIGHT * (WIDTH - 3) + (HEIGHT - 3) * WIDTH  # every one that there is
    rows, columns = np.divmod(runs, WIDTH)
    assert ((np.ptp(rows, axis=1) == 0) | (np.ptp(columns, axis=1) == 0)).all() and rows.max() < HEIGHT


@pytest.mark.parametrize("mask", [rectangle(5, 5, 1, 1), rectangle(5, 5, 3, 3), rectangle(19, 30, 1, 1)])
def test_masks_that_are_too_small_for_a_run(mask: np.ndarray) -> None:
    assert quadruples(mask).shape == (0, 4)


def test_no_masks_no_runs() -> None:
    found = quadruples()
    assert found.shape == (0, 4) and found.dtype == np.int64


def test_of_duplicates_one_has_runs() -> None:
    part = rectangle(2, 2, 9, 9)
    assert (quadruples(part, part.copy(), num_pixels=8) == quadruples(part, num_pixels=8)).all()
