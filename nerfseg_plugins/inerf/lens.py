"""The lens of a photo: intrinsics and distortion without a pose."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE, Cameras, CameraType

from nerfseg_plugins.dataparsers.frame_values import Intrinsics, image_size, read_intrinsics
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf.lens_config import LensConfig

ASPECT_TOLERANCE = 0.01
"""Photos of one camera may differ in aspect ratio by the rounding of their sizes, not by a crop."""
FOCAL_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
"""Keys of a transforms.json, any of which names a focal length."""
_MODELS = {
    CameraType.PERSPECTIVE.value: "OPENCV",
    CameraType.FISHEYE.value: "OPENCV_FISHEYE",
    CameraType.EQUIRECTANGULAR.value: "EQUIRECTANGULAR",
}


def find_lens(
    image: Path, listed: dict[str, Any], where: str, config: LensConfig, run_lens: Optional[Intrinsics] = None
) -> Intrinsics:
    """The lens of one photo: what the options say, else the run's own where that is asked for, else what is listed.

    Args:
        image: the photo.
        listed: keys of its frame in a transforms.json over those of the file; empty for a bare photo.
        where: the frame, for messages.
        config: the options.
        run_lens: that of the run's photos (`common_lens`), for `like_run`.

    Raises:
        InputError: the lens is not known, or is not one of this photo's size.
    """
    config.check()
    if config.given:
        width = image_size(image)[0]
        values = {entry.name: getattr(config, entry.name) for entry in fields(config)}
        if config.fov is not None:
            values["fl_x"] = focal_of_fov(config.fov, width, config.camera_model)
        return read_intrinsics(values, image, f"the lens given for {image}")
    if config.like_run:
        if run_lens is None:
            raise InputError(f"{image} is to have the lens of the run's photos, but there is no run; give fl_x or fov")
        return _of_run(image, run_lens)
    if all(listed.get(key) is None for key in FOCAL_KEYS):
        raise InputError(
            f"{image} has no intrinsics; give fl_x (with fl_y, cx, cy, k1, ... where known) or fov, or like_run if the "
            "run's own camera took it, or list it in a transforms.json with fl_x"
        )
    return read_intrinsics(listed, image, where)


def focal_of_fov(fov: float, width: int, camera_model: str) -> float:
    """Focal length in pixels from a horizontal field of view in degrees, without distortion.

    A perspective image is flat, a fisheye image equidistant (radius = focal * angle), and an equirectangular one spans
    its longitudes evenly (nerfstudio: fl_x = width / 2 for all 360 degrees).

    Raises:
        InputError: no such lens has that field of view.
    """
    round_about = camera_model in ("OPENCV_FISHEYE", "EQUIRECTANGULAR")
    if not (0 < fov < 180 or (round_about and 180 <= fov <= 360)):
        limit = "at most 360" if round_about else "less than 180"
        raise InputError(f"the lens has a fov of {fov} degrees; {camera_model} photos see {limit}, so correct fov")
    angle = math.radians(fov)
    if camera_model == "OPENCV_FISHEYE":
        return width / angle
    if camera_model == "EQUIRECTANGULAR":
        return math.pi * width / angle
    return 0.5 * width / math.tan(0.5 * angle)


def common_lens(cameras: Cameras) -> Intrinsics:
    """The one lens of many cameras (batch shape [N]), in pixels of the first; they may differ by 1 % of the size.

    Raises:
        InputError: they have different lenses.
    """
    lenses = [lens_of(cameras[index : index + 1]) for index in range(len(cameras))]
    first = lenses[0]
    relative = np.array(
        [[lens.fx / lens.width, lens.fy / lens.height, lens.cx / lens.width, lens.cy / lens.height] for lens in lenses]
    )
    common = np.median(relative, axis=0)
    distortion = np.median([lens.distortion for lens in lenses], axis=0)
    if (
        len({lens.model for lens in lenses}) > 1
        or np.abs(relative - common).max() > 0.01
        or any(np.abs(np.array(lens.distortion) - distortion).max() > 0.01 for lens in lenses)
        or any(_aspects_differ(lens.width, lens.height, first) for lens in lenses)
    ):
        raise InputError("the run was trained on photos of different lenses; give fl_x or fov instead of like_run")
    fx, fy, cx, cy = common * (first.width, first.height, first.width, first.height)
    return replace(first, fx=fx, fy=fy, cx=cx, cy=cy, distortion=tuple(distortion.tolist()))


def rescaled(lens: Intrinsics, width: int, height: int) -> Intrinsics:
    """The lens in pixels of the same photo at another size; distortion has no unit and stays."""
    x, y = width / lens.width, height / lens.height
    return replace(lens, fx=lens.fx * x, fy=lens.fy * y, cx=lens.cx * x, cy=lens.cy * y, width=width, height=height)


def make_camera(lens: Intrinsics) -> Cameras:
    """One nerfstudio camera (batch shape [1]) at the origin; distortion is left out when all of it is zero."""
    return Cameras(
        camera_to_worlds=torch.eye(4)[None, :3],
        fx=torch.tensor([[lens.fx]], dtype=torch.float32),
        fy=torch.tensor([[lens.fy]], dtype=torch.float32),
        cx=torch.tensor([[lens.cx]], dtype=torch.float32),
        cy=torch.tensor([[lens.cy]], dtype=torch.float32),
        width=torch.tensor([[lens.width]]),
        height=torch.tensor([[lens.height]]),
        distortion_params=torch.tensor([lens.distortion], dtype=torch.float32) if any(lens.distortion) else None,
        camera_type=torch.tensor([[CAMERA_MODEL_TO_TYPE[lens.model].value]]),
    )


def lens_of(camera: Cameras) -> Intrinsics:
    """The lens of one camera (batch shape [1]).

    Raises:
        InputError: a projection that photos here cannot have.
    """
    kind = int(camera.camera_type.flatten()[0])
    if kind not in _MODELS:
        raise InputError(f"cameras of the type {CameraType(kind).name} cannot be inverted; undistort the photos")
    distortion = (0.0,) * 6 if camera.distortion_params is None else tuple(map(_short, camera.distortion_params[0]))
    return Intrinsics(
        fx=_short(camera.fx),
        fy=_short(camera.fy),
        cx=_short(camera.cx),
        cy=_short(camera.cy),
        width=int(camera.width),
        height=int(camera.height),
        distortion=distortion,
        model=_MODELS[kind],
    )


def _short(value: torch.Tensor) -> float:
    """The shortest number that is this float32: 343.88, and not 343.8800048828125."""
    return float(str(np.float32(value.item())))


def _of_run(image: Path, lens: Intrinsics) -> Intrinsics:
    width, height = image_size(image)
    if _aspects_differ(width, height, lens):
        raise InputError(
            f"{image} is {width}x{height} pixels, of another shape than the run's photos ({lens.width}x{lens.height}), "
            "so that its lens cannot be theirs; give fl_x or fov instead of like_run"
        )
    return rescaled(lens, width, height)


def _aspects_differ(width: int, height: int, lens: Intrinsics) -> bool:
    ratio = (width / height) / (lens.width / lens.height)
    return max(ratio, 1 / ratio) > 1 + ASPECT_TOLERANCE
