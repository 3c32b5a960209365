"""Where a random walk on a graph ends: one sparse linear system (Grady, "Random Walks for Image Segmentation", 2006).

At every step the walk may also end where it is, with a probability that is given (the same author's "Multilabel Random
Walker Image Segmentation Using Prior Models", 2005).
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

TOLERANCE = 1e-4
"""Relative residual at which the system counts as solved; what counts is on which side of a half a value is."""
MAX_STEPS = 500
"""A system of settings so extreme that it takes longer is solved roughly."""


def harmonic(graph: sparse.csr_matrix, values: np.ndarray, fixed: np.ndarray, prior: float) -> np.ndarray:
    """The harmonic function with priors: at each free node, the mean of its neighbours' values and its own prior.

    Args:
        graph: (M, M) weights, upper triangle.
        values: (M,) of the fixed nodes, and the priors of the free ones.
        fixed: (M,) bool.
        prior: weight of the priors.

    Returns:
        (M,) float32 in [0, 1].
    """
    degree = sums(graph, np.ones(len(values), np.float32)) + np.float32(prior)
    fixed = fixed | (degree == 0)  # without neighbours and without prior a node keeps its value
    degree[fixed] = 1
    target = sums(graph, fixed * values) + np.float32(prior) * values
    target[fixed] = 0

    def apply(x: np.ndarray) -> np.ndarray:
        # Fixed voxels are unknowns that are zero, so that the graph need not be taken apart.
        found = sums(graph, x)
        found[fixed] = 0
        return np.subtract(degree * x, found, out=found)

    found, _ = cg(
        _operator(apply, len(values)),
        target,
        x0=np.where(fixed, np.float32(0), values),
        rtol=TOLERANCE,
        maxiter=MAX_STEPS,
        M=_operator(lambda x: x / degree, len(values)),
    )
    found[fixed] = values[fixed]
    return found.clip(0, 1, out=found)


def sums(graph: sparse.csr_matrix, values: np.ndarray) -> np.ndarray:
    """The weighted sums (M,) of the neighbours' values."""
    found = graph @ values
    found += graph.T @ values
    return found


def _operator(apply: Callable[[np.ndarray], np.ndarray], size: int) -> LinearOperator:
    return LinearOperator((size, size), matvec=apply, dtype=np.float32)  # type: ignore[call-arg]
