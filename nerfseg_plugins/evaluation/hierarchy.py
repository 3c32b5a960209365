"""How well a hierarchy of segments holds the true segments of a view: covering, injectivity, agreement of the trees.

A prediction is a stack of label maps, one per granularity, fine to coarse; S_k(p) is the segment of pixel p in map k.
All figures are exact expectations over pixels: what the released evaluator of Ultrametric Feature Fields (He et al.
2024, arXiv 2405.19678) estimates by drawing 100 pixels (`hierarchy_sampled`) follows here from how many pixels have
true id g and label s, in one pass over the pixels of each map. No array is larger than a map.

True ids: 0 is background, 1 and above are segments, -1 is ignored. Labels: -1 is none, which is no segment and covers
nothing (the released evaluator takes all such pixels for one segment; `released=True` does so too).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Optional

import numpy as np

from nerfseg_plugins.errors import InputError

MIN_PIXELS = 20
"""Smaller true segments are left out, as in the released evaluator."""
_TABLE = 1 << 22
"""Cells of a dense table; beyond, pairs of ids are sorted instead."""

Scores = dict[int, float]
"""True id -> score in [0, 1], of the segments with enough pixels."""


class Best(NamedTuple):
    """Which map covers the true segment of each pixel best with the segment that the pixel is in."""

    iou: np.ndarray
    """(N,) max_k IoU(g(p), S_k(p)); 0 where p has no segment or no true id."""
    which: np.ndarray
    """(N,) int32 the first such k."""


def normalized_covering(
    truth: np.ndarray,
    label_maps: Iterable[np.ndarray],
    min_pixels: int = MIN_PIXELS,
    released: bool = False,
    best: Optional["Best"] = None,
) -> Scores:
    """NC(g) = mean over p in g of max_k IoU(g, S_k(p)).

    Args:
        truth: (H, W) true ids.
        label_maps: (H, W) labels at each granularity.
        min_pixels: true segments below are left out.
        released: whether pixels without a label are one segment.
        best: of these maps, where it is known already.

    Raises:
        InputError: a map is of another size.
    """
    ids, _ = _flat(truth, ())
    best = best or best_covering(truth, label_maps, released)
    return mean_by_id(ids, best.iou, _large(ids, min_pixels))


def best_covering(truth: np.ndarray, label_maps: Iterable[np.ndarray], released: bool = False) -> Best:
    """See `Best`; arguments and errors as of `normalized_covering`.

    Ignored pixels count for no segment, neither true nor predicted.
    """
    ids, maps = _flat(truth, label_maps)
    known = np.flatnonzero(ids >= 0)
    true = compact(ids[known])
    true_area = np.bincount(true)[true]
    iou, which = np.zeros(len(known), np.float64), np.zeros(len(known), np.int32)
    for index, labels in enumerate(maps):
        labels = labels[known]
        both = shared(true, compact(labels))
        found = both / (true_area + _area(labels) - both)
        if not released:
            found[labels < 0] = 0
        better = found > iou
        iou[better], which[better] = found[better], index
    best = Best(np.zeros(len(ids)), np.zeros(len(ids), np.int32))
    best.iou[known], best.which[known] = iou, which
    return best


def segmentation_injectivity(
    truth: np.ndarray,
    label_maps: Iterable[np.ndarray],
    min_pixels: int = MIN_PIXELS,
    best: Optional["Best"] = None,
) -> Optional[float]:
    """Whether different true segments of a level are found as different segments.

    Each true segment takes the predicted one of all granularities that covers it best; the score is how many different
    ones are taken, per true segment: 1 when the map is injective, 1 / n when one segment serves for all n. The paper
    names this metric without a formula that could be checked and the released code lacks it; this definition is ours.

    Returns:
        The score, or None where no true segment is large enough. A true segment that nothing covers takes none.
    """
    ids, maps = _flat(truth, label_maps)
    wanted = _large(ids, min_pixels)
    wanted = wanted[wanted > 0]
    if not len(wanted):
        return None
    best = best or best_covering(truth, maps)
    taken = set()
    for segment in wanted.tolist():
        members = np.flatnonzero(ids == segment)
        pixel = members[np.argmax(best.iou[members])]
        if best.iou[pixel] > 0:
            # Maps that hold the same segment give the same IoU, and the first of them is taken every time.
            which = int(best.which[pixel])
            taken.add((which, int(maps[which][pixel])))
    return len(taken) / len(wanted)


def tree_agreement(
    levels: Sequence[np.ndarray], label_maps: Iterable[np.ndarray], min_pixels: int = MIN_PIXELS
) -> list[Scores]:
    """Whether the predicted hierarchy joins a pixel with its own true segment before it joins it with the siblings.

    At each level of the true tree, pixel x has its segment g (the pixels y) and the other children of g's parent (the
    pixels z; at the coarsest level all other segments). As granularity grows, S_k(x) takes in a share of g and a share
    of the siblings; the score of x is the area under this curve. For nested maps that is

        P(h(x, y) < h(x, z)) + P(h(x, y) = h(x, z)) / 2

    over all y in g except x and all z, where h is the first k at which two pixels share a segment (infinity if none
    does): the order of the heights of lowest common ancestors, over all triples, by counting. A segment's score is the
    mean over its pixels. 1: all orders right; 0.5: chance, also of one segment or of none; 0: all orders wrong.

    Args:
        levels: (H, W) true ids, coarse to fine; a segment lies in one segment of the level above.
        label_maps: (H, W) labels, fine to coarse.
        min_pixels: true segments below are left out.

    Returns:
        Scores of each level, of the segments that have siblings.

    Raises:
        InputError: a map is of another size.
    """
    flat = [_flat(level, ())[0] for level in levels]
    _, maps = _flat(levels[0], label_maps)
    return [
        _level_agreement(fine, np.zeros_like(fine) if index == 0 else flat[index - 1], maps, min_pixels)
        for index, fine in enumerate(flat)
    ]


def _level_agreement(ids: np.ndarray, parents: np.ndarray, maps: list[np.ndarray], min_pixels: int) -> Scores:
    large = _large(ids, min_pixels)
    known = np.flatnonzero((ids > 0) & (parents >= 0))
    true, above = compact(ids[known]), compact(parents[known])
    own = np.bincount(true)[true] - 1.0 if len(true) else np.zeros(0)
    siblings = np.bincount(above)[above] - own - 1 if len(true) else np.zeros(0)
    usable = (own > 0) & (siblings > 0)
    hits, alarms, area = (np.zeros(len(known)) for _ in range(3))

    def advance(new_hits: np.ndarray, new_alarms: np.ndarray) -> None:
        nonlocal hits, alarms
        area[:] += (new_hits + hits) / 2 * (new_alarms - alarms)
        hits, alarms = new_hits, new_alarms

    for labels in maps:
        labels = labels[known]
        segments = compact(labels)
        inside, within = shared(true, segments) - 1.0, shared(above, segments) - 1.0
        inside[labels < 0] = within[labels < 0] = 0  # without a label a pixel is alone
        advance(inside / np.maximum(own, 1), (within - inside) / np.maximum(siblings, 1))
    advance(np.ones(len(known)), np.ones(len(known)))
    return mean_by_id(ids[known][usable], area[usable], large)


def foreground(truth: np.ndarray) -> np.ndarray:
    """The released evaluator's coarsest level: (H, W) 1 background, 2 anything else, -1 ignored."""
    return np.where(truth > 0, 2, np.where(truth == 0, 1, -1)).astype(np.int32)


def mean(scores: Mapping[int, float]) -> Optional[float]:
    """Mean over segments; None without any."""
    return sum(scores.values()) / len(scores) if scores else None


# Counting ------------------------------------------------------------------------------------------------------------


def compact(ids: np.ndarray) -> np.ndarray:
    """(N,) int64 the same partition with ids 0, 1, ... in ascending order of the given ones."""
    ids = np.asarray(ids)
    if not len(ids):
        return np.zeros(0, np.int64)
    low, high = int(ids.min()), int(ids.max())
    if high - low < max(_TABLE, 4 * len(ids)):
        present = np.zeros(high - low + 1, bool)
        present[ids - low] = True
        return (np.cumsum(present) - 1)[ids - low]
    return np.unique(ids, return_inverse=True)[1].reshape(-1)


def shared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) int64 how many pixels have both ids of each pixel; ids as `compact` gives them."""
    if not len(first):
        return np.zeros(0, np.int64)
    width = int(second.max()) + 1
    codes = first * width + second
    if (int(first.max()) + 1) * width <= _TABLE:
        return np.bincount(codes)[codes]
    _, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    return counts[place.reshape(-1)]


def mean_by_id(ids: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> Scores:
    """Mean of `values` (N,) over the pixels of each wanted id >= 1 that occurs in `ids` (N,)."""
    found = np.unique(ids)
    places = np.searchsorted(found, ids)
    count = np.bincount(places, minlength=len(found))
    total = np.bincount(places, values, minlength=len(found))
    return {int(i): float(total[j] / count[j]) for j, i in enumerate(found.tolist()) if i > 0 and i in wanted}


def _area(labels: np.ndarray) -> np.ndarray:
    segments = compact(labels)
    return np.bincount(segments)[segments] if len(segments) else segments


def _large(ids: np.ndarray, min_pixels: int) -> np.ndarray:
    """True ids >= 1 with enough pixels, ascending."""
    found, count = np.unique(ids, return_counts=True)
    return found[(found > 0) & (count >= min_pixels)]


def _flat(truth: np.ndarray, label_maps: Iterable[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    truth = np.asarray(truth)
    maps = [np.asarray(labels) for labels in label_maps]
    for labels in maps:
        if labels.size != truth.size or (labels.ndim > 1 and labels.shape != truth.shape):
            raise InputError(f"labels of shape {labels.shape} and true ids of shape {truth.shape} must be of one view")
    return truth.reshape(-1), [labels.reshape(-1) for labels in maps]
