"""Where the scene frame of a capture without a room lies: before the cameras, or in the middle of them.

Both ways are those of NeRF's LLFF loader (Mildenhall et al. 2020), so that scene units are those in which the papers
on forward-facing and 360 degree captures give their figures. Plain numpy; poses are (N, 4, 4) camera-to-world, OpenGL.
"""

from typing import Literal, NamedTuple, Optional

import numpy as np

from nerfseg_plugins.errors import InputError

Recentring = Literal["forward", "360", "none"]

AROUND = 60.0
"""Degrees between viewing directions beyond which a capture may be one around something. LLFF's forward-facing ones
stay below 40; a third of a circle has 120."""
NEAR_MISS = 0.25
"""How far an optical axis may pass by a common centre, as a part of the camera's distance from it."""
ALL_WAYS = 0.5
"""Area of the parallelogram of mean viewing direction and mean up axis below which cameras do not look one way: it is
that of upright cameras whose directions are all 60 degrees off their mean."""


class Placement(NamedTuple):
    """x_scene = scale * (R x_data + t)."""

    transform: np.ndarray
    """(3, 4) float64 [R | t]."""
    scale: float


def choose_recentring(c2w: np.ndarray) -> Recentring:
    """What the cameras' geometry speaks for.

    "360" when they look at a common centre from around: some two viewing directions differ by more than `AROUND`
    degrees, and the point nearest to all optical axes lies before nine in ten cameras, half of which miss it by less
    than `NEAR_MISS` of their distance. Else "forward" when they look one way: the means of their viewing directions and
    of their up axes span an area larger than `ALL_WAYS`. Else "none": they look outwards, and no camera is the middle
    one.
    """
    looks = -c2w[:, :3, 2]
    widest = np.degrees(np.arccos(np.clip((looks @ looks.T).min(), -1, 1)))
    centre = nearest_to_axes(c2w)
    if widest > AROUND and centre is not None:
        offsets = centre - c2w[:, :3, 3]
        depths = (offsets * looks).sum(axis=1)
        misses = np.linalg.norm(offsets - depths[:, None] * looks, axis=1)
        close = misses < NEAR_MISS * np.linalg.norm(offsets, axis=1)
        if (depths > 0).mean() >= 0.9 and close.mean() >= 0.5:
            return "360"
    area = np.linalg.norm(np.cross(c2w[:, :3, 1].mean(axis=0), looks.mean(axis=0)))
    return "forward" if area > ALL_WAYS else "none"


def place(c2w: np.ndarray, near: float, recentring: Recentring, bound_factor: Optional[float], where: str) -> Placement:
    """The scene frame of a capture.

    Args:
        c2w: poses of all views, data frame.
        near: smallest depth of anything, data units.
        recentring: "forward": the average pose becomes the identity; "360": see `spherify`; "none": nothing moves.
        bound_factor: except in "360", `near` becomes 1 / bound_factor scene units; None keeps the data's units.
        where: the file, for messages.

    Raises:
        InputError: the cameras have no average pose or no centre, or the factor is not positive.
    """
    if bound_factor is not None and not 0 < bound_factor < np.inf:
        raise InputError(f"bound_factor is {bound_factor}; give a positive number such as 0.75, or None for no scaling")
    if recentring == "360":
        return spherify(c2w, where)
    scale = 1.0 if bound_factor is None else 1.0 / (near * bound_factor)
    rotation, origin = np.eye(3), np.zeros(3)
    if recentring == "forward":
        average = average_pose(c2w, where)
        rotation, origin = average[:, :3].T, average[:, 3]
    return _placement(rotation, origin, scale)


def average_pose(c2w: np.ndarray, where: str) -> np.ndarray:
    """(3, 4) pose in the mean position, with the mean back axis and, as far as that allows, the mean up axis.

    Raises:
        InputError: the axes cancel.
    """
    back, up = c2w[:, :3, 2].mean(axis=0), c2w[:, :3, 1].mean(axis=0)
    right = np.cross(up, back)
    if np.linalg.norm(right) < 1e-3:
        raise InputError(
            f"the cameras of {where} share no viewing direction, so there is no average pose; pass --recentring 360 "
            "or --recentring none"
        )
    back, right = _unit(back), _unit(right)
    return np.stack([right, np.cross(back, right), back, c2w[:, :3, 3].mean(axis=0)], axis=1)


def spherify(c2w: np.ndarray, where: str) -> Placement:
    """The frame of cameras around something: the point nearest to all optical axes is the origin, z is up.

    Up is the mean direction from the origin to the cameras, as in NeRF. Cameras all around at the origin's height have
    no such mean; there, up is the mean of their up axes. The cameras' root mean square distance becomes 1. How the
    frame is turned about z is arbitrary, as in NeRF.

    Raises:
        InputError: the optical axes are parallel, or all cameras stand in one point.
    """
    centre = nearest_to_axes(c2w)
    if centre is None:
        raise InputError(
            f"the optical axes of {where} are parallel and meet nowhere, so there is no centre; pass --recentring "
            "forward"
        )
    offsets = c2w[:, :3, 3] - centre
    radius = float(np.sqrt((offsets**2).sum(axis=1).mean()))
    if radius < 1e-9:
        raise InputError(f"the cameras of {where} all stand in one point; pass --recentring none")
    up = offsets.mean(axis=0) / radius
    if np.linalg.norm(up) < 0.1:
        up = c2w[:, :3, 1].mean(axis=0)
    if np.linalg.norm(up) < 1e-3:
        raise InputError(f"the cameras of {where} share no up direction; pass --recentring none")
    z = _unit(up)
    x = _unit(np.cross(np.eye(3)[np.abs(z).argmin()], z))
    return _placement(np.stack([x, np.cross(z, x), z]), centre, 1.0 / radius)


def nearest_to_axes(c2w: np.ndarray) -> Optional[np.ndarray]:
    """(3,) the point of least summed squared distance to all optical axes; None when they are parallel."""
    looks, positions = c2w[:, :3, 2], c2w[:, :3, 3]
    across = np.eye(3) - looks[:, :, None] * looks[:, None, :]
    if np.linalg.eigvalsh(across.mean(axis=0))[0] < 1e-6:
        return None
    return np.linalg.solve(across.sum(axis=0), (across @ positions[:, :, None]).sum(axis=0)[:, 0])


def _placement(rotation: np.ndarray, origin: np.ndarray, scale: float) -> Placement:
    """`origin` (3,) goes to zero, the rows of `rotation` become the axes."""
    return Placement(np.concatenate([rotation, -(rotation @ origin)[:, None]], axis=1), scale)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
