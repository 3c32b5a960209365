"""Minimum spanning trees as dendrograms, for pixels of a training step and for points of a scene alike.

Kruskal's algorithm joins the leaves pair by pair, lightest edge first. Whenever two clusters join, the leaves of one
are put behind those of the other. So every cluster that ever was is a run of neighbours in the final order, and between
two leaves that stand side by side there is one edge, the one that joined them. The heaviest of these edges between two
leaves is the bottleneck of the path that joins them in the tree: the ultrametric, or minimax, distance.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree


@dataclass(frozen=True)
class SpanningTree:
    """A minimum spanning tree of N leaves, laid out in one line; the gap i lies between `order[i]` and `order[i + 1]`.

    Leaves that no path of edges joins are separated by gaps of infinite height without an edge.
    """

    order: np.ndarray
    """(N,) int64 leaves, such that every cluster is a run of neighbours."""
    heights: np.ndarray
    """(N-1,) float64 weight of the edge that joined the clusters on both sides of the gap; infinite without one."""
    edges: np.ndarray
    """(N-1,) int64 that edge's row among the edges that the tree was made from; -1 without one."""
    ranks: np.ndarray
    """(N-1,) int64 when the gap was closed, 0 first: the order of the heights, unique also where they are equal."""

    @cached_property
    def places(self) -> np.ndarray:
        """(N,) int64 where each leaf stands in `order`."""
        places = np.empty_like(self.order)
        places[self.order] = np.arange(len(self.order))
        return places

    @cached_property
    def _maxima(self) -> list[np.ndarray]:
        """Largest rank of 2^k gaps from each one on, k = 0, 1, ...: any stretch is covered by two of these."""
        maxima = [self.ranks]
        while 2 << (len(maxima) - 1) <= len(self.ranks):
            half = 1 << (len(maxima) - 1)
            maxima.append(np.maximum(maxima[-1][:-half], maxima[-1][half:]))
        return maxima

    def bottlenecks(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The heaviest gap between pairs of leaves, that is where their clusters join.

        Args:
            first, second: (Q,) leaves.

        Returns:
            (Q,) int64 gaps; -1 where both leaves are the same. O(1) each, after O(N log N) once.
        """
        a, b = self.places[first], self.places[second]
        start, length = np.minimum(a, b), np.abs(a - b)
        gap_of_rank = np.empty_like(self.ranks)
        gap_of_rank[self.ranks] = np.arange(len(self.ranks))
        found = np.full(len(a), -1, np.int64)
        level = np.frexp(np.maximum(length, 1))[1] - 1  # floor of the logarithm, exact where log2 rounds
        for k, maxima in enumerate(self._maxima):
            chosen = np.flatnonzero((level == k) & (length > 0))
            left = start[chosen]
            right = left + length[chosen] - (1 << k)
            found[chosen] = gap_of_rank[np.maximum(maxima[left], maxima[right])]
        return found


def spanning_tree(num_leaves: int, edges: np.ndarray, weights: np.ndarray) -> SpanningTree:
    """Minimum spanning tree of an undirected graph.

    Args:
        num_leaves: N >= 1.
        edges: (E, 2) int leaves that an edge joins; either direction, repeated edges and loops are allowed.
        weights: (E,) finite; zero and negative ones are as good as others. Equal weights: the earlier edge is lighter.

    Returns:
        The tree, laid out; a forest's trees are joined by gaps of infinite height.
    """
    lightest_first = np.argsort(weights, kind="stable")
    chosen = _kruskal_edges(num_leaves, edges[lightest_first])
    rows = lightest_first[chosen]
    return tree_of_joins(num_leaves, edges[rows], weights[rows], rows)


def tree_of_joins(
    num_leaves: int, pairs: np.ndarray, heights: np.ndarray, rows: np.ndarray | None = None
) -> SpanningTree:
    """Lay out clusters that were joined one after the other.

    Args:
        num_leaves: N >= 1.
        pairs: (J, 2) int some leaf of either cluster that a join made one, lowest join first.
        heights: (J,) float, ascending.
        rows: (J,) int edge that a join stands for; -1 throughout without it.

    Returns:
        The tree; what no join makes one is separated by gaps of infinite height.
    """
    order, gaps = _laid_out(num_leaves, pairs[:, 0].tolist(), pairs[:, 1].tolist())
    # Gaps without a join come after all others, in the order of the line.
    without = gaps < 0
    ranks = np.where(without, len(pairs) + np.cumsum(without) - 1, gaps)
    found = np.full(max(num_leaves - 1, 0), np.inf)
    found[~without] = heights[gaps[~without]]
    edges = np.full(len(found), -1, np.int64)
    if rows is not None:
        edges[~without] = rows[gaps[~without]]
    return SpanningTree(order, found, edges, ranks)


def _kruskal_edges(num_leaves: int, edges: np.ndarray) -> np.ndarray:
    """Which of the edges (E, 2), lightest first, are of the tree; ascending.

    Their places stand for their weights: scipy takes a weight of zero for no edge. It adds repeated edges up, too,
    unless it is told that there are none; as it goes through edges one by one, lightest first, they do no harm.
    """
    low, high = edges.min(axis=1).astype(np.int32), edges.max(axis=1).astype(np.int32)
    proper = np.flatnonzero(low != high)
    graph = coo_matrix((proper + 1.0, (low[proper], high[proper])), shape=(num_leaves, num_leaves))
    graph.has_canonical_format = True
    return np.sort(minimum_spanning_tree(graph.tocsr(), overwrite=True).data.astype(np.int64)) - 1


def _laid_out(num_leaves: int, first: list[int], second: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Join leaves by the edges of a tree, one by one.

    Returns:
        The order (N,) int64, and for each gap (N-1,) int64 the edge that closed it, -1 where none did.
    """
    parent = list(range(num_leaves))
    size = [1] * num_leaves
    head = list(range(num_leaves))  # of a cluster's line, known at its root
    tail = list(range(num_leaves))
    following = [-1] * num_leaves
    closed_by = [-1] * num_leaves  # edge behind a leaf
    for edge, (a, b) in enumerate(zip(first, second, strict=True)):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        end = tail[a]
        following[end], closed_by[end], tail_of_both = head[b], edge, tail[b]
        start = head[a]
        if size[a] < size[b]:
            a, b = b, a
        parent[b] = a
        size[a] += size[b]
        head[a], tail[a] = start, tail_of_both
    order: list[int] = []
    gaps: list[int] = []
    for leaf in range(num_leaves):
        if parent[leaf] != leaf:
            continue
        if order:
            gaps.append(-1)
        place = head[leaf]
        while place >= 0:
            order.append(place)
            if following[place] >= 0:
                gaps.append(closed_by[place])
            place = following[place]
    return np.array(order, np.int64), np.array(gaps, np.int64)
