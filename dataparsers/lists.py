"""Data sets whose splits are lists of names, in the root or in each category's folder."""

from pathlib import Path
from typing import Optional

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside

from .many_scenes import SPLITS, SceneFolder, check_folder, listed_scenes, subfolders


def list_folders(data: Path, prefix: str) -> dict[str, Path]:
    """Category -> folder with lists; the category is empty where `data` itself has the lists.

    Raises:
        InputError: there is no list of this prefix anywhere.
    """
    check_folder(data)
    if _has_lists(data, prefix):
        return {"": data}
    found = {folder.name: folder for folder in subfolders(data) if _has_lists(folder, prefix)}
    if not found:
        others = sorted({path.name for path in [*data.glob("*.lst"), *data.glob("*/*.lst")]})
        hint = f"there are {', '.join(others[:6])}; pass --list-prefix" if others else "give --data the data set"
        raise InputError(f"{data} has no {prefix}train.lst, {prefix}val.lst or {prefix}test.lst; {hint}")
    return found


def list_listed(data: Path, prefix: str, split: str) -> list[SceneFolder]:
    """The scenes of `split`, category by category.

    Raises:
        InputError: there is no list, or one names a scene that does not exist.
    """
    scenes = []
    for category, folder in list_folders(data, prefix).items():
        path = folder / f"{prefix}{split}.lst"
        if path.is_file():
            scenes += listed_scenes(folder, path, category)
    return scenes


def find_listed(data: Path, prefix: str, name: str) -> Optional[SceneFolder]:
    """The scene `name`, with its category or without, None where there is none; the lists are not read.

    Raises:
        InputError: there is no list, or the name leaves the data folder.
    """
    for category, folder in list_folders(data, prefix).items():
        entry = name.removeprefix(f"{category}/") if category else name
        target = inside(folder, entry)
        if entry and target.is_dir() and target != folder:
            return SceneFolder(f"{category}/{entry}" if category else entry, category, target)
    return None


def _has_lists(folder: Path, prefix: str) -> bool:
    return any((folder / f"{prefix}{split}.lst").is_file() for split in SPLITS)
