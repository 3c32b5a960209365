"""From strokes to an object: seeds by their features, then one of the ways to make an object of seeds."""

from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.queries import centroids, squared_distance
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.growing import Kernel, grow
from nerfseg_plugins.isrf.lifting import StrokePoints
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.isrf.voxels import CHUNK, find, neighbours, offsets
from nerfseg_plugins.isrf.walker import walk
from nerfseg_plugins.segments.select_config import SelectConfig

EVERYTHING = 0.99
"""Part of all voxels that counts as everything."""
FILL_MARGIN = 3
"""An object's solid reaches so many voxels beyond its surface."""


@dataclass(frozen=True)
class Selected:
    """What a query selects of N voxels."""

    seed: Tensor
    """(N,) bool: voxels whose features are those under the positive strokes."""
    mask: Tensor
    """(N,) bool: the object."""
    distance: Tensor
    """(N,) float32 squared distance of unit features to the positive strokes' nearest centroid."""
    note: str
    """A sentence where nothing or everything is selected, with the mend; else empty."""


def select(
    cache: VoxelCache, positive: StrokePoints, negative: Optional[StrokePoints], config: SelectConfig
) -> Selected:
    """Select an object.

    Args:
        cache: the voxels of the scene.
        positive: what the rays through the object's strokes meet.
        negative: what those through strokes on other things meet; None where there are none.
        config: how.

    Raises:
        InputError: a number of the configuration makes no sense, or the features do not fit those of the cache.
    """
    if not config.tau >= 0:
        raise InputError(f"tau is {config.tau}; it must be 0 or more")
    for stroke in (positive, negative):
        if stroke is not None and stroke.features.shape[-1] != cache.features.shape[-1]:
            raise InputError(
                f"the strokes' features have {stroke.features.shape[-1]} channels and the voxels' "
                f"{cache.features.shape[-1]}; make both from the same run"
            )
    towards = squared_distance(cache.features, centroids(positive.features, config.clusters, config.random_seed))
    away = torch.full_like(towards, torch.inf)
    if negative is not None and len(negative):
        away = squared_distance(cache.features, centroids(negative.features, config.clusters, config.random_seed))
    on, off = voxels_at(cache, positive.points), voxels_at(cache, negative.points if negative is not None else None)
    on, off = on[~torch.isin(on, off)], off[~torch.isin(off, on)]  # a voxel under both says nothing
    alike = (towards < config.tau) & (towards < away)
    seed = alike.clone()
    if config.connected:
        seed[on] = True
        seed = pieces_with(cache, seed, on) & (alike | _marked(cache, on))
    mask = seed
    if config.method == "bilateral":
        kernel = Kernel(config.sigma_d, config.sigma_f, config.sigma_c)
        mask = grow(cache, seed, kernel, allowed=(towards < away) & ~_marked(cache, off)).selected
    elif config.method == "walker" and len(on):
        likely = torch.sigmoid((away.clamp_max(config.tau) - towards) / config.walker.softness)
        mask = (walk(cache, on, off, likely, config.walker) > 0.5).to(seed.device)
    if config.connected and config.method != "seed":
        mask = pieces_with(cache, mask, on)
    return Selected(seed, mask, towards, _note(mask, negative is not None))


def voxels_at(cache: VoxelCache, points: Optional[Tensor]) -> Tensor:
    """(M,) long, ascending: the voxels at points (P, 3) of the scene frame, or nearest to them within one voxel."""
    if points is None or not len(points):
        return torch.empty(0, dtype=torch.long, device=cache.keys.device)
    grid = cache.grid
    steps = torch.cat([torch.zeros(1, 3, dtype=torch.long), offsets()]).to(points.device)
    place = grid.to_grid(points)
    around = find(cache.keys, grid.keys(grid.coords(place)[:, None] + steps))  # (P, 27)
    centres = grid.centres(grid.coords(place)[:, None] + steps)
    distance = (centres - place[:, None]).norm(dim=-1).masked_fill(around < 0, torch.inf)
    nearest = distance.argmin(dim=-1, keepdim=True)
    found = around.gather(1, nearest)[:, 0]
    return found[found >= 0].unique()


def pieces_with(cache: VoxelCache, mask: Tensor, on: Tensor) -> Tensor:
    """The connected pieces (26 neighbours) of a set of voxels in which some given ones lie.

    Args:
        cache: the N voxels.
        mask: (N,) bool.
        on: (M,) long; those outside the mask play no part.
    """
    chosen = mask.nonzero()[:, 0]
    keys = cache.keys[chosen]
    reached = torch.zeros_like(chosen, dtype=torch.bool)
    news = find(chosen, on)
    news = news[news >= 0].unique()
    while len(news):
        reached[news] = True
        beside = [neighbours(cache.grid, keys, some) for some in news.split(CHUNK)]
        news = torch.cat([some[some >= 0].unique() for some in beside]).unique().long()
        news = news[~reached[news]]
    return torch.zeros_like(mask).index_fill_(0, chosen[reached], True)


def solid(cache: VoxelCache, mask: Tensor, smooth: bool = True) -> VoxelSet:
    """The space that belongs to an object whose surface is selected, inside and close around it.

    Only surfaces are cached, but a scene's density reaches into things and hangs over them as fog. Every point near the
    object belongs to what its nearest surface voxel belongs to.

    Args:
        cache: the N voxels.
        mask: (N,) bool, the object's surface.
        smooth: whether the border runs through the voxels instead of along their faces.
    """
    grid = cache.grid
    coords = cache.coords.long()
    if not bool(mask.any()):
        return VoxelSet.of_coords(grid, coords[mask], smooth)
    low = (coords[mask].amin(dim=0) - FILL_MARGIN).clamp_min(0)
    high = torch.minimum(coords[mask].amax(dim=0) + FILL_MARGIN, torch.tensor(grid.shape, device=coords.device) - 1)
    inside = ((coords >= low) & (coords <= high)).all(dim=-1)
    place = tuple((coords[inside] - low).T.cpu().numpy())
    empty = np.ones(tuple((high - low + 1).tolist()), bool)
    empty[place] = False
    owned = np.zeros(empty.shape, bool)
    owned[place] = mask[inside].cpu().numpy()
    nearest = np.asarray(ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True))
    filled = torch.from_numpy(np.stack([owned[tuple(slab)] for slab in nearest.swapaxes(0, 1)]))
    x, y, z = low.tolist()
    return VoxelSet.of_box(grid, (x, y, z), filled.to(coords.device), smooth)


def _marked(cache: VoxelCache, places: Tensor) -> Tensor:
    return torch.zeros_like(cache.keys, dtype=torch.bool).index_fill_(0, places, True)


def _note(mask: Tensor, has_negative: bool) -> str:
    share = float(mask.float().mean())
    if share == 0:
        return "no voxel is like the positive strokes; raise tau, or draw a longer positive stroke"
    if share >= EVERYTHING:
        more = "draw more negative strokes" if has_negative else "draw a negative stroke on what does not belong to it"
        return f"all voxels are like the positive strokes; lower tau, or {more}"
    return ""
