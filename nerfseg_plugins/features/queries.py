"""What a stroke asks for: a few centroids of the features under it."""

import warnings

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError


def centroids(features: Tensor, clusters: int, seed: int = 0) -> Tensor:
    """K-means of the features under strokes (ISRF, arXiv 2212.13545, section 3.3).

    Args:
        features: (P, C) of unit length.
        clusters: at most so many centroids; fewer where fewer distinct features are there.
        seed: of the first guess.

    Returns:
        (K, C) float32 of unit length, so that a voxel on a centroid has distance zero.

    Raises:
        InputError: the number of clusters is not positive, or features are not finite.
    """
    if clusters < 1:
        raise InputError(f"the number of clusters is {clusters}; give at least 1")
    if not bool(features.isfinite().all()):
        raise InputError("the features under the stroke are not finite; extract and train them again")
    points = features.double().cpu().numpy()
    clusters = min(clusters, len(np.unique(points.round(6), axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a cluster that loses all its features stays where it was
        found, _ = kmeans2(points, clusters, iter=50, minit="++", rng=np.random.default_rng(seed))
    return normalize(torch.from_numpy(found).float().to(features.device), dim=-1)


def squared_distance(features: Tensor, queries: Tensor, chunk: int = 1 << 13) -> Tensor:
    """Squared Euclidean distance (N,) float32 from unit features (N, C) to the nearest of unit queries (K, C)."""
    found = torch.empty(len(features), device=features.device)
    for part, some in zip(found.split(chunk), features.split(chunk), strict=True):
        torch.amax(queries @ some.float().T, dim=0, out=part)
    return found.mul_(-2).add_(2).clamp_min_(0)
