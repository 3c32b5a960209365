"""What `nerfseg segment` is asked for: strokes from flags and files, brought into the views of a run and its scene."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import numpy as np

from nerfseg_plugins.cli.views import Split
from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.isrf.lifting import StrokePoints
    from nerfseg_plugins.scene.run import Run
    from nerfseg_plugins.segments.stroke_files import Drawing
    from nerfseg_plugins.segments.strokes import Stroke, Views

MAX_PIXELS = 4096
"""Of a stroke with more pixels some are looked at, evenly chosen: features beside each other say the same."""


@dataclass
class StrokeOptions:
    """Strokes. VIEW is the index of a view, or the name of its image."""

    positive: list[str] = field(default_factory=list)
    """VIEW:FILE.png, strokes on the object: opaque on a transparent picture, or white on black."""
    negative: list[str] = field(default_factory=list)
    """VIEW:FILE.png, strokes on what is not the object."""
    strokes: list[Path] = field(default_factory=list)
    """Files strokes.json, which list polylines, points, rectangles and pictures of any number of views."""
    positive_points: list[str] = field(default_factory=list)
    """VIEW:X,Y[,X,Y ...], pixels of the object, columns before rows."""
    negative_points: list[str] = field(default_factory=list)
    """VIEW:X,Y[,X,Y ...], pixels of what is not the object."""
    positive_rectangle: list[str] = field(default_factory=list)
    """VIEW:X0,Y0,X1,Y1, a rectangle on the object."""
    negative_rectangle: list[str] = field(default_factory=list)
    """VIEW:X0,Y0,X1,Y1, a rectangle on what is not the object."""
    split: Split = "train"
    """Which views the strokes lie in: those trained on or those held out."""
    radius: float = 3.0
    """Radius of the brush around points, in pixels; files say their own."""

    def drawings(self) -> "list[Drawing]":
        """All strokes, as they are drawn.

        Raises:
            InputError: a flag is not of its form, or a strokes.json cannot be read.
        """
        from nerfseg_plugins.segments.stroke_files import Drawing, read_strokes

        found = [drawing for path in self.strokes for drawing in read_strokes(path)]
        for positive, flag, texts in self._flags("", self.positive, self.negative):
            for text in texts:
                view, rest, _ = _parts(flag, text, "3:strokes.png")
                found.append(Drawing(view, positive, png=Path(rest), origin=rest))
        for positive, flag, texts in self._flags("-points", self.positive_points, self.negative_points):
            for text in texts:
                view, rest, origin = _parts(flag, text, "3:120,80")
                values = _numbers(rest)
                if values is None or len(values) % 2:
                    raise InputError(f"{origin}: after the view come pairs x,y of pixels, such as 3:120,80")
                pairs = tuple(zip(values[::2], values[1::2], strict=True))
                found.append(Drawing(view, positive, points=pairs, radius=self.radius, origin=origin))
        for positive, flag, texts in self._flags("-rectangle", self.positive_rectangle, self.negative_rectangle):
            for text in texts:
                view, rest, origin = _parts(flag, text, "3:10,10,40,30")
                values = _numbers(rest)
                if values is None or len(values) != 4:
                    raise InputError(f"{origin}: after the view come x0,y0,x1,y1 in pixels, such as 3:10,10,40,30")
                found.append(Drawing(view, positive, rectangle=tuple(values), origin=origin))
        return found

    def _flags(self, suffix: str, positive: list[str], negative: list[str]) -> list[tuple[bool, str, list[str]]]:
        return [(True, f"--positive{suffix}", positive), (False, f"--negative{suffix}", negative)]


def _parts(flag: str, text: str, example: str) -> tuple[int | str, str, str]:
    """View, the rest, and how the flag is called in messages."""
    from nerfseg_plugins.segments.strokes import parse_view

    view, colon, rest = text.partition(":")
    if not (view.strip() and colon and rest.strip()):
        raise InputError(f"{flag} {text} names no view or no stroke; write it as in {flag} {example}")
    return parse_view(view), rest.strip(), f"{flag} {text}"


def _numbers(text: str) -> Optional[list[float]]:
    """Comma-separated numbers, None where they are not such; what is not finite is refused where it is drawn."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


def views_of(run: "Run", split: Split) -> "Views":
    """The views of a run's split."""
    from nerfseg_plugins.segments.strokes import Views

    dataset = run.dataset(split)
    heights, widths = dataset.cameras.height.reshape(-1).tolist(), dataset.cameras.width.reshape(-1).tolist()
    name = "train" if split == "train" else "held-out"
    return Views([Path(path) for path in dataset.image_filenames], list(zip(heights, widths, strict=True)), name)


def drawn(drawings: "Sequence[Drawing]", views: "Views") -> "list[Stroke]":
    """Strokes as pixels of views, positive ones first.

    Raises:
        InputError: a stroke cannot be drawn, or strokes contradict each other.
    """
    from nerfseg_plugins.segments.strokes import check_strokes

    found = [drawing.stroke(views) for drawing in drawings]
    if found:
        check_strokes(found, views)
    return sorted(found, key=lambda stroke: not stroke.positive)


def lift_strokes(run: "Run", strokes: "Sequence[Stroke]", split: Split) -> "Optional[StrokePoints]":
    """What the rays through strokes meet in the scene; None without strokes.

    Raises:
        InputError: a stroke lies on empty space.
    """
    import torch

    from nerfseg_plugins.isrf.lifting import StrokePoints, lift_pixels

    views, cameras = views_of(run, split), run.dataset(split).cameras
    found = []
    for stroke in strokes:
        camera = cameras[stroke.view : stroke.view + 1].to(run.pipeline.device)
        count = len(stroke.pixels)
        pixels = stroke.pixels[np.linspace(0, count - 1, min(count, MAX_PIXELS)).round().astype(int)]
        try:
            found.append(lift_pixels(run.pipeline.model, camera, torch.from_numpy(pixels).to(camera.device)))
        except InputError as error:
            raise InputError(f"{stroke.origin} in {views.describe(stroke.view)}: {error}") from error
    return StrokePoints.cat(found) if found else None
