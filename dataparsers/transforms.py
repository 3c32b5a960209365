"""Reading transforms.json of nerfstudio, instant-ngp, nerf_synthetic and Instance-NeRF, checked at the door.

Needs numpy and Pillow alone; poses stay float64 camera-to-world matrices in the OpenGL convention (x right, y up,
looking along -z), in the units of the file.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside, read_json

from .frame_values import Intrinsics, read_intrinsics, read_number, read_pose

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
MASK_FOLDERS = ("masks", "masks_2d")


@dataclass(frozen=True)
class Frame:
    """One view whose image exists."""

    name: str
    """The image's path relative to the data folder, as people write it."""
    image: Path
    c2w: np.ndarray
    """(4, 4) float64 camera-to-world, OpenGL, data units."""
    intrinsics: Intrinsics
    split: Optional[str]
    """train, val or test where the data say so."""


@dataclass(frozen=True)
class Capture:
    """All that the JSON files of one data folder say."""

    folder: Path
    files: dict[str, Path]
    """Split (or "all") -> the JSON file that was read."""
    frames: list[Frame]
    """In natural order of their names, each split's frames in that order too."""
    missing: list[str]
    """Listed images that do not exist."""
    room_bbox: Optional[np.ndarray] = None
    """(2, 3) lower and upper corner of the room, data units."""
    room_margin: Optional[float] = None
    """Space to keep around the room, data units."""
    num_instances: Optional[int] = None
    instance_classes: dict[int, int] = field(default_factory=dict)
    instance_names: dict[int, str] = field(default_factory=dict)


def read_capture(data: Path, downscale: int = 1) -> Capture:
    """Read a data folder, or one JSON file.

    Args:
        data: a folder with `transforms.json`, or with `train_transforms.json` and `val_transforms.json` (nerf_synthetic
            writes `transforms_train.json`), or with a folder `train` that holds `transforms.json` (BlenderProc); or a
            JSON file.
        downscale: read `images_N/` for N > 1 and scale the cameras to the sizes found there.

    Returns:
        The capture; frames without an image are left out and listed in `missing`.

    Raises:
        InputError: a file is missing or unusable, or no image is left; the message names file, frame and mend.
    """
    folder, files = find_transforms(Path(data))
    frames: list[Frame] = []
    missing: list[str] = []
    room: dict[str, Any] = {}
    for split, path in files.items():
        meta = read_transforms(path)
        listed = _listed_splits(meta)
        for index, entry in enumerate(meta["frames"]):
            where = f"frame {index} ({entry['file_path']}) of {path}"
            image = find_image(folder, entry["file_path"], downscale)
            if image is None:
                missing.append(str(entry["file_path"]))
                continue
            own_split = listed.get(_plain(entry["file_path"])) if split == "all" else split
            if split == "all" and listed and own_split is None:
                continue  # the file names its splits and leaves this frame out of all
            c2w = read_pose(entry["transform_matrix"], where)
            intrinsics = read_intrinsics({**meta, **entry}, image, where, rescale=downscale > 1)
            frames.append(Frame(image.relative_to(folder).as_posix(), image, c2w, intrinsics, own_split))
        room = _merge_room(room, read_room(meta, path), path)
    if not frames:
        names = ", ".join(str(path) for path in files.values())
        place = f"in {folder / f'images_{downscale}'}" if downscale > 1 else "where file_path says"
        raise InputError(
            f"none of the {len(missing)} images listed in {names} exists (first: {missing[0] if missing else 'none'}); "
            f"put the images {place}"
        )
    frames.sort(key=lambda frame: natural_key(frame.name))
    return Capture(folder, files, frames, missing, **room)


def find_transforms(data: Path) -> tuple[Path, dict[str, Path]]:
    """The data folder, and its JSON files by split ("all" when one file holds everything).

    Raises:
        InputError: there are none, or a split's file is missing.
    """
    if not data.exists():
        raise InputError(f"{data} does not exist; give --data the folder that holds transforms.json")
    if data.is_file():
        return data.parent, {"all": data}
    folder = data
    if not any(data.glob("*transforms*.json")) and any((data / "train").glob("transforms.json")):
        folder = data / "train"
    files = {}
    for split in ("train", "val", "test"):
        for name in (f"{split}_transforms.json", f"transforms_{split}.json"):
            if (folder / name).is_file():
                files[split] = folder / name
                break
    if not files:
        if not (folder / "transforms.json").is_file():
            raise InputError(
                f"{folder} holds neither transforms.json nor train_transforms.json and val_transforms.json; "
                "write them, or make them from photos with ns-process-data"
            )
        return folder, {"all": folder / "transforms.json"}
    if "val" not in files and "test" in files:
        files["val"] = files.pop("test")
    for split in ("train", "val"):
        if split not in files:
            present = ", ".join(path.name for path in files.values())
            raise InputError(
                f"{folder / f'{split}_transforms.json'} is missing beside {present}; write it, or keep transforms.json "
                "alone and let a fraction of its frames be held out"
            )
    return folder, files


def read_transforms(path: Path, posed: bool = True) -> dict[str, Any]:
    """A transforms.json whose `frames` is a non-empty list of objects with `file_path` and `transform_matrix`.

    Args:
        path: the JSON file.
        posed: whether every frame must have its pose; photos whose cameras are asked for have none.

    Raises:
        InputError: it is anything else.
    """
    meta = read_json(path)
    if not isinstance(meta, dict) or not isinstance(meta.get("frames"), list):
        raise InputError(f'{path} has no "frames" list; it must list each image with its pose')
    if not meta["frames"]:
        raise InputError(f'{path} lists no frames; "frames" must name each image with its pose')
    for index, entry in enumerate(meta["frames"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str) or not entry["file_path"]:
            raise InputError(f"frame {index} of {path} has no file_path; name its image")
        if posed and "transform_matrix" not in entry:
            raise InputError(f"frame {index} ({entry['file_path']}) of {path} has no transform_matrix; add its pose")
    return meta


def find_image(folder: Path, file_path: str, downscale: int = 1) -> Optional[Path]:
    """The image that `file_path` means, or None when it does not exist.

    The suffix may be left out (nerf_synthetic), and a path into a mask folder (the original Instance-NeRF, when it
    trains masks) stands for the image of the same stem in `images/`.

    Raises:
        InputError: the path leaves the data folder.
    """
    path = inside(folder, file_path)
    # Path() drops a leading "./", so that one image has one name.
    parts = Path(file_path).parts
    if parts[0] in MASK_FOLDERS:
        path = folder.joinpath("images", *parts[1:]).with_suffix("")
    if downscale > 1:
        path = folder / f"images_{downscale}" / path.name
    if path.is_file():
        return path
    for suffix in IMAGE_SUFFIXES:
        candidate = path.with_name(path.name + suffix)
        if candidate.is_file():
            return candidate
    return None


def read_room(meta: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a file says of the room and its instances, as keyword arguments of `Capture`; absent keys are left out.

    Raises:
        InputError: `room_bbox` is no box, or a count, class or margin is no number.
    """
    room: dict[str, Any] = {}
    if meta.get("room_bbox") is not None:
        room["room_bbox"] = _box(meta["room_bbox"], path)
    if meta.get("room_margin") is not None:
        room["room_margin"] = read_number(meta, "room_margin", str(path), 0.0)
        if room["room_margin"] < 0:
            raise InputError(f"{path} has a negative room_margin; give the space around room_bbox in its units")
    for key in ("num_instances", "num_room_objects"):
        if meta.get(key) is not None:
            room["num_instances"] = int(read_number(meta, key, str(path), 0))
            break
    try:
        boxes = [box for box in meta.get("bounding_boxes") or [] if "instance_id" in box]
        classes = {int(box["instance_id"]): int(box["class_id"]) for box in boxes if "class_id" in box}
        names = {int(box["instance_id"]): str(box["name"]) for box in boxes if "name" in box}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} has bounding_boxes without whole instance_id and class_id; correct them") from error
    return {**room, "instance_classes": classes, "instance_names": names}


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which image 2 comes before image 10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts if part]


def _plain(file_path: str) -> str:
    return Path(file_path).as_posix()


def _listed_splits(meta: dict[str, Any]) -> dict[str, str]:
    """nerfstudio's optional `train_filenames`, `val_filenames`, `test_filenames`: image -> split."""
    splits: dict[str, str] = {}
    for split in ("train", "val", "test"):
        splits.update({_plain(str(name)): split for name in meta.get(f"{split}_filenames") or []})
    return splits


def _merge_room(first: dict[str, Any], second: dict[str, Any], path: Path) -> dict[str, Any]:
    """Split files describe one room; what one leaves out the other may say, but they must not contradict."""
    for key in ("room_bbox", "room_margin", "num_instances"):
        if key in first and key in second and not np.allclose(first[key], second[key]):
            raise InputError(f"{path} has another {key} than the other split; both must describe one room")
    merged = {**first, **second}
    for key in ("instance_classes", "instance_names"):
        merged[key] = {**first.get(key, {}), **second[key]}
    return merged


def _box(value: Any, path: Path) -> np.ndarray:
    try:
        box = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        box = np.zeros(0)
    if box.shape != (2, 3) or not np.all(np.isfinite(box)) or np.any(box[0] >= box[1]):
        raise InputError(f"{path} has a room_bbox that is no box; write [[min x, y, z], [max x, y, z]]")
    return box
