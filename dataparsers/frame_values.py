"""The values of one frame of a transforms.json: its pose and its camera, each checked where it is read."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError

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
    width, height = (
        int(read_number(values, "w", where, found_width)),
        int(read_number(values, "h", where, found_height)),
    )
    fx, fy = _focal("x", width, values, where), _focal("y", height, values, where)
    if fx is None and fy is None:
        raise InputError(f"{where} has no intrinsics; add fl_x, fl_y, cx, cy, w and h (or camera_angle_x) to the file")
    fx, fy = fx or fy or 0.0, fy or fx or 0.0
    cx, cy = read_number(values, "cx", where, width / 2), read_number(values, "cy", where, height / 2)
    if rescale and width > 0 and height > 0:
        x, y = found_width / width, found_height / height
        fx, fy, cx, cy, width, height = fx * x, fy * y, cx * x, cy * y, found_width, found_height
    if (width, height) != (found_width, found_height):
        raise InputError(
            f"{image} is {found_width}x{found_height} pixels but {where} says w {width}, h {height}; "
            "correct the intrinsics or restore the image"
        )
    distortion = tuple(read_number(values, key, where, 0.0) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    return Intrinsics(fx, fy, cx, cy, width, height, distortion, _camera_model(values, where))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the header alone.

    Raises:
        InputError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a readable image; restore it or remove its frame") from error


def read_number(values: dict[str, Any], key: str, where: str, default: float) -> float:
    """`values[key]` as a finite float, `default` where it is absent or null.

    Raises:
        InputError: it is something else.
    """
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
        focal = read_number(values, f"fl_{axis}", where, 0.0)
    elif values.get(f"camera_angle_{axis}") is not None:
        focal = 0.5 * extent / math.tan(0.5 * read_number(values, f"camera_angle_{axis}", where, 0.0) or math.nan)
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
