"""Growing: by hand, and against the dense formulation, step by step and to the end."""

import math
from typing import Optional

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf import dense
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.growing import Kernel, grow

from .caches import cache_of, mark, random_cache, unit


def row(features: torch.Tensor, latents: Optional[torch.Tensor] = None) -> VoxelCache:
    """Voxels in a row along x."""
    count = len(features)
    return cache_of([(x, 0, 0) for x in range(count)], features, latents, shape=(count, 1, 1))


def chosen(mask: torch.Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


def test_a_row_by_hand():
    """Alike as far as the third voxel; the fourth differs by a right angle, which is a squared distance of 2."""
    cache = row(unit([1, 0], [1, 0], [1, 0], [0, 1], [0, 1]))
    near, other = math.exp(-1 / 5), math.exp(-1 / 5 - 2 / 0.5)
    # The second voxel's surroundings are itself and the first and the third; those of the third, one that differs.
    assert near / (1 + 2 * near) > 0.1 and near / (1 + near + other) > 0.1
    assert other / (1 + near + other) < 0.1
    one = grow(cache, mark(cache, 0), Kernel(), max_steps=1)
    assert chosen(one.selected) == [0, 1] and one.steps == 1 and not one.converged
    end = grow(cache, mark(cache, 0), Kernel())
    assert chosen(end.selected) == [0, 1, 2] and end.steps == 2 and end.converged


@pytest.mark.parametrize("above", [False, True])
def test_the_threshold_is_the_share_by_hand(above: bool):
    """One voxel beside the region, between two others: what the region has of its surroundings is k / (1 + 2 k')."""
    cache = row(unit([1, 0], [1, 0.5], [0, 1]))

    def kernel(one: int, other: int) -> float:
        apart = float((cache.features[one].double() - cache.features[other].double()).square().sum())
        return math.exp(-apart / 0.5 - 1 / 5)

    share = kernel(0, 1) / (1 + kernel(0, 1) + kernel(1, 2))
    found = grow(cache, mark(cache, 0), Kernel(), threshold=share + (-1e-5 if above else 1e-5), max_steps=1)
    assert chosen(found.selected) == ([0, 1] if above else [0])


def test_the_reach_in_space_is_in_voxels_by_hand():
    """A corner of the cube is three voxels away in the 1-norm."""
    cache = cache_of([(0, 0, 0), (1, 1, 1)])
    for sigma, joins in ((1.3, False), (1.4, True)):
        share = math.exp(-3 / sigma) / (1 + math.exp(-3 / sigma))
        assert (share > 0.1) == joins
        assert chosen(grow(cache, mark(cache, 0), Kernel(sigma_d=sigma)).selected) == ([0, 1] if joins else [0])


def test_colour_latents_stop_a_region_where_they_are_asked():
    cache = row(unit(*[[1, 0]] * 4), torch.tensor([[0.0], [0.0], [1.0], [1.0]]))
    assert chosen(grow(cache, mark(cache, 0), Kernel()).selected) == [0, 1, 2, 3]
    # exp(-1 / 0.2) is a hundredth.
    assert chosen(grow(cache, mark(cache, 0), Kernel(sigma_c=0.2)).selected) == [0, 1]
    assert chosen(grow(cache, mark(cache, 0), Kernel(sigma_c=100.0)).selected) == [0, 1, 2, 3]


def test_what_may_not_join_stops_a_region():
    cache = row(unit(*[[1, 0]] * 5))
    allowed = mark(cache, 0, 1, 2, 4)
    assert chosen(grow(cache, mark(cache, 0), Kernel(), allowed).selected) == [0, 1, 2]
    # What is in the region from the start stays, allowed or not.
    assert chosen(grow(cache, mark(cache, 3), Kernel(), mark(cache, 4)).selected) == [3, 4]


def test_gaps_are_not_crossed_and_nothing_grows_from_nothing():
    cache = cache_of([(0, 0, 0), (1, 0, 0), (3, 0, 0)])
    assert chosen(grow(cache, mark(cache, 0), Kernel()).selected) == [0, 1]
    nothing = grow(cache, mark(cache), Kernel())
    assert not nothing.selected.any() and nothing.steps == 0 and nothing.converged
    start = mark(cache, 0)
    grow(cache, start, Kernel())
    assert chosen(start) == [0], "what is given stays as it is"


KERNELS = [Kernel(), Kernel(1.0, 10.0), Kernel(2.0, 0.3, 0.2), Kernel(math.inf, 0.15, 1.0)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("seed", range(6))
def test_any_region_grows_as_on_the_dense_grid(seed: int, kernel: Kernel):
    """To the end and step by step, with and without voxels that may not join."""
    cache = random_cache(seed, share=0.25 + 0.1 * seed)
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(len(cache), generator=generator) < 0.05
    allowed = torch.rand(len(cache), generator=generator) < 0.8
    grid = dense.DenseGrid.of_cache(cache)
    grown = 0
    for may in (None, allowed):
        cells = None if may is None else dense.spread(cache, may)
        for steps in (1, 2, 3, 1000):
            sparse_ = grow(cache, start, kernel, may, steps)
            dense_ = dense.grow(grid, dense.spread(cache, start), kernel, cells, steps)
            assert torch.equal(sparse_.selected, dense.gather(cache, dense_.selected))
            assert int(sparse_.selected.sum()) == int(dense_.selected.sum()), "empty cells never join"
            assert (sparse_.steps, sparse_.converged) == (dense_.steps, dense_.converged)
            grown = max(grown, sparse_.steps)
        if may is not None:
            assert not (sparse_.selected & ~start & ~may).any()
    assert grown > 1


def test_the_end_is_one_that_another_step_does_not_change():
    cache = random_cache(3, (12, 12, 12), 0.4)
    found = grow(cache, mark(cache, 100, 200), Kernel())
    assert found.converged and found.steps > 2
    again = grow(cache, found.selected, Kernel())
    assert torch.equal(again.selected, found.selected) and again.steps == 0


@pytest.mark.parametrize("name", ["sigma_d", "sigma_f", "sigma_c"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_sigma_that_divides_by_nothing_is_refused(name: str, value: float):
    with pytest.raises(InputError, match=f"{name} is {value}; it must be greater than 0"):
        Kernel(**{name: value})


def test_the_dense_seed_is_that_of_the_voxels():
    from nerfseg_plugins.features.queries import squared_distance

    cache = random_cache(5)
    queries = unit([1, 0, 0, 0, 0, 1], [0, 1, 0, -1, 0, 0])
    cells = dense.squared_distance(dense.DenseGrid.of_cache(cache), queries)
    torch.testing.assert_close(dense.gather(cache, cells), squared_distance(cache.features, queries))
