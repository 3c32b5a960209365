"""Segments as points in the viewer: they change their colours at once, where a rendered picture takes its time."""

from typing import Optional

import numpy as np

from nerfseg_plugins.scene.colors import UNLABELLED_COLOR
from nerfseg_plugins.ultrametric.dendrogram import Cut, Dendrogram
from nerfseg_plugins.ultrametric.display import DIMMED


def segment_point_colors(dendrogram: Dendrogram, cut: Cut, picked: Optional[int] = None) -> np.ndarray:
    """Colours of all points of a dendrogram.

    Args:
        dendrogram: of the scene.
        cut: what is shown of it.
        picked: node that stays bright while all else is darkened; None darkens nothing.

    Returns:
        uint8 (N, 3).
    """
    bright = np.ones(len(dendrogram), bool)
    if picked is not None:
        bright[:] = False
        bright[dendrogram.members(picked)] = True
    return point_colors(dendrogram.nodes.colors(cut.nodes), cut.labels, bright)


def point_colors(colors: np.ndarray, labels: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """Colours of labelled points.

    Args:
        colors: uint8 (S, 3) of each label.
        labels: (N,) int, -1 for none.
        bright: (N,) bool; the others are darkened.

    Returns:
        uint8 (N, 3).
    """
    found = np.concatenate([colors, np.array([UNLABELLED_COLOR], np.uint8)])[labels]
    return np.where(bright[:, None], found, (DIMMED * found).astype(np.uint8))
