"""Pictures of the objects that `nerfseg objects` measures: rendered views, their depth, a sheet to compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nerfseg_plugins.cli.pictures import contact_sheet
from nerfseg_plugins.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

    from nerfseg_plugins.cli.objects import Objects
    from nerfseg_plugins.cli.scenes import ShownScene

SHEET = "compare.png"
TITLES = ("source", "photo", "rendering", "difference")


class ObjectPictures:
    """The pictures of one object.

    Args:
        folder: where they go.
        shown: the object.
        numbers: of the views that will come.
        options: which pictures are wanted.
    """

    def __init__(self, folder: Path, shown: "ShownScene", numbers: Sequence[int], options: "Objects") -> None:
        self._folder, self._shown, self._options = folder, shown, options
        rows = np.linspace(0, len(numbers) - 1, min(options.sheet_views, len(numbers))).round().astype(int)
        self._on_sheet = {numbers[row] for row in rows}
        self._rows: list[list[np.ndarray]] = []

    def add(self, number: int, photo: "Tensor", picture: "Tensor", depth: "Tensor") -> None:
        """Write a view, and keep it for the sheet where it is to be there.

        Args:
            number: of the view.
            photo: (H, W, 3) in [0, 1].
            picture: (H, W, 3) in [0, 1], rendered.
            depth: (H, W) distances along the rays, scene units.
        """
        from nerfseg_plugins.image_based.rendering import to_bytes

        if self._options.pictures:
            with atomic_path(self._folder / f"{number:06d}.png") as temporary:
                Image.fromarray(to_bytes(picture)).save(temporary)
        write_depth(self._folder, number, depth.numpy(), self._options.depth, *self._shown.sources.bounds)
        if number in self._on_sheet:
            self._rows.append([to_bytes(photo), to_bytes(picture), to_bytes((photo - picture).abs())])

    def write_sheet(self) -> None:
        """Write the sheet: source views, and views beside what was photographed there."""
        if not self._rows:
            return
        height, width = self._rows[0][0].shape[:2]
        rows = [[self._source(place, (height, width)), *row] for place, row in enumerate(self._rows)]
        same = [row for row in rows if row[1].shape[:2] == (height, width)]
        contact_sheet(self._folder / SHEET, TITLES, same)

    def _source(self, place: int, size: tuple[int, int]) -> np.ndarray:
        from nerfseg_plugins.image_based.images import resized

        if place >= len(self._shown.sources):
            return np.full((*size, 3), 255, np.uint8)
        return resized(self._shown.sources.image(place), size)


def write_depth(folder: Path, number: int, depth: np.ndarray, kind: str, near: float, far: float) -> None:
    """Write a view's depth (H, W), scene units: float32 as it is, or 16 bits from near (0) to far (65535)."""
    if kind == "npz":
        with atomic_path(folder / f"{number:06d}_depth.npz") as temporary:
            np.savez_compressed(temporary, depth=depth.astype(np.float32))
    elif kind == "png":
        levels = np.round((depth - near) / (far - near) * 65535).clip(0, 65535).astype(np.uint16)
        with atomic_path(folder / f"{number:06d}_depth.png") as temporary:
            Image.fromarray(levels).save(temporary)
