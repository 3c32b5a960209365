"""Where pictures are taken from: free space, looking at furniture, so that every object is seen often enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nerfseg_plugins.rooms.room import Room

ROOM_ANGLE = 1.3494818844471055
"""Horizontal field of view inside a room: a focal length of 0.625 image widths."""
ORBIT_ANGLE = 0.6911112070083618
"""Horizontal field of view of the nerf_synthetic scenes."""
FREE_SPACE = 0.28
"""Least distance in metres of a camera from furniture and walls."""
MIN_VIEWS = 5
"""Every object is seen in at least so many training views."""
MIN_SHARE = 0.0012
"""Least share of an image that counts as seen: 23 pixels at 160x120."""


NEAR_SURFACE = 0.6
"""Depth in metres below which no more than a twentieth of an image may lie, else a near surface fills it."""


class NoViewError(RuntimeError):
    """An object of the room cannot be seen well: another room is needed."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with its centre in the middle of the image.

    Attributes:
        c2w: (4, 4) OpenGL camera to world (x right, y up, looking along -z), metres.
        angle_x: horizontal field of view, radians.
    """

    c2w: np.ndarray
    angle_x: float = ROOM_ANGLE

    @property
    def position(self) -> np.ndarray:
        """(3,) metres, world."""
        return self.c2w[:3, 3]

    def focal(self, width: int) -> float:
        """Focal length in pixels of an image that is `width` pixels wide."""
        return 0.5 * width / float(np.tan(0.5 * self.angle_x))

    def directions(self, width: int, height: int) -> np.ndarray:
        """(height * width, 3) world directions of the rays through the pixel centres, row by row; -z component 1."""
        focal = self.focal(width)
        u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        rays = np.stack([(u - width / 2) / focal, (height / 2 - v) / focal, -np.ones_like(u)], -1).reshape(-1, 3)
        return rays @ self.c2w[:3, :3].T


def look_at(position: np.ndarray, target: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """(4, 4) OpenGL camera to world at `position` (3,), looking at `target` (3,), z up, rolled by `roll` radians."""
    back = np.asarray(position, dtype=float) - target
    back = back / np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    cos, sin = np.cos(roll), np.sin(roll)
    c2w = np.eye(4)
    c2w[:3, :4] = np.stack([cos * right + sin * up, cos * up - sin * right, back, position], -1)
    return c2w


def object_boxes(room: Room) -> np.ndarray:
    """(N, 2, 3) axis-aligned boxes of the objects, metres, world."""
    half = np.stack([np.abs(item.orientation) @ (item.extents / 2) for item in room.objects])
    centre = np.stack([item.position for item in room.objects])
    return np.stack([centre - half, centre + half], 1)


def in_free_space(room: Room, points: np.ndarray, margin: float = FREE_SPACE) -> np.ndarray:
    """(N,) bool: whether points (N, 3) are inside the room and `margin` metres away from walls and objects' boxes."""
    boxes = object_boxes(room)
    inside = np.all((points > room.bbox[0] + margin) & (points < room.bbox[1] - margin), -1)
    near = np.all((points[:, None] > boxes[:, 0] - margin) & (points[:, None] < boxes[:, 1] + margin), -1)
    return inside & ~near.any(1)


def sample_cameras(room: Room, num_train: int, num_val: int, seed: int) -> tuple[list[Camera], list[Camera]]:
    """Draw cameras inside a room.

    Candidates are drawn in free space and looked through at low resolution; those that stare at a near surface are
    dropped, and training views are then chosen greedily until every object is seen `MIN_VIEWS` times (or in half of the
    views, if there are fewer than ten).

    Args:
        room: with walls.
        num_train: how many to train on.
        num_val: how many held out.
        seed: of the draw.

    Raises:
        NoViewError: some object is seen too seldom.
    """
    rng = np.random.default_rng([seed, 23])
    wanted = num_train + num_val
    cameras: list[Camera] = []
    seen: list[np.ndarray] = []
    for _ in range(12):
        for camera in _candidates(room, rng, max(24, wanted)):
            shares, near = object_shares(room, camera)
            if near > NEAR_SURFACE and shares.sum() > 0.08:
                cameras.append(camera)
                seen.append(shares > MIN_SHARE)
        if len(cameras) >= 2 * wanted + 8:
            break
    if len(cameras) < wanted:
        raise NoViewError("the room has too little free space for cameras")
    need = min(MIN_VIEWS, max(1, num_train // 2))
    train = _cover(np.array(seen), num_train, need)
    rest = [index for index in range(len(cameras)) if index not in set(train)]
    return [cameras[index] for index in train], [cameras[index] for index in rest[:num_val]]


def _candidates(room: Room, rng: np.random.Generator, count: int) -> list[Camera]:
    size = room.bbox[1] - room.bbox[0]
    unit = rng.uniform(size=(40 * count, 3))
    # Most stand near the walls, where they overlook the room.
    unit[:, :2] = 0.5 + 0.5 * np.sign(unit[:, :2] - 0.5) * np.abs(2 * unit[:, :2] - 1) ** 0.6
    points = room.bbox[0] + unit * size
    points[:, 2] = rng.uniform(0.95, min(2.0, room.bbox[1, 2] - FREE_SPACE - 0.05), len(points))
    points = points[in_free_space(room, points)][:count]
    cameras = []
    for point in points:
        item = room.objects[int(rng.integers(len(room.objects)))]
        target = item.position + rng.uniform(-0.3, 0.3, 3)
        middle = np.array([*rng.uniform(-0.25, 0.25, 2) * size[:2], rng.uniform(0.3, 0.9)])
        target = target + rng.uniform(0.0, 0.7) * (middle - target)
        if np.linalg.norm((target - point)[:2]) > 0.5:
            cameras.append(Camera(look_at(point, target)))
    return cameras


def object_shares(room: Room, camera: Camera, width: int = 48, height: int = 36) -> tuple[np.ndarray, float]:
    """What a camera sees, at low resolution.

    Returns:
        (N,) share of the image that each object covers, and the 5 % quantile of z-depth in metres (0 where rays leave).
    """
    directions = camera.directions(width, height)
    hits = room.tracer.first(np.broadcast_to(camera.position, directions.shape), directions)
    points = np.einsum("nk,nkc->nc", hits.weights, room.surfaces.vertices[room.surfaces.faces[hits.face]])
    found = hits.face >= 0
    depth = np.where(found, (camera.position - points) @ camera.c2w[:3, 2], 0.0)
    ids = np.where(found, room.surface_ids[room.surfaces.face_surface[hits.face], 1], 0)
    shares = np.bincount(ids, minlength=len(room.objects) + 1)[1:] / len(ids)
    return shares, float(np.quantile(depth, 0.05))


def _cover(seen: np.ndarray, count: int, need: int) -> list[int]:
    """Choose `count` rows of (C, N) bool so that every column is true `need` times; rows come in order of choice."""
    chosen: list[int] = []
    hits = np.zeros(seen.shape[1], dtype=int)
    left = np.ones(len(seen), dtype=bool)
    for _ in range(count):
        lacking = hits < need
        gain = seen[:, lacking].sum(1) if lacking.any() else np.zeros(len(seen))
        gain = np.where(left, gain, -1)
        best = int(gain.argmax())
        chosen.append(best)
        left[best] = False
        hits += seen[best]
    if np.any(hits < need):
        raise NoViewError(f"object {int(hits.argmin()) + 1} is seen in {int(hits.min())} views; {need} are needed")
    return chosen
