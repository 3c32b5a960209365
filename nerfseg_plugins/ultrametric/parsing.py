"""Segments of one picture by its features alone, at any granularity; labels of two pictures do not belong together.

Neighbouring pixels whose rendered features differ by at most tau are of one segment: the original implementation's
inference in 2D. One spanning tree of the picture answers for every tau.
"""

from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, feature_distances
from nerfseg_plugins.ultrametric.tree import spanning_tree

MAX_SEGMENTS = 200
"""So many of the largest segments of a picture are kept."""


@dataclass(frozen=True)
class ParsedPicture:
    """The pixels of a picture that see something, in a tree of their features."""

    shape: tuple[int, int]
    """(H, W)."""
    pixels: np.ndarray
    """(P,) int64 flat indices of those pixels."""
    dendrogram: Dendrogram | None
    """Of the pixels, at (column, row, 0); None where the picture sees nothing."""

    @classmethod
    def of(cls, features: np.ndarray, seen: np.ndarray) -> "ParsedPicture":
        """Join neighbouring pixels.

        Args:
            features: (H, W, C), of unit length where something is seen.
            seen: (H, W) bool.
        """
        height, width = seen.shape
        pixels = np.flatnonzero(seen)
        if not len(pixels):
            return cls((height, width), pixels, None)
        kept = features.reshape(height * width, -1)[pixels].astype(np.float16)
        edges = pixel_edges(seen)
        places = np.stack([pixels % width, pixels // width, np.zeros_like(pixels)], axis=1).astype(np.float32)
        tree = spanning_tree(len(pixels), edges, feature_distances(kept, edges))
        return cls((height, width), pixels, Dendrogram(places, kept, tree))

    def labels(self, tau: float, max_segments: int = MAX_SEGMENTS, min_size: int = 1) -> np.ndarray:
        """(H, W) int32 segments, 0 the largest; -1 where nothing is seen, or only something small.

        Raises:
            InputError: tau is not within 0 and 2.
        """
        labels = np.full(self.shape[0] * self.shape[1], -1, np.int32)
        if self.dendrogram is not None:
            found = self.dendrogram.cut(tau, min_size).labels
            labels[self.pixels] = np.where(found < max_segments, found, -1)
        return labels.reshape(self.shape)


def pixel_edges(seen: np.ndarray) -> np.ndarray:
    """Neighbours along rows and columns that are both seen.

    Args:
        seen: (H, W) bool.

    Returns:
        (E, 2) int64 places among the seen pixels, counted along rows.
    """
    number = np.cumsum(seen).reshape(seen.shape) - 1
    beside, below = seen[:, 1:] & seen[:, :-1], seen[1:] & seen[:-1]
    first = np.concatenate([number[:, :-1][beside], number[:-1][below]])
    second = np.concatenate([number[:, 1:][beside], number[1:][below]])
    return np.stack([first, second], axis=1).astype(np.int64)
