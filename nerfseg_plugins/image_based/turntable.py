"""Camera paths to look at a scene from: around an object, or through the places that it was photographed from."""

from itertools import permutations
from typing import Literal, Optional

import numpy as np
from scipy.interpolate import CubicSpline

from nerfseg_plugins.errors import InputError

SNAP = 15.0
"""Degrees within which an estimated up direction is taken for the coordinate axis near it."""
SURROUNDED = 0.5
"""Mean of the horizontal directions to the cameras, as unit vectors, below which they surround the object."""
KEYS = 6
"""Cameras that a path leads through."""
PathKind = Literal["auto", "orbit", "cameras"]


def turntable(
    c2w: np.ndarray,
    count: int,
    elevation: float,
    radius: float,
    kind: PathKind = "auto",
    toward: Optional[np.ndarray] = None,
) -> np.ndarray:
    """The path that shows a scene best.

    Args:
        c2w: (N, 3, 4) all cameras of the scene, OpenGL.
        count: frames.
        elevation: of an orbit, degrees; see `orbit`.
        radius: of an orbit, scene units.
        kind: "orbit" around what the cameras look at, "cameras" for a path through them, or "auto": an orbit where
            they stand on all sides of the object.
        toward: (3,) the orbit begins on the side of this point.

    Returns:
        (count, 3, 4) float64, OpenGL, scene frame.

    Raises:
        InputError: the cameras allow no such path, or a number is out of range.
    """
    center = focus(c2w)
    if kind == "auto":
        kind = "orbit" if center is not None and surrounded(c2w, center, up_axis(c2w)) else "cameras"
    if kind == "cameras":
        return through(c2w, count)
    if center is None:
        raise InputError("the cameras of the scene look at no common point to go around; use --path cameras")
    return orbit(count, elevation, radius, up_axis(c2w), center, toward)


def up_axis(c2w: np.ndarray) -> np.ndarray:
    """Which way is up: the mean of the cameras' upward axes, or the coordinate axis within `SNAP` degrees of it.

    Args:
        c2w: (N, 3, 4) cameras, OpenGL.

    Returns:
        (3,) unit vector.

    Raises:
        InputError: the cameras' upward axes cancel each other.
    """
    mean = np.asarray(c2w, np.float64)[:, :3, 1].mean(axis=0)
    length = np.linalg.norm(mean)
    if length < 1e-3:
        raise InputError("the cameras of the scene agree on no upward direction; turn the data so that z is up")
    up = mean / length
    axis = np.eye(3)[np.abs(up).argmax()] * np.sign(up[np.abs(up).argmax()])
    return axis if up @ axis > np.cos(np.radians(SNAP)) else up


def focus(c2w: np.ndarray) -> Optional[np.ndarray]:
    """The point that all cameras look at: the nearest one to their optical axes, least squares.

    Args:
        c2w: (N, 3, 4) cameras, OpenGL.

    Returns:
        (3,), or None where the axes are (nearly) parallel or meet behind the cameras.
    """
    c2w = np.asarray(c2w, np.float64)
    axes, eyes = c2w[:, :3, 2], c2w[:, :3, 3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    system = across.mean(axis=0)
    if np.linalg.eigvalsh(system)[0] < 1e-3:
        return None
    point = np.linalg.solve(system, (across @ eyes[:, :, None]).mean(axis=0)[:, 0])
    before = ((point - eyes) * -axes).sum(axis=1)
    return point if np.median(before) > 0 else None


def surrounded(c2w: np.ndarray, center: np.ndarray, up: np.ndarray) -> bool:
    """Whether cameras (N, 3, 4) stand on all sides of a point, seen from above."""
    away = np.asarray(c2w, np.float64)[:, :3, 3] - center
    flat = away - (away @ up)[:, None] * up
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    beside = length[:, 0] > 1e-6 * max(float(np.abs(away).max()), 1e-12)
    if not beside.any():
        return False
    return bool(np.linalg.norm((flat[beside] / length[beside]).mean(axis=0)) < SURROUNDED)


def look_at(eyes: np.ndarray, center: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Cameras (N, 3, 4), OpenGL, at eyes (N, 3), that look at a point (3,) with `up` (3,) upward in the picture.

    Straight above or below the point, where "upward" has no meaning, any direction across is taken.
    """
    back = eyes - center
    back = back / np.linalg.norm(back, axis=1, keepdims=True)
    right = np.cross(up, back)
    length = np.linalg.norm(right, axis=1, keepdims=True)
    right = np.where(length < 1e-6, _across(up), right / np.maximum(length, 1e-6))
    return np.stack([right, np.cross(back, right), back, eyes], axis=2)


def orbit(
    count: int,
    elevation: float,
    radius: float,
    up: np.ndarray,
    center: np.ndarray,
    toward: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Cameras once around a point, counter-clockwise seen from above, evenly; the last is one step before the first.

    Args:
        count: how many.
        elevation: degrees by which they look up; at -10 they stand above and look down by ten degrees.
        radius: distance to the point, scene units.
        up: (3,) unit axis of the turn.
        center: (3,) the point.
        toward: (3,) the first camera stands on the side of this point; None for any side.

    Returns:
        (count, 3, 4) float64, OpenGL.

    Raises:
        InputError: no frames, or no distance.
    """
    if count < 1:
        raise InputError(f"a turn of {count} frames shows nothing; ask for one frame or more")
    if not (np.isfinite(radius) and radius > 0):
        raise InputError(f"a camera at distance {radius} cannot go around anything; give a radius above 0")
    if not -90 <= elevation <= 90:
        raise InputError(f"an elevation of {elevation} degrees is none; give one between -90 and 90")
    start = _across(up)
    if toward is not None:
        side = (toward - center) - ((toward - center) @ up) * up
        start = side / np.linalg.norm(side) if np.linalg.norm(side) > 1e-6 * radius else start
    aside = np.cross(up, start)
    angle = 2 * np.pi * np.arange(count)[:, None] / count
    tilt = -np.radians(elevation)
    away = np.cos(tilt) * (np.cos(angle) * start + np.sin(angle) * aside) + np.sin(tilt) * up
    cameras = look_at(center + radius * away, center, up)
    if abs(elevation) > 89.99:  # straight above: the picture turns with the camera
        cameras[:, :, 0] = -np.sin(angle) * start + np.cos(angle) * aside
        cameras[:, :, 1] = np.cross(cameras[:, :, 2], cameras[:, :, 0])
    return cameras


def through(c2w: np.ndarray, count: int, keys: int = KEYS) -> np.ndarray:
    """A smooth closed path through some of a scene's own cameras: captures show only what they have seen.

    The cameras that lie furthest apart are joined by the shortest round trip, places and directions by periodic cubic
    splines over the distance between them.

    Args:
        c2w: (N, 3, 4) cameras, OpenGL.
        count: frames.
        keys: cameras that the path leads through, at most 8.

    Returns:
        (count, 3, 4) float64; the first is one of the cameras.

    Raises:
        InputError: no frames, or no two cameras at different places.
    """
    if count < 1:
        raise InputError(f"a path of {count} frames shows nothing; ask for one frame or more")
    c2w = np.asarray(c2w, np.float64)
    chosen = _furthest(c2w[:, :3, 3], keys)
    if len(chosen) < 2:
        raise InputError("all cameras of the scene stand at one place; there is no path through them")
    order = _round_trip(c2w[chosen, :3, 3])
    stops = c2w[[chosen[place] for place in [*order, order[0]]]]
    steps = np.linalg.norm(np.diff(stops[:, :3, 3], axis=0), axis=1)
    # The square root keeps the speed of a spline over uneven distances from overshooting (centripetal).
    clock = np.concatenate([[0.0], np.cumsum(np.sqrt(steps))])
    at = clock[-1] * np.arange(count) / count
    eyes, back, up = (CubicSpline(clock, stops[:, :3, part], bc_type="periodic")(at) for part in (3, 2, 1))
    back = back / np.linalg.norm(back, axis=1, keepdims=True)
    right = np.cross(up, back)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(back, right), back, eyes], axis=2)


def _across(axis: np.ndarray) -> np.ndarray:
    """A unit vector at right angles to a unit axis; the x axis where that is one."""
    other = np.eye(3)[0] if abs(axis[0]) < 0.9 else np.eye(3)[1]
    found = other - (other @ axis) * axis
    return found / np.linalg.norm(found)


def _furthest(places: np.ndarray, count: int) -> list[int]:
    """Places (N, 3) that lie far apart: each next one is the furthest from those chosen before it."""
    first = int(np.linalg.norm(places - places.mean(axis=0), axis=1).argmax())
    chosen = [first]
    distance = np.linalg.norm(places - places[first], axis=1)
    while len(chosen) < min(count, len(places)):
        furthest = int(distance.argmax())
        if distance[furthest] <= 1e-9:
            break
        chosen.append(furthest)
        distance = np.minimum(distance, np.linalg.norm(places - places[furthest], axis=1))
    return chosen


def _round_trip(places: np.ndarray) -> list[int]:
    """The order of the shortest way through all places (N, 3), N at most 8, and back: all are tried."""
    between = np.linalg.norm(places[:, None] - places[None], axis=-1)
    best, shortest = list(range(len(places))), np.inf
    for rest in permutations(range(1, len(places))):
        order = [0, *rest]
        length = float(between[order, [*rest, 0]].sum())
        if length < shortest - 1e-12:
            best, shortest = order, length
    return best
