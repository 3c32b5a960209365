"""Who is beside whom: the graph that spanning trees are made of, of pixels by their rays and of points in space."""

import numpy as np
from scipy.spatial import KDTree


def neighbor_graph(places: np.ndarray, neighbors: int) -> np.ndarray:
    """Join each place with those nearest to it.

    Args:
        places: (N, 3) unit directions of pixels' rays, or points.
        neighbors: how many.

    Returns:
        (E, 2) int64 edges, smaller index first, each once and in order. They need not join all places.
    """
    count = min(neighbors, len(places) - 1)
    if count < 1:
        return np.zeros((0, 2), np.int64)
    tree = KDTree(places)
    # One after the other as they lie in space, they find the same parts of the tree still in the processor's memory.
    near = tree.query(places[tree.indices], k=count + 1)[1]
    own, other = np.repeat(tree.indices, count + 1).astype(np.int64), np.reshape(near, -1).astype(np.int64)
    # Of what is at one place any one may be found as its own nearest, so the loop is looked for and not just first.
    low, high = np.minimum(own, other), np.maximum(own, other)
    codes = np.unique((low * len(places) + high)[low < high])
    return np.stack([codes // len(places), codes % len(places)], axis=1)
