"""Renderings of PartNet shapes: DATA/view-NN/shape-rgb.png and meta.txt (three angles in degrees, the distance)."""

from pathlib import Path

import numpy as np

from nerfseg_plugins.errors import InputError

from .frame_values import Intrinsics, image_size
from .transforms import Capture, Frame, natural_key

FIELD_OF_VIEW = 50.0
"""Of all renderings, degrees."""
IMAGE = "shape-rgb.png"
META = "meta.txt"
SIZE = 224
"""Width and height of the renderings, pixels."""


def is_partnet(data: Path) -> bool:
    """Whether a folder holds such renderings."""
    return any(data.glob(f"view-*/{IMAGE}"))


def read_views(data: Path) -> Capture:
    """Read all views, in natural order, without splits.

    Raises:
        InputError: a view has no usable `meta.txt`.
    """
    frames = []
    for image in sorted(data.glob(f"view-*/{IMAGE}"), key=lambda path: natural_key(path.parent.name)):
        width, height = image_size(image)
        focal = 0.5 * width / np.tan(np.radians(FIELD_OF_VIEW) / 2)
        camera = Intrinsics(focal, focal, width / 2, height / 2, width, height, (0.0,) * 6, "PINHOLE")
        c2w = camera_pose(*_angles(image.with_name(META)))
        frames.append(Frame(image.relative_to(data).as_posix(), image, c2w, camera, None))
    return Capture(data, {}, frames, [])


def camera_pose(azimuth: float, elevation: float, distance: float) -> np.ndarray:
    """(4, 4) float64 OpenGL camera-to-world that looks at the origin; the shape's up direction is x.

    The angles belong to a left-handed frame, which the original implementation keeps with cameras that mirror. Here y
    is turned round, so that cameras are rotations and the scene looks as its pictures do.

    Args:
        azimuth: degrees about the up direction.
        elevation: degrees above the plane that it stands on.
        distance: of the camera from the origin.
    """
    around, above = np.radians(azimuth), np.radians(elevation)
    back = np.array([np.sin(above), -np.cos(above) * np.sin(around), np.cos(above) * np.cos(around)])
    right = np.cross([1.0, 0.0, 0.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = back * distance
    return pose


def _angles(path: Path) -> tuple[float, float, float]:
    """Azimuth and elevation in degrees, and the distance."""
    try:
        values = np.array([float(word) for word in path.read_text(encoding="utf-8").split()])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or not numbers ({error}); restore it beside {IMAGE}") from error
    if len(values) < 4 or not np.isfinite(values[:4]).all() or not values[3] > 0 or abs(values[1]) >= 90:
        raise InputError(f"{path} must hold three angles in degrees (the second within 90) and a distance; restore it")
    return float(values[0]), float(values[1]), float(values[3])
