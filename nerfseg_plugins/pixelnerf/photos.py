"""Photos of cars made like ShapeNet's renderings: cut out, in front of white, as large as there.

A network that has seen rendered cars alone expects them centred, at their size, in front of white (pixelNeRF, arXiv
2012.02190, section 5.3.3). The size comes from an ellipse fitted to the car's mask: a car from the front is as high
as from the side but far narrower, so its height, the minor axis, says more of its size than its length does.
"""

import math
from typing import NamedTuple

import numpy as np

from nerfseg_plugins.errors import InputError

SIDE = 128
"""Pixels of a normalised photo along each side."""
MINOR, MAJOR = 4.37, 0.8
"""A normalised photo is so many minor axes wide, and at least so many major ones, as in the released code."""
MIN_PIXELS = 64
"""A mask of fewer is no car."""
SPECK = 0.05
"""A part of a mask below this share of its largest part is a speck."""
FOCAL = 131.25
"""Focal length in pixels of ShapeNet's car renderings (SRN) at 128 pixels."""
DISTANCE = 1.3
"""Of their cameras from the car, scene units."""
NEAR, FAR = 0.8, 1.8
"""Where rays begin and end."""


class Ellipse(NamedTuple):
    """An ellipse in an image; pixel centres lie at half pixels."""

    center: tuple[float, float]
    """x and y, pixels from the image's upper left corner."""
    major: float
    """Whole length of the longer axis, pixels."""
    minor: float
    """Whole length of the shorter axis."""
    angle: float
    """Of the longer axis against x, radians in (-pi/2, pi/2], clockwise on the screen."""


class Square(NamedTuple):
    """A square part of an image, which may reach beyond it."""

    left: int
    top: int
    side: int


def fit_ellipse(mask: np.ndarray) -> Ellipse:
    """The ellipse with the same second moments as a mask.

    The released code fits an ellipse to the points of one contour (OpenCV), which depends on how these are spaced, and
    on which of several contours comes first. Moments count every pixel once; of a mask that is an ellipse both give
    that ellipse. Specks far from the car would count for much: `without_specks` first.

    Args:
        mask: (H, W) bool with at least one True.
    """
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], axis=1) + 0.5
    center = points.mean(axis=0)
    # A pixel is a square, not a point: its own second moment is a twelfth.
    covariance = (points - center).T @ (points - center) / len(points) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(covariance)
    x, y = vectors[:, 1]
    angle = math.atan2(y, x)
    angle += math.pi if angle <= -math.pi / 2 else -math.pi if angle > math.pi / 2 else 0.0
    minor, major = (4 * np.sqrt(values)).tolist()
    return Ellipse((float(center[0]), float(center[1])), major, minor, angle)


def without_specks(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool without the parts of less than a twentieth of its largest one; parts touch at corners too."""
    from skimage.measure import label

    parts = np.asarray(label(mask, connectivity=2))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return (sizes >= SPECK * sizes.max())[parts] & mask


def square_around(ellipse: Ellipse, minor: float = MINOR, major: float = MAJOR) -> Square:
    """The part of a photo that becomes the normalised one: centred on the car, of half side max(4.37 minor, 0.8 major)
    / 2, rounded up to pixels."""
    half = math.ceil(max(minor * ellipse.minor, major * ellipse.major) / 2)
    x, y = (round(value) for value in ellipse.center)
    return Square(x - half, y - half, 2 * half)


def check_mask(mask: np.ndarray, image: np.ndarray, name: str) -> None:
    """Refuse a mask that shows no whole car.

    Args:
        mask: (H, W) bool.
        image: (H, W, 3) the photo.
        name: of the photo, or of the mask's file, for messages.

    Raises:
        InputError: it has another size than the photo, is (nearly) empty, or touches the photo's border.
    """
    if mask.shape != image.shape[:2]:
        wanted, found = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, mask.shape))
        raise InputError(f"{name}: the mask is {found} but the photo {wanted} pixels; give a mask of the photo itself")
    if mask.sum() < MIN_PIXELS:
        raise InputError(
            f"{name}: no car is found ({int(mask.sum())} pixels); give a mask with --masks, or another photo"
        )
    sides = {"left": mask[:, 0], "right": mask[:, -1], "upper": mask[0], "lower": mask[-1]}
    touched = [side for side, pixels in sides.items() if pixels.any()]
    if touched:
        raise InputError(
            f"{name}: the car touches the {' and the '.join(touched)} border of the photo; it must be visible as a "
            "whole, so take another photo"
        )


def normalised(image: np.ndarray, mask: np.ndarray, square: Square, side: int = SIDE) -> np.ndarray:
    """The car alone in front of white.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) bool.
        square: which part; beyond the image it is white.
        side: pixels of the result.

    Returns:
        (side, side, 3) uint8, averaged over areas where it is smaller than the square.
    """
    import cv2

    white = np.full((square.side, square.side, 3), 255, np.uint8)
    top, left = max(square.top, 0), max(square.left, 0)
    bottom = min(square.top + square.side, image.shape[0])
    right = min(square.left + square.side, image.shape[1])
    if top < bottom and left < right:
        part = np.where(mask[top:bottom, left:right, None], image[top:bottom, left:right], 255)
        white[top - square.top : bottom - square.top, left - square.left : right - square.left] = part
    how = cv2.INTER_AREA if square.side > side else cv2.INTER_LINEAR
    return cv2.resize(white, (side, side), interpolation=how)


def dummy_camera(distance: float = DISTANCE) -> np.ndarray:
    """(3, 4) c2w, OpenGL, of a normalised photo: on the z axis, upright, looking at the origin, y up.

    Where the photo was taken from is unknown and need not be known: the network works in the source view's own frame.
    """
    return np.concatenate([np.eye(3), [[0.0], [0.0], [distance]]], axis=1)
