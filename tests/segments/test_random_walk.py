"""Where a walk ends, by hand and against a dense linear system."""

import numpy as np
from scipy import sparse

from nerfseg_plugins.segments.random_walk import harmonic, sums


def graph(*edges: tuple[int, int, float]) -> sparse.csr_matrix:
    ones, others, weights = zip(*edges, strict=True)
    count = max(max(ones), max(others)) + 1
    return sparse.csr_matrix((np.float32(weights), (ones, others)), shape=(count, count))


def test_between_two_ends_the_chance_falls_as_the_resistance_grows():
    """Resistances 1 and 3 in series."""
    found = harmonic(graph((0, 1, 1), (1, 2, 1 / 3)), np.float32([1, 0, 0]), np.array([True, False, True]), 0)
    np.testing.assert_allclose(found, [1, 0.75, 0], atol=1e-4)


def test_a_prior_is_a_neighbour_of_that_value():
    """(1 * 1 + 1 * 0 + 2 * 0.25) / (1 + 1 + 2)."""
    found = harmonic(graph((0, 1, 1), (1, 2, 1)), np.float32([1, 0.25, 0]), np.array([True, False, True]), 2)
    np.testing.assert_allclose(found, [1, 0.375, 0], atol=1e-4)


def test_a_node_on_its_own_keeps_its_value():
    alone = sparse.csr_matrix((2, 2), dtype=np.float32)
    assert harmonic(alone, np.float32([0.3, 0.6]), np.zeros(2, bool), 0).tolist() == np.float32([0.3, 0.6]).tolist()


def test_any_walk_solves_the_dense_system():
    rng = np.random.default_rng(0)
    weights = np.triu(rng.random((12, 12)) * (rng.random((12, 12)) < 0.4), 1).astype(np.float32)
    values, fixed, prior = rng.random(12).astype(np.float32), rng.random(12) < 0.3, 0.2
    full = weights + weights.T
    free = ~fixed
    system = np.diag(full.sum(axis=1) + prior) - full
    right = full[free][:, fixed] @ values[fixed] + prior * values[free]
    expected = values.copy()
    expected[free] = np.linalg.solve(system[np.ix_(free, free)], right)
    graph = sparse.csr_matrix(weights)
    np.testing.assert_allclose(harmonic(graph, values, fixed, prior), expected, atol=1e-3)
    np.testing.assert_allclose(sums(graph, values), full @ values, rtol=1e-5)
