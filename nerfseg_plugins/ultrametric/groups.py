"""Which pixels of an image are to be alike, and which less so: anchors, positives and negatives from nested masks.

A group says that an anchor is closer to its positive than to each of its negatives (arXiv 2405.19678, section 3.2, and
the original implementation). All draws are made at once: the pixels of all masks lie in one array, mask after mask.
"""

from dataclasses import dataclass

import numpy as np

FEWEST = 6
"""A mask that holds fewer of the sampled pixels, or leaves fewer out, says nothing and is dropped."""
FEWEST_OWN = 10
"""Pixels that a mask must have beyond its children's to get groups from them alone."""


@dataclass
class GroupConfig:
    """How many groups are drawn."""

    num_samples: int = 64
    """Groups that are drawn from a mask at a time."""
    num_negatives: int = 1
    """Negatives that each positive is compared with."""
    hierarchical: bool = True
    """Whether what lies between a mask and its parent is told apart too; otherwise a mask only knows in and out."""
    max_groups: int = 32768
    """Groups that an image may have; of more, as many are drawn at random."""


@dataclass(frozen=True)
class Groups:
    """P groups of pixels, as rows of the N sampled pixels of an image. There are none where `len` is 0."""

    anchors: np.ndarray
    """(P,) int64."""
    positives: np.ndarray
    """(P,) int64 pixels that are closer to the anchor ..."""
    negatives: np.ndarray
    """(P, R) int64 ... than these are."""

    def __len__(self) -> int:
        return len(self.anchors)

    def pairs(self) -> np.ndarray:
        """(P (1 + R), 2) int64 each anchor and its positive, then each anchor and its negatives; see `split`."""
        count = self.negatives.shape[1]
        others = np.concatenate([self.positives, self.negatives.reshape(-1)])
        return np.stack([np.concatenate([self.anchors, np.repeat(self.anchors, count)]), others], axis=1)

    def split(self, values):
        """What is known of each of `pairs` as (P,) of the positives and (P, R) of the negatives; array or tensor."""
        count = len(self)
        return values[:count], values[count:].reshape(count, self.negatives.shape[1])


class _Pools:
    """Sets of pixels to draw from, the rows of a matrix (M, N) bool."""

    def __init__(self, inside: np.ndarray) -> None:
        self.sizes = np.count_nonzero(inside, axis=1)
        self._starts = np.cumsum(self.sizes) - self.sizes
        self._pixels = np.nonzero(inside)[1]

    def draw(self, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(K, count) int64 pixels of the sets `rows` (K,), none of which may be empty."""
        return self._at(rows, rng.integers(0, self.sizes[rows, None], (len(rows), count)))

    def draw_pairs(self, rows: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Twice (K, count) int64 pixels, which differ where a set has two."""
        sizes = self.sizes[rows, None]
        first = rng.integers(0, sizes, (len(rows), count))
        step = rng.integers(1, np.maximum(sizes, 2), (len(rows), count))
        return self._at(rows, first), self._at(rows, (first + step) % sizes)

    def _at(self, rows: np.ndarray, places: np.ndarray) -> np.ndarray:
        return self._pixels[self._starts[rows, None] + places]


def build_groups(
    inside: np.ndarray, parent: np.ndarray, dup_of: np.ndarray, config: GroupConfig, rng: np.random.Generator
) -> Groups:
    """Draw groups from the masks of an image.

    Of each mask: anchor and positive in it, negatives outside. When `hierarchical`, also

    * of a mask with children: anchor and positive in it but in no child, negatives outside;
    * of each innermost mask with a parent: anchor and positive in it, negatives in the parent's rest. Then anchor and
      negative change places and are a pair that the parent holds together against the rest of its own parent, and so
      on up to the outermost mask, where the negatives lie anywhere outside.

    Args:
        inside: (M, N) bool which masks hold which sampled pixels.
        parent: (M,) int the next larger mask, an earlier row; -1 without one.
        dup_of: (M,) int the mask that a mask repeats, -1 where it does not; those that repeat one are left out.
        config: how many.
        rng: draws.

    Returns:
        The groups; none where no mask holds enough pixels and leaves enough out.

    Raises:
        ValueError: a parent is no earlier row.
    """
    if np.any(parent >= np.arange(len(parent))):
        raise ValueError("the parent of a mask must be an earlier row")
    area = np.count_nonzero(inside, axis=1)
    keep = (area >= FEWEST) & (area <= inside.shape[1] - FEWEST) & (dup_of < 0)
    inside, parent = inside[keep], _parents_among(keep, parent)
    masks = np.arange(len(inside))
    outside = _Pools(~inside)
    own = _Pools(inside)
    parts = [_contrast(own, outside, masks, config, rng)]
    if config.hierarchical:
        rest = inside.copy()
        for child in np.flatnonzero(parent >= 0):
            rest[parent[child]] &= ~inside[child]
        # What a mask's children leave of it. Without children that is the mask itself, which has its groups already.
        left = _Pools(rest)
        has_children = np.isin(masks, parent)
        parts.append(_contrast(left, outside, masks[has_children & (left.sizes >= FEWEST_OWN)], config, rng))
        leaves = masks[~has_children & (parent >= 0)]
        parts += _climb(inside, own, outside, parent, leaves, config, rng)
    return _limited(_joined(parts), config.max_groups, rng)


def _parents_among(keep: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """(K,) the parents of the masks that are kept, as rows of those: the next that is kept above each; -1 without."""
    row = np.cumsum(keep) - 1
    above = np.full(len(parent), -1, np.int64)
    for mask, direct in enumerate(parent):
        if direct >= 0:
            above[mask] = row[direct] if keep[direct] else above[direct]
    return above[keep]


def _contrast(near: _Pools, far: _Pools, rows: np.ndarray, config: GroupConfig, rng: np.random.Generator) -> Groups:
    """Anchors and positives of the sets `rows` of `near`, negatives of the same rows of `far`."""
    anchors, positives = near.draw_pairs(rows, config.num_samples, rng)
    negatives = far.draw(rows, config.num_samples * config.num_negatives, rng)
    return Groups(anchors.reshape(-1), positives.reshape(-1), negatives.reshape(-1, config.num_negatives))


def _climb(
    inside: np.ndarray,
    own: _Pools,
    outside: _Pools,
    parent: np.ndarray,
    leaves: np.ndarray,
    config: GroupConfig,
    rng: np.random.Generator,
) -> list[Groups]:
    """Groups of the innermost masks `leaves` and all that lies around them, one step outwards at a time."""
    child = np.flatnonzero(parent >= 0)
    ring = np.zeros_like(inside)
    ring[child] = inside[parent[child]] & ~inside[child]
    rings = _Pools(ring)
    count = config.num_samples
    anchors, positives = own.draw_pairs(leaves, count, rng)
    parts: list[Groups] = []
    mask = leaves
    while len(mask):
        negatives = np.empty((len(mask), count * config.num_negatives), np.int64)
        # A parent that adds none of the sampled pixels has nothing to be told from: its own parent is next.
        root, empty = parent[mask] < 0, (parent[mask] >= 0) & (rings.sizes[mask] == 0)
        between = ~root & ~empty
        negatives[root] = outside.draw(mask[root], negatives.shape[1], rng)
        negatives[between] = rings.draw(mask[between], negatives.shape[1], rng)
        negatives = negatives.reshape(len(mask), count, config.num_negatives)
        parts.append(
            Groups(
                anchors[~empty].reshape(-1),
                positives[~empty].reshape(-1),
                negatives[~empty].reshape(-1, config.num_negatives),
            )
        )
        outer = np.where(between[:, None], negatives[:, :, 0], anchors)
        positives = np.where(between[:, None], anchors, positives)
        anchors, positives, mask = outer[~root], positives[~root], parent[mask[~root]]
    return parts


def _joined(parts: list[Groups]) -> Groups:
    return Groups(
        np.concatenate([part.anchors for part in parts]),
        np.concatenate([part.positives for part in parts]),
        np.concatenate([part.negatives for part in parts]),
    )


def _limited(groups: Groups, count: int, rng: np.random.Generator) -> Groups:
    """At most `count` of the groups."""
    if len(groups) <= count:
        return groups
    chosen = rng.choice(len(groups), count, replace=False, shuffle=False)
    return Groups(groups.anchors[chosen], groups.positives[chosen], groups.negatives[chosen])
