"""Words instead of strokes: what in a scene they fit, as if somebody had drawn there."""

from torch import Tensor

from nerfseg_plugins.features.words import fitting
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.lifting import StrokePoints


def points_of_words(cache: VoxelCache, relevancy: Tensor, words: str) -> StrokePoints:
    """The voxels that words fit best, as points of a stroke.

    Args:
        cache: the voxels.
        relevancy: (N,) in [0, 1] of its voxels; 0.5 is undecided.
        words: for messages.

    Raises:
        InputError: the words fit nothing.
    """
    chosen = fitting(relevancy, words)
    points = cache.grid.to_scene(cache.grid.centres(cache.grid.coords_of(cache.keys[chosen])))
    return StrokePoints(cache.features[chosen].float(), points)
