"""The hierarchy of a scene: the points of its surface in a dendrogram of their features, cut at any granularity.

With single linkage, points that lie side by side are joined when their features differ by at most the granularity, and
segments are what is then connected (He et al., arXiv 2405.19678, section 3.4, there recomputed for 50 granularities). A
minimum spanning tree of the neighbour graph has the same components at every granularity, so one tree answers for all.
With average linkage (`linkage`) segments are joined whose features differ by at most that on the mean: a tree as well.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.spatial import KDTree

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.ultrametric.linkage import average_linkage
from nerfseg_plugins.ultrametric.neighbors import neighbor_graph
from nerfseg_plugins.ultrametric.nodes import Nodes
from nerfseg_plugins.ultrametric.tree import SpanningTree, spanning_tree

MAX_GRANULARITY = 2.0
"""The largest distance of unit vectors."""
NEIGHBORS = 16
Linkage = Literal["average", "single"]
"""How alike two segments are: all of one with all of the other, or where they are most alike."""
CHUNK = 1 << 14


@dataclass(frozen=True)
class Cut:
    """The segments at one granularity."""

    labels: np.ndarray
    """(N,) int32 segment of each point, 0 the largest; -1 where the segment is smaller than was asked for."""
    nodes: np.ndarray
    """(S,) int64 node of the dendrogram that each segment is."""

    def __len__(self) -> int:
        return len(self.nodes)


@dataclass(frozen=True)
class Dendrogram:
    """N points of a surface and the tree in which they are joined."""

    points: np.ndarray
    """(N, 3) float32, scene frame."""
    features: np.ndarray
    """(N, C) float16 of unit length."""
    tree: SpanningTree
    """Heights are distances of features, in [0, 2]; infinite between parts that no chain of neighbours joins."""

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def nodes(self) -> Nodes:
        """All segments that there are at any granularity."""
        return Nodes.of(self.tree)

    @cached_property
    def kd_tree(self) -> KDTree:
        """Of the points."""
        return KDTree(self.points)

    @cached_property
    def spacing(self) -> np.ndarray:
        """(N,) float32 how far the points lie apart around each one: the distance to the fourth nearest.

        Infinite where there is no other place.
        """
        count = min(5, len(self))
        distances = np.reshape(self.kd_tree.query(self.points, k=count)[0], (-1, count))[:, -1]
        return np.where(distances > 0, distances, np.inf).astype(np.float32)

    def cut(self, granularity: float, min_size: int = 1) -> Cut:
        """The segments at a granularity: those at a smaller one lie whole within these.

        Args:
            granularity: neighbours whose features differ by no more are joined, in [0, 2].
            min_size: smaller segments are dissolved, their points get the label -1.

        Raises:
            InputError: the granularity is out of range.
        """
        check_granularity(granularity)
        tree = self.tree
        apart = tree.heights > granularity
        starts = np.concatenate([[0], np.flatnonzero(apart) + 1])
        sizes = np.diff(starts, append=len(self))
        kept = np.flatnonzero(sizes >= min_size)
        kept = kept[np.argsort(-sizes[kept], kind="stable")]
        number = np.full(len(starts), -1, np.int32)
        number[kept] = np.arange(len(kept), dtype=np.int32)
        labels = np.empty(len(self), np.int32)
        labels[tree.order] = np.repeat(number, sizes)
        # What the last gap to be closed within a segment made is the segment.
        last = np.maximum.reduceat(np.append(np.where(apart, -1, tree.ranks), -1), starts)[kept]
        return Cut(labels, np.where(last < 0, tree.order[starts[kept]], len(self) + last))

    def node_of(self, point: int, granularity: float) -> int:
        """The node of the segment that a point belongs to at a granularity, however small it is.

        Raises:
            InputError: the granularity is out of range.
        """
        check_granularity(granularity)
        place = int(self.tree.places[point])
        apart = np.flatnonzero(self.tree.heights > granularity)
        behind = int(np.searchsorted(apart, place))
        start = int(apart[behind - 1]) + 1 if behind else 0
        stop = int(apart[behind]) if behind < len(apart) else len(self) - 1
        return int(point) if start == stop else len(self) + int(self.tree.ranks[start:stop].max())

    def members(self, node: int) -> np.ndarray:
        """(K,) int64 points of a node."""
        return self.tree.order[self.nodes.start[node] : self.nodes.stop[node]]

    def granularity_for(self, num_segments: int, min_size: int = 1) -> float:
        """The granularity with so many segments, or as nearly as there is one.

        Of all ranges of granularity with the best number, the middle of the widest. Where few segments are large enough
        because most points are not joined yet is no answer: it is looked for beyond the largest number of segments.

        Args:
            num_segments: wanted.
            min_size: smaller ones do not count.

        Raises:
            InputError: fewer than one is wanted.
        """
        if num_segments < 1:
            raise InputError(f"{num_segments} segments were asked for; ask for one or more")
        bounds, counts = self._counts(min_size)
        most = len(counts) - 1 - int(np.argmax(counts[::-1]))
        bounds, counts = bounds[most:], counts[most:]
        off = np.abs(counts - num_segments)
        best = off == off.min()
        # Neighbouring ranges with the same number are one: only crumbs were joined between them.
        same = np.concatenate([[False], best[1:] & best[:-1] & (counts[1:] == counts[:-1])])
        begin = np.flatnonzero(best & ~same)
        end = np.flatnonzero(best & ~np.append(same[1:], False)) + 1
        widest = int(np.argmax(bounds[end] - bounds[begin]))
        low, high = float(bounds[begin[widest]]), float(bounds[end[widest]])
        return (low + high) / 2 if high > low else low

    def _counts(self, min_size: int) -> tuple[np.ndarray, np.ndarray]:
        """How many segments there are: counts[i] of them from granularity bounds[i] to bounds[i + 1], the last 2."""
        nodes = self.nodes
        joined = slice(len(self), None)
        small, both = nodes.lighter[joined], nodes.size[joined]
        # A join makes a segment of two crumbs, or one of two segments.
        change = ((both >= min_size) & (both - small < min_size)).astype(np.int64) - (small >= min_size)
        counts = np.cumsum(np.concatenate([[len(self) if min_size <= 1 else 0], change]))
        heights = np.concatenate([[0.0], nodes.height[joined]])
        final = np.append(heights[1:] > heights[:-1], True)  # nothing lies between joins of equal height
        return np.append(heights[final], MAX_GRANULARITY), counts[final]


def check_granularity(granularity: float) -> None:
    """Refuse what is no granularity.

    Raises:
        InputError: it is below 0 or above 2, or no number.
    """
    if not 0 <= granularity <= MAX_GRANULARITY:
        raise InputError(
            f"the granularity {granularity:g} is out of range; it is a distance of unit features, from 0 (finest) to "
            f"{MAX_GRANULARITY:g} (coarsest)"
        )


def build_dendrogram(
    points: np.ndarray, features: np.ndarray, neighbors: int = NEIGHBORS, linkage: Linkage = "average"
) -> Dendrogram:
    """Join points with their neighbours in space, those first whose features are most alike.

    Args:
        points: (N, 3) on the surface, scene frame.
        features: (N, C); brought to unit length here.
        neighbors: how many nearest points each point is joined with.
        linkage: "average", see `linkage`, or "single", the original's: components of neighbours that are alike.

    Raises:
        InputError: there is no point, or something is not finite.
    """
    if len(points) == 0:
        raise InputError("there are no surface points to make a hierarchy of; train the run for longer")
    if points.shape != (len(features), 3) or features.ndim != 2:
        raise InputError(
            f"points of shape {points.shape} and features of shape {features.shape} do not fit each other; "
            "give (N, 3) and (N, C)"
        )
    if not (np.isfinite(points).all() and np.isfinite(features).all()):
        raise InputError("points or features are not finite; the training has diverged: train the head again")
    wide = features.astype(np.float32)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    kept = wide.astype(np.float16)
    points = np.ascontiguousarray(points, np.float32)
    edges = neighbor_graph(points, neighbors)
    if linkage == "average":
        return Dendrogram(points, kept, average_linkage(kept, edges))
    return Dendrogram(points, kept, spanning_tree(len(points), edges, feature_distances(kept, edges)))


def feature_distances(features: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Distance (E,) float64 of the features (N, C) at both ends of edges (E, 2), exactly 0 where they are equal."""
    wide = features.astype(np.float32)
    found = np.empty(len(edges))
    for start in range(0, len(edges), CHUNK):
        first, second = edges[start : start + CHUNK].T
        away = wide[first] - wide[second]
        found[start : start + CHUNK] = np.einsum("ec,ec->e", away, away)
    return np.minimum(np.sqrt(found), MAX_GRANULARITY)
