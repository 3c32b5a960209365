"""Strokes: what a person marks in photos, as pixels.

Coordinates (x, y) count pixels from the upper left: x is a column, y a row, and whole numbers are the pixels' centres,
so that (0, 0) is the first pixel and (W - 1, H - 1) the last. Pixels are rows (row, column).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Union

import numpy as np

from nerfseg_plugins.errors import InputError

Point = tuple[float, float]
"""(x, y) in pixels."""
Size = tuple[int, int]
"""(height, width) of a view in pixels."""


@dataclass(frozen=True)
class Stroke:
    """The pixels that one stroke marks in one view."""

    view: int
    """Place of the view in its dataset."""
    positive: bool
    """Whether it marks the object, or what the object is not."""
    pixels: np.ndarray
    """(P, 2) int64 [row, column], each once, in the order of rows."""
    origin: str = ""
    """Where it came from, for messages: a flag, a file, an entry of a file."""
    object: int = 1
    """Which object a positive stroke marks, 1 or more; a negative one marks what is none of them."""

    @property
    def label(self) -> int:
        """The object that it marks, 0 for none."""
        return self.object if self.positive else 0


@dataclass(frozen=True)
class Views:
    """The views that strokes may lie in."""

    images: Sequence[Path]
    """Image of each view."""
    sizes: Sequence[Size]
    """(height, width) of each view in pixels."""
    split: str = "train"
    """What these views are called, for messages."""

    def index_of(self, view: Union[int, str], origin: str) -> int:
        """The place of a view.

        Args:
            view: its index, or the name of its image with or without suffix, with as many folders before it as needed.
            origin: who asks, for the message.

        Raises:
            InputError: there is no such view, or several images have that name.
        """
        count = len(self.images)
        if not isinstance(view, str):
            if not 0 <= view < count:
                raise InputError(
                    f"{origin}: there is no {self.split} view {view}; they are numbered 0 to {count - 1} "
                    f"({_name(self.images[0])} to {_name(self.images[-1])})"
                )
            return int(view)
        wanted = Path(view).parts
        found = [i for i, path in enumerate(self.images) if wanted and _ends_with(path, wanted)]
        if not found:
            raise InputError(
                f"{origin}: no {self.split} view is called {view!r}; give an index from 0 to {count - 1}, or the name "
                f"of an image such as {_name(self.images[0])}"
            )
        if len(found) > 1:
            raise InputError(
                f"{origin}: {view!r} may be {self.images[found[0]]} or {self.images[found[1]]}; give the index of the "
                "view, or put its folder before the name"
            )
        return found[0]

    def describe(self, index: int) -> str:
        """A view by number and name, for messages."""
        return f"{self.split} view {index} ({_name(self.images[index])})"


def parse_view(text: str) -> Union[int, str]:
    """A view as it is typed: a whole number is an index, anything else (`0003` too) the name of an image."""
    text = text.strip()
    return int(text) if text.lstrip("-").isdecimal() and str(int(text)) == text else text


# Shapes to pixels -----------------------------------------------------------------------------------------------------


def stamp_points(points: Sequence[Point], radius: float, size: Size, origin: str = "stroke") -> np.ndarray:
    """Stamp a round brush on single points.

    Args:
        points: their (x, y).
        radius: of the brush in pixels; 0 marks the pixel that a point lies in, 3 marks 29 pixels, 7 across.
        size: (height, width) of the view; what of the brush lies beyond its edge is cut off.
        origin: what is drawn, for messages.

    Returns:
        (P, 2) int64 [row, column], each once, in the order of rows.

    Raises:
        InputError: there is no point, a number is not finite, the radius is negative, or a point lies outside the view.
    """
    vertices = _checked(points, radius, size, origin)
    return _stamped(vertices, vertices, radius, size)


def stamp_polyline(vertices: Sequence[Point], radius: float, size: Size, origin: str = "stroke") -> np.ndarray:
    """Draw a round brush along the straight lines between vertices; a single vertex is a point.

    Arguments, result and errors are those of `stamp_points`; radius 0 draws a line one pixel wide.
    """
    places = _checked(vertices, radius, size, origin)
    return _stamped(places, np.concatenate([places[1:], places[-1:]]), radius, size)


def fill_rectangle(corners: Sequence[float], size: Size, origin: str = "rectangle") -> np.ndarray:
    """All pixels whose centres lie in a rectangle, its border included.

    Args:
        corners: x0, y0, x1, y1 of two opposite corners, in any order.
        size: (height, width) of the view.
        origin: what is drawn, for messages.

    Returns:
        (P, 2) int64 [row, column], in the order of rows; none where the rectangle lies between the centres.

    Raises:
        InputError: it has not four finite numbers, or reaches out of the view.
    """
    if len(corners) != 4:
        raise InputError(f"{origin} has {len(corners)} numbers; a rectangle is x0, y0, x1, y1")
    places = _checked([(corners[0], corners[1]), (corners[2], corners[3])], 0, size, origin)
    (left, top), (right, bottom) = np.ceil(places.min(0)), np.floor(places.max(0))
    rows, columns = np.mgrid[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    return np.stack([rows.ravel(), columns.ravel()], 1).astype(np.int64)


def _checked(points: Sequence[Point], radius: float, size: Size, origin: str) -> np.ndarray:
    """Vertices (V, 2) float64 that lie in the view."""
    if not len(points):
        raise InputError(f"{origin} is empty; give at least one point x, y")
    places = np.asarray(points, np.float64).reshape(-1, 2)
    if not np.isfinite(places).all():
        raise InputError(f"{origin} has a coordinate that is not a finite number; draw it again")
    if not (np.isfinite(radius) and radius >= 0):
        raise InputError(f"{origin} has radius {radius}; a radius is 0 (one pixel) or more")
    height, width = size
    # A pixel reaches half a pixel around its centre.
    outside = (places < -0.5).any(1) | (places[:, 0] >= width - 0.5) | (places[:, 1] >= height - 0.5)
    if outside.any():
        x, y = places[outside][0]
        raise InputError(
            f"{origin} lies outside the image: x {x:g}, y {y:g} in a view of {width}x{height} pixels; x is a column "
            f"from 0 to {width - 1}, y a row from 0 to {height - 1}"
        )
    return places


def _stamped(starts: np.ndarray, ends: np.ndarray, radius: float, size: Size) -> np.ndarray:
    """Pixels whose centres are within `radius` of one of the segments (V, 2) -> (V, 2), x before y."""
    height, width = size
    marked = np.zeros(size, bool)
    # Below half a pixel the brush would slip between the centres.
    reach = max(float(radius), 0.5)
    for start, end in zip(starts, ends, strict=True):
        low = np.floor(np.minimum(start, end) - reach).astype(int).clip(0)
        high = np.ceil(np.maximum(start, end) + reach).astype(int) + 1
        columns = np.arange(low[0], min(high[0], width))
        rows = np.arange(low[1], min(high[1], height))
        along = end - start
        x, y = columns[None] - start[0], rows[:, None] - start[1]
        length = float(along @ along)
        share = ((x * along[0] + y * along[1]) / length).clip(0, 1) if length > 0 else 0.0
        near = (x - share * along[0]) ** 2 + (y - share * along[1]) ** 2 <= reach**2 + 1e-9
        marked[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] |= near
    column, row = np.floor(starts + 0.5).astype(int).T
    marked[row, column] = True
    return np.argwhere(marked)


# Checks ---------------------------------------------------------------------------------------------------------------


def check_strokes(strokes: Iterable[Stroke], views: Views) -> None:
    """Refuse strokes that cannot be meant.

    Raises:
        InputError: there is none, one lies in no view or outside it, one marks no pixel, or a pixel is marked as the
            object and as not the object, or as two objects.
    """
    checked: list[tuple[int, Stroke]] = []
    for stroke in strokes:
        name = stroke.origin or f"the {'positive' if stroke.positive else 'negative'} stroke"
        index = views.index_of(stroke.view, name)
        if not len(stroke.pixels):
            raise InputError(f"{name} marks no pixel of {views.describe(index)}; draw it again, or leave it out")
        low, high = stroke.pixels.min(0), stroke.pixels.max(0)
        height, width = views.sizes[index]
        if (low < 0).any() or high[0] >= height or high[1] >= width:
            raise InputError(
                f"{name} lies outside {views.describe(index)} of {width}x{height} pixels: it reaches from column "
                f"{low[1]}, row {low[0]} to column {high[1]}, row {high[0]}; draw it inside"
            )
        checked.append((index, replace(stroke, origin=name)))
    if not checked:
        raise InputError("there are no strokes; mark something of the object")
    for index, one in checked:
        for place, other in checked:
            if index == place and one.label > other.label:
                _check_apart(one, other, views.sizes[index], views.describe(index))


def _check_apart(one: Stroke, other: Stroke, size: Size, view: str) -> None:
    """Refuse pixels that two strokes of different labels mark; the first of the two marks an object."""
    first, second = (stroke.pixels[:, 0] * size[1] + stroke.pixels[:, 1] for stroke in (one, other))
    both = np.intersect1d(first, second)
    if len(both):
        row, column = divmod(int(both[0]), size[1])
        names = ("positive", "negative") if not other.positive else (f"object {one.object}", f"object {other.object}")
        raise InputError(
            f"{view}: {len(both)} pixels are marked {names[0]} ({one.origin}) and {names[1]} ({other.origin}), the "
            f"first at x {column}, y {row}; take them out of one of the two"
        )


# Strokes without a person --------------------------------------------------------------------------------------------


def polyline_inside(mask: np.ndarray, seed: int, vertices: int = 4, margin: float = 4.0) -> list[tuple[int, int]]:
    """A scribble that stays inside a mask and keeps away from its outline.

    The mask is eroded and its largest piece kept; there some pixels are drawn and joined by shortest paths that do not
    leave it.

    Args:
        mask: (H, W) bool.
        seed: of the draw.
        vertices: pixels to draw, 1 or more.
        margin: pixels to the outline and to the edge of the image; half of what the mask has, where it has less.

    Returns:
        (x, y) of the pixels along the scribble, each next to the one before.

    Raises:
        InputError: the mask is empty or there are no vertices.
    """
    from scipy import ndimage
    from skimage.graph import route_through_array

    if mask.ndim != 2 or not mask.any():
        raise InputError("the mask to scribble in is empty; take a view that shows the object")
    if vertices < 1:
        raise InputError(f"a scribble of {vertices} vertices was asked for; it needs 1 or more")
    inner = _largest_piece(_erode(mask, margin))
    pixels = np.argwhere(inner)
    drawn = pixels[np.random.default_rng(seed).choice(len(pixels), min(vertices, len(pixels)), replace=False)]
    rows, columns = ndimage.find_objects(inner.astype(np.int8))[0]
    corner = np.array([rows.start, columns.start])
    cost = np.where(inner[rows, columns], 1.0, -1.0)  # what is negative cannot be crossed
    path = [tuple(drawn[0] - corner)]
    for start, end in zip(drawn[:-1] - corner, drawn[1:] - corner, strict=True):
        steps, _ = route_through_array(cost, tuple(start), tuple(end), fully_connected=True, geometric=True)
        path += steps[1:]
    return [(int(column + corner[1]), int(row + corner[0])) for row, column in path]


def _erode(mask: np.ndarray, margin: float) -> np.ndarray:
    """The pixels (H, W) of a mask further than `margin` from its outline, or than half of its greatest depth."""
    from scipy import ndimage

    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    return depth > min(margin, depth.max() / 2)


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece (8 neighbours) of a mask (H, W) that is not empty; the first among equals."""
    from scipy import ndimage

    pieces, _ = ndimage.label(mask, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    return pieces == np.bincount(pieces[mask]).argmax()


def _name(path: Path) -> str:
    return Path(path).name


def _ends_with(path: Path, wanted: tuple[str, ...]) -> bool:
    """Whether the last parts of a path are these, its suffix left out or not."""
    path = Path(path)
    return any(parts[-len(wanted) :] == wanted for parts in (path.parts, path.with_suffix("").parts))
