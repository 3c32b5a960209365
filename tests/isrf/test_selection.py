"""From strokes to an object, on two chairs that look alike, a floor and a wall."""

import math
from dataclasses import replace
from typing import Optional

import numpy as np
import pytest
import torch
from scipy import ndimage

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.lifting import StrokePoints
from nerfseg_plugins.isrf.selection import FILL_MARGIN, Selected, pieces_with, select, solid, voxels_at
from nerfseg_plugins.segments.select_config import SelectConfig, WalkerConfig

from .caches import boxes_apart, cache_of, mark, random_cache, unit

FLOOR, FIRST, SECOND = 0, 1, 2
LOOKS = unit([1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0.1, 0])
"""Of the floor, of one chair and of the other, which looks nearly alike."""


def room() -> tuple[VoxelCache, torch.Tensor]:
    """A floor of 16 x 16 voxels with two cubes of side 4 on it, eight voxels apart; and the part of each voxel."""
    floor = [(x, y, 0) for x in range(16) for y in range(16)]
    first, second = (boxes_apart((x, 6, 1), side=4) for x in (1, 11))
    coords = np.concatenate([floor, first, second])
    part = torch.tensor([FLOOR] * len(floor) + [FIRST] * 64 + [SECOND] * 64)
    colors = torch.tensor([[90, 60, 40], [30, 30, 200], [30, 30, 200]])[part]
    cache = cache_of(coords, LOOKS[part], colors=colors, shape=(16, 16, 16))
    order = cache.grid.keys(torch.from_numpy(coords)).argsort()
    return cache, part[order]


CACHE, PART = room()


def stroke(part: int, *coords: tuple[int, int, int]) -> StrokePoints:
    """On voxels, with the features of a part."""
    points = CACHE.grid.centres(torch.tensor(coords))
    return StrokePoints(LOOKS[part].expand(len(coords), 4), points)


ON_CHAIR, ON_FLOOR = stroke(FIRST, (2, 7, 4), (3, 8, 4), (2, 8, 4)), stroke(FLOOR, (2, 2, 0), (12, 2, 0), (7, 12, 0))
METHODS = ("seed", "bilateral", "walker")


def parts_of(mask: torch.Tensor) -> dict[int, float]:
    """The share of each part that is selected."""
    return {part: float(mask[part == PART].float().mean()) for part in (FLOOR, FIRST, SECOND)}


def ask(
    positive: StrokePoints = ON_CHAIR, negative: Optional[StrokePoints] = ON_FLOOR, **options
) -> tuple[Selected, dict[int, float]]:
    found = select(CACHE, positive, negative, SelectConfig(**options))
    assert len(found.seed) == len(found.mask) == len(found.distance) == len(CACHE)
    assert found.seed.dtype == found.mask.dtype == torch.bool
    return found, parts_of(found.mask)


@pytest.mark.parametrize("method", METHODS)
def test_one_of_two_chairs(method):
    found, parts = ask(method=method)
    assert parts == {FLOOR: 0, FIRST: 1, SECOND: 0} and found.note == ""


@pytest.mark.parametrize("method", ["seed", "bilateral"])
def test_both_chairs_where_they_need_not_hang_together(method):
    _, parts = ask(method=method, connected=False)
    assert parts == {FLOOR: 0, FIRST: 1, SECOND: 1}


def test_a_walk_reaches_both_chairs_where_features_say_so():
    """The second hangs together with the first over the floor alone, but its own features are those of the stroke."""
    config = SelectConfig(connected=False, walker=WalkerConfig(margin=5.0, prior=0.5))
    assert parts_of(select(CACHE, ON_CHAIR, ON_FLOOR, config).mask) == {FLOOR: 0, FIRST: 1, SECOND: 1}


def test_strokes_on_both_chairs_select_both():
    both = StrokePoints.cat([ON_CHAIR, stroke(SECOND, (12, 7, 4), (13, 8, 4))])
    for method in METHODS:
        assert ask(both, method=method)[1] == {FLOOR: 0, FIRST: 1, SECOND: 1}, method


def test_the_seed_is_nearer_than_tau_and_nearer_than_the_negative_strokes():
    """Squared distance of the two chairs' looks: 2 - 2 cos, with tan of the angle 0.1."""
    apart = 2 - 2 / math.sqrt(1.01)
    found, parts = ask(method="seed", connected=False, tau=0.9 * apart)
    assert parts == {FLOOR: 0, FIRST: 1, SECOND: 0}
    torch.testing.assert_close(found.distance[PART == SECOND], torch.full((64,), apart), atol=2e-3, rtol=0)
    assert float(found.distance[PART == FLOOR][0]) == pytest.approx(2, abs=2e-3)
    assert ask(method="seed", connected=False, tau=1.1 * apart + 2e-3)[1] == {FLOOR: 0, FIRST: 1, SECOND: 1}
    # Nothing is beyond a tau of 4, but a negative stroke on the second chair and on the floor still leaves the first.
    others = StrokePoints.cat([ON_FLOOR, stroke(SECOND, (12, 7, 4))])
    assert ask(negative=others, method="seed", connected=False, tau=4.0)[1] == {FLOOR: 0, FIRST: 1, SECOND: 0}
    assert ask(negative=None, method="seed", connected=False, tau=4.0)[1] == {FLOOR: 1, FIRST: 1, SECOND: 1}


def test_growing_goes_on_from_the_seed_as_far_as_the_negative_strokes_are_farther():
    """A tau that leaves the second chair out of the seed: growing takes it, where it touches the first."""
    touching = cache_of(
        np.concatenate([boxes_apart((1, 1, 1), (4, 1, 1))]), LOOKS[[FIRST] * 27 + [SECOND] * 27], shape=(9, 9, 9)
    )
    second = touching.coords[:, 0] >= 4
    positive = StrokePoints(LOOKS[[FIRST]], touching.grid.centres(torch.tensor([[1, 1, 1]])))
    config = SelectConfig(method="bilateral", tau=0.005)
    found = select(touching, positive, None, config)
    assert torch.equal(found.seed, ~second) and bool(found.mask.all())
    negative = StrokePoints(LOOKS[[SECOND]], touching.grid.centres(torch.tensor([[6, 3, 3]])))
    assert torch.equal(select(touching, positive, negative, config).mask, ~second)


@pytest.mark.parametrize("method", METHODS)
def test_a_tau_of_nothing_selects_what_is_under_the_stroke_at_most(method):
    """Said in words where that is nothing."""
    found, _ = ask(stroke(FIRST, (8, 8, 8)), method=method, tau=0.0)
    assert not found.mask.any() and "no voxel" in found.note


@pytest.mark.parametrize("method", ["seed", "bilateral"])
def test_everything_is_said_in_words(method):
    found, parts = ask(negative=None, method=method, tau=4.0)
    assert parts == {FLOOR: 1, FIRST: 1, SECOND: 1}
    assert "all voxels" in found.note and "draw a negative stroke" in found.note
    found, _ = ask(negative=stroke(FLOOR, (8, 8, 12)), method="seed", connected=False, tau=0.4)
    assert found.note == ""


def test_everything_in_spite_of_a_negative_stroke_asks_for_more():
    cache = cache_of([(0, 0, z) for z in range(5)], shape=(1, 1, 5))
    positive = StrokePoints(unit([1, 0]), cache.centres()[:1])
    negative = StrokePoints(unit([0, 1]), cache.centres()[:1] + 100)
    found = select(cache, positive, negative, SelectConfig(method="seed"))
    assert bool(found.mask.all()) and "draw more negative strokes" in found.note


def test_without_negative_strokes_a_walk_follows_the_features():
    for negative in (None, StrokePoints(torch.zeros(0, 4), torch.zeros(0, 3))):
        assert ask(negative=negative)[1] == {FLOOR: 0, FIRST: 1, SECOND: 0}


def test_a_voxel_under_both_strokes_says_nothing():
    shared = StrokePoints.cat([ON_FLOOR, StrokePoints(LOOKS[[FLOOR]], ON_CHAIR.points[:1])])
    for method in METHODS:
        assert ask(negative=shared, method=method)[1] == {FLOOR: 0, FIRST: 1, SECOND: 0}, method
    same = StrokePoints(ON_CHAIR.features, ON_CHAIR.points)
    found, _ = ask(negative=same)
    assert not found.mask.any() and found.note


def test_what_is_asked_stays_as_it_is_and_is_answered_alike():
    before = {name: getattr(CACHE, name).clone() for name in ("keys", "features", "latents", "colors", "density")}
    first, second = ask()[0], ask()[0]
    assert torch.equal(first.mask, second.mask) and torch.equal(first.distance, second.distance)
    assert all(torch.equal(getattr(CACHE, name), value) for name, value in before.items())


@pytest.mark.parametrize("tau", [-0.1, math.nan])
def test_a_tau_that_makes_no_sense_is_refused(tau: float):
    with pytest.raises(InputError, match=f"tau is {tau}; it must be 0 or more"):
        ask(tau=tau)


def test_other_numbers_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="sigma_d is 0"):
        ask(method="bilateral", sigma_d=0.0)
    with pytest.raises(InputError, match=r"walker\.sigma_f is 0"):
        ask(walker=WalkerConfig(sigma_f=0.0))
    with pytest.raises(InputError, match="number of clusters is 0"):
        ask(clusters=0)


def test_features_that_do_not_fit_are_refused():
    wrong = StrokePoints(unit([1, 0, 0]), ON_CHAIR.points[:1])
    with pytest.raises(InputError, match="have 3 channels and the voxels' 4"):
        ask(wrong)
    with pytest.raises(InputError, match="have 3 channels and the voxels' 4"):
        ask(negative=wrong)


# Where strokes lie ---------------------------------------------------------------------------------------------------


def test_points_mark_the_voxel_they_lie_in_or_the_nearest_one_beside():
    cache = cache_of([(2, 2, 2), (4, 2, 2)], edge=0.5)

    def at(*place: float) -> list[int]:
        return voxels_at(cache, 0.5 * torch.tensor([place])).tolist()

    assert at(2.1, 2.9, 2.5) == [0] and at(4.5, 2.5, 2.5) == [1]
    assert at(3.4, 2.5, 2.5) == [0] and at(3.6, 2.5, 2.5) == [1], "between them, the nearer one"
    assert at(1.1, 1.1, 3.9) == [0], "across a corner"
    assert at(0.9, 2.5, 2.5) == [] and at(2.5, 2.5, 4.1) == [], "a voxel lies between"
    assert voxels_at(cache, None).tolist() == [] and voxels_at(cache, torch.zeros(0, 3)).tolist() == []
    both = torch.tensor([[4.5, 2.5, 2.5], [2.5, 2.5, 2.5], [2.4, 2.5, 2.5], [7.0, 7.0, 7.0]]) / 2
    assert voxels_at(cache, both).tolist() == [0, 1]


def test_points_beside_the_grid_mark_what_is_at_its_border():
    cache = cache_of([(0, 0, 0), (7, 7, 7)])
    assert voxels_at(cache, torch.tensor([[-0.1, 0.1, 0.1], [4.2, 4.2, 4.2], [-0.7, 0, 0], [1e20, 0, 0]])).tolist() == [
        0,
        1,
    ]


# Pieces --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_pieces_are_those_of_scipy(seed: int):
    cache = random_cache(seed, (12, 11, 10), 0.05 + 0.03 * seed)
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(rng.random(len(cache)) < 0.8)
    on = torch.from_numpy(rng.choice(len(cache), 5, replace=False))
    filled = np.zeros(cache.grid.shape, bool)
    places = tuple(cache.coords.numpy().T)
    filled[places] = mask.numpy()
    labels = ndimage.label(filled, np.ones((3, 3, 3)))[0][places]
    expected = np.isin(labels, labels[on.numpy()]) & (labels > 0)
    assert expected.sum() > 0 and (expected != mask.numpy()).any()
    assert torch.equal(pieces_with(cache, mask, on), torch.from_numpy(expected))


def test_pieces_of_nothing():
    cache = random_cache(0)
    none = torch.empty(0, dtype=torch.long)
    assert not pieces_with(cache, mark(cache), torch.tensor([0])).any()
    assert not pieces_with(cache, mark(cache, 3), none).any()
    assert pieces_with(cache, mark(cache, 3), torch.tensor([3, 3, 5])).nonzero().tolist() == [[3]]


# Solids --------------------------------------------------------------------------------------------------------------


def shell(low: int, high: int) -> np.ndarray:
    """(N, 3) the surface of a cube of voxels."""
    filled = np.zeros((32, 32, 32), bool)
    filled[low : high + 1, low : high + 1, low : high + 1] = True
    return np.argwhere(filled & ~ndimage.binary_erosion(filled))


def test_the_inside_of_a_hollow_box_belongs_to_it():
    cache = cache_of(shell(10, 20), shape=(32, 32, 32), edge=1.0)
    volume = solid(cache, torch.ones(len(cache), dtype=torch.bool), smooth=False)
    # All that is within the margin, since nothing else is near.
    low, high = 10 - FILL_MARGIN, 20 + FILL_MARGIN
    assert volume.offset == (low,) * 3 and volume.occupied.shape == (high - low + 1,) * 3
    assert bool(volume.occupied.all())
    assert bool(volume.contains(torch.tensor([[15.5, 15.5, 15.5], [10.5, 15.5, 15.5], [low + 0.5] * 3])).all())
    assert not volume.contains(torch.tensor([[low - 0.5, 15.5, 15.5], [15.5, 15.5, high + 1.5]])).any()


def test_space_is_parted_half_way_to_a_neighbour():
    """Plates at x = 4 and x = 10: up to 7 space belongs to the first; what is as far from both, to either."""
    plates = [(x, y, z) for x in (4, 10) for y in range(5, 25) for z in range(5, 25)]
    cache = cache_of(plates, shape=(32, 32, 32))
    first = cache.coords[:, 0] == 4
    for mask, inside, outside in ((first, (4, 5, 6), (8, 10)), (~first, (8, 10, 13), (4, 6))):
        occupied = solid(cache, mask).occupied
        offset = solid(cache, mask).offset[0]
        reach = range(offset, offset + len(occupied))
        assert all(x in reach and bool(occupied[x - offset].all()) for x in inside)
        assert not any(x in reach and bool(occupied[x - offset].any()) for x in outside)


def test_the_smooth_border_of_a_solid_is_as_asked():
    cache = cache_of(shell(3, 5), shape=(32, 32, 32))
    mask = torch.ones(len(cache), dtype=torch.bool)
    assert solid(cache, mask).smooth and not solid(cache, mask, smooth=False).smooth


def test_a_solid_ends_with_the_grid_and_nothing_has_none():
    cache = cache_of([(0, 0, 0), (7, 7, 7)])
    assert len(solid(cache, mark(cache))) == 0
    volume = solid(cache, mark(cache, 0))
    assert volume.offset == (0, 0, 0) and volume.occupied.shape == (FILL_MARGIN + 1,) * 3


def test_a_solid_holds_what_is_nearest_to_its_surface():
    """Against all distances, where no other surface is as near."""
    cache = random_cache(1, (10, 9, 8), 0.1)
    mask = torch.from_numpy(np.random.default_rng(0).random(len(cache)) < 0.5)
    volume = solid(cache, mask, smooth=False)
    cells = torch.from_numpy(np.argwhere(np.ones(cache.grid.shape)))
    apart = torch.cdist(cells.double(), cache.coords.double())
    own, other = apart[:, mask].amin(dim=1), apart[:, ~mask].amin(dim=1)
    low, high = cache.coords[mask].amin(dim=0), cache.coords[mask].amax(dim=0)
    near = ((cells >= low - FILL_MARGIN) & (cells <= high + FILL_MARGIN)).all(dim=1)
    # Only the surfaces in the same box count.
    beside = ((cache.coords >= low - FILL_MARGIN) & (cache.coords <= high + FILL_MARGIN)).all(dim=1)
    assert bool(beside.all())
    found = volume.contains(cache.grid.centres(cells))
    assert bool(found[near & (own < other - 1e-9)].all()) and not found[near & (own > other + 1e-9)].any()
    assert not found[~near].any()


def test_all_configurations_are_plain_values():
    """A walker is one of them, changed as a command line changes it."""
    config = replace(SelectConfig(), walker=replace(WalkerConfig(), margin=2.0))
    assert config.walker.margin == 2.0 and SelectConfig().walker.margin == 0.5
