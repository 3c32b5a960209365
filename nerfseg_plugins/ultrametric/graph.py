"""How alike two pixels are along the best path of neighbours between them: the ultrametric of a training step.

A path is as good as its worst edge, and the best path between two pixels lies in the minimum spanning tree of the pixel
graph (arXiv 2405.19678, section 3.1). One tree serves all pairs of a step; only the cosines of the graph's edges leave
the device of the features.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.ultrametric.tree import SpanningTree, spanning_tree

Mode = Literal["reference", "consistent"]
REFERENCE_BARRIER = 10.0
"""What the original implementation adds to the distance across a mask's edge."""
SAME, APART = 1.0, -1.0
"""How alike a pixel is to itself, and two pixels that no path joins."""


def mask_barriers(inside: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Which edges cross the outline of a mask.

    Args:
        inside: (M, N) bool which masks hold which pixels.
        edges: (E, 2) int pixels.

    Returns:
        (E,) bool whether some mask holds one end alone.
    """
    held_by = np.packbits(inside, axis=0).T
    return (held_by[edges[:, 0]] != held_by[edges[:, 1]]).any(axis=1)


def similarities(
    features: Tensor,
    edges: np.ndarray,
    barrier: np.ndarray,
    pairs: np.ndarray,
    mode: Mode = "consistent",
    barrier_weight: float = 0.1,
) -> Tensor:
    """How alike pairs of pixels are: the worst edge of the best path between them.

    * "reference", as the original implementation: the tree is that of 1 - cos + 10 across a mask's outline, but the
      value is the bare cosine of the worst edge. The choice and the value disagree, and so the values are no
      ultrametric where masks are.
    * "consistent": tree and value go by one weight, 1 - cos + `barrier_weight` across an outline, and the value is
      1 - weight. So s(a, c) >= min(s(a, b), s(b, c)) always.

    Args:
        features: (N, C) of unit length, on any device.
        edges: (E, 2) int pixels that are neighbours.
        barrier: (E,) bool edges that cross the outline of a mask.
        pairs: (P, 2) int pixels.
        mode: which of the two.
        barrier_weight: for "consistent".

    Returns:
        (P,) with gradients through the edges that decide, and no others; 1 for a pixel and itself, and a constant -1
        for pixels that no path joins.
    """
    with torch.no_grad():
        cosines = _cosines(features, edges)
    added = (REFERENCE_BARRIER if mode == "reference" else barrier_weight) * barrier
    weights = 1.0 - cosines.double().cpu().numpy() + added
    tree = spanning_tree(len(features), edges, weights)
    deciding = _deciding_edges(tree, pairs)
    values = features.new_full((len(pairs),), APART)
    values[torch.as_tensor(pairs[:, 0] == pairs[:, 1], device=features.device)] = SAME
    joined = np.flatnonzero(deciding >= 0)
    rows, of_pair = np.unique(deciding[joined], return_inverse=True)
    found = _cosines(features, edges[rows])
    if mode == "consistent":
        found = found - torch.as_tensor(added[rows], dtype=found.dtype, device=found.device)
    # In this form the result hangs on the features even where no pair is joined, so that a loss of it has a gradient.
    place = torch.as_tensor(joined, device=features.device)
    return values.index_put((place,), found[torch.as_tensor(of_pair.reshape(-1), device=features.device)])


def _cosines(features: Tensor, edges: np.ndarray) -> Tensor:
    """(E,) cosines between the ends of edges."""
    ends = torch.as_tensor(edges, device=features.device)
    return (features[ends[:, 0]] * features[ends[:, 1]]).sum(dim=-1)


def _deciding_edges(tree: SpanningTree, pairs: np.ndarray) -> np.ndarray:
    """(P,) int64 the worst edge of the path between two leaves; -1 where there is no path, or nothing in between."""
    gaps = tree.bottlenecks(pairs[:, 0], pairs[:, 1])
    deciding = np.full(len(pairs), -1, np.int64)
    between = gaps >= 0
    deciding[between] = tree.edges[gaps[between]]
    return deciding
