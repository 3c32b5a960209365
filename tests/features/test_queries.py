"""Centroids and distances, against scikit-learn and by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.queries import centroids, squared_distance


def unit(*features: Any) -> torch.Tensor:
    """Vectors of length 1 along the last axis."""
    return normalize(torch.tensor(features, dtype=torch.float32), dim=-1)


def clusters(count: int = 4, each: int = 30, spread: float = 0.05, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit features around a few directions, mixed, and the directions."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.eye(8)[:count]
    features = middles.repeat(each, 1) + spread * torch.randn(count * each, 8, generator=generator)
    return normalize(features, dim=-1), middles


def test_centroids_are_those_of_scikit_learn():
    features, _ = clusters()
    found = centroids(features, 4)
    expected = KMeans(4, n_init=10, random_state=0).fit(features.numpy()).cluster_centers_
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert found.dtype == torch.float32
    order = np.lexsort(expected.round(2).T), np.lexsort(found.numpy().round(2).T)
    np.testing.assert_allclose(found.numpy()[order[1]], expected[order[0]], atol=1e-5)


def test_centroids_have_length_one_and_depend_on_the_seed_alone():
    features, _ = clusters(spread=0.4)
    found = centroids(features, 11, seed=3)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(11))
    assert torch.equal(found, centroids(features, 11, seed=3))
    assert not torch.equal(found, centroids(features, 11, seed=4))


def test_there_are_no_more_centroids_than_features():
    features = unit([1, 0], [1, 0], [0, 1], [1, 0])
    found = centroids(features, 11)
    assert sorted(tuple(row) for row in found.round(decimals=5).tolist()) == [(0.0, 1.0), (1.0, 0.0)]
    assert torch.equal(centroids(features[:1], 11), features[:1])


def test_one_centroid_is_the_mean_brought_to_length_one():
    torch.testing.assert_close(centroids(unit([1, 0], [0, 1]), 1), unit([1, 1]))


@pytest.mark.parametrize("count", [0, -1])
def test_no_clusters_are_refused(count: int):
    with pytest.raises(InputError, match=f"number of clusters is {count}; give at least 1"):
        centroids(unit([1, 0]), count)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(value: float):
    with pytest.raises(InputError, match="not finite"):
        centroids(torch.tensor([[1.0, 0.0], [value, 0.0]]), 2)


def test_squared_distances_by_hand():
    """Of unit vectors: 0 to itself, 2 at a right angle, 4 to the opposite, 1 at 60 degrees."""
    features = unit([1, 0], [0, 1], [-1, 0], [0.5, math.sqrt(3) / 2]).half()
    one = squared_distance(features, unit([1, 0]))
    assert one.dtype == torch.float32
    torch.testing.assert_close(one, torch.tensor([0.0, 2, 4, 1]), atol=2e-3, rtol=0)
    # To the nearest of two.
    two = squared_distance(features, unit([1, 0], [0, 1]))
    torch.testing.assert_close(two, torch.tensor([0.0, 0, 2, 2 - math.sqrt(3)]), atol=2e-3, rtol=0)


def test_distances_in_parts_are_those_of_the_whole():
    features, middles = clusters()
    expected = torch.cdist(features.half().double(), middles.double()).square().amin(dim=-1).float()
    for chunk in (1, 7, 1000):
        # Features in half precision are of length 1 to a thousandth.
        torch.testing.assert_close(squared_distance(features.half(), middles, chunk), expected, atol=2e-3, rtol=0)
    assert bool((squared_distance(features.half(), features) >= 0).all())
    assert squared_distance(features[:0].half(), middles).shape == (0,)
