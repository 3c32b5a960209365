"""What `nerfseg segment` leaves behind: masks of every view, and pictures to look at; written whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nerfseg_plugins.cli.views import Split, output_names, rendered
from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.isrf.edits import Edit
    from nerfseg_plugins.isrf.solid import VoxelSet
    from nerfseg_plugins.isrf.strokes import Stroke
    from nerfseg_plugins.scene.run import Run

WIDTH = 320
"""Pixels across a picture on a sheet, at most."""
ROWS = 4
"""Views on the overview."""
POSITIVE, NEGATIVE = (40, 220, 60), (235, 50, 40)
"""Colours of strokes on pictures."""


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block succeeds, and vanishes when it fails.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); give --output-path a folder of your own"
        ) from error
    try:
        new = stage / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(stage / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_masks(run: "Run", folder: Path, splits: Sequence[Split]) -> int:
    """Write a 16-bit id mask for each view of the splits into FOLDER/SPLIT, named after the images.

    Args:
        run: its model shows the objects, none of them removed or moved: masks are about the photos.
        folder: to write into.
        splits: which views.

    Returns:
        The number of masks.
    """
    from nerfseg_plugins.segments.masks import write_ids

    model: Any = run.pipeline.model
    count = 0
    for split in splits:
        names = output_names([Path(path) for path in run.dataset(split).image_filenames], ".png")
        for view in rendered(run, split, f"masks of {'train' if split == 'train' else 'held-out'} views"):
            ids = model.predict_ids(view.outputs).cpu().numpy().astype(np.int32)
            write_ids(folder / split / names[view.index], ids)
            count += 1
    return count


class Shown(NamedTuple):
    """One state of the scene on the overview."""

    title: str
    output: str
    """Output of the model that shows it."""
    seeded: "VoxelSet | None" = None
    selected: "VoxelSet | None" = None
    edits: "Sequence[Edit]" = ()


def write_stroke_sheet(path: Path, run: "Run", split: Split, strokes: "Sequence[Stroke]") -> None:
    """A sheet of the views that have strokes: the photo, and the photo with the strokes on it."""
    from nerfseg_plugins.cli.pictures import contact_sheet

    rows = []
    for index in sorted({stroke.view for stroke in strokes}):
        photo = photo_of(run, split, index)
        drawn = photo.copy()
        for stroke in strokes:
            if stroke.view == index:
                drawn[tuple(stroke.pixels.T)] = POSITIVE if stroke.positive else NEGATIVE
        rows.append([photo, drawn])
    size = sheet_size(rows[0][0])
    contact_sheet(path, ("photo", "strokes"), [[fitted(picture, size) for picture in row] for row in rows])


def photo_of(run: "Run", split: Split, index: int) -> np.ndarray:
    """The photo of a view at its camera's resolution, (H, W, 3) uint8."""
    photo = run.dataset(split)[index]["image"].cpu().float()
    if photo.shape[-1] == 4:
        model: Any = run.pipeline.model
        photo = model.renderer_rgb.blend_background(photo)
    return to_bytes(photo.numpy())


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Float picture in [0, 1] -> uint8."""
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def sheet_size(picture: np.ndarray) -> tuple[int, int]:
    """(height, width) of a picture on a sheet."""
    height, width = picture.shape[:2]
    factor = min(1.0, WIDTH / width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 scaled into (height, width), white beside it where its aspect is another."""
    from PIL import Image

    factor = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = max(1, round(picture.shape[0] * factor)), max(1, round(picture.shape[1] * factor))
    sheet = np.full((*size, 3), 255, np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    sheet[top : top + height, left : left + width] = np.asarray(Image.fromarray(picture).resize((width, height)))
    return sheet
