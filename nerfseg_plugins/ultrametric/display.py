"""How segments are shown: their own colours, and a picked one bright among darkened others."""

from typing import Optional

import numpy as np

from nerfseg_plugins.scene.colors import UNLABELLED_COLOR
from nerfseg_plugins.ultrametric.dendrogram import Cut
from nerfseg_plugins.ultrametric.labelling import PixelLinks

DIMMED = 0.35
"""What is left of the colours of all that is not picked."""


def segment_colors(links: PixelLinks, cut: Cut, labels: np.ndarray, picked: Optional[int] = None) -> np.ndarray:
    """Colours of labelled pixels.

    Args:
        links: of the pixels.
        cut: that the labels are of.
        labels: of the links' shape, -1 for none.
        picked: node of the dendrogram to mark, be it a part of a segment or several; None marks nothing.

    Returns:
        float32 (..., 3) in [0, 1].
    """
    colors = np.concatenate([links.dendrogram.nodes.colors(cut.nodes), [UNLABELLED_COLOR]]).astype(np.float32) / 255
    found = colors[labels]  # the last one is that of -1
    return found if picked is None else np.where(picked_pixels(links, picked)[..., None], found, DIMMED * found)


def picked_pixels(links: PixelLinks, node: int) -> np.ndarray:
    """(...) bool of the links' shape: whether the point nearest to what a pixel sees is of a node."""
    nodes, tree = links.dendrogram.nodes, links.dendrogram.tree
    place = tree.places[links.points[:, 0]]
    picked = np.zeros(int(np.prod(links.shape)), bool)
    picked[links.pixels] = (nodes.start[node] <= place) & (place < nodes.stop[node])
    return picked.reshape(links.shape)
