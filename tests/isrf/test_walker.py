"""The random walk: by hand on chains, and against a dense linear system."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.color import rgb2lab

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.walker import links, surface_directions, walk
from nerfseg_plugins.segments.select_config import WalkerConfig

from .caches import cache_of, mark, random_cache, unit

PLAIN = WalkerConfig(sigma_n=math.inf, floor=0.0, prior=0.0, margin=100.0)
"""Only features and colours count."""


def chain(features: torch.Tensor, **options) -> VoxelCache:
    """Voxels in a row along z."""
    count = len(features)
    return cache_of([(0, 0, z) for z in range(count)], features, shape=(1, 1, count), **options)


def alike(count: int) -> torch.Tensor:
    return unit(*[[1, 0]] * count)


def ends(cache: VoxelCache) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([0]), torch.tensor([len(cache) - 1])


def test_along_a_chain_of_equal_voxels_the_chance_falls_evenly():
    cache = chain(alike(9))
    found = walk(cache, *ends(cache), torch.zeros(9), PLAIN)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.linspace(1, 0, 9), atol=1e-3, rtol=0)


def test_a_diagonal_step_is_as_much_rarer_as_it_is_longer():
    """The middle of three voxels: one at distance 1, one across a corner of the cube at distance sqrt(3)."""
    cache = cache_of([(0, 0, 0), (0, 0, 1), (1, 1, 2)])
    found = walk(cache, *ends(cache), torch.zeros(3), PLAIN)
    assert float(found[1]) == pytest.approx(1 / (1 + 1 / math.sqrt(3)), abs=1e-4)


@pytest.mark.parametrize("what", ["features", "colors"])
def test_a_chain_falls_where_neighbours_differ_as_resistors_in_series_do(what: str):
    cache = chain(alike(6))
    if what == "features":
        features = unit(*[[1, 0]] * 3, *[[1, 0.4]] * 3).half()
        cache = replace(cache, features=features)
        weight = math.exp(-float((features[2].double() - features[3].double()).square().sum()) / PLAIN.sigma_f)
    else:
        colors = torch.tensor([[100, 100, 100]] * 3 + [[110, 110, 110]] * 3, dtype=torch.uint8)
        cache = replace(cache, colors=colors)
        lab = rgb2lab(colors.numpy()[None] / 255)[0] / 100
        weight = math.exp(-float(((lab[2] - lab[3]) ** 2).sum()) / PLAIN.sigma_c)
    assert 0.1 < weight < 0.9
    resistances = np.array([1, 1, 1 / weight, 1, 1])
    expected = 1 - np.concatenate([[0], resistances.cumsum()]) / resistances.sum()
    np.testing.assert_allclose(walk(cache, *ends(cache), torch.zeros(6), PLAIN).numpy(), expected, atol=1e-3)


def test_a_walk_stops_at_a_weak_edge():
    """Although the object's stroke is at its far end and the other one right behind the edge."""
    cache = chain(unit(*[[1, 0]] * 10, *[[0, 1]] * 3))
    found = walk(cache, torch.tensor([0]), torch.tensor([10]), torch.zeros(13), PLAIN)
    assert bool((found[:10] > 0.99).all()) and bool((found[10:] < 0.01).all())


def test_the_floor_holds_things_together():
    """With it, the weak edge of another chain is stepped over: both sides fall evenly."""
    cache = chain(unit(*[[1, 0]] * 3, *[[0, 1]] * 3))
    found = walk(cache, *ends(cache), torch.zeros(6), replace(PLAIN, floor=0.5))
    weak = 0.5 / 1.5  # between unlike voxels, beside 1 between equal ones
    expected = 1 - np.array([0, 1, 2, 2 + 1 / weak, 3 + 1 / weak, 4 + 1 / weak]) / (4 + 1 / weak)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_priors_pull_by_hand():
    """One free voxel between two fixed ones: the mean of 1, 0 and its prior, by their weights."""
    cache = chain(alike(3))
    for prior, weight in ((0.9, 0.5), (0.2, 3.0), (0.7, 0.0)):
        found = walk(cache, *ends(cache), torch.tensor([0.3, prior, 0.8]), replace(PLAIN, prior=weight))
        expected = [1.0, (1 + weight * prior) / (2 + weight), 0.0]
        assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_voxel_on_its_own_says_what_its_prior_says():
    cache = cache_of([(0, 0, 0), (0, 0, 1), (4, 4, 4), (7, 7, 7)])
    prior = torch.tensor([0.5, 0.5, 0.8, 0.3])
    for weight in (0.0, 0.1):
        found = walk(cache, torch.tensor([0]), torch.tensor([1]), prior, replace(PLAIN, prior=weight))
        assert found.tolist() == pytest.approx([1, 0, 0.8, 0.3], abs=1e-4)


def test_without_negative_strokes_priors_alone_speak_against():
    cache = chain(alike(5))
    none = torch.empty(0, dtype=torch.long)
    found = walk(cache, torch.tensor([0]), none, torch.zeros(5), replace(PLAIN, prior=0.1))
    assert float(found[0]) == 1 and bool((found.diff() < 0).all()) and float(found[-1]) > 0.3


def test_far_from_all_strokes_nothing_belongs_to_the_object():
    """Strokes reach from 3 to 7, which are 5 voxels; half of that beyond are 2."""
    cache = chain(alike(20))
    config = replace(PLAIN, margin=0.5, prior=0.1)
    found = walk(cache, torch.tensor([3]), torch.tensor([7]), torch.ones(20), config)
    assert found.nonzero()[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 8, 9]
    # Without a negative stroke nothing is too far.
    assert bool((walk(cache, torch.tensor([3]), torch.tensor([7])[:0], torch.ones(20), config) > 0.99).all())


def test_a_voxel_under_both_strokes_is_the_object_s():
    cache = chain(alike(3))
    assert walk(cache, torch.tensor([0]), torch.tensor([0, 2]), torch.zeros(3), PLAIN)[0] == 1


@pytest.mark.parametrize("seed", range(4))
def test_any_walk_solves_the_dense_system(seed: int):
    """D x = W x + prior (p - x) for what is free, written out with all pairs."""
    cache = random_cache(seed, (6, 7, 5), 0.3 + 0.15 * seed)
    count = len(cache)
    rng = np.random.default_rng(seed)
    config = replace(PLAIN, sigma_f=0.8, sigma_c=0.3, floor=0.02, prior=0.05)
    coords, features = cache.coords.numpy(), cache.features.double().numpy()
    lab = rgb2lab(cache.colors.numpy()[None] / 255)[0] / 100

    def squared(values: np.ndarray) -> np.ndarray:
        return ((values[:, None] - values[None]) ** 2).sum(axis=-1)

    beside = (np.abs(coords[:, None] - coords[None]).max(axis=-1) == 1).astype(float)
    length = np.sqrt(squared(coords.astype(float)) + np.eye(count))
    weights = beside * (np.exp(-squared(features) / 0.8 - squared(lab) / 0.3) / length + 0.02)
    positive, negative = rng.choice(count, (2, 4), replace=False)
    prior = rng.random(count)
    values = np.zeros(count)
    values[positive] = 1
    fixed = np.zeros(count, bool)
    fixed[positive] = fixed[negative] = True
    system = np.diag(weights.sum(axis=1) + 0.05) - weights
    target = 0.05 * prior + weights @ (values * fixed)
    values[~fixed] = np.linalg.solve(system[np.ix_(~fixed, ~fixed)], target[~fixed])
    found = walk(cache, *map(torch.from_numpy, (positive, negative, prior)), config)
    assert 0.1 < values.mean() < 0.9
    np.testing.assert_allclose(found.numpy(), values, atol=2e-3)


# Surfaces ------------------------------------------------------------------------------------------------------------


def normals(cache: VoxelCache) -> np.ndarray:
    return surface_directions(cache.grid, cache.keys, links(cache.grid, cache.keys))


def test_neighbours_are_linked_once_with_their_squared_distance():
    cache = random_cache(7)
    found = links(cache.grid, cache.keys)
    coords = cache.coords.numpy()
    apart = coords[:, None] - coords[None]
    expected = (np.abs(apart).max(axis=-1) == 1) * np.square(apart).sum(axis=-1)
    assert np.array_equal(found.toarray(), np.triu(expected, 1)) and found.has_sorted_indices


def test_normals_of_a_floor_a_slope_and_a_ball():
    floor = cache_of([(x, y, 3) for x in range(8) for y in range(8)])
    np.testing.assert_allclose(np.abs(normals(floor)), np.tile([0, 0, 1], (64, 1)), atol=1e-6)
    slope = cache_of([(x, y, x) for x in range(8) for y in range(8)])
    middle = normals(slope).reshape(8, 8, 3)[2:-2, 2:-2] * np.sqrt(2)
    np.testing.assert_allclose(np.abs(middle), np.broadcast_to([1, 0, 1], middle.shape), atol=1e-6)
    assert (middle[..., 0] * middle[..., 2] < 0).all()
    radius, centre = 20, np.array([24, 24, 24])
    ball = np.linalg.norm(np.argwhere(np.ones((49,) * 3)) - centre, axis=1).reshape((49,) * 3) < radius
    shell = ball & ~ndimage.binary_erosion(ball)
    cache = cache_of(np.argwhere(shell), shape=(49, 49, 49))
    out = (cache.coords.numpy() - centre) / np.linalg.norm(cache.coords.numpy() - centre, axis=1, keepdims=True)
    turned = np.degrees(np.arccos(np.abs((normals(cache) * out).sum(axis=1)).clip(0, 1)))
    assert np.median(turned) < 5 and turned.max() < 20


def test_normals_are_of_the_plane_through_neighbours_of_neighbours():
    """A voxel counts as often as there are ways of at most two steps to it, staying included."""
    cache = random_cache(2, (7, 7, 7), 0.3)
    coords = cache.coords.numpy().astype(float)
    near = (np.abs(coords[:, None] - coords[None]).max(axis=-1) <= 1).astype(float)
    ways = near @ near
    found = normals(cache)
    for index, weight in enumerate(ways):
        covariance = np.cov(coords.T, aweights=weight, ddof=0)
        flattest = np.linalg.eigvalsh(covariance)[0]
        assert found[index] @ covariance @ found[index] == pytest.approx(flattest, abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)


def test_normals_do_not_depend_on_where_in_a_large_grid_a_surface_is():
    """No digit is lost far from the origin."""
    coords = random_cache(4, (8, 8, 8), 0.6).coords
    near = cache_of(coords, shape=(1024, 1024, 1024))
    two = cache_of(torch.cat([coords, coords + 1010]), shape=(1024, 1024, 1024))
    np.testing.assert_allclose(normals(two)[: len(coords)], normals(near), atol=1e-6)
    np.testing.assert_allclose(normals(two)[len(coords) :], normals(near), atol=1e-6)


def test_a_walk_stays_on_a_face():
    """A thing on the floor that looks like it: the walk prefers not to turn at the edge between them."""
    size = 16
    floor = [(x, y, 0) for x in range(size) for y in range(size)]
    wall = [(0, y, z) for y in range(size) for z in range(1, size)]
    cache = cache_of(floor + wall, shape=(size, size, size))
    on_wall = cache.coords[:, 2] > 3
    on_floor = cache.coords[:, 0] > 3
    # The wall's stroke is at its top, the floor's is near the edge.
    stroke = [int(cache.index_of((torch.tensor([[x, 8, z]]) + 0.5) * 0.5)) for x, z in ((0, 15), (5, 0))]
    config = replace(PLAIN, sigma_n=0.02)
    found = walk(cache, *(torch.tensor([place]) for place in stroke), torch.zeros(len(cache)), config) > 0.5
    assert float(found[on_wall].float().mean()) > 0.98 and float(found[on_floor].float().mean()) < 0.02
    without = walk(cache, *(torch.tensor([place]) for place in stroke), torch.zeros(len(cache)), PLAIN) > 0.5
    assert float(without[on_wall].float().mean()) < float(found[on_wall].float().mean())


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sigma_f", "sigma_c", "sigma_n", "softness"])
@pytest.mark.parametrize("value", [0.0, -0.1, math.nan])
def test_a_sigma_that_divides_by_nothing_is_refused(name: str, value: float):
    cache = chain(alike(3))
    with pytest.raises(InputError, match=rf"walker\.{name} is {value}; it must be greater than 0"):
        walk(cache, *ends(cache), torch.zeros(3), replace(PLAIN, **{name: value}))


@pytest.mark.parametrize("name", ["floor", "prior", "margin"])
@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_a_negative_weight_is_refused(name: str, value: float):
    cache = chain(alike(3))
    with pytest.raises(InputError, match=rf"walker\.{name} is {value}; it must be 0 or more"):
        walk(cache, *ends(cache), torch.zeros(3), replace(PLAIN, **{name: value}))


def test_what_is_given_stays_as_it_is():
    cache = chain(alike(4))
    prior = torch.full((4,), 0.25)
    walk(cache, *ends(cache), prior, PLAIN)
    assert prior.tolist() == [0.25] * 4 and mark(cache).sum() == 0
