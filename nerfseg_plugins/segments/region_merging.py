"""Hierarchical merging of image regions: which pairs grow together, in which order, until nothing is alike."""

import heapq
from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.segments.merge_tree import MergeTree

LAB_WEIGHTS = np.array([0.6, 1.3, 1.3])
"""Weights of L, a, b: shading changes lightness within an object more often than its hue."""


@dataclass
class Regions:
    """Statistics of R regions; changed in place while regions merge."""

    area: np.ndarray
    """(R,) pixels."""
    colour: np.ndarray
    """(R, 3) mean Lab."""
    histogram: np.ndarray
    """(R, C) share of each colour of a codebook."""
    texture: np.ndarray
    """(R, T) mean filter responses."""
    borders: list[dict[int, list[float]]]
    """For each region: neighbour -> [length in pixels, summed edge strength]; both sides share one list."""

    @property
    def total(self) -> float:
        """Pixels of the image."""
        return float(self.area.sum())


@dataclass(frozen=True)
class MergeWeights:
    """What makes two regions different; found by search on a rendered room, checked by eye on photos."""

    histogram: float = 1.0
    """Difference of colour histograms (half the L1 distance, 0..1)."""
    colour: float = 1.2
    """Difference of mean colour (weighted Lab distance / 40, at most 1.5)."""
    texture: float = 0.7
    """Difference of log texture energies."""
    edge: float = 0.3
    """Mean edge strength along the common border (/ 8, at most 1.5)."""
    size_power: float = 0.25
    """Regions below 5 % of the image count as more alike, by (size / 5 %) to this power: small ones are taken first."""
    detachment: float = 1.2
    """How much less alike regions count that share a small part of the smaller one's outline: a flower amid wallpaper
    is merged before two things that touch at a corner."""


def build_regions(
    labels: np.ndarray, lab: np.ndarray, codes: np.ndarray, num_codes: int, texture: np.ndarray, edges: np.ndarray
) -> Regions:
    """Statistics of an over-segmentation.

    Args:
        labels: (H, W) int, regions 0..R-1.
        lab: (H, W, 3) image.
        codes: (H, W) int, codebook entry of each pixel.
        num_codes: C.
        texture: (H, W, T) filter responses.
        edges: (H, W) edge strength.
    """
    flat = labels.ravel()
    number = int(labels.max()) + 1
    area = np.bincount(flat, minlength=number).astype(np.float64)

    def mean(image: np.ndarray) -> np.ndarray:
        channels = [np.bincount(flat, image[..., c].ravel(), number) for c in range(image.shape[-1])]
        return np.stack(channels, axis=1) / area[:, None]

    histogram = np.bincount(flat * num_codes + codes.ravel(), minlength=number * num_codes).reshape(number, num_codes)
    borders: list[dict[int, list[float]]] = [{} for _ in range(number)]
    pairs = (
        (labels[:, :-1], labels[:, 1:], np.maximum(edges[:, :-1], edges[:, 1:])),
        (labels[:-1], labels[1:], np.maximum(edges[:-1], edges[1:])),
    )
    for first, second, strength in pairs:
        differ = first != second
        low = np.minimum(first, second)[differ].astype(np.int64)
        names, index = np.unique(low * number + np.maximum(first, second)[differ], return_inverse=True)
        lengths, sums = np.bincount(index), np.bincount(index, strength[differ])
        for name, length, total in zip(names.tolist(), lengths.tolist(), sums.tolist(), strict=True):
            a, b = divmod(name, number)
            border = borders[a].setdefault(b, [0.0, 0.0])
            border[0] += length
            border[1] += total
            borders[b][a] = border
    return Regions(area, mean(lab), histogram / area[:, None], mean(texture), borders)


def dissimilarity(regions: Regions, outline: np.ndarray, weights: MergeWeights, a: int, b: int) -> float:
    """How unlike two neighbours are, 0 (one thing) to about 1.

    Args:
        regions: statistics.
        outline: (R,) length of each region's border with others.
        weights: what counts.
        a: a region.
        b: a neighbour of it.
    """
    length, strength = regions.borders[a][b]
    histogram = np.abs(regions.histogram[a] - regions.histogram[b]).sum() / 2
    colour = min(float(np.linalg.norm((regions.colour[a] - regions.colour[b]) * LAB_WEIGHTS)) / 40, 1.5)
    texture = 2 * np.abs(regions.texture[a] - regions.texture[b]).mean()
    edge = min(strength / length / 8, 1.5)
    parts = (
        weights.histogram * histogram + weights.colour * colour + weights.texture * texture + weights.edge * edge
    ) / (weights.histogram + weights.colour + weights.texture + weights.edge)
    smaller = min(regions.area[a], regions.area[b]) / regions.total
    shared = min(length / max(min(outline[a], outline[b]), 1.0), 1.0)
    return float(parts * min(1.0, smaller / 0.05) ** weights.size_power * (1 + weights.detachment * (1 - shared)))


def merge_regions(regions: Regions, threshold: float, weights: MergeWeights = MergeWeights()) -> np.ndarray:
    """Merge the most alike neighbours, one pair at a time, until all are less alike than `threshold`.

    Args:
        regions: statistics; used up.
        threshold: largest dissimilarity that is merged.
        weights: what counts.

    Returns:
        (R,) int64: final region of each first one, 0.. without gaps.
    """
    return merge_tree(regions, threshold, weights).cut(threshold)


def merge_tree(regions: Regions, threshold: float = np.inf, weights: MergeWeights = MergeWeights()) -> MergeTree:
    """The order in which the most alike neighbours grow together, until all are less alike than `threshold`.

    Args:
        regions: statistics; used up.
        threshold: largest dissimilarity that is merged.
        weights: what counts.
    """
    number = len(regions.area)
    outline = np.array([sum(border[0] for border in own.values()) for own in regions.borders])
    version = [0] * number
    total = regions.total
    pairs: list[tuple[int, int]] = []
    costs: list[float] = []

    def entry(a: int, b: int) -> tuple[float, int, int, int, int]:
        return dissimilarity(regions, outline, weights, a, b), a, b, version[a], version[b]

    heap = [entry(a, b) for a in range(number) for b in regions.borders[a] if a < b]
    heapq.heapify(heap)
    while heap:
        cost, a, b, version_a, version_b = heapq.heappop(heap)
        if version[a] != version_a or version[b] != version_b:
            continue  # one of them has changed since
        if cost > threshold:
            break
        _absorb(regions, outline, a, b)
        pairs.append((a, b))
        costs.append(cost)
        version[a] += 1
        version[b] = -1  # gone: no entry fits any more
        for neighbour in regions.borders[a]:
            heapq.heappush(heap, entry(a, neighbour))
    assert regions.total == total or number == 0
    return MergeTree.of_merges(number, pairs, costs)


def _absorb(regions: Regions, outline: np.ndarray, a: int, b: int) -> None:
    """Region a takes b's pixels, statistics and borders; b is left empty."""
    share = regions.area[b] / (regions.area[a] + regions.area[b])
    for statistics in (regions.colour, regions.histogram, regions.texture):
        statistics[a] += share * (statistics[b] - statistics[a])
    regions.area[a] += regions.area[b]
    regions.area[b] = 0
    length = regions.borders[a].pop(b)[0]
    regions.borders[b].pop(a)
    outline[a] += outline[b] - 2 * length
    for neighbour, border in regions.borders[b].items():
        regions.borders[neighbour].pop(b)
        known = regions.borders[a].get(neighbour)
        joined = border if known is None else [known[0] + border[0], known[1] + border[1]]
        regions.borders[a][neighbour] = regions.borders[neighbour][a] = joined
    regions.borders[b] = {}
