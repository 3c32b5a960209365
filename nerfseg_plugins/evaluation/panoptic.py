"""Panoptic quality and IoU of instances, from contingency tables of true and predicted ids.

Ids are integers: 0 is background, 1 and above are instances, -1 is an ignored pixel in the truth and an unanswered one
in the prediction. Everything here is class-agnostic unless classes are passed, and every figure follows from how many
pixels have true id t and predicted id p, so pictures are counted once and forgotten.

What is measured over a scene pools the pixels of all views before instances are compared: an instance that changes its
id from view to view is then wrong (Siddiqui et al., Panoptic Lifting, CVPR 2023, call it scene-level PQ). What is
measured per view pools the matches of single views.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Optional

import numpy as np
from scipy.optimize import linear_sum_assignment

from nerfseg_plugins.errors import InputError


class Overlap(NamedTuple):
    """IoU of true and predicted instances; ignored pixels count for neither."""

    truth_ids: np.ndarray
    """(T,) int64, ascending: true instances with at least one pixel."""
    pred_ids: np.ndarray
    """(P,) int64, ascending: predicted instances with at least one pixel that is not ignored."""
    iou: np.ndarray
    """(T, P) float64."""


class ContingencyTable:
    """How many pixels have true id t and predicted id p; grows by pictures or by other tables."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], int] = {}

    @classmethod
    def of(cls, truth: np.ndarray, pred: np.ndarray) -> "ContingencyTable":
        """The table of one picture; arguments and errors as of `add`."""
        table = cls()
        table.add(truth, pred)
        return table

    def add(self, truth: np.ndarray, pred: np.ndarray) -> None:
        """Count the pixels of one picture.

        Args:
            truth: integers of any shape, at least -1; -1 is ignored.
            pred: integers of the same shape, at least -1; -1 is unanswered, which is wrong wherever an instance is.

        Raises:
            InputError: the shapes differ, the ids are not integers, or one is below -1.
        """
        truth, pred = np.asarray(truth), np.asarray(pred)
        if truth.shape != pred.shape:
            raise InputError(f"true ids of shape {truth.shape} and predicted ids of shape {pred.shape} must be alike")
        for name, ids in (("true", truth), ("predicted", pred)):
            if ids.dtype.kind not in "iu" or (ids.size and ids.min() < -1):
                found = ids.dtype if ids.dtype.kind not in "iu" else ids.min()
                raise InputError(f"{name} ids must be integers from -1 upwards, not {found}")
        if truth.size == 0:
            return
        rows, columns = truth.ravel().astype(np.int64) + 1, pred.ravel().astype(np.int64) + 1
        width = int(columns.max()) + 1
        codes = rows * width + columns
        if int(codes.max()) < 1 << 22:
            counts = np.bincount(codes)
            codes = np.flatnonzero(counts)
            counts = counts[codes]
        else:  # a dense table of such large ids would not fit
            codes, counts = np.unique(codes, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            key = (code // width - 1, code % width - 1)
            self._counts[key] = self._counts.get(key, 0) + count

    def add_table(self, other: "ContingencyTable") -> None:
        """Count what another table counted."""
        for key, count in other._counts.items():
            self._counts[key] = self._counts.get(key, 0) + count

    def items(self) -> Iterable[tuple[tuple[int, int], int]]:
        """((true id, predicted id), pixels), in ascending order; true id -1 included."""
        return sorted(self._counts.items())

    def overlap(self) -> Overlap:
        """IoU of every true with every predicted instance."""
        kept = [(t, p, n) for (t, p), n in self._counts.items() if t >= 0]
        truth_ids = np.unique(np.array([t for t, _, _ in kept if t > 0], np.int64))
        pred_ids = np.unique(np.array([p for _, p, _ in kept if p > 0], np.int64))
        row = {t: i for i, t in enumerate(truth_ids.tolist())}
        column = {p: i for i, p in enumerate(pred_ids.tolist())}
        shared = np.zeros((len(row), len(column)))
        truth_area, pred_area = np.zeros(len(row)), np.zeros(len(column))
        for t, p, count in kept:
            if t > 0:
                truth_area[row[t]] += count
            if p > 0:
                pred_area[column[p]] += count
            if t > 0 and p > 0:
                shared[row[t], column[p]] = count
        return Overlap(truth_ids, pred_ids, shared / (truth_area[:, None] + pred_area[None] - shared))

    def ignored_share(self) -> dict[int, float]:
        """Share of each predicted instance's pixels that the truth ignores."""
        area: dict[int, int] = {}
        ignored: dict[int, int] = {}
        for (t, p), count in self._counts.items():
            if p > 0:
                area[p] = area.get(p, 0) + count
                ignored[p] = ignored.get(p, 0) + (count if t < 0 else 0)
        return {p: ignored[p] / area[p] for p in sorted(area)}


@dataclass(frozen=True)
class PanopticQuality:
    """Counts behind panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019, equations 1 and 2)."""

    iou_sum: float = 0.0
    """Sum of the IoU of the matched pairs."""
    tp: int = 0
    """Matched pairs."""
    fp: int = 0
    """Predicted instances without a match."""
    fn: int = 0
    """True instances without a match."""

    def __add__(self, other: "PanopticQuality") -> "PanopticQuality":
        return PanopticQuality(self.iou_sum + other.iou_sum, self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def pq(self) -> Optional[float]:
        """sum IoU / (TP + FP/2 + FN/2), in [0, 1]; None where there is nothing to find and nothing was found."""
        return self._share(self.iou_sum)

    @property
    def sq(self) -> Optional[float]:
        """Mean IoU of the matched pairs; 0 without one, None where there is nothing to find and nothing was found."""
        return self.iou_sum / self.tp if self.tp else self._share(0.0)

    @property
    def rq(self) -> Optional[float]:
        """F1 of finding instances, TP / (TP + FP/2 + FN/2); None like `pq`."""
        return self._share(float(self.tp))

    def _share(self, part: float) -> Optional[float]:
        whole = self.tp + 0.5 * self.fp + 0.5 * self.fn
        return part / whole if whole else None


def panoptic_quality(table: ContingencyTable, threshold: float = 0.5) -> PanopticQuality:
    """Panoptic quality of the instances in one id space; the background is no instance.

    A pair matches when its IoU exceeds the threshold; above one half at most one pair can, so no assignment is needed.
    As in the definition, an unmatched prediction that lies by more than half in ignored pixels is not a false positive.

    Args:
        table: one view's, or a whole scene's for scene-level quality.
        threshold: at least 0.5, or the matching would be ambiguous.
    """
    if threshold < 0.5:
        raise InputError(f"the IoU threshold of panoptic quality must be at least 0.5, not {threshold}")
    truth_ids, pred_ids, iou = table.overlap()
    matched = iou > threshold
    ignored = table.ignored_share()
    found = set(pred_ids[matched.any(0)].tolist())
    fp = sum(1 for p in pred_ids.tolist() if p not in found and ignored[p] <= 0.5)
    tp = int(matched.sum())
    return PanopticQuality(float(iou[matched].sum()), tp, fp, len(truth_ids) - tp)


def view_panoptic_quality(tables: Iterable[ContingencyTable], threshold: float = 0.5) -> PanopticQuality:
    """Panoptic quality with ids that hold in one view only: matches of single views, pooled over the views."""
    return sum((panoptic_quality(table, threshold) for table in tables), PanopticQuality())


def best_assignment(table: ContingencyTable) -> dict[int, tuple[int, float]]:
    """The one-to-one match of predicted with true instances that has the largest sum of IoU.

    Returns:
        predicted id -> (true id, IoU); pairs that do not overlap are left out.
    """
    truth_ids, pred_ids, iou = table.overlap()
    rows, columns = linear_sum_assignment(iou, maximize=True)
    return {
        int(pred_ids[c]): (int(truth_ids[r]), float(iou[r, c])) for r, c in zip(rows, columns, strict=True) if iou[r, c]
    }


def instance_miou(table: ContingencyTable) -> Optional[float]:
    """Mean over the true instances of the IoU of the best one-to-one match, 0 for those left without one.

    Surplus predictions cost nothing by themselves; panoptic quality counts them. None without a true instance.
    """
    count = len(table.overlap().truth_ids)
    return sum(iou for _, iou in best_assignment(table).values()) / count if count else None


def majority_classes(table: ContingencyTable, truth_classes: Mapping[int, int]) -> dict[int, int]:
    """Predicted instance -> the class that most of its pixels truly have; the smaller class where two are even.

    This asks the truth, so what is scored with it is how well instances respect class borders, not how well classes
    were recognised. Pixels that are ignored, or of an instance without a class, have no say.
    """
    votes: dict[int, dict[int, int]] = {}
    for (t, p), count in table.items():
        class_id = 0 if t == 0 else truth_classes.get(t)
        if p > 0 and class_id is not None:
            of_p = votes.setdefault(p, {})
            of_p[class_id] = of_p.get(class_id, 0) + count
    return {p: min(of_p, key=lambda c: (-of_p[c], c)) for p, of_p in sorted(votes.items())}


def class_miou(
    table: ContingencyTable, pred_classes: Mapping[int, int], truth_classes: Mapping[int, int]
) -> Optional[float]:
    """Mean IoU over the classes that the truth or the prediction contains, the background (class 0) among them.

    Args:
        table: pixels of all views.
        pred_classes: predicted instance -> class; an instance without one, like an unanswered pixel, is wrong anyway.
        truth_classes: true instance -> class; the pixels of an instance without one are left out.

    Returns:
        In [0, 1]; None when no pixel is left.
    """
    shared: dict[int, int] = {}
    area: dict[int, int] = {}
    for (t, p), count in table.items():
        true_class = 0 if t == 0 else truth_classes.get(t)
        if t < 0 or true_class is None:
            continue
        pred_class = 0 if p == 0 else pred_classes.get(p)
        if pred_class == true_class:
            shared[true_class] = shared.get(true_class, 0) + count
        for class_id in {true_class, pred_class} - {None}:
            area[class_id] = area.get(class_id, 0) + count
    return sum(shared.get(c, 0) / area[c] for c in area) / len(area) if area else None


def legacy_quality(
    tables: Iterable[ContingencyTable], pred_classes: Mapping[int, int], truth_classes: Mapping[int, int]
) -> PanopticQuality:
    """Panoptic quality as the original implementation of Instance-NeRF computes it, to compare with its figures only.

    It pools single views like `view_panoptic_quality` and differs from the definition in that
    - a predicted instance that overlaps no true one by more than half is no false positive: inventing costs nothing;
    - a true instance of the scene that a view does not show is a false negative in that view;
    - a match of the wrong class is a false positive but no false negative, so costs half;
    - a true instance whose best IoU is exactly one half is neither found nor missed;
    - no pixel is ignored: predictions that cover unlabelled pixels lose IoU.

    Args:
        tables: one per view.
        pred_classes: class of every predicted instance of the scene.
        truth_classes: class of every true instance of the scene, seen in these views or not.
    """
    total = PanopticQuality()
    truth_ids, pred_ids = sorted(truth_classes), sorted(pred_classes)
    for table in tables:
        iou = _plain_iou(table, truth_ids, pred_ids)
        quality = PanopticQuality(fn=int((iou.max(1, initial=0) < 0.5).sum()))
        for column, p in enumerate(pred_ids):
            best = int(iou[:, column].argmax()) if len(truth_ids) else -1
            if best < 0 or iou[best, column] <= 0.5:
                continue
            if pred_classes[p] == truth_classes[truth_ids[best]]:
                quality += PanopticQuality(iou_sum=float(iou[best, column]), tp=1)
            else:
                quality += PanopticQuality(fp=1)
        total += quality
    return total


def _plain_iou(table: ContingencyTable, truth_ids: list[int], pred_ids: list[int]) -> np.ndarray:
    """IoU (T, P) of listed ids with no pixel ignored; 0 for ids without a pixel."""
    row, column = {t: i for i, t in enumerate(truth_ids)}, {p: i for i, p in enumerate(pred_ids)}
    shared = np.zeros((len(row), len(column)))
    truth_area, pred_area = np.zeros((len(row), 1)), np.zeros((1, len(column)))
    for (t, p), count in table.items():
        if t in row:
            truth_area[row[t], 0] += count
        if p in column:
            pred_area[0, column[p]] += count
        if t in row and p in column:
            shared[row[t], column[p]] = count
    return shared / np.maximum(truth_area + pred_area - shared, 1)
