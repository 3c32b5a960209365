"""A person with a brush, simulated: which view they take, and where they draw, from a true mask and a seed alone."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.ndimage import distance_transform_edt, label
from skimage.graph import MCP_Geometric, route_through_array

from nerfseg_plugins.segments.strokes import Stroke, polyline_inside, stamp_polyline

MARGIN = 2.0
"""Pixels that strokes keep away from the outline."""
RADIUS = 2.0
"""Of the brush, pixels."""
VERTICES = 12
"""Corners of a stroke on the object."""
RING_VERTICES = 24
"""Corners of a stroke around it."""
RING = 0.12
"""Width of the ring that the negative stroke runs in, as a part of the image's longer side."""


def choose_view(masks: Sequence[np.ndarray]) -> int:
    """The view that shows the object largest, of those that show it whole where there are such.

    Args:
        masks: (H, W) bool of the object in each view.
    """
    return int(np.argmax([_worth(mask) for mask in masks]))


def choose_other_view(masks: Sequence[np.ndarray], forward: np.ndarray, first: int) -> int:
    """A view from another side: of those that are worth at least 0.3 of the first, the one that looks most differently.

    Args:
        masks: as of `choose_view`.
        forward: (N, 3) unit directions in which the cameras look.
        first: the view that was taken before.
    """
    worth = np.array([_worth(mask) for mask in masks])
    worth[first] = 0
    good = worth >= 0.3 * _worth(masks[first])
    if not good.any():
        return int(worth.argmax())
    return int(np.where(good, forward @ forward[first], np.inf).argmin())


def _worth(mask: np.ndarray) -> float:
    touches = mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()
    return float(mask.sum()) * (0.1 if touches else 1.0)


def stroke_on(mask: np.ndarray, view: int, seed: int) -> Stroke:
    """A polyline inside a mask, away from its outline."""
    path = polyline_inside(mask, seed, VERTICES, MARGIN)
    return Stroke(view, True, _within(_brush(path, mask), mask))


def stroke_around(mask: np.ndarray, view: int, seed: int) -> Stroke:
    """A polyline around a mask, away from its outline."""
    rng = np.random.default_rng(seed)
    distance = distance_transform_edt(~mask)
    assert isinstance(distance, np.ndarray)
    ring = (distance > MARGIN + RADIUS) & (distance < max(16.0, RING * max(mask.shape)))
    pixels = np.argwhere(ring)
    drawn = pixels[rng.choice(len(pixels), min(RING_VERTICES, len(pixels)), replace=False)]
    away = drawn - np.argwhere(mask).mean(axis=0)
    drawn = drawn[np.argsort(np.arctan2(away[:, 0], away[:, 1]))]
    cost = np.where(ring, 1.0, 1e4)
    path: list[tuple[int, int]] = []
    for start, end in pairwise(drawn):
        steps, _ = route_through_array(cost, tuple(start), tuple(end), fully_connected=True, geometric=True)
        path += [(int(column), int(row)) for row, column in steps if ring[row, column]]
    return Stroke(view, False, _within(_brush(path, mask), ~mask))


def correction(mask: np.ndarray, found: np.ndarray, view: int, seed: int, smallest: int = 10) -> list[Stroke]:
    """What a person draws who sees a result: one stroke on what it lacks and one on what it has too much.

    Where there is little to correct, the strokes go on the object and around it.

    Args:
        mask: (H, W) bool, the object.
        found: (H, W) bool, the result.
        view: the view.
        seed: of the draws.
        smallest: pixels, beside those at its outline, from which on a mistake is worth a stroke.
    """
    lacking, extra = (_thick(wrong, smallest) for wrong in (mask & ~found, found & ~mask))
    strokes = [stroke_on(lacking if lacking.any() else mask, view, seed)]
    if not extra.any():
        return [*strokes, stroke_around(mask, view, seed)]
    path = polyline_inside(extra, seed, VERTICES, MARGIN)
    return [*strokes, Stroke(view, False, _within(_brush(path, mask), ~mask))]


def line_along(mask: np.ndarray) -> list[tuple[int, int]]:
    """One line through the middle of a mask, between the two ends of it that are farthest apart; nothing is drawn lots.

    Of the mask the pixels that touch no other are kept, and their largest piece; in it the cheapest way is taken, where
    a step costs one by the square of the distance to the outline.

    Args:
        mask: (H, W) bool, not empty.

    Returns:
        (x, y) of the pixels along the line, each next to the one before.
    """
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]  # type: ignore[index]
    pieces, count = label(depth > min(1.0, depth.max() / 2), np.ones((3, 3)))  # type: ignore[misc]
    inner = pieces == 1 + np.bincount(pieces.ravel(), minlength=count + 1)[1:].argmax()
    cost = np.where(inner, 1 / np.square(np.maximum(depth, 1)), -1.0)  # what is negative cannot be crossed

    def farthest(start: tuple[int, ...]) -> tuple[int, ...]:
        far, _ = MCP_Geometric(np.where(inner, 1.0, -1.0)).find_costs([start])
        return tuple(int(place) for place in np.unravel_index(np.where(inner, far, -1).argmax(), mask.shape))

    first = farthest(tuple(np.argwhere(inner)[0]))
    steps, _ = route_through_array(cost, first, farthest(first), fully_connected=True, geometric=True)
    return [(int(column), int(row)) for row, column in steps]


def _brush(path: list[tuple[int, int]], mask: np.ndarray) -> np.ndarray:
    """(P, 2) pixels, row and column, of a stroke in an image of the mask's size."""
    height, width = mask.shape
    return stamp_polyline(path, RADIUS, (height, width))


def _thick(mask: np.ndarray, smallest: int) -> np.ndarray:
    """The largest piece of a mask without its thin parts; empty where less is left than a person would care for."""
    inner = distance_transform_edt(mask) > MARGIN  # type: ignore[operator]
    pieces, count = label(inner)  # type: ignore[misc]
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    if not count or sizes.max() < smallest:
        return np.zeros_like(mask)
    # What the erosion took from around this piece comes back.
    near = distance_transform_edt(pieces != 1 + int(sizes.argmax())) <= MARGIN  # type: ignore[operator]
    return mask & near


def _within(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return pixels[mask[pixels[:, 0], pixels[:, 1]]]
