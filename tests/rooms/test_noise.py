"""The imperfect 2D network."""

import numpy as np
import pytest

from nerfseg_plugins.rooms.noise import NoiseLevel, jitter_labels, noisy_ids

QUIET = NoiseLevel(drop=0.0, merge=0.0, wrong_class=0.0, jitter=0.0, specks=0)


@pytest.fixture
def mosaic():
    """5 x 4 squares of 12 pixels with gaps of 4 (background), ids 1..20, and their classes."""
    ids = np.zeros((80, 64), dtype=np.int32)
    for number in range(20):
        row, column = 16 * (number // 4) + 2, 16 * (number % 4) + 2
        ids[row : row + 12, column : column + 12] = number + 1
    return ids, np.array([0, *([4, 5, 6, 7] * 5)])


def test_without_noise_ids_are_only_renamed(mosaic):
    ids, classes = mosaic
    noisy, segments = noisy_ids(ids, classes, QUIET, np.random.default_rng(0))
    pairs = {(int(a), int(b)) for a, b in zip(ids.ravel(), noisy.ravel(), strict=True)}
    assert len(pairs) == 21 and (0, 0) in pairs and sorted(b for _, b in pairs) == list(range(21))
    assert dict(pairs) != {item: item for item in range(21)}
    back = {b: a for a, b in pairs}
    assert [item["id"] for item in segments] == list(range(1, 21))
    for item in segments:
        assert item["class_id"] == classes[back[item["id"]]] and item["area"] == 144
        assert 0.3 <= item["score"] <= 0.99


def test_names_differ_from_view_to_view(mosaic):
    ids, classes = mosaic
    one, two = (noisy_ids(ids, classes, QUIET, np.random.default_rng(seed))[0] for seed in (1, 2))
    assert not np.array_equal(one, two)
    assert np.array_equal(one, noisy_ids(ids, classes, QUIET, np.random.default_rng(1))[0])


def test_rates_of_drops_and_wrong_classes(mosaic):
    ids, classes = mosaic
    level = NoiseLevel(drop=0.15, merge=0.0, wrong_class=0.1, jitter=0.0, specks=0)
    dropped = wrong = kept = 0
    for seed in range(150):
        noisy, segments = noisy_ids(ids, classes, level, np.random.default_rng(seed))
        dropped += len(np.unique(ids[noisy == -1]))
        kept += len(segments)
        for item in segments:
            truth = np.unique(ids[noisy == item["id"]])
            wrong += item["class_id"] != classes[truth[0]]
    # 3000 draws: four standard deviations are 2.6 % and 2.4 %.
    assert dropped / 3000 == pytest.approx(0.15, abs=0.027)
    assert wrong / kept == pytest.approx(0.10, abs=0.025)
    assert dropped + kept == 3000


def test_rate_of_merges():
    # Vertical bars that touch: each has a neighbour to merge with.
    ids = np.repeat(np.arange(1, 21), 4)[None].repeat(8, 0).astype(np.int32)
    level = NoiseLevel(drop=0.0, merge=0.05, wrong_class=0.0, jitter=0.0, specks=0)
    left = [len(noisy_ids(ids, np.full(21, 5), level, np.random.default_rng(seed))[1]) for seed in range(150)]
    assert 1 - np.mean(left) / 20 == pytest.approx(0.05, abs=0.017)


def test_boundaries_move_by_the_reach_and_no_more(mosaic):
    ids, _ = mosaic
    moved = jitter_labels(ids, 3.0, np.random.default_rng(0))
    assert set(np.unique(moved)) <= set(np.unique(ids))
    changed = moved != ids
    assert changed.any()
    for row, column in np.argwhere(changed):
        window = ids[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
        assert moved[row, column] in window


def test_specks_change_little(mosaic):
    ids, classes = mosaic
    level = NoiseLevel(drop=0.0, merge=0.0, wrong_class=0.0, jitter=0.0, specks=6)
    rng = np.random.default_rng(4)
    quiet = noisy_ids(ids, classes, QUIET, np.random.default_rng(4))[0]
    noisy = noisy_ids(ids, classes, level, rng)[0]
    assert 0 < (quiet != noisy).sum() < 60


def test_an_empty_view_has_no_segments():
    ids, segments = noisy_ids(np.zeros((8, 8), dtype=np.int32), np.array([0]), QUIET, np.random.default_rng(0))
    assert segments == [] and not ids.any()


def test_level_follows_the_image_width():
    assert NoiseLevel.for_width(320).jitter == 3.0 and NoiseLevel.for_width(160).jitter == 1.5
    assert NoiseLevel.for_width(40).jitter == 1.0 and NoiseLevel.for_width(1280).jitter == 3.0
