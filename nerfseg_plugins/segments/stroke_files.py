"""Strokes on disk: strokes.json, and pictures that somebody has drawn strokes into."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside, read_json, write_json
from nerfseg_plugins.segments.strokes import Point, Size, Stroke, Views, fill_rectangle, stamp_points, stamp_polyline

RADIUS = 3.0
"""Radius of the brush in pixels where none is given: 7 pixels across, as in the original implementation."""
_SHAPES = ("polyline", "points", "rectangle", "png")


@dataclass(frozen=True)
class Drawing:
    """One stroke as it is drawn, with exactly one of the four shapes."""

    view: Union[int, str]
    """Index of the view, or name of its image."""
    positive: bool
    """Whether it marks the object, or what the object is not."""
    polyline: Optional[tuple[Point, ...]] = None
    """(x, y) of vertices that the brush is drawn along."""
    points: Optional[tuple[Point, ...]] = None
    """(x, y) of points that the brush is stamped on."""
    rectangle: Optional[tuple[float, ...]] = None
    """x0, y0, x1, y1 of a filled rectangle."""
    png: Optional[Path] = None
    """Picture of the view's shape in which something is marked."""
    radius: float = RADIUS
    """Radius of the brush in pixels."""
    origin: str = "the stroke"
    """Where it came from, for messages."""
    object: int = 1
    """Which object a positive stroke marks, 1 or more."""

    def stroke(self, views: Views) -> Stroke:
        """The pixels that it marks.

        Raises:
            InputError: there is no such view, or the shape cannot be drawn into it.
        """
        index = views.index_of(self.view, self.origin)
        pixels = self._pixels(views.sizes[index], views.describe(index))
        return Stroke(index, self.positive, pixels, self.origin, self.object)

    def _pixels(self, size: Size, view: str) -> np.ndarray:
        if self.png is not None:
            return np.argwhere(read_marks(self.png, size, view))
        name = f"{self.origin} in {view}"
        if self.rectangle is not None:
            return fill_rectangle(self.rectangle, size, name)
        if self.points is not None:
            return stamp_points(self.points, self.radius, size, name)
        return stamp_polyline(self.polyline or (), self.radius, size, name)


def read_marks(path: Path, size: Size, view: str = "its view") -> np.ndarray:
    """What is marked in a picture, in the pixels of a view.

    A picture with transparency marks where it is not wholly transparent; one without is a mask, which marks where it is
    not black. It may be larger or smaller than the view by a whole factor: then a pixel of the view is marked where any
    pixel of the picture that falls into it is.

    Args:
        path: RGBA, grey or one-bit picture; PNG, or another format that loses nothing.
        size: (height, width) of the view.
        view: the view, for messages.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the picture is missing or damaged, has colours and no transparency, marks nothing or, by
            transparency, everything, or has another size.
    """
    marks = _marks(Path(path))
    if not marks.any():
        raise InputError(f"{path} marks no pixel; draw with opaque colour on a transparent picture, or white on black")
    height, width = size
    if marks.shape == (height, width):
        return marks
    if not _whole_factor(marks.shape, size):
        raise InputError(
            f"{path} is {marks.shape[1]}x{marks.shape[0]} pixels but {view} is {width}x{height}; draw on the photo of "
            "that view, as large as it is or by a whole factor larger or smaller"
        )
    if marks.shape[0] < height:
        rows = (np.arange(height) + 0.5) * marks.shape[0] / height
        columns = (np.arange(width) + 0.5) * marks.shape[1] / width
        return marks[rows.astype(int)[:, None], columns.astype(int)]
    found = np.zeros(size, bool)
    rows, columns = ((np.argwhere(marks) + 0.5) * size / marks.shape).astype(int).T
    found[rows, columns] = True
    return found


def read_strokes(path: Path) -> list[Drawing]:
    """Read strokes.json.

    It is `{"strokes": [...]}`; each has `view` (index or name of an image), `positive` (true unless given) and one of
    `polyline` [[x, y], ...], `points` [[x, y], ...], `rectangle` [x0, y0, x1, y1], `png` (path inside the file's
    folder); lines and points may have a `radius`. Where several objects are marked, a positive stroke has the number
    of its `object`, 1 unless given.

    Raises:
        InputError: the file is missing, not JSON, or an entry is no such stroke; names file and entry.
    """
    path = Path(path)
    content = read_json(path)
    rows = content.get("strokes") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise InputError(f'{path} is no list of strokes; write {{"strokes": [{{"view": 0, "polyline": [[x, y]]}}]}}')
    if not rows:
        raise InputError(f"{path} has no stroke; add one")
    return [_drawing(row, path, f"{path}, stroke {number}") for number, row in enumerate(rows)]


def write_strokes(path: Path, drawings: Sequence[Drawing]) -> None:
    """Write strokes.json, whole or not at all; pictures are named relative to its folder.

    Raises:
        InputError: a picture lies outside the folder.
    """
    rows = []
    for drawing in drawings:
        row = {key: value for key, value in dataclasses.asdict(drawing).items() if value is not None}
        del row["origin"]
        if drawing.object == 1:
            del row["object"]
        if drawing.png is not None:
            row["png"] = _relative(drawing.png, Path(path).parent)
        if drawing.png is not None or drawing.rectangle is not None:
            del row["radius"]
        rows.append(row)
    write_json(path, {"strokes": rows})


def _drawing(row: Any, path: Path, origin: str) -> Drawing:
    shapes = [name for name in _SHAPES if name in row] if isinstance(row, dict) else []
    if len(shapes) != 1:
        raise InputError(f"{origin} must have exactly one of {', '.join(_SHAPES)}; it has {shapes or 'none'}")
    if unknown := sorted(row.keys() - {"view", "positive", "radius", "object", *_SHAPES}):
        raise InputError(
            f"{origin} has an unknown key {unknown[0]!r}; it may have view, positive, object, radius and a shape"
        )
    view, positive, radius = row.get("view"), row.get("positive", True), row.get("radius", RADIUS)
    number = row.get("object", 1)
    if isinstance(view, bool) or not isinstance(view, (int, str)):
        raise InputError(f'{origin} needs "view": the index of a view, or the name of its image in quotes')
    if not isinstance(positive, bool):
        raise InputError(f'{origin}: "positive" is {positive!r}; write true or false')
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError(f'{origin}: "object" is {number!r}; write the number of an object, 1 or more')
    if not positive and "object" in row:
        raise InputError(f'{origin}: a negative stroke marks what is no object; take "object" out of it')
    if not _is_number(radius):
        raise InputError(f'{origin}: "radius" is {radius!r}; write a number of pixels')
    shape = {shapes[0]: _shape(shapes[0], row[shapes[0]], path, origin)}
    return Drawing(view, positive, radius=float(radius), origin=origin, object=number, **shape)


def _shape(name: str, value: Any, path: Path, origin: str) -> Any:
    """The value of a shape as `Drawing` holds it."""
    if name == "png":
        if not isinstance(value, str):
            raise InputError(f'{origin}: "png" is {value!r}; write the path of a picture beside {path.name}')
        return inside(path.parent, value)
    if name == "rectangle":
        if not (isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))):
            raise InputError(f'{origin}: "rectangle" must be [x0, y0, x1, y1], four numbers')
        return tuple(value)
    pairs = isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in value
    )
    if not pairs:
        raise InputError(f'{origin}: "{name}" must be [[x, y], ...], pairs of numbers')
    return tuple((x, y) for x, y in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _marks(path: Path) -> np.ndarray:
    """What a picture marks, (h, w) bool, in its own pixels."""
    try:
        with Image.open(path) as image:
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                alpha = np.asarray(image.convert("RGBA"))[..., 3]
                pixels = None
            else:
                pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
                alpha = None
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is damaged or no picture ({error}); save it again as PNG") from error
    if alpha is not None:
        if alpha.all():
            raise InputError(f"{path} is nowhere transparent, so it marks everything; draw on a transparent layer")
        return alpha > 0
    assert pixels is not None
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise InputError(
                f"{path} has colours and no transparency, so it is unknown what it marks; save the strokes alone, on a "
                "transparent layer, or white on black"
            )
        pixels = pixels[..., 0]
    return pixels > 0


def _whole_factor(shape: tuple[int, ...], size: Size) -> bool:
    """Whether one size is a multiple of the other, up to the rounding of sides that the factor does not divide."""
    large, small = (shape, size) if shape[0] > size[0] else (size, shape)
    factor = round(large[1] / small[1])
    return factor >= 2 and all(abs(a - b * factor) < factor for a, b in zip(large, small, strict=True))


def _relative(picture: Path, folder: Path) -> str:
    try:
        return picture.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError as error:
        raise InputError(
            f"{picture} lies outside {folder}; copy it there, strokes.json names nothing outside"
        ) from error
