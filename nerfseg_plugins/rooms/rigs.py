"""Camera paths of the two layouts that do not look around in a room: an orbit, and a forward-facing rig."""

from __future__ import annotations

import numpy as np

from nerfseg_plugins.rooms.cameras import (
    FREE_SPACE,
    MIN_SHARE,
    MIN_VIEWS,
    ORBIT_ANGLE,
    Camera,
    NoViewError,
    in_free_space,
    look_at,
    object_shares,
)
from nerfseg_plugins.rooms.room import Room

ORBIT_RADIUS = 4.0
"""Distance of the cameras from the origin in nerf_synthetic scenes."""
SCENE_RADIUS = 1.0
"""Half diagonal of the floor in the same units: all of it fits an image of 4:3 at `ORBIT_ANGLE`."""


def orbit_frame(room: Room) -> tuple[np.ndarray, float]:
    """How a room fits the nerf_synthetic convention: normalised = (world - centre) * scale.

    Returns:
        (3,) centre in metres, and the scale in 1 / metres.
    """
    low, high = room.bbox
    centre = np.array([*(low + high)[:2] / 2, 0.4])
    return centre, SCENE_RADIUS / (0.5 * float(np.linalg.norm((high - low)[:2])))


def orbit_cameras(room: Room, num_train: int, num_val: int, seed: int) -> tuple[list[Camera], list[Camera]]:
    """Cameras (metres, world) spread over the upper hemisphere around an open room.

    Raises:
        NoViewError: an object is hidden in too many of the training views.
    """
    rng = np.random.default_rng([seed, 29])
    centre, scale = orbit_frame(room)
    total = num_train + num_val
    # A Fibonacci spiral over 18 to 72 degrees of elevation, shuffled so that any subset covers all of it.
    index = rng.permutation(total) + rng.uniform(0.2, 0.8, total)
    low, high = np.sin(np.radians(18)), np.sin(np.radians(72))
    elevation = np.arcsin(low + (high - low) * index / total)
    azimuth = index * np.pi * (3 - np.sqrt(5)) + rng.uniform(0, 2 * np.pi)
    offset = np.stack([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], -1)
    cameras = [Camera(look_at(centre + ORBIT_RADIUS / scale * item, centre), ORBIT_ANGLE) for item in offset]
    train, val = cameras[:num_train], cameras[num_train:]
    seen = np.sum([object_shares(room, camera, 96, 72)[0] > MIN_SHARE / 3 for camera in train], 0)
    if np.any(seen < min(MIN_VIEWS, max(1, num_train // 2))):
        raise NoViewError(f"object {int(seen.argmin()) + 1} is hidden in most views")
    return train, val


def forward_cameras(room: Room, num_train: int, num_val: int, seed: int) -> tuple[list[Camera], list[Camera]]:
    """A hand-held, forward-facing rig: cameras (metres, world) in a patch of a plane, all facing one part of the room.

    Raises:
        NoViewError: no place in the room has enough free space for the rig.
    """
    rng = np.random.default_rng([seed, 31])
    best, best_score = None, -1.0
    for _ in range(120):
        position = rng.uniform(room.bbox[0] + FREE_SPACE, room.bbox[1] - FREE_SPACE)
        position[2] = rng.uniform(1.2, 1.7)
        target = np.array([*(-0.35 * position[:2] + rng.uniform(-0.5, 0.5, 2)), rng.uniform(0.4, 0.8)])
        c2w = look_at(position, target)
        rig = position + np.array([[-0.4, -0.25], [0.4, -0.25], [-0.4, 0.25], [0.4, 0.25]]) @ c2w[:3, :2].T
        if not in_free_space(room, rig, 0.2).all():
            continue
        shares, near = object_shares(room, Camera(c2w))
        score = float((shares > MIN_SHARE).sum()) + float(shares.sum()) - (10.0 if near < 0.6 else 0.0)
        if score > best_score:
            best, best_score = (c2w, target), score
    if best is None:
        raise NoViewError("the room has no free space for a forward-facing rig")
    c2w, target = best
    cameras = []
    for _ in range(num_train + num_val):
        offset = rng.uniform([-0.4, -0.25], [0.4, 0.25])
        position = c2w[:3, 3] + c2w[:3, :2] @ offset
        cameras.append(Camera(look_at(position, target + rng.uniform(-0.12, 0.12, 3), float(rng.uniform(-0.03, 0.03)))))
    return cameras[:num_train], cameras[num_train:]
