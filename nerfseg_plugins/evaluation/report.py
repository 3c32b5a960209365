"""All figures of a run in one flat dictionary, gathered view by view."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np
from torch import Tensor

from nerfseg_plugins.evaluation import image, panoptic

METRIC_NAMES = (
    "psnr",
    "ssim",
    "lpips",
    "miou",
    "pq",
    "sq",
    "rq",
    "pq_view",
    "class_miou",
    "nc",
    "vc",
    "tree_agreement",
    "num_views",
    "seconds",
)
"""Every report has these keys in this order; what the data cannot tell is None. `nc` (normalised covering), `vc` (view
consistency) and `tree_agreement` are of hierarchies."""

Metrics = dict[str, Union[float, int, None]]


@dataclass(frozen=True)
class ViewRecord:
    """What is compared of one view."""

    rgb_pred: Tensor
    """(H, W, 3) in [0, 1], rendered."""
    rgb_true: Tensor
    """(H, W, 3) in [0, 1], the photo."""
    ids_pred: Optional[np.ndarray] = None
    """(H, W) predicted ids, -1 unanswered; None when the method does not segment."""
    ids_true: Optional[np.ndarray] = None
    """(H, W) true ids, -1 ignored; None when the data do not know them."""


class Report:
    """Accumulates views; keeps counts and figures, no pictures.

    Args:
        lpips: network for `image.lpips`; None leaves that figure out.
    """

    def __init__(self, lpips: Optional[Callable[[Tensor, Tensor], Tensor]] = None) -> None:
        self.scene = panoptic.ContingencyTable()
        """Pixels of all views that have both true and predicted ids."""
        self.views: list[panoptic.ContingencyTable] = []
        """The same of each such view."""
        self._lpips = lpips
        self._images: dict[str, list[Optional[float]]] = {"psnr": [], "ssim": [], "lpips": []}
        self._start = time.perf_counter()

    def add(self, view: ViewRecord) -> None:
        """Count one view.

        Raises:
            InputError: pictures or ids of the view differ in shape.
        """
        self._images["psnr"].append(image.psnr(view.rgb_pred, view.rgb_true))
        self._images["ssim"].append(image.ssim(view.rgb_pred, view.rgb_true))
        network = self._lpips
        self._images["lpips"].append(image.lpips(view.rgb_pred, view.rgb_true, network) if network else None)
        if view.ids_pred is not None and view.ids_true is not None:
            table = panoptic.ContingencyTable.of(view.ids_true, view.ids_pred)
            self.views.append(table)
            self.scene.add_table(table)

    def metrics(
        self,
        pred_classes: Optional[Mapping[int, int]] = None,
        truth_classes: Optional[Mapping[int, int]] = None,
    ) -> Metrics:
        """The figures of the views so far.

        Args:
            pred_classes: predicted instance -> class, where the method knows.
            truth_classes: true instance -> class, where the data know; `class_miou` needs both.

        Returns:
            One entry per name of `METRIC_NAMES`; image metrics are means over views, `seconds` is the time since this
            report was begun.
        """
        found: Metrics = {name: _mean(values) for name, values in self._images.items()}
        if self.views:
            scene = panoptic.panoptic_quality(self.scene)
            found.update(pq=scene.pq, sq=scene.sq, rq=scene.rq, miou=panoptic.instance_miou(self.scene))
            found["pq_view"] = panoptic.view_panoptic_quality(self.views).pq
            if pred_classes and truth_classes:
                found["class_miou"] = panoptic.class_miou(self.scene, pred_classes, truth_classes)
        found["num_views"] = len(self._images["psnr"])
        found["seconds"] = time.perf_counter() - self._start
        return {name: found.get(name) for name in METRIC_NAMES}

    def legacy_pq(
        self,
        pred_classes: Optional[Mapping[int, int]] = None,
        truth_classes: Optional[Mapping[int, int]] = None,
    ) -> Optional[float]:
        """PQ with the deviations of the original implementation, see `panoptic.legacy_quality`.

        Where classes are not known on both sides, all instances that occur are of one class.
        """
        if not (pred_classes and truth_classes):
            truth_ids, pred_ids, _ = self.scene.overlap()
            pred_classes, truth_classes = dict.fromkeys(pred_ids.tolist(), 1), dict.fromkeys(truth_ids.tolist(), 1)
        return panoptic.legacy_quality(self.views, pred_classes, truth_classes).pq


def evaluate_views(
    views: Iterable[ViewRecord],
    lpips: Optional[Callable[[Tensor, Tensor], Tensor]] = None,
    pred_classes: Optional[Mapping[int, int]] = None,
    truth_classes: Optional[Mapping[int, int]] = None,
) -> Metrics:
    """`Report` over an iterable of views; arguments and result as there."""
    report = Report(lpips)
    for view in views:
        report.add(view)
    return report.metrics(pred_classes, truth_classes)


def _mean(values: list[Optional[float]]) -> Optional[float]:
    """Mean of the values, None when one is missing: a mean over some views would not be comparable."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
