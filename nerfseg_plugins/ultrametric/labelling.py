"""Labels of pixels: each takes the segment of the points of the dendrogram that lie nearest to what it sees.

So the labels of all views come from the same points, and agree where views see the same place.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from nerfseg_plugins.ultrametric.dendrogram import Cut, Dendrogram

NEIGHBORS = 5
REACH = 4.0
"""A pixel that sees a place farther from all points than so many times their usual distance sees nothing known."""
FAR_REACH = 16.0
"""So far the nearest segment is looked for where all near points are of dissolved ones."""
UNLABELLED = -1


@dataclass(frozen=True)
class PixelLinks:
    """The points of a dendrogram that are nearest to what pixels see, found once for all granularities."""

    shape: tuple[int, ...]
    """Of the label maps, as (H, W)."""
    pixels: np.ndarray
    """(P,) int64 flat indices of the pixels that see a place near the points."""
    places: np.ndarray
    """(P, 3) float32 what they see, scene frame."""
    points: np.ndarray
    """(P, K) int32 the nearest points of the dendrogram, nearest first."""
    dendrogram: Dendrogram

    @classmethod
    def of(
        cls, places: np.ndarray, dendrogram: Dendrogram, neighbors: int = NEIGHBORS, reach: float = REACH
    ) -> "PixelLinks":
        """Find the nearest points.

        Args:
            places: (..., 3) what pixels see, scene frame; not finite where they see nothing.
            dendrogram: of the scene.
            neighbors: points that vote on a pixel.
            reach: farther pixels stay without a label, in units of how far the points lie apart around there.
        """
        flat = np.asarray(places, np.float32).reshape(-1, 3)
        pixels = np.flatnonzero(np.isfinite(flat).all(axis=1))
        count = min(neighbors, len(dendrogram))
        distances, points = (
            np.reshape(found, (-1, count)) for found in dendrogram.kd_tree.query(flat[pixels], k=count)
        )
        near = distances[:, 0] <= reach * dendrogram.spacing[points[:, 0]]
        pixels = pixels[near]
        return cls(places.shape[:-1], pixels, flat[pixels], points[near].astype(np.int32), dendrogram)

    def labels(self, cut: Cut) -> np.ndarray:
        """The most frequent segment among the nearest points, the nearest one's of several.

        Where all of them are of dissolved segments, that of the nearest point which is not.

        Args:
            cut: of the same dendrogram.

        Returns:
            int32 of the shape of the map; -1 where a pixel sees nothing, or nothing that is kept.
        """
        found = most_frequent(cut.labels[self.points])
        without = np.flatnonzero(found < 0)
        kept = np.flatnonzero(cut.labels >= 0)
        if len(without) and len(kept):
            found[without] = self._nearest_kept(without, kept, cut)
        labels = np.full(int(np.prod(self.shape)), UNLABELLED, np.int32)
        labels[self.pixels] = found
        return labels.reshape(self.shape)

    def _nearest_kept(self, rows: np.ndarray, kept: np.ndarray, cut: Cut) -> np.ndarray:
        distance, nearest = KDTree(self.dendrogram.points[kept]).query(self.places[rows])
        reached = distance <= FAR_REACH * self.dendrogram.spacing[self.points[rows, 0]]
        return np.where(reached, cut.labels[kept[nearest]], UNLABELLED)


def most_frequent(votes: np.ndarray) -> np.ndarray:
    """(P,) the most frequent label of each row (P, K), the first of several; -1 does not count unless alone."""
    best = votes[:, 0].copy()
    most = np.zeros(len(votes), np.int8)
    for vote in votes.T:
        count = np.where(vote < 0, 0, (votes == vote[:, None]).sum(axis=1)).astype(np.int8)
        better = count > most
        best[better], most[better] = vote[better], count[better]
    return best
