"""Whether the segments that explain a true segment in one view are the same places in another view.

Pixel p of a true segment g names the granularity k at which its segment covers g best. A pixel q of g that both views
see then has a segment in either: A, the pixels of the first view with q's label there, and B, those whose counterparts
in the second view have q's label there. VC(g) is the mean of IoU(A, B) over all p and q; the released evaluator of
Ultrametric Feature Fields draws 100 of them (`hierarchy_sampled`). Labels need not mean the same in both views.
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from nerfseg_plugins.evaluation.correspondence import Correspondence
from nerfseg_plugins.evaluation.hierarchy import MIN_PIXELS, Scores, best_covering, compact, shared


def view_consistency(
    truth: np.ndarray,
    labels_a: Sequence[np.ndarray],
    labels_b: Sequence[np.ndarray],
    pairs: Correspondence,
    min_pixels: int = MIN_PIXELS,
    released: bool = False,
    asked: Optional[np.ndarray] = None,
) -> Scores:
    """VC of each true segment of view a.

    Args:
        truth: (H, W) true ids of view a; 0 background, -1 ignored.
        labels_a: (H, W) labels of view a at each granularity, -1 none.
        labels_b: labels of view b at the same granularities.
        pairs: which pixels show the same; A and B consist of these.
        min_pixels: true segments below are left out.
        released: whether pixels of view a without a label are one segment and those of view b without one are not
            asked; else a pixel with a label in one view alone is inconsistent, and one without any is not asked.
        asked: (P,) bool pairs that may be q, all when None.

    Returns:
        Scores of the segments that have a pixel to ask.
    """
    ids = truth.reshape(-1)
    best = best_covering(truth, labels_a, released)
    found, count = np.unique(ids, return_counts=True)
    found = found[(found > 0) & (count >= min_pixels)]
    total, weight = np.zeros(len(found)), np.zeros(len(found))
    known = np.isin(ids, found) & (best.iou > 0)
    row = np.searchsorted(found, ids)
    true = ids[pairs.pixels_a]
    counted = np.isin(true, found) & (True if asked is None else asked)
    for index in np.unique(best.which[known]).tolist():
        choosing = np.bincount(row[known & (best.which == index)], minlength=len(found))
        first = labels_a[index].reshape(-1)[pairs.pixels_a]
        second = labels_b[index].reshape(-1)[pairs.pixels_b]
        iou, usable = pair_iou(first, second, released)
        usable &= counted
        place = row[pairs.pixels_a[usable]]
        number = np.bincount(place, minlength=len(found))
        average = np.bincount(place, iou[usable], minlength=len(found)) / np.maximum(number, 1)
        choosing = np.where(number > 0, choosing, 0)
        total += choosing * average
        weight += choosing
    return {int(i): float(total[j] / weight[j]) for j, i in enumerate(found.tolist()) if weight[j] > 0}


def pair_iou(first: np.ndarray, second: np.ndarray, released: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """IoU(A, B) of each pair (P,) with labels `first` and `second`, and whether it may be asked (P,) bool."""
    if not len(first):
        return np.zeros(0), np.zeros(0, bool)
    one, two = compact(first), compact(second)
    both = shared(one, two)
    iou = both / (np.bincount(one)[one] + np.bincount(two)[two] - both)
    if released:
        return iou, second >= 0
    iou[(first < 0) | (second < 0)] = 0
    return iou, (first >= 0) | (second >= 0)
