"""Pictures and exact labels of a room, by ray casting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.rooms.cameras import Camera
from nerfseg_plugins.rooms.room import Room
from nerfseg_plugins.rooms.textures import linear_to_srgb
from nerfseg_plugins.rooms.tracing import interpolate

SUPERSAMPLES = 2
"""Colour samples per side of a pixel."""


@dataclass(frozen=True)
class View:
    """What one camera sees. Labels and depth come from the ray through the pixel centre (u + 0.5, v + 0.5).

    Attributes:
        camera: where it was taken.
        rgb: (H, W, 3) uint8 sRGB, averaged over `SUPERSAMPLES`^2 rays per pixel.
        alpha: (H, W) uint8, 0 where rays leave an open room.
        depth: (H, W) float32 z-depth along the camera's -z axis in metres, 0 where there is nothing.
        parts: (H, W) int32 part ids, 0 for structure.
        instances: (H, W) int32 object ids, 0 for structure.
        groups: (H, W) int32 group ids, 0 for structure.
        classes: (H, W) int32 NYU40 ids, 0 for structure.
    """

    camera: Camera
    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    parts: np.ndarray
    instances: np.ndarray
    groups: np.ndarray
    classes: np.ndarray


def render_views(room: Room, cameras: Sequence[Camera], width: int, height: int) -> list[View]:
    """Render every camera.

    Args:
        room: the scene.
        cameras: where to look from.
        width: of the pictures in pixels.
        height: of the pictures in pixels.
    """
    return [render_view(room, camera, width, height) for camera in cameras]


def render_view(room: Room, camera: Camera, width: int, height: int) -> View:
    """Render one camera; see `View`."""
    ids, depth = render_labels(room, camera, width, height)
    color, alpha = render_color(room, camera, width, height)
    return View(camera, color, alpha, depth, ids[..., 0], ids[..., 1], ids[..., 2], ids[..., 3])


def render_labels(room: Room, camera: Camera, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 4) int32 part, object, group and class ids, and (H, W) float32 z-depth of the pixel centres."""
    directions = camera.directions(width, height)
    origins = np.broadcast_to(camera.position, directions.shape)
    hits = room.tracer.first(origins, directions)
    found = hits.face >= 0
    ids = np.zeros((len(directions), 4), dtype=np.int32)
    ids[found] = room.surface_ids[room.surfaces.face_surface[hits.face[found]]]
    points = interpolate(room.surfaces.vertices, room.surfaces, hits)
    depth = np.where(found, (camera.position - points) @ camera.c2w[:3, 2], 0.0)
    return ids.reshape(height, width, 4), depth.reshape(height, width).astype(np.float32)


def render_color(room: Room, camera: Camera, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 sRGB with straight alpha (H, W) uint8."""
    factor = SUPERSAMPLES
    directions = camera.directions(width * factor, height * factor)
    hits = room.tracer.first(np.broadcast_to(camera.position, directions.shape), directions)
    found = hits.face >= 0
    face, weights = hits.face[found], hits.weights[found]
    surface, corners = room.surfaces.face_surface[face], room.surfaces.faces[face]
    local = np.einsum("nk,nkc->nc", weights, room.surfaces.local[corners])
    light = np.einsum("nk,nkc->nc", weights, room.irradiance[corners])
    albedo = room.textures.albedo(surface, local, room.surfaces.face_local_normal[face])
    color = np.zeros((len(found), 3))
    color[found] = _tone(albedo * (light + room.textures.emissions[surface, None]))
    shape = (height, factor, width, factor)
    cover = found.reshape(shape).mean((1, 3))
    mean = color.reshape(*shape, 3).mean((1, 3)) / np.maximum(cover, 1e-6)[..., None]
    to_bytes = lambda values: np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8)  # noqa: E731
    return to_bytes(linear_to_srgb(mean)), to_bytes(cover)


def _tone(light: np.ndarray) -> np.ndarray:
    """Linear below 0.5, rolling off towards 1 above: bright spots keep their hue."""
    knee = 0.5
    over = np.maximum(light - knee, 0.0)
    return np.minimum(light, knee) + (1 - knee) * (1 - np.exp(-over / (1 - knee)))
