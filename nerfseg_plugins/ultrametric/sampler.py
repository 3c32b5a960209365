"""Pixels of one image for a training step: some anywhere, and short runs on which depth should be smooth."""

import numpy as np

from nerfseg_plugins.segments.hierarchy import MaskHierarchy

RUN = 4
"""Pixels of a run: what a third difference needs."""


def sample_pixels(size: tuple[int, int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw pixels without replacement.

    Args:
        size: (height, width) of the image.
        count: how many; an image that has fewer gives all.
        rng: draws.

    Returns:
        (N,) int64 flat indices, row by row, in no order.
    """
    pixels = size[0] * size[1]
    return rng.choice(pixels, min(count, pixels), replace=False)


def sample_quadruples(hierarchy: MaskHierarchy, num_pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Draw horizontal and vertical runs of four pixels, each wholly inside one of the innermost masks.

    Args:
        hierarchy: the masks of an image.
        num_pixels: pixels that are drawn in each innermost mask; each starts up to two runs.
        rng: draws.

    Returns:
        (Q, 4) int64 flat indices; there may be none.
    """
    leaves = np.flatnonzero(hierarchy.leaves())
    parts = [_runs(hierarchy, int(leaf), num_pixels, rng) for leaf in leaves]
    return np.concatenate(parts) if parts else np.empty((0, RUN), np.int64)


def _runs(hierarchy: MaskHierarchy, mask: int, num_pixels: int, rng: np.random.Generator) -> np.ndarray:
    """(Q, 4) runs inside one mask."""
    height, width = hierarchy.size
    inside = np.unpackbits(hierarchy.bits[mask], count=height * width).view(bool)
    pixels = np.flatnonzero(inside)
    starts = rng.choice(pixels, min(num_pixels, len(pixels)), replace=False)
    steps = np.arange(RUN)
    across = starts[starts % width + RUN <= width, None] + steps
    down = starts[starts // width + RUN <= height, None] + steps * width
    runs = np.concatenate([across, down])
    return runs[inside[runs].all(axis=1)]
