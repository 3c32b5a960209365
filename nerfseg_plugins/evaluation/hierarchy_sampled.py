"""Covering and view consistency as the released evaluator of Ultrametric Feature Fields estimates them.

For comparison with its figures alone: they converge to `hierarchy.normalized_covering` and `view_consistency`.
"""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from nerfseg_plugins.evaluation.correspondence import Correspondence
from nerfseg_plugins.evaluation.hierarchy import MIN_PIXELS, Scores, best_covering

DRAWS = 100


def sampled_covering(
    truth: np.ndarray,
    label_maps: Sequence[np.ndarray],
    rng: np.random.Generator,
    draws: int = DRAWS,
    min_pixels: int = MIN_PIXELS,
    released: bool = True,
) -> Scores:
    """NC(g) from pixels that are drawn with replacement; arguments as of `normalized_covering`."""
    best = best_covering(truth, label_maps, released)
    return {
        segment: float(best.iou[rng.choice(members, draws)].mean()) for segment, members in _segments(truth, min_pixels)
    }


def sampled_consistency(
    truth: np.ndarray,
    labels_a: Sequence[np.ndarray],
    labels_b: Sequence[np.ndarray],
    pairs: Correspondence,
    rng: np.random.Generator,
    draws: int = DRAWS,
    min_pixels: int = MIN_PIXELS,
    released: bool = True,
    asked: Optional[np.ndarray] = None,
) -> Scores:
    """VC(g) from drawn pixels; arguments as of `view_consistency`."""
    scores = {}
    best = best_covering(truth, labels_a, released)
    true = truth.reshape(-1)[pairs.pixels_a]
    for segment, members in _segments(truth, min_pixels):
        values = []
        for p in rng.choice(members, draws):
            index = int(best.which[p])
            first = labels_a[index].reshape(-1)[pairs.pixels_a]
            second = labels_b[index].reshape(-1)[pairs.pixels_b]
            may = (true == segment) & ((second >= 0) if released else (first >= 0) | (second >= 0))
            may &= True if asked is None else asked
            if best.iou[p] == 0 or not may.any():
                continue
            q = rng.choice(np.flatnonzero(may))
            a, b = first == first[q], second == second[q]
            labelled = released or min(first[q], second[q]) >= 0
            values.append((a & b).sum() / (a | b).sum() if labelled else 0.0)
        if values:
            scores[segment] = float(np.mean(values))
    return scores


def _segments(truth: np.ndarray, min_pixels: int) -> list[tuple[int, np.ndarray]]:
    """True ids >= 1 with enough pixels, and their flat pixels."""
    flat = truth.reshape(-1)
    found = [(int(segment), np.flatnonzero(flat == segment)) for segment in np.unique(flat) if segment > 0]
    return [(segment, members) for segment, members in found if len(members) >= min_pixels]
