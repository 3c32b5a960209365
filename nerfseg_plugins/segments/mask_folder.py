"""A folder of binary masks, one image file each, and what SAM's `metadata.csv` says of them.

segment-anything's command line leaves such a folder for each image, and so does the Blender-HS data set of Ultrametric
Feature Fields (`SPLIT_seg/NAME/0.png`, `1.png` ...). Only numpy and Pillow are needed here.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import whole

METADATA = "metadata.csv"
AREA_SLACK = 16
"""Pixels by which the area of a mask and that of its row may differ in any case."""


@dataclass(frozen=True)
class MaskFolder:
    """The masks of one image, in the order of the numbers in their names."""

    names: list[str]
    """M file names."""
    masks: np.ndarray
    """(M, H, W) bool; some may be empty."""
    predicted_iou: np.ndarray
    """(M,) float32 SAM's guess of the quality; 1 where nobody says."""
    stability: np.ndarray
    """(M,) float32 SAM's stability score; 1 where nobody says."""


def read_mask_folder(folder: Path, size: Optional[tuple[int, int]] = None) -> MaskFolder:
    """Read all masks of one image.

    Args:
        folder: holds PNG files of any names, non-zero (above half of the file's maximum) inside the mask, and
            optionally `metadata.csv`, whose column `id` is a file name without its suffix.
        size: (height, width) of the image, which a folder without masks cannot tell.

    Returns:
        The masks: names that are numbers in numerical order, others after them in alphabetical order.

    Raises:
        InputError: there is no folder, an image is damaged or of another size than the rest, the folder is empty and
            no size is given, or metadata.csv contradicts the masks.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of masks; check the path")
    paths = sorted((path for path in folder.iterdir() if _is_mask(path)), key=lambda path: _key(path.stem))
    masks = [_read_mask(path) for path in paths]
    if size is None and not masks:
        raise InputError(f"{folder} holds no masks (*.png); make them again, or remove it: its image then has none")
    expected = masks[0].shape if size is None else size
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != expected:
            whose = "its image" if size is not None else f"{paths[0].name} beside it"
            raise InputError(
                f"{path} is {mask.shape[1]}x{mask.shape[0]} pixels but {whose} is {expected[1]}x{expected[0]}; make "
                "the masks at the size of the images"
            )
    stack = np.stack(masks) if masks else np.zeros((0, *expected), bool)
    iou = stability = np.ones(len(masks), np.float32)
    if (folder / METADATA).is_file() and masks:
        rows = _read_metadata(folder / METADATA, paths)
        _check_areas(folder / METADATA, paths, rows, stack)
        iou, stability = (_column(folder / METADATA, rows, name) for name in ("predicted_iou", "stability_score"))
    return MaskFolder([path.name for path in paths], stack, iou, stability)


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() == ".png" and not path.name.startswith(".") and path.is_file()


def _key(stem: str) -> tuple[int, int, str]:
    return (0, int(stem), stem) if _is_number(stem) else (1, 0, stem)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _read_mask(path: Path) -> np.ndarray:
    """(H, W) bool. The threshold is half of the maximum: interpolation has left greys in some published masks."""
    with whole(path), Image.open(path) as image:
        if image.mode in ("RGB", "RGBA", "LA", "PA"):
            image = image.convert("RGB").convert("L")
        values = np.array(image)
    return values > values.max() / 2


def _read_metadata(path: Path, paths: list[Path]) -> list[dict[str, str]]:
    """The row of each mask.

    Raises:
        InputError: a mask has no row or two, or a row has no mask.
    """
    with whole(path), open(path, newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    if rows and "id" not in rows[0]:
        raise InputError(f"{path} has no column 'id'; write it as segment-anything does, or remove it")
    mend = "restore it, or remove it: its scores are not needed"
    by_id: dict[tuple[int, int, str], dict[str, str]] = {}
    for row in rows:
        name = (row["id"] or "").strip()
        key = _canonical(name)
        if key in by_id:
            raise InputError(f"{path} lists mask {name} twice; {mend}")
        by_id[key] = row
    found = []
    for mask in paths:
        row = by_id.pop(_canonical(mask.stem), None)
        if row is None:
            raise InputError(f"{path} does not list {mask.name}, which lies beside it; {mend}")
        found.append(row)
    if by_id:
        (_, _, name), row = next(iter(by_id.items()))
        raise InputError(f"{path} lists mask {name or row['id']}, but there is no such file beside it; {mend}")
    return found


def _canonical(name: str) -> tuple[int, int, str]:
    """`7` and `007` are one mask."""
    return (0, int(name), "") if _is_number(name) else (1, 0, name)


def _check_areas(path: Path, paths: list[Path], rows: list[dict[str, str]], masks: np.ndarray) -> None:
    """Refuse a table of another image: areas must agree up to a scale (some published masks were shrunk).

    Raises:
        InputError: they do not.
    """
    if not rows[0].get("area"):
        return
    said = _column(path, rows, "area").astype(np.float64)
    area = masks.sum(axis=(1, 2))
    known = (said > 0) & (area > 0)
    scale = float(np.median(area[known] / said[known])) if known.any() else 1.0
    low, high = np.minimum(area, said * scale), np.maximum(area, said * scale)
    wrong = np.flatnonzero(high > 2 * low + AREA_SLACK)
    if len(wrong):
        first = wrong[0]
        raise InputError(
            f"{path} gives {paths[first].name} an area of {int(said[first])}, but it has {int(area[first])} pixels: "
            "the table is of other masks; restore it, or remove it: its scores are not needed"
        )


def _column(path: Path, rows: list[dict[str, str]], name: str) -> np.ndarray:
    """(M,) float32 of a column; 1 where it is missing."""
    values = np.ones(len(rows), np.float32)
    for index, row in enumerate(rows):
        text = row.get(name)
        if text is None or not text.strip():
            continue
        try:
            values[index] = float(text)
        except ValueError as error:
            raise InputError(f"{path} has {name} {text!r}; write a number there, or remove the file") from error
        if not np.isfinite(values[index]):
            raise InputError(f"{path} has {name} {text!r}; write a finite number there, or remove the file")
    return values
