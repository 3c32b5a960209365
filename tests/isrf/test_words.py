"""What of a scene words fit, on voxels made by hand; and the words of CLIP on a run."""

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.voxels import VoxelGrid
from nerfseg_plugins.isrf.words import MOST, points_of_words


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


def test_words_that_fit_nothing_are_refused():
    for relevancy in (torch.full((5,), 0.5), torch.zeros(5)):
        with pytest.raises(InputError, match="nothing in the scene is like 'a unicorn'"):
            points_of_words(row_of(5), relevancy, "a unicorn")
    with pytest.raises(InputError, match="nothing in the scene"):
        points_of_words(row_of(0), torch.zeros(0), "a unicorn")


def test_words_mark_no_more_than_a_long_stroke():
    cache = row_of(MOST + 100)
    found = points_of_words(cache, torch.full((len(cache),), 0.7), "anything")
    assert len(found) == MOST
    assert torch.equal(found.points[[0, -1]], cache.centres()[[0, -1]])
