"""Words instead of strokes: what in a scene they fit, as if somebody had drawn there."""

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.lifting import StrokePoints

UNDECIDED = 0.5
"""Relevancy of what is as much like anything as like the words."""
NEAR_BEST = 0.75
"""Words mark what lies so far on the way from undecided to the best of the scene."""
MOST = 4096
"""As many points as a long stroke has."""


def points_of_words(cache: VoxelCache, relevancy: Tensor, words: str) -> StrokePoints:
    """The voxels that words fit best, as points of a stroke.

    How high the best of a scene is depends on the words, so that what counts is relative to it, as in LERF
    (arXiv 2303.09553, section 3.4).

    Args:
        cache: the voxels.
        relevancy: (N,) in [0, 1] of its voxels; 0.5 is undecided.
        words: for messages.

    Returns:
        At most `MOST` points, evenly chosen.

    Raises:
        InputError: the words fit nothing.
    """
    best = float(relevancy.max()) if len(relevancy) else 0.0
    if not best > UNDECIDED:
        raise InputError(
            f"nothing in the scene is like {words!r} (relevancy {best:.2f}, more than {UNDECIDED} is needed); try "
            "other words, or draw a stroke"
        )
    chosen = (relevancy >= UNDECIDED + NEAR_BEST * (best - UNDECIDED)).nonzero()[:, 0]
    if len(chosen) > MOST:
        chosen = chosen[torch.linspace(0, len(chosen) - 1, MOST, dtype=torch.float64).round().long()]
    points = cache.grid.to_scene(cache.grid.centres(cache.grid.coords_of(cache.keys[chosen])))
    return StrokePoints(cache.features[chosen].float(), points)
