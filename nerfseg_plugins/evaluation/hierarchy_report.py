"""The figures of a hierarchy over many views: means over segments, then views, then levels."""

from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np

from nerfseg_plugins.evaluation.correspondence import Correspondence
from nerfseg_plugins.evaluation.hierarchy import (
    MIN_PIXELS,
    Scores,
    best_covering,
    foreground,
    mean,
    normalized_covering,
    segmentation_injectivity,
    tree_agreement,
)
from nerfseg_plugins.evaluation.hierarchy_sampled import sampled_consistency, sampled_covering
from nerfseg_plugins.evaluation.view_consistency import view_consistency

FOREGROUND = "foreground"
RELEASED_LEVELS = {"collections", "objects"}
"""Data with these levels alone get `FOREGROUND` as a third one, as in the released evaluator."""


class HierarchyReport:
    """Accumulates views and pairs of views; keeps figures, no pictures.

    Args:
        min_pixels: true segments below are left out.
        seed: of the draws of the released evaluator, whose estimates are found too; None leaves them out.
    """

    def __init__(self, min_pixels: int = MIN_PIXELS, seed: Optional[int] = None) -> None:
        self._min_pixels = min_pixels
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._sampled: dict[str, dict[str, list[float]]] = {"nc": {}, "vc": {}}
        self._covering: dict[str, list[float]] = {}
        self._consistency: dict[str, list[float]] = {}
        self._agreement: dict[str, list[float]] = {}
        self._injectivity: dict[str, list[float]] = {}

    def add(self, levels: Mapping[str, np.ndarray], label_maps: Sequence[np.ndarray]) -> None:
        """Count one view.

        Args:
            levels: level -> (H, W) true ids, coarse to fine; see `evaluation.hierarchy` for ids.
            label_maps: (H, W) labels, fine to coarse.

        Raises:
            InputError: the sizes differ.
        """
        for name, truth in _with_foreground(levels).items():
            best = best_covering(truth, label_maps)
            _note(self._covering, name, normalized_covering(truth, label_maps, self._min_pixels, best=best))
            if self._rng is not None:
                drawn = sampled_covering(truth, label_maps, self._rng, min_pixels=self._min_pixels)
                _note(self._sampled["nc"], name, drawn)
            if name in levels:
                found = segmentation_injectivity(truth, label_maps, self._min_pixels, best)
                _note(self._injectivity, name, {} if found is None else {0: found})
        scores = tree_agreement(list(levels.values()), label_maps, self._min_pixels)
        for name, found in zip(levels, scores, strict=True):
            _note(self._agreement, name, found)

    def add_pair(
        self,
        levels: Mapping[str, np.ndarray],
        labels_a: Sequence[np.ndarray],
        labels_b: Sequence[np.ndarray],
        pairs: Correspondence,
        asked: Optional[np.ndarray] = None,
    ) -> None:
        """Compare a view with another one; arguments as of `view_consistency`, levels those of view a."""
        for name, truth in _with_foreground(levels).items():
            found = view_consistency(truth, labels_a, labels_b, pairs, self._min_pixels, asked=asked)
            _note(self._consistency, name, found)
            if self._rng is not None:
                about = truth, labels_a, labels_b, pairs
                drawn = sampled_consistency(*about, self._rng, min_pixels=self._min_pixels, asked=asked)
                _note(self._sampled["vc"], name, drawn)

    def metrics(self) -> dict[str, Optional[float]]:
        """The figures so far.

        Returns:
            `nc`, `vc`, `tree_agreement`, `segmentation_injectivity`: means over the levels, None without data;
            `nc_LEVEL` and so on, means over the views in which the level has a segment.
        """
        found: dict[str, Optional[float]] = {}
        by_level: dict[str, Optional[float]] = {}
        for key, levels in (
            ("nc", self._covering),
            ("vc", self._consistency),
            ("tree_agreement", self._agreement),
            ("segmentation_injectivity", self._injectivity),
        ):
            means = {name: sum(values) / len(values) for name, values in levels.items()}
            found[key] = sum(means.values()) / len(means) if means else None
            by_level.update({f"{key}_{name}": value for name, value in means.items()})
        return {**found, **by_level}

    def sampled(self) -> dict[str, Optional[float]]:
        """`nc` and `vc` as the released evaluator draws and counts them; None where nothing was drawn."""
        found: dict[str, Optional[float]] = {}
        for key, levels in self._sampled.items():
            means = [sum(values) / len(values) for values in levels.values()]
            found[key] = sum(means) / len(means) if means else None
        return found


def _with_foreground(levels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if set(levels) != RELEASED_LEVELS:
        return dict(levels)
    return {FOREGROUND: foreground(levels["collections"]), **levels}


def _note(levels: dict[str, list[float]], name: str, scores: Scores) -> None:
    value = mean(scores)
    if value is not None:
        levels.setdefault(name, []).append(value)
