"""What `nerfseg segment` leaves behind: masks of every view, and pictures to look at; written whole or not at all."""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from nerfseg_plugins.cli.views import Split, output_names, with_progress
from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
    from torch import Tensor

    from nerfseg_plugins.isrf.edits import Edit
    from nerfseg_plugins.isrf.solid import VoxelSet
    from nerfseg_plugins.scene.run import Run
    from nerfseg_plugins.segments.strokes import Stroke

WIDTH = 240
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


@contextmanager
def showing(run: "Run", edits: "Sequence[Edit]", seed: "Optional[VoxelSet]" = None) -> Iterator[None]:
    """Inside this context the run shows these edits and marks this seed, and nothing else."""
    model: Any = run.pipeline.model
    with model.as_trained():  # which also puts back what was shown before
        model.edits, model.seeded = list(edits), seed
        yield


def unedited(edits: "Sequence[Edit]") -> "list[Edit]":
    """The same objects, marked where they were in the photos."""
    return [dataclasses.replace(edit, action="none") for edit in edits]


def write_masks(run: "Run", folder: Path, splits: Sequence[Split], edits: "Sequence[Edit]") -> int:
    """Write a 16-bit id mask for each view of the splits into FOLDER/SPLIT, named after the images.

    Args:
        run: the run.
        folder: to write into.
        splits: which views.
        edits: the objects, ids 1 to E in their order; masks are about the photos, where nothing is removed or moved.

    Returns:
        The number of masks.
    """
    from nerfseg_plugins.segments.masks import write_ids

    model: Any = run.pipeline.model
    count = 0
    with showing(run, edits):
        for split in splits:
            cameras = run.dataset(split).cameras
            names = output_names([Path(path) for path in run.dataset(split).image_filenames], ".png")
            text = f"masks of {'train' if split == 'train' else 'held-out'} views"
            for index, name in enumerate(with_progress(names, len(names), text)):
                ids = model.ids_in(cameras[index : index + 1]).cpu().numpy().astype(np.int32)
                write_ids(folder / split / name, ids)
            count += len(names)
    return count


def write_overview(
    path: Path,
    run: "Run",
    split: Split,
    strokes: "Sequence[Stroke]",
    edits: "Sequence[Edit]",
    seed: "Optional[VoxelSet]",
) -> None:
    """A sheet of some views: photo, seed, objects, and the edited scene where an edit changes it.

    Args:
        path: PNG to write.
        run: the run.
        split: of the strokes.
        strokes: their views come first.
        edits: the objects; the seed is that of the last one.
        seed: where growing began; None leaves it out.
    """
    from nerfseg_plugins.cli.pictures import contact_sheet
    from nerfseg_plugins.isrf.edits import acts
    from nerfseg_plugins.scene.run import render_views

    states: list[tuple[str, str, Sequence[Edit], Optional[VoxelSet]]] = []
    if seed is not None:
        states.append(("seed", "selection_colormap", (), seed))
    states.append(("object" if len(edits) == 1 else "objects", "selection_colormap", unedited(edits), None))
    if acts(edits):
        states.append(("edited", "rgb", edits, None))
    cameras = run.dataset(split).cameras
    chosen = overview_views(shares_in_view(cameras, edits[-1].voxels.centres()), [stroke.view for stroke in strokes])
    size = sheet_size(photo_of(run, split, chosen[0]))

    def pictures() -> "Iterator[np.ndarray]":
        for _, output, shown, marked in states:
            with showing(run, shown, marked):
                for index in chosen:
                    downscale = min(1.0, WIDTH / int(cameras.width[index]))
                    view = next(render_views(run, split, (output,), (index,), downscale))
                    yield fitted(to_bytes(view.outputs[output].numpy()), size)

    columns = list(with_progress(pictures(), len(states) * len(chosen), "pictures"))
    rows = [
        [fitted(photo_of(run, split, index), size), *columns[place :: len(chosen)]]
        for place, index in enumerate(chosen)
    ]
    contact_sheet(path, ("photo", *(state[0] for state in states)), rows)


def overview_views(shares: np.ndarray, first: Sequence[int]) -> list[int]:
    """At most `ROWS` views for an overview: the wanted ones, then some evenly chosen among those that show the object.

    Args:
        shares: (V,) part of the object that lies in each view.
        first: the wanted views.
    """
    showing_it = np.flatnonzero(shares >= 0.5 * shares.max())
    spread = showing_it[np.linspace(0, len(showing_it) - 1, ROWS).round().astype(int)].tolist()
    return list(dict.fromkeys([*sorted(first), *spread]))[:ROWS]


def shares_in_view(cameras: "Cameras", points: "Tensor") -> np.ndarray:
    """Part (V,) of points (N, 3) of the scene frame that lie in the picture of each camera, or would without a lens."""
    shares = []
    for camera in (cameras[index : index + 1] for index in range(len(cameras))):
        c2w = camera.camera_to_worlds[0].to(points)
        x, y, z = ((points - c2w[:, 3]) @ c2w[:, :3]).unbind(dim=-1)
        forward = -z.clamp_max(-1e-6)
        column = float(camera.fx) * x / forward + float(camera.cx)
        row = -float(camera.fy) * y / forward + float(camera.cy)
        inside = (z < 0) & (column >= 0) & (row >= 0) & (column < int(camera.width)) & (row < int(camera.height))
        shares.append(float(inside.float().mean()))
    return np.array(shares)


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
