"""True ids of a scene at the levels of a hierarchy: groups or collections, objects, parts.

DATA/gt_seg/SPLIT/NAME_{collections,objects,parts}.png     16-bit ids, 0 background
DATA/gt_seg/SPLIT/NAME_seg_{collections,objects}.tif       as Blender-HS was released: ids in the first channel
DATA/masks/NAME.png, DATA/parts/NAME.png, DATA/hierarchy.json   objects, parts, and which object is of which group
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json
from nerfseg_plugins.segments.masks import read_ids

from .mask_folders import DEFAULT_MASKS, find_folder, masks_of
from .transforms import Frame

LEVELS = ("collections", "groups", "objects", "parts")
"""Coarse to fine."""
_TIFF_BITS = 258


@dataclass(frozen=True)
class TruthLevel:
    """One level of the true hierarchy."""

    files: list[Optional[Path]]
    """One file of ids per view, None where the data have none."""
    table: Optional[dict[int, int]] = None
    """What an id of the file means at this level, such as object -> group; None: the ids are the level's own."""


def read_level(level: TruthLevel, index: int) -> Optional[np.ndarray]:
    """The true ids of one view.

    Args:
        level: of `metadata["truth_levels"]`.
        index: of the view in its split.

    Returns:
        (H, W) int32, 0 none (background, structure), -1 unlabelled; None where the view has no file.

    Raises:
        InputError: the file is damaged, or has an id that the table does not know.
    """
    path = level.files[index]
    if path is None:
        return None
    ids = _read_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else read_ids(path)
    return ids if level.table is None else _through_table(ids, level.table, path)


def truth_levels(folder: Path, frames: Sequence[Frame], masks: Path = DEFAULT_MASKS) -> dict[str, TruthLevel]:
    """The levels that a data folder knows, coarse to fine; empty where it knows none.

    Args:
        folder: the data folder.
        frames: one split.
        masks: where the ids of objects are, unless there is `gt_seg/`; `hierarchy.json` and `parts/` speak of the
            data's own alone.

    Raises:
        InputError: `hierarchy.json` is damaged, or the masks that were asked for are not there.
    """
    if (folder / "gt_seg").is_dir():
        found = {level: [_level_file(folder / "gt_seg", frame, level) for frame in frames] for level in LEVELS}
        return {level: TruthLevel(files) for level, files in found.items() if any(files)}
    levels: dict[str, TruthLevel] = {}
    objects, own = find_folder(folder, masks, "truth"), masks == DEFAULT_MASKS
    if objects is not None and any(files := masks_of(list(frames), objects)):
        groups = groups_of_objects(folder / "hierarchy.json") if own else None
        if groups is not None:
            levels["groups"] = TruthLevel(files, groups)
        levels["objects"] = TruthLevel(files)
    if own and (folder / "parts").is_dir() and any(files := masks_of(list(frames), folder / "parts")):
        levels["parts"] = TruthLevel(files)
    return levels


def groups_of_objects(path: Path) -> Optional[dict[int, int]]:
    """Object id -> group id of a `hierarchy.json` (`{"objects": {"1": {"group": 2}, ...}}`); None without the file.

    Raises:
        InputError: the file is damaged or an object has no group.
    """
    if not path.is_file():
        return None
    tree = read_json(path)
    objects: Any = tree.get("objects") if isinstance(tree, dict) else None
    try:
        return {int(key): int(row["group"] if "group" in row else row["collection"]) for key, row in objects.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{path} names no group for each object; write {{"objects": {{"1": {{"group": 1}}}}}}'
        ) from error


def _level_file(truth: Path, frame: Frame, level: str) -> Optional[Path]:
    """`gt_seg/SPLIT/NAME_LEVEL.png`, its other id formats, or the released `NAME_seg_LEVEL.tif`."""
    relative = Path(frame.name)
    for place in dict.fromkeys((truth / relative.parent, truth / (frame.split or ""), truth)):
        for name in (f"{relative.stem}_{level}", f"{relative.stem}_seg_{level}"):
            for suffix in (".png", ".npy", ".tif", ".tiff"):
                if (place / f"{name}{suffix}").is_file():
                    return place / f"{name}{suffix}"
    return None


def _read_tiff(path: Path) -> np.ndarray:
    """First channel of a TIFF as ids; Pillow knows 8 bits a channel alone when there are several."""
    try:
        with Image.open(path) as image:
            bits = image.tag_v2.get(_TIFF_BITS, (8,))  # type: ignore[attr-defined]
            array = np.array(image) if set(bits) <= {8} or len(bits) == 1 else None
        if array is None:
            import tifffile

            array = tifffile.imread(path)
    except Exception as error:  # damaged headers end in all sorts of exceptions
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); write it again as an 8- or 16-bit TIFF or PNG") from error
    array = array[..., 0] if array.ndim == 3 else array
    if array.ndim != 2 or not np.array_equal(array, np.round(array)):
        raise InputError(f"{path} holds {array.dtype} values of shape {array.shape}; it must hold whole ids (H, W)")
    return array.astype(np.int32)


def _through_table(ids: np.ndarray, table: dict[int, int], path: Path) -> np.ndarray:
    found, place = np.unique(ids, return_inverse=True)
    unknown = [value for value in found.tolist() if value > 0 and value not in table]
    if unknown:
        raise InputError(f"{path} has id {unknown[0]}, which hierarchy.json does not list; add it or correct the mask")
    meant = np.array([table[value] if value > 0 else value for value in found.tolist()], np.int32)
    return meant[place.reshape(ids.shape)]
