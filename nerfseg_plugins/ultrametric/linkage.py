"""Average linkage: a dendrogram that asks how alike two segments are on the whole, not where they are most alike.

Single linkage, the paper's, joins two segments as soon as one pair of neighbours across their border is alike. Fields
are smooth: between the features of two things lie all features in between, and with points as dense as on a scanned
surface the steps from one to the next are as small as those inside a thing. Here the height at which two segments join
is the root mean square distance of all pairs of their features. At first only segments are joined that touch; once few
are left, any two, so that a group whose members stand apart can be one segment, as 2D masks of groups are.

All pairs of segments that are each other's nearest join at once (reciprocal nearest neighbours), so there are some
hundred rounds of array operations and no loop over points. Where any two may join, the result is that of joining one
pair after the other; among those that touch it need not be, since a join can bring a segment nearer to its neighbours.
"""

from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.ultrametric.tree import SpanningTree, tree_of_joins

CHUNK = 1 << 15
"""Edges whose distances are found at a time."""


@dataclass
class _Clusters:
    """K clusters of points and the pairs of them that may join."""

    leaf: np.ndarray
    """(K,) int64 some point of each."""
    total: np.ndarray
    """(K, C) float32 sum of the features."""
    size: np.ndarray
    """(K,) float32 number of points."""
    height: np.ndarray
    """(K,) float64 at which each was made; no join is lower than those before it."""
    pairs: np.ndarray
    """(E, 2) int64, smaller one first, each once."""

    def distances(self) -> np.ndarray:
        """(E,) float32 root mean square distance of the unit features of both clusters of a pair."""
        mean = self.total / self.size[:, None]
        cosine = np.empty(len(self.pairs), np.float32)
        for start in range(0, len(self.pairs), CHUNK):
            first, second = self.pairs[start : start + CHUNK].T
            cosine[start : start + CHUNK] = np.einsum("ec,ec->e", mean[first], mean[second])
        return np.sqrt(np.clip(2 - 2 * cosine, 0, 4))

    def mutual(self, distances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(J,) int64 the pairs that are the nearest for both sides; at least one where there is a pair."""
        ends = self.pairs.T.reshape(-1)
        nearest = np.full(len(self.leaf), np.inf, np.float32)
        np.minimum.at(nearest, ends, np.tile(distances, 2))
        # Where many are equally near, which one is taken is drawn: by number, whole chains would wait for their ends.
        lots = rng.permutation(len(distances))
        candidate = distances == nearest[self.pairs].T
        drawn = np.full(len(self.leaf), len(lots))
        np.minimum.at(drawn, ends[candidate.reshape(-1)], np.tile(lots, 2)[candidate.reshape(-1)])
        return np.flatnonzero((lots == drawn[self.pairs[:, 0]]) & (lots == drawn[self.pairs[:, 1]]))

    def joined(self, pairs: np.ndarray, heights: np.ndarray) -> "_Clusters":
        """The clusters after pairs of them (J, 2) have joined at heights (J,)."""
        kept, gone = pairs.T
        total, size, height = self.total.copy(), self.size.copy(), self.height.copy()
        total[kept] += total[gone]
        size[kept] += size[gone]
        height[kept] = heights
        stays = np.ones(len(self.leaf), bool)
        stays[gone] = False
        target = np.arange(len(self.leaf))
        target[gone] = kept
        number = (np.cumsum(stays) - 1)[target]
        return _Clusters(
            self.leaf[stays], total[stays], size[stays], height[stays], _unique_pairs(number[self.pairs], stays.sum())
        )


def average_linkage(
    features: np.ndarray, edges: np.ndarray, touch_until: int = 1000, dims: int = 32, seed: int = 0
) -> SpanningTree:
    """Join points, and what has been joined, by the mean distance of their features.

    Args:
        features: (N, C) of unit length.
        edges: (E, 2) int points that touch.
        touch_until: while there are more clusters, only those join that touch; then any two. 1 for never.
        dims: principal directions of the features that are looked at.
        seed: of the choice among equals.

    Returns:
        The joins as a tree whose heights are root mean square distances, in [0, 2]; infinite between what never joins.
        Its `edges` are -1 throughout.
    """
    rng = np.random.default_rng(seed)
    count = len(features)
    clusters = _Clusters(
        np.arange(count),
        _principal(features, dims),
        np.ones(count, np.float32),
        np.zeros(count),
        _unique_pairs(np.asarray(edges, np.int64).reshape(-1, 2), count),
    )
    apart = touch_until > 1
    joins: list[tuple[np.ndarray, np.ndarray]] = []
    while True:
        if apart and (len(clusters.leaf) <= touch_until or not len(clusters.pairs)):
            if len(clusters.leaf) > touch_until:  # more parts that nothing joins than can be compared all with all
                break
            clusters.pairs, apart = np.stack(np.triu_indices(len(clusters.leaf), 1), axis=1), False
        if not len(clusters.pairs):
            break
        distances = clusters.distances()
        chosen = clusters.mutual(distances, rng)
        pairs = clusters.pairs[chosen]
        # Among those that touch, a join can bring its result nearer to a third one than both sides were.
        heights = np.maximum(distances[chosen], clusters.height[pairs].max(axis=1))
        joins.append((clusters.leaf[pairs], heights))
        clusters = clusters.joined(pairs, heights)
    pairs = np.concatenate([pair for pair, _ in joins]) if joins else np.zeros((0, 2), np.int64)
    heights = np.concatenate([height for _, height in joins]) if joins else np.zeros(0)
    lowest_first = np.argsort(heights, kind="stable")  # of equal ones, that of the earlier round: parts before wholes
    return tree_of_joins(count, pairs[lowest_first], heights[lowest_first])


def _principal(features: np.ndarray, dims: int) -> np.ndarray:
    """(N, min(dims, C)) float32 unit vectors: the features along their main directions."""
    wide = features.astype(np.float32)
    if wide.shape[1] > dims:
        _, directions = np.linalg.eigh(wide.T @ wide)
        wide = wide @ directions[:, ::-1][:, :dims]
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)


def _unique_pairs(pairs: np.ndarray, count: int) -> np.ndarray:
    """The pairs (E, 2) of different clusters, smaller one first, each once."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    codes = np.unique((low * count + high)[low != high])
    return np.stack([codes // count, codes % count], axis=1)
