"""Small dendrograms for tests."""

from functools import partial

import numpy as np

from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, build_dendrogram

single_linkage = partial(build_dendrogram, linkage="single")


def patches(num_points: int = 600, seed: int = 0) -> Dendrogram:
    """Points on a unit square, with features that change from patch to patch of 4 x 4."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.uniform(size=(num_points, 2)), np.zeros((num_points, 1))], axis=1)
    patch = (points[:, :2] * 4).astype(int) @ [1, 4]
    features = rng.normal(size=(16, 8))[patch] + 0.2 * rng.normal(size=(num_points, 8))
    return single_linkage(points, features)
