"""What of a scene words fit, on voxels made by hand."""

import torch

from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.voxels import VoxelGrid
from nerfseg_plugins.isrf.words import points_of_words


def row_of(count: int) -> VoxelCache:
    """Voxels in a row along z, whose features tell their places."""
    grid = VoxelGrid((0.0, 0.0, 0.0), 0.5, (1, 1, count), False)
    places = torch.linspace(0, 1, count)
    features = torch.stack([places, (1 - places**2).sqrt()], dim=-1).half()
    colors = torch.zeros(count, 3, dtype=torch.uint8)
    return VoxelCache(grid, torch.arange(count), features, features, colors, torch.ones(count).half())


def test_words_mark_what_is_most_like_them():
    cache = row_of(5)
    found = points_of_words(cache, torch.tensor([0.5, 0.9, 0.1, 0.79, 0.81]), "a chair")
    # The best has 0.9, so that from 0.5 + 0.75 * 0.4 = 0.8 on it counts.
    assert torch.equal(found.features, cache.features[[1, 4]].float())
    torch.testing.assert_close(found.points, torch.tensor([[0.25, 0.25, 0.75], [0.25, 0.25, 2.25]]))
