"""Which mask belongs to which image: folders of id masks beside the images of a capture."""

from pathlib import Path
from typing import Optional

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import MASK_SUFFIXES, find_mask

from .transforms import MASK_FOLDERS, Frame

DEFAULT_MASKS = Path("masks")


def find_folder(data: Path, folder: Optional[Path], option: str) -> Optional[Path]:
    """A mask folder: `folder` in the data or absolute; None when the default one is absent, or none is wanted.

    Raises:
        InputError: a folder was asked for and does not exist.
    """
    if folder is None:
        return None
    if folder == DEFAULT_MASKS:
        candidates = [data / name for name in MASK_FOLDERS]
        return next((path for path in candidates if path.is_dir()), None)
    path = data / folder
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give --{option} a folder of masks, absolute or relative to {data}")
    return path


def masks_of(frames: list[Frame], folder: Path) -> list[Optional[Path]]:
    """The mask of each frame in `folder`, by the image's name, or None.

    Images in subfolders (`train/r_0.png` or `images/train/r_0.png`) find `folder/train/r_0.*` before `folder/r_0.*`.

    Raises:
        InputError: two images would share one mask.
    """
    masks: list[Optional[Path]] = []
    owners: dict[Path, str] = {}
    for frame in frames:
        relative = Path(frame.name)
        inner = Path(*relative.parts[1:-1])
        places = dict.fromkeys((folder / relative.parent, folder / inner, folder))
        mask = next((mask for place in places if (mask := find_mask(place, relative.stem)) is not None), None)
        if mask is not None and owners.setdefault(mask, frame.name) != frame.name:
            raise InputError(
                f"{owners[mask]} and {frame.name} would share the mask {mask}; keep masks in subfolders like the images"
            )
        masks.append(mask)
    return masks


def check_masks_found(masks: list[Optional[Path]], frames: list[Frame], folder: Path, allow_missing: bool) -> None:
    """Refuse a training set with missing masks, or, where that is allowed, one without any.

    Raises:
        InputError: names the first frames concerned and what to do.
    """
    missing = [frame.name for frame, mask in zip(frames, masks, strict=True) if mask is None]
    if not missing:
        return
    if len(missing) == len(frames):
        raise InputError(
            f"{folder} has no mask for any of the {len(frames)} training images; a mask has its image's name "
            f"and one of {', '.join(MASK_SUFFIXES)} (first wanted: {Path(missing[0]).stem})"
        )
    if not allow_missing:
        first = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise InputError(
            f"{folder} has no mask for {len(missing)} of {len(frames)} training images ({first}); "
            "add them, or pass --allow-missing-masks True"
        )
