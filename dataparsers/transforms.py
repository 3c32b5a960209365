"""Reading transforms.json (nerfstudio, instant-ngp, nerf_synthetic, Instance-NeRF) with every value checked at the door.

Needs numpy and Pillow alone; poses stay float64 camera-to-world matrices in the OpenGL convention (x right, y up,
looking along -z), in the units of the file.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image, UnidentifiedImageError

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside, read_json

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG")
MASK_FOLDERS = ("masks", "masks_2d")
CAMERA_MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "EQUIRECTANGULAR")
ROTATION_TOLERANCE = 1e-2
"""How far a pose may be from a rotation; structure from motion leaves errors of 1e-6, rounding to 3 digits 1e-3."""


@dataclass(frozen=True)
class Intrinsics:
    """A camera in pixels of its image; the principal point counts from the image's upper left corner."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...]
    """k1, k2, k3, k4, p1, p2 of the OpenCV model."""
    model: str
    """One of `CAMERA_MODELS`."""


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
        data: a folder with `transforms.json`, with `train_transforms.json` and `val_transforms.json` (or nerf_synthetic's
            `transforms_train.json` ...), or with a folder `train` that holds these (BlenderProc); or a JSON file.
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
        raise InputError(
            f"none of the {len(missing)} images listed in {names} exists (first: {missing[0] if missing else 'none'}); "
            "put the images where file_path says"
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


def read_transforms(path: Path) -> dict[str, Any]:
    """A transforms.json whose `frames` is a non-empty list of objects with `file_path` and `transform_matrix`.

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
        if "transform_matrix" not in entry:
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


def read_pose(matrix: Any, where: str) -> np.ndarray:
    """(4, 4) float64 pose from a 4x4 or 3x4 nested list.

    Raises:
        InputError: wrong shape, not finite, or its rotation part is none (within `ROTATION_TOLERANCE`).
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} has a transform_matrix that is not numbers; write a 4x4 camera-to-world") from error
    if pose.shape not in ((4, 4), (3, 4)):
        raise InputError(f"{where} has a transform_matrix of shape {pose.shape}; write a 4x4 camera-to-world matrix")
    if not np.all(np.isfinite(pose)):
        raise InputError(f"{where} has a pose that is not finite; correct it or remove the frame")
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    error = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if abs(determinant - 1) > ROTATION_TOLERANCE or error > ROTATION_TOLERANCE:
        if abs(determinant) < ROTATION_TOLERANCE:
            what = "is singular"
        elif determinant < 0:
            what = "mirrors"
        else:
            what = "scales or shears"
        raise InputError(
            f"{where} has a pose whose rotation {what} (determinant {determinant:.4g}, {error:.2g} from orthonormal); "
            "correct it or remove the frame"
        )
    return np.concatenate([pose[:3], [[0.0, 0.0, 0.0, 1.0]]])


def read_intrinsics(values: dict[str, Any], image: Path, where: str, rescale: bool = False) -> Intrinsics:
    """The camera of one frame.

    Args:
        values: the file's keys, overridden by the frame's own.
        image: its image; supplies the size where the JSON has none, and must agree where it has.
        where: the frame, for messages.
        rescale: the image is a smaller version; scale the camera to it instead of refusing.

    Raises:
        InputError: no focal length, values that are no numbers, an unreadable image or another size.
    """
    found_width, found_height = image_size(image)
    width, height = int(_number(values, "w", where, found_width)), int(_number(values, "h", where, found_height))
    fx, fy = _focal("x", width, values, where), _focal("y", height, values, where)
    if fx is None and fy is None:
        raise InputError(f"{where} has no intrinsics; add fl_x, fl_y, cx, cy, w and h (or camera_angle_x) to the file")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0
    cx, cy = _number(values, "cx", where, width / 2), _number(values, "cy", where, height / 2)
    if rescale:
        x, y = found_width / width, found_height / height
        fx, fy, cx, cy, width, height = fx * x, fy * y, cx * x, cy * y, found_width, found_height
    if (width, height) != (found_width, found_height):
        raise InputError(
            f"{image} is {found_width}x{found_height} pixels but {where} says w {width}, h {height}; "
            "correct the intrinsics or restore the image"
        )
    distortion = tuple(_number(values, key, where, 0.0) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    return Intrinsics(fx, fy, cx, cy, width, height, distortion, _camera_model(values, where))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header alone.

    Raises:
        InputError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a readable image; restore it or remove its frame") from error


def read_room(meta: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a file says of the room and its instances, as keyword arguments of `Capture`; absent keys are left out.

    Raises:
        InputError: `room_bbox` is no box, or a count, class or margin is no number.
    """
    room: dict[str, Any] = {}
    if meta.get("room_bbox") is not None:
        room["room_bbox"] = _box(meta["room_bbox"], path)
    if meta.get("room_margin") is not None:
        room["room_margin"] = _number(meta, "room_margin", str(path), 0.0)
        if room["room_margin"] < 0:
            raise InputError(f"{path} has a negative room_margin; give the space around room_bbox in its units")
    for key in ("num_instances", "num_room_objects"):
        if meta.get(key) is not None:
            room["num_instances"] = int(_number(meta, key, str(path), 0))
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


def _number(values: dict[str, Any], key: str, where: str, default: float) -> float:
    value = values.get(key)
    if value is None:
        return float(default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where} has {key} = {value!r}; it must be a finite number")
    return number


def _focal(axis: str, extent: int, values: dict[str, Any], where: str) -> Optional[float]:
    """Focal length in pixels from `fl_*`, else from the field of view `camera_angle_*`; None without either."""
    if values.get(f"fl_{axis}") is not None:
        focal = _number(values, f"fl_{axis}", where, 0.0)
    elif values.get(f"camera_angle_{axis}") is not None:
        focal = 0.5 * extent / math.tan(0.5 * _number(values, f"camera_angle_{axis}", where, 0.0) or math.nan)
    else:
        return None
    if not focal > 0:
        raise InputError(f"{where} has a focal length of {focal}; correct fl_{axis} or camera_angle_{axis}")
    return focal


def _camera_model(values: dict[str, Any], where: str) -> str:
    model = values.get("camera_model") or ("OPENCV_FISHEYE" if values.get("is_fisheye") else "OPENCV")
    if model not in CAMERA_MODELS:
        raise InputError(f"{where} has camera_model {model!r}; supported are {', '.join(CAMERA_MODELS)}")
    return model
