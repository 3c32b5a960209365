"""Per-view segments to scene-wide instances, without any 3D masks.

Pixels are lifted through rendered depth into voxels. Views vote on which segments are one thing, a greedy contraction
of these votes gives the instances, the instances vote on every voxel, and the voxels give every segment and every pixel
its instance. Everything is a function of arrays; `assign.py` holds the other way, with given 3D masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.consensus import contract_greedily, view_consensus
from nerfseg_plugins.segments.contact import join_touching, touching
from nerfseg_plugins.segments.incidence import Incidence, build_incidence
from nerfseg_plugins.segments.lift import DepthView, VoxelGrid, fit_grid, resize_nearest, trusted_pixels
from nerfseg_plugins.segments.masks import UNLABELLED, Segments
from nerfseg_plugins.segments.match_config import DEFAULT_MATCH, MatchConfig
from nerfseg_plugins.segments.structure import bounding_planes, on_planes
from nerfseg_plugins.segments.voting import (
    VoxelLabels,
    drop_rare,
    label_shares,
    reassign,
    vote,
    voxel_parents,
)

JOIN_PIECES = 0.6
"""`MatchConfig.join` for segments that are pieces of things."""


@dataclass(frozen=True)
class MatchedInstance:
    """One thing found in several views."""

    id: int
    """Its id in all maps, from 1, by falling number of pixels."""
    class_id: int
    """Class that its segments' scores favour, 0 = unknown."""
    num_views: int
    """Views in which it has pixels."""
    num_pixels: int
    """Its pixels in all maps."""
    box: np.ndarray
    """(2, 3) corners of its voxels in the frame of the rays, outermost percent left out; NaN where no voxel is its."""


@dataclass(frozen=True)
class MatchResult:
    """Scene-wide ids."""

    ids: list[np.ndarray]
    """One (H, W) int32 map per view, the size of its segments: 0 background, 1..N instances, -1 unlabelled."""
    instances: list[MatchedInstance]
    """In the order of their ids."""
    segments: list[dict[int, int]] = field(default_factory=list)
    """Per view: segment id -> instance id, 0 where it is background, -1 where it is none."""


def match_segments(
    segments: Sequence[Segments], views: Sequence[DepthView], config: MatchConfig = DEFAULT_MATCH
) -> MatchResult:
    """Find the things that segments of several views show, and write them as scene-wide ids.

    Args:
        segments: one per view, any sizes; ids are the view's own.
        views: rays and depth of the same views, in one frame; the aspect ratios of map and depth should agree.
        config: thresholds.

    Raises:
        InputError: the numbers of segments and views differ, or no pixel has a trusted depth.
    """
    if len(segments) != len(views):
        raise InputError(
            f"{len(segments)} segment maps and {len(views)} depth maps were given; match needs one of each"
        )
    points = [view.points() for view in views]
    trusted = [trusted_pixels(v.depth, v.accumulation, config.max_bend, config.min_accumulation) for v in views]
    if not any(mask.any() for mask in trusted):
        raise InputError("no view has a pixel with a trustworthy depth; train the scene longer before matching")
    grid = fit_grid(points, trusted, config.resolution)
    table = build_incidence([view.ids for view in segments], points, trusted, grid)
    cluster = cluster_segments(table, config)
    cluster, voxels, shares = settle(table, cluster, grid, config)
    cameras = np.stack([np.reshape(view.origins, (-1, 3))[0] for view in views])
    as_background = background_instances(table, voxels, grid, cameras, config)
    number = joined_numbers(table, voxels, grid, as_background, config)
    maps, lookups = [], []
    for index, view in enumerate(segments):
        lookup, dubious = _segment_labels(table, index, cluster, shares, number, config)
        maps.append(label_pixels(view.ids, lookup, dubious, voxels, number, table.voxel_of_pixel[index], config))
        lookups.append(lookup)
    return _numbered(maps, lookups, segments, table, voxels, number, grid)


def cluster_segments(table: Incidence, config: MatchConfig) -> np.ndarray:
    """First clustering: (S,) int64 clusters of segments, -1 for those too small, merged, or left out for number."""
    step = max(1, int(np.ceil(len(table.view_of) / config.max_segments)))
    chosen = np.flatnonzero(table.view_of % step == 0)
    part = Incidence(
        shows=table.shows[:, chosen],
        background=table.background,
        view_of=table.view_of[chosen],
        id_of=table.id_of[chosen],
        pixels_of=table.pixels_of[chosen],
        voxel_of_pixel=table.voxel_of_pixel,
        keys=table.keys,
    )
    votes = view_consensus(part, config.min_voxels, config.containment)
    voxels = np.asarray(part.shows.sum(axis=0)).ravel()
    active = (voxels >= config.min_voxels) & (votes.split_rate <= config.max_split)
    cluster = np.full(len(table.view_of), -1, np.int64)
    cluster[chosen] = contract_greedily(votes.supporters - config.consensus * votes.observers, active)
    return cluster


def settle(
    table: Incidence, cluster: np.ndarray, grid: VoxelGrid, config: MatchConfig, rounds: int = 3
) -> tuple[np.ndarray, VoxelLabels, np.ndarray]:
    """Let instances label voxels and voxels claim segments, a few times over.

    Returns:
        (S,) instance of each segment (-1 none), the voxels' labels, and (S, K+1) label shares of the segments.
    """
    min_views = min(config.min_views, table.num_views)
    cluster = drop_rare(table, cluster, 1)
    for _ in range(rounds):
        voxels = vote(table, cluster, config.background_weight, [])
        shares = label_shares(table, voxels.labels, int(cluster.max(initial=-1)) + 1)
        cluster = reassign(table, shares, config.min_purity, min_views)
    voxels = vote(table, cluster, config.background_weight, voxel_parents(grid.coordinates(table.keys)))
    return cluster, voxels, label_shares(table, voxels.labels, int(cluster.max(initial=-1)) + 1)


def background_instances(
    table: Incidence, voxels: VoxelLabels, grid: VoxelGrid, cameras: np.ndarray, config: MatchConfig
) -> np.ndarray:
    """Which of K instances are structure, by where they lie: (K,) bool.

    Args:
        table: voxels against segments.
        voxels: their labels.
        grid: their places.
        cameras: (M, 3) camera positions, frame of the grid.
        config: `background` and its thresholds.
    """
    number = int(voxels.labels.max(initial=0))
    if config.background == "given" or (config.background == "auto" and table.background.nnz):
        return np.zeros(number, bool)
    sure = np.flatnonzero(voxels.votes >= 2)
    centers = grid.centers(table.keys[sure])
    inside = np.abs(centers - grid.center).max(axis=1) <= grid.half_side
    tolerance = config.plane_tolerance * grid.voxel_size
    planes = bounding_planes(centers[inside], cameras, tolerance)
    structure = ~inside | on_planes(centers, planes, tolerance)
    labels = voxels.labels[sure]
    count = np.bincount(labels[labels > 0], minlength=number + 1)[1:]
    share = np.bincount(labels[labels > 0], structure[labels > 0], minlength=number + 1)[1:] / np.maximum(count, 1)
    return share >= config.background_share


def joined_numbers(
    table: Incidence, voxels: VoxelLabels, grid: VoxelGrid, as_background: np.ndarray, config: MatchConfig
) -> np.ndarray:
    """Id under which each voxel label is written: (K+1,) int32; background is 0, joined instances share an id."""
    number = np.concatenate([[0], np.where(as_background, 0, np.arange(1, len(as_background) + 1))]).astype(np.int32)
    join = config.join
    if join is None:
        join = 0.0 if table.background.nnz or config.background == "given" else JOIN_PIECES
    if join <= 0:
        return number
    labels = np.where((voxels.labels >= 0) & (voxels.votes >= 2), number[voxels.labels], UNLABELLED)
    contact, rim = touching(grid.coordinates(table.keys), labels, len(as_background))
    return join_touching(contact, rim, join, number > 0)[number].astype(np.int32)


def label_pixels(
    ids: np.ndarray,
    lookup: dict[int, int],
    dubious: set[int],
    voxels: VoxelLabels,
    number: np.ndarray,
    voxel_of_pixel: np.ndarray,
    config: MatchConfig,
) -> np.ndarray:
    """Scene-wide ids of one view.

    Args:
        ids: (H, W) the view's own ids.
        lookup: segment id -> instance id (0 background, -1 none).
        dubious: segments that may cover several instances.
        voxels: labels of the voxels.
        number: (K+1,) voxel label -> instance id.
        voxel_of_pixel: (h, w) row of each pixel's voxel, -1 none.
        config: `labels`, `sure_votes` and `sure_share` decide who wins.

    Returns:
        (H, W) int32.
    """
    table = np.full(int(ids.max(initial=0)) + 2, UNLABELLED, np.int32)
    table[0] = 0
    table[list(lookup)] = list(lookup.values())
    by_segment = table[ids]  # -1 reads the last entry, which stays unlabelled
    unsure = np.isin(ids, list(dubious)) if dubious else np.zeros(ids.shape, bool)
    if config.labels == "segments":
        return np.where(unsure, UNLABELLED, by_segment).astype(np.int32)
    # Row V stands for pixels without a voxel: no label, no votes.
    labels = np.append(np.where(voxels.labels >= 0, number[voxels.labels], UNLABELLED), UNLABELLED)
    sure = np.append((voxels.votes >= config.sure_votes) & (voxels.share >= config.sure_share), False)
    by_voxel = resize_nearest(labels[voxel_of_pixel], ids.shape)
    overruled = (by_segment < 0) | (unsure & (by_voxel >= 0))
    if config.labels == "vote":
        overruled |= resize_nearest(sure[voxel_of_pixel], ids.shape)
    return np.where(overruled, by_voxel, by_segment).astype(np.int32)


def _segment_labels(
    table: Incidence, view: int, cluster: np.ndarray, shares: np.ndarray, number: np.ndarray, config: MatchConfig
) -> tuple[dict[int, int], set[int]]:
    """Segment id -> instance id in one view, and the ids of the dubious ones."""
    rows = np.flatnonzero(table.view_of == view)
    ids = table.id_of[rows].tolist()
    instances = np.where(cluster[rows] >= 0, number[cluster[rows] + 1], UNLABELLED)
    dubious = shares[rows].max(axis=1, initial=0) < config.sure_purity
    return dict(zip(ids, instances.tolist(), strict=True)), {i for i, flag in zip(ids, dubious, strict=True) if flag}


def _numbered(
    maps: list[np.ndarray],
    lookups: list[dict[int, int]],
    segments: Sequence[Segments],
    table: Incidence,
    voxels: VoxelLabels,
    number: np.ndarray,
    grid: VoxelGrid,
) -> MatchResult:
    """Renumber instances by falling size, leaving out those without a pixel, and describe them."""
    highest = int(number.max(initial=0))
    pixels = np.zeros(highest + 1, np.int64)
    num_views = np.zeros(highest + 1, np.int64)
    for ids in maps:
        count = np.bincount(ids[ids >= 0], minlength=highest + 1)
        pixels += count
        num_views += count > 0
    order = np.argsort(-pixels[1:], kind="stable") + 1
    order = order[pixels[order] > 0]
    new = np.full(highest + 2, UNLABELLED, np.int32)
    new[0], new[order] = 0, np.arange(1, len(order) + 1)
    classes = _class_votes(lookups, segments)
    own_label = np.where(voxels.labels >= 0, number[voxels.labels], UNLABELLED)
    instances = [
        MatchedInstance(
            id=rank + 1,
            class_id=classes.get(int(old), 0),
            num_views=int(num_views[old]),
            num_pixels=int(pixels[old]),
            box=_box(grid.centers(table.keys[(own_label == old) & (voxels.votes >= 2)]), grid.voxel_size),
        )
        for rank, old in enumerate(order)
    ]
    renamed = [{key: int(new[value]) for key, value in lookup.items()} for lookup in lookups]
    return MatchResult([new[ids] for ids in maps], instances, renamed)


def _class_votes(lookups: list[dict[int, int]], segments: Sequence[Segments]) -> dict[int, int]:
    """Instance id -> the class with the largest sum of scores among its segments; unknown classes (0) do not vote."""
    sums: dict[int, dict[int, float]] = {}
    for lookup, view in zip(lookups, segments, strict=True):
        for segment, class_id, score in zip(view.segment_ids, view.class_ids, view.scores, strict=True):
            instance = lookup.get(int(segment), UNLABELLED)
            if instance > 0 and class_id > 0:
                own = sums.setdefault(instance, {})
                own[int(class_id)] = own.get(int(class_id), 0.0) + float(score)
    return {instance: min(own, key=lambda c: (-own[c], c)) for instance, own in sums.items()}


def _box(centers: np.ndarray, voxel_size: float) -> np.ndarray:
    if len(centers) == 0:
        return np.full((2, 3), np.nan)
    low, high = np.percentile(centers, (1, 99), axis=0)
    return np.stack([low - voxel_size / 2, high + voxel_size / 2])
