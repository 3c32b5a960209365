"""Which hierarchy of 2D masks belongs to which image.

DATA/segments/SOURCE/NAME.npz       packed masks, as `nerfseg masks` writes them; below it as the images are
DATA/SPLIT_seg/NAME/0.png ...       one picture a mask (Blender-HS)
DATA/seg/NN/0.png ...               the same (PartNet's view-NN)
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from nerfseg_plugins.errors import InputError

from .transforms import Frame

SOURCES = ("sam", "labels", "classical")
"""Folders of DATA/segments whose masks may lie in one another; the folders of pictures come after the first."""


def find_hierarchies(data: Path, frames: Sequence[Frame], masks: Optional[str]) -> Optional[list[Optional[Path]]]:
    """The masks of each frame.

    Args:
        data: the data folder.
        frames: one split.
        masks: "auto", a name in DATA/segments, a folder (absolute or in the data), or None for no masks.

    Returns:
        A packed `.npz`, a folder of pictures, or None for each frame; None where there are no masks at all.

    Raises:
        InputError: masks were asked for by name and are not there.
    """
    if masks is None:
        return None
    if masks == "auto":
        first, *rest = [data / "segments" / name for name in SOURCES]
        for folder in (first, data, *rest):
            found = [_of_frame(folder, frame, packed=folder != data) for frame in frames]
            if any(found):
                return found
        return None
    folder = next((path for path in (data / "segments" / masks, data / masks) if path.is_dir()), None)
    if folder is None:
        there = sorted(path.name for path in (data / "segments").glob("*") if path.is_dir())
        raise InputError(
            f"{data / 'segments' / masks} does not exist (there: {', '.join(there) or 'nothing'}); "
            f"make it with: {command(data, masks)}"
        )
    found = [_of_frame(folder, frame, packed=True) for frame in frames]
    if not any(found):
        raise InputError(
            f"{folder} has masks for none of the {len(frames)} images (first wanted: {Path(frames[0].name).stem}.npz "
            f"or a folder of that name); make them with: {command(data, masks)}"
        )
    return found


def check_found(found: list[Optional[Path]], frames: Sequence[Frame], data: Path, masks: str) -> None:
    """Refuse training views without masks.

    Raises:
        InputError: names the first of them and the command that makes the rest.
    """
    missing = [frame.name for frame, path in zip(frames, found, strict=True) if path is None]
    if missing:
        first = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        place = next(path for path in found if path is not None).parent
        raise InputError(
            f"{place} has no masks for {len(missing)} of {len(frames)} training images ({first}); "
            f"add them, go on with: {command(data, masks)}, or pass --allow-missing-masks True"
        )


def command(data: Path, masks: Optional[str] = None, downscale_factor: Optional[int] = None) -> str:
    """The command that makes masks for a data folder, of the images in images_N/ with a factor."""
    words = ["nerfseg", "masks", "--data", str(data), "--source", masks if masks in SOURCES else "sam"]
    return shlex.join([*words, *(["--downscale-factor", str(downscale_factor)] if downscale_factor else [])])


def _of_frame(folder: Path, frame: Frame, packed: bool) -> Optional[Path]:
    relative = Path(frame.name)
    stem, inner = relative.stem, Path(*relative.parts[1:-1])
    if packed:
        for place in (folder / relative.parent, folder / inner, folder):
            if (place / f"{stem}.npz").is_file():
                return place / f"{stem}.npz"
    pictures = [folder / f"{frame.split}_seg" / stem] if frame.split else []
    pictures += [folder / f"{relative.parent.name}_seg" / stem, folder / "seg" / stem]
    # PartNet calls every picture shape-rgb.png; its folder view-07 has the masks seg/07.
    pictures += [folder / "seg" / relative.parent.name.removeprefix("view-")] if relative.parent.name else []
    if packed:
        pictures += [folder / relative.parent / stem, folder / inner / stem, folder / stem]
    return next((path for path in pictures if path.is_dir()), None)
