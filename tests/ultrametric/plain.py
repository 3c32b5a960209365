"""The ultrametric of a pixel graph step by step, as the original implementation has it: what fast paths must equal.

Kruskal's algorithm builds a binary tree whose inner nodes are the edges of the spanning tree; of a pair of pixels the
lowest common ancestor is looked up, one pair after the other.
"""

import numpy as np
import torch
from torch import Tensor


class MergeTree:
    """Binary tree of merges: node i < N is the leaf i, node N + k the k-th merge."""

    def __init__(self, num_leaves: int, edges: np.ndarray, weights: np.ndarray) -> None:
        self.num_leaves = num_leaves
        self.parent = list(range(num_leaves))
        self.edge_of: list[int] = []
        top = list(range(num_leaves))  # of the tree that a leaf's representative is in
        leader = list(range(num_leaves))

        def find(leaf: int) -> int:
            while leader[leaf] != leaf:
                leader[leaf] = leaf = leader[leader[leaf]]
            return leaf

        for edge in np.argsort(weights, kind="stable"):
            first, second = find(int(edges[edge, 0])), find(int(edges[edge, 1]))
            if first == second:
                continue
            node = len(self.parent)
            self.parent[top[first]] = self.parent[top[second]] = node
            self.parent.append(node)
            self.edge_of.append(int(edge))
            leader[first] = second
            top[second] = node

    def ancestors(self, node: int) -> list[int]:
        """The node and all above it, upwards."""
        found = [node]
        while self.parent[node] != node:
            node = self.parent[node]
            found.append(node)
        return found

    def common(self, first: int, second: int) -> int:
        """The lowest common ancestor; -1 where there is none."""
        above = set(self.ancestors(first))
        return next((node for node in self.ancestors(second) if node in above), -1)


def plain_similarities(
    features: Tensor, edges: np.ndarray, barrier: np.ndarray, pairs: np.ndarray, mode: str, barrier_weight: float
) -> Tensor:
    """`similarities`, pair by pair."""
    cosine = (features[edges[:, 0]] * features[edges[:, 1]]).sum(dim=-1)
    added = torch.as_tensor(barrier, dtype=cosine.dtype) * (10.0 if mode == "reference" else barrier_weight)
    tree = MergeTree(len(features), edges, (1 - cosine + added).detach().numpy())
    found = []
    for first, second in pairs:
        node = tree.common(int(first), int(second))
        if first == second:
            found.append(torch.tensor(1.0, dtype=features.dtype))
        elif node < 0:
            found.append(torch.tensor(-1.0, dtype=features.dtype))
        else:
            edge = tree.edge_of[node - tree.num_leaves]
            found.append(cosine[edge] if mode == "reference" else cosine[edge] - added[edge])
    return torch.stack(found)


def minimax(num_leaves: int, edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N, N) the smallest possible largest edge on a path, infinite without one; by relaxation over all leaves."""
    found = np.full((num_leaves, num_leaves), np.inf)
    np.fill_diagonal(found, -np.inf)
    for (first, second), weight in zip(edges, weights, strict=True):
        if first != second:
            found[first, second] = found[second, first] = min(found[first, second], weight)
    for middle in range(num_leaves):
        found = np.minimum(found, np.maximum(found[:, middle, None], found[None, middle]))
    return found
