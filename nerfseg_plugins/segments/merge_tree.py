"""The order in which the regions of an image grow together, as a tree: every level of a hierarchy is a cut of it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MergeTree:
    """K merges of N first regions, which are the nodes 0..N-1; the k-th merge makes node N + k."""

    number: int
    """N."""
    children: np.ndarray
    """(K, 2) int64 nodes that are merged; the first one takes the second."""
    costs: np.ndarray
    """(K,) how unlike they are; never falling, so that cuts are nested."""

    @staticmethod
    def of_merges(number: int, pairs: list[tuple[int, int]], costs: list[float]) -> "MergeTree":
        """From merges in which region a takes region b (a, b) and goes on under its own name.

        A merge that costs less than an earlier one counts as much: it could not have come before.
        """
        nodes = list(range(number))
        children = np.zeros((len(pairs), 2), np.int64)
        for index, (a, b) in enumerate(pairs):
            children[index] = nodes[a], nodes[b]
            nodes[a] = number + index
        return MergeTree(number, children, np.maximum.accumulate(np.array(costs, np.float64)))

    def cut(self, threshold: float) -> np.ndarray:
        """(N,) int64: the region of each first one after all merges that cost `threshold` or less; 0.. without gaps, in
        the order of the first regions that took the others."""
        count = int(np.searchsorted(self.costs, threshold, side="right"))
        name = np.arange(self.number + count)
        for index in range(count):
            name[self.number + index] = name[self.children[index, 0]]
        for index in range(count - 1, -1, -1):
            name[self.children[index]] = name[self.number + index]
        return np.unique(name[: self.number], return_inverse=True)[1].ravel()

    def members(self) -> np.ndarray:
        """(N + K, N) bool: which first regions each node holds."""
        members = np.zeros((self.number + len(self.children), self.number), bool)
        members[: self.number] = np.eye(self.number, dtype=bool)
        for index, (first, second) in enumerate(self.children):
            members[self.number + index] = members[first] | members[second]
        return members

    def lifetimes(self) -> tuple[np.ndarray, np.ndarray]:
        """Costs at which each node appears (0 for first regions) and at which it is merged (inf for the last one), two
        arrays (N + K,)."""
        born = np.concatenate([np.zeros(self.number), self.costs])
        dies = np.full(len(born), np.inf)
        dies[self.children] = self.costs[:, None]
        return born, dies
