"""Panoptic quality and IoU: cases counted by hand, a brute-force reference, and torchmetrics."""

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom
from sklearn.metrics import jaccard_score
from torchmetrics.detection import PanopticQuality as TorchPanopticQuality

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation import panoptic as p


def table(truth: list[int], pred: list[int]) -> p.ContingencyTable:
    return p.ContingencyTable.of(np.array(truth), np.array(pred))


def random_views(seed: int, views: int = 4, ids: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Blobs (V, 48, 64) and a prediction that disagrees in places; no negative ids."""
    rng = np.random.default_rng(seed)
    truth = np.stack([zoom(rng.integers(0, ids + 1, (6, 8)), 8, order=0) for _ in range(views)])
    renamed = rng.permutation(ids) + 11
    pred = np.where(truth > 0, renamed[truth - 1], 0)
    wrong = np.stack([zoom(rng.random((12, 16)) < 0.25, 4, order=0) for _ in range(views)])
    return truth, np.where(wrong, rng.integers(0, 3, truth.shape) * 12, pred)


def test_counts_pixels_and_sorts_them():
    counted = table([0, 0, 1, 1, -1, 1], [0, 5, 5, 5, 5, -1])
    assert counted.items() == [((-1, 5), 1), ((0, 0), 1), ((0, 5), 1), ((1, -1), 1), ((1, 5), 2)]


def test_large_ids_count_like_small_ones():
    truth, pred = random_views(0)
    large = p.ContingencyTable.of(truth * 10_000, pred * 3000)
    small = p.ContingencyTable.of(truth, pred)
    assert large.items() == [((t * 10_000, q * 3000), n) for (t, q), n in small.items()]


def test_tables_add_like_pictures():
    truth, pred = random_views(1)
    pooled = p.ContingencyTable()
    for t, q in zip(truth, pred, strict=True):
        pooled.add_table(p.ContingencyTable.of(t, q))
    assert pooled.items() == p.ContingencyTable.of(truth, pred).items()


def test_unsigned_ids_and_empty_pictures():
    counted = p.ContingencyTable.of(np.array([0, 1], np.uint16), np.array([1, 1], np.uint8))
    counted.add(np.zeros((0, 3), int), np.zeros((0, 3), int))
    assert counted.items() == [((0, 1), 1), ((1, 1), 1)]


@pytest.mark.parametrize(
    ("truth", "pred", "match"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "must be alike"),
        (np.zeros(2), np.zeros(2, int), "true ids must be integers"),
        (np.zeros(2, int), np.array([0, -2]), "predicted ids must be integers"),
    ],
)
def test_what_is_not_ids_is_refused(truth: np.ndarray, pred: np.ndarray, match: str):
    with pytest.raises(InputError, match=match):
        p.ContingencyTable.of(truth, pred)


def test_overlap_by_hand():
    # true 1: 4 pixels, 3 of them predicted 7, 1 unanswered; prediction 7 has one more on background and one ignored.
    truth_ids, pred_ids, iou = table([1, 1, 1, 1, 0, -1, 2], [7, 7, 7, -1, 7, 7, 0]).overlap()
    assert truth_ids.tolist() == [1, 2] and pred_ids.tolist() == [7]
    np.testing.assert_allclose(iou, [[3 / 5], [0]])


def test_quality_by_hand():
    # true 1 (6 px) and prediction 4 (5 px, all in it): IoU 5/6. true 2 (4 px) and prediction 5 share 2 of 6: no match.
    # prediction 6 lies on background: false positive.
    truth = [1] * 6 + [2] * 4 + [0] * 4
    pred = [4] * 5 + [0] + [5] * 2 + [0] * 2 + [5] * 2 + [6] * 2
    quality = p.panoptic_quality(table(truth, pred))
    assert (quality.tp, quality.fp, quality.fn) == (1, 2, 1)
    assert quality.pq == pytest.approx(5 / 6 / (1 + 1 + 0.5))
    assert quality.sq == pytest.approx(5 / 6)
    assert quality.rq == pytest.approx(1 / 2.5)
    assert quality.pq == pytest.approx(quality.sq * quality.rq)


def test_half_an_overlap_is_no_match():
    quality = p.panoptic_quality(table([1, 1, 0], [3, 0, 0]))
    assert (quality.tp, quality.fp, quality.fn) == (0, 1, 1)
    assert (quality.pq, quality.sq, quality.rq) == (0, 0, 0)


def test_ignored_pixels_cost_nothing():
    # Prediction 4 covers true 1 and two ignored pixels: IoU 1. Prediction 5: two of three pixels ignored, no false
    # positive. Prediction 6: one of two ignored, exactly half: a false positive. Prediction 7 is ignored altogether.
    truth = [1, 1, -1, -1, -1, -1, 0, -1, 0, -1]
    pred = [4, 4, 4, 4, 5, 5, 5, 6, 6, 7]
    quality = p.panoptic_quality(table(truth, pred))
    assert (quality.iou_sum, quality.tp, quality.fp, quality.fn) == (1, 1, 1, 0)


def test_nothing_to_find_and_nothing_found_is_no_figure():
    quality = p.panoptic_quality(table([0, 0, -1], [0, -1, 0]))
    assert (quality.pq, quality.sq, quality.rq) == (None, None, None)
    assert p.instance_miou(table([0], [3])) is None
    assert p.panoptic_quality(table([0], [3])).pq == 0


def test_low_thresholds_are_refused():
    with pytest.raises(InputError, match=r"at least 0\.5"):
        p.panoptic_quality(table([1], [1]), threshold=0.3)


def test_ids_that_change_between_views_hurt_the_scene_not_the_view():
    views = [table([1, 1, 2, 2], [1, 1, 2, 2]), table([1, 1, 2, 2], [2, 2, 1, 1])]
    scene = p.ContingencyTable()
    for view in views:
        scene.add_table(view)
    assert p.view_panoptic_quality(views).pq == 1
    assert p.panoptic_quality(scene).pq == 0  # every IoU is 2 of 6


@pytest.mark.parametrize("seed", range(5))
def test_scene_and_view_quality_equal_torchmetrics(seed: int):
    truth, pred = random_views(seed)

    def reference(pictures: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        metric = TorchPanopticQuality(things={1}, stuffs={0}, return_per_class=True, return_sq_and_rq=True)
        for t, q in pictures:
            # Channels are (category, instance); the background is the one stuff category.
            both = [torch.from_numpy(np.stack([a.ravel() > 0, a.ravel()], -1).astype(np.int64)[None]) for a in (q, t)]
            metric.update(*both)
        return dict(zip(("pq", "sq", "rq"), metric.compute()[0].tolist(), strict=True))

    for ours, theirs in (
        (p.panoptic_quality(p.ContingencyTable.of(truth, pred)), reference([(truth, pred)])),
        (
            p.view_panoptic_quality(p.ContingencyTable.of(t, q) for t, q in zip(truth, pred, strict=True)),
            reference(list(zip(truth, pred, strict=True))),
        ),
    ):
        assert ours.tp > 0
        for name, value in theirs.items():
            assert getattr(ours, name) == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("seed", range(5))
def test_overlap_equals_brute_force(seed: int):
    truth, pred = random_views(seed)
    rng = np.random.default_rng(seed)
    truth, pred = np.where(rng.random(truth.shape) < 0.1, -1, truth), np.where(rng.random(pred.shape) < 0.1, -1, pred)
    kept = truth >= 0
    truth_ids, pred_ids, iou = p.ContingencyTable.of(truth, pred).overlap()
    assert truth_ids.tolist() == sorted(set(truth[truth > 0]))
    assert pred_ids.tolist() == sorted(set(pred[kept & (pred > 0)]))
    for i, t in enumerate(truth_ids):
        for j, q in enumerate(pred_ids):
            expected = (kept & (truth == t) & (pred == q)).sum() / (kept & ((truth == t) | (pred == q))).sum()
            assert iou[i, j] == pytest.approx(expected)


def test_miou_takes_the_best_one_to_one_match():
    # Prediction 9 covers both true instances: with 1 it has IoU 4/6, with 2 it has 2/6.
    counted = table([1, 1, 1, 1, 2, 2, 3], [9, 9, 9, 9, 9, 9, 0])
    assert p.best_assignment(counted) == {9: (1, pytest.approx(4 / 6))}
    assert p.instance_miou(counted) == pytest.approx((4 / 6 + 0 + 0) / 3)


def test_miou_is_not_greedy():
    # True 1 has 6 px, 4 predicted 8 and 2 predicted 9; true 2 has 3 px, all predicted 8.
    # IoU (1, 8) = 4/9, (2, 8) = 3/7, (1, 9) = 2/6. Greedy takes (1, 8), and 2 gets nothing.
    counted = table([1] * 6 + [2] * 3, [8] * 4 + [9] * 2 + [8] * 3)
    assert {q: t for q, (t, _) in p.best_assignment(counted).items()} == {9: 1, 8: 2}
    assert p.instance_miou(counted) == pytest.approx((2 / 6 + 3 / 7) / 2)


def test_class_miou_by_hand():
    # Classes: 0 has 1 of 2 px right (the other is predicted class 5): 1/2. Class 5: 2 shared of 4. Class 6: 0 of 1.
    truth = [0, 0, 1, 1, 2, 3, -1]
    pred = [0, 7, 7, 7, 7, 0, 7]
    assert p.class_miou(table(truth, pred), {7: 5}, {1: 5, 2: 6}) == pytest.approx((1 / 2 + 2 / 4 + 0) / 3)
    assert p.class_miou(table([-1, 3], [0, 0]), {}, {}) is None


def test_class_miou_equals_sklearn():
    truth, pred = random_views(2)
    truth_classes, pred_classes = {i: i % 3 + 1 for i in range(1, 7)}, {i: i % 3 + 1 for i in range(1, 30)}
    expected = jaccard_score(
        np.vectorize(lambda i: truth_classes.get(i, 0))(truth).ravel(),
        np.vectorize(lambda i: pred_classes.get(i, 0))(pred).ravel(),
        average="macro",
    )
    counted = p.ContingencyTable.of(truth, pred)
    assert p.class_miou(counted, pred_classes, truth_classes) == pytest.approx(expected)


def test_predictions_without_a_class_are_wrong():
    assert p.class_miou(table([1, 1], [3, -1]), {}, {1: 5}) == 0


def test_majority_classes():
    counted = table([1, 1, 2, 0, -1, -1, 3, 3], [7, 7, 7, 8, 8, 8, 8, 8])
    # 8: one background pixel; the two of instance 3, which has no class, and the ignored ones have no say.
    assert p.majority_classes(counted, {1: 5, 2: 6}) == {7: 5, 8: 0}
    assert p.majority_classes(table([1, 2], [7, 7]), {1: 9, 2: 4}) == {7: 4}


def test_legacy_quality_keeps_the_deviations():
    truth_classes, pred_classes = {1: 5, 2: 5, 3: 6}, {1: 5, 2: 6, 9: 5}
    # 1 is found; 2 is found with the wrong class (FP, no FN); 3 is not in view (FN); 9 is invented (no FP).
    view = table([1, 1, 2, 2, 0], [1, 1, 2, 2, 9])
    quality = p.legacy_quality([view, view], pred_classes, truth_classes)
    assert (quality.iou_sum, quality.tp, quality.fp, quality.fn) == (2, 2, 2, 2)
    assert quality.pq == pytest.approx(0.5)
    standard = p.panoptic_quality(view)
    assert (standard.tp, standard.fp, standard.fn) == (2, 1, 0)


def test_legacy_quality_at_one_half_and_unlabelled():
    # IoU exactly 1/2: neither found nor missed. An ignored pixel under a prediction counts against it: 2/4.
    quality = p.legacy_quality([table([1, 1, -1, -1], [4, 4, 4, 4])], {4: 1}, {1: 1})
    assert (quality.tp, quality.fp, quality.fn) == (0, 0, 0)
    assert quality.pq is None


def test_legacy_quality_without_predictions_or_truth():
    assert p.legacy_quality([table([1], [0])], {}, {1: 5, 2: 5}) == p.PanopticQuality(fn=2)
    assert p.legacy_quality([table([0], [1])], {1: 5}, {}) == p.PanopticQuality()
