"""The nodes of a dendrogram: which points each holds, what it becomes part of, and a colour that it keeps."""

from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.scene.colors import MAX_IDS, palette
from nerfseg_plugins.ultrametric.tree import SpanningTree


@dataclass(frozen=True)
class Nodes:
    """The clusters of a spanning tree of N leaves: node i < N is leaf i, node N + r what closing gap r by rank made.

    Gaps of infinite height close nothing, so there are as many nodes beyond N as gaps of finite height.
    """

    start: np.ndarray
    """(M,) int64: a node's leaves are `tree.order[start:stop]`."""
    stop: np.ndarray
    """(M,) int64."""
    height: np.ndarray
    """(M,) float64 of the gap that it closed; 0 for leaves."""
    parent: np.ndarray
    """(M,) int64 node that it is joined into; -1 for roots."""
    lighter: np.ndarray
    """(M,) int64 number of leaves of the smaller of the two nodes that it joins; 0 for leaves."""
    main: np.ndarray
    """(M,) int64 leaf at the end of the way down that always takes the larger of two joined nodes.

    It stands for the segment as it grows: what joins a larger one takes over that one's.
    """
    prominence: np.ndarray
    """(N,) int64 place of each leaf when all are sorted by the largest node that they stand for, 0 the largest."""

    @classmethod
    def of(cls, tree: SpanningTree) -> "Nodes":
        """All nodes of a tree. O(N), about a second for a million leaves."""
        num_leaves = len(tree.order)
        finite = np.flatnonzero(np.isfinite(tree.heights))
        gaps = finite[np.argsort(tree.ranks[finite])]
        start, stop, parent, lighter, main = _joined(tree.order, gaps)
        height = np.concatenate([np.zeros(num_leaves), tree.heights[gaps]])
        largest = np.zeros(num_leaves, np.int64)
        largest[main] = stop - start  # nodes come in the order in which they grow, so the last one stays
        prominence = np.empty(num_leaves, np.int64)
        prominence[np.argsort(-largest, kind="stable")] = np.arange(num_leaves)
        return cls(start, stop, height, parent, lighter, main, prominence)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def size(self) -> np.ndarray:
        """(M,) int64 number of leaves."""
        return self.stop - self.start

    def grown(self, node: int, min_size: int = 1) -> int:
        """The next node on the way up that is more than this one by something of its own.

        Joins with fewer than `min_size` leaves on one side only add crumbs, so they are passed over.

        Returns:
            The node, or -1 where the way ends before.
        """
        found = int(self.parent[node])
        while found >= 0 and self.lighter[found] < min_size:
            found = int(self.parent[found])
        return found

    def colors(self, nodes: np.ndarray) -> np.ndarray:
        """A colour for each node, that depends on the node alone.

        A segment keeps its colour as it grows, until it joins a larger one; the most prominent get the colours that
        are told apart best.

        Args:
            nodes: (S,) ids.

        Returns:
            uint8 (S, 3).
        """
        prominence = self.prominence[self.main[nodes]]
        # The first colour of a palette is the background's.
        return palette(min(MAX_IDS, len(self.prominence) + 1))[1 + prominence % (MAX_IDS - 1)]


def _joined(order: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, ...]:
    """Close gaps one by one.

    Returns:
        start, stop, parent, lighter, main of all nodes, see `Nodes`.
    """
    count = len(order)
    begin, end, left, right = (np.array(column, np.int64) for column in _closed(order.tolist(), gaps.tolist()))
    made = np.arange(count, count + len(gaps))
    places = np.empty(count, np.int64)
    places[order] = np.arange(count)
    parent = np.full(count + len(gaps), -1, np.int64)
    parent[left] = parent[right] = made
    left_size, right_size = gaps + 1 - begin, end - gaps
    lighter = np.concatenate([np.zeros(count, np.int64), np.minimum(left_size, right_size)])
    main = np.concatenate([np.arange(count), np.where(left_size >= right_size, left, right)])
    while (main >= count).any():  # twice as far down each time
        main = main[main]
    return np.concatenate([places, begin]), np.concatenate([places, end]) + 1, parent, lighter, main


def _closed(order: list[int], gaps: list[int]) -> tuple[list[int], ...]:
    """First and last place of what closing each gap makes, and the nodes that it joins, left and right."""
    first = list(range(len(order)))  # where a run begins, known at its last place
    last = list(range(len(order)))  # where it ends, known at its first place
    node_at = list(order)  # known at its first place
    begins, ends, lefts, rights = [], [], [], []
    for node, gap in enumerate(gaps, len(order)):
        begin, end = first[gap], last[gap + 1]
        begins.append(begin)
        ends.append(end)
        lefts.append(node_at[begin])
        rights.append(node_at[gap + 1])
        first[end], last[begin], node_at[begin] = begin, end, node
    return begins, ends, lefts, rights
