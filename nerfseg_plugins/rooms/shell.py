"""The room around the furniture: floor, walls, ceiling, rug, window, door and the lights, all of instance id 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.rooms.layout import overlaps, wall_frame
from nerfseg_plugins.rooms.meshes import Mesh, box, cylinder, join, patch, rotation_z
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.textures import Texture


@dataclass(frozen=True)
class AreaLight:
    """A rectangle that shines to one side.

    Attributes:
        corner: (3,) metres, world.
        edge_u: (3,) one side.
        edge_v: (3,) the other; light leaves along `edge_u` x `edge_v`.
        power: (3,) linear RGB radiance.
    """

    corner: np.ndarray
    edge_u: np.ndarray
    edge_v: np.ndarray
    power: np.ndarray


@dataclass
class Shell:
    """Structure of a room.

    Attributes:
        pieces: (mesh in world coordinates, texture) of each surface.
        lights: what lights the room.
        sky: (3,) linear RGB radiance of directions that leave the room.
    """

    pieces: list[tuple[Mesh, Texture]]
    lights: list[AreaLight]
    sky: np.ndarray


def make_shell(bbox: np.ndarray, occupied: list[np.ndarray], palette: Palette) -> Shell:
    """A closed room.

    Args:
        bbox: (2, 3) inner box, metres.
        occupied: (2, 3) boxes of the objects: window and door look for free wall.
        palette: draws looks and places.
    """
    low, high = bbox
    size = high - low
    pieces: list[tuple[Mesh, Texture]] = []
    pieces.append((patch(low, (size[0], 0, 0), (0, size[1], 0), 0.06), palette.floor()))
    cream = palette.texture("blobs", ((0.9, 0.89, 0.86), (0.82, 0.81, 0.8), (0.96, 0.95, 0.9)), 0.6, tint=0.2)
    pieces.append((patch((low[0], low[1], high[2]), (0, size[1], 0), (size[0], 0, 0), 0.14), cream))
    papers = palette.wallpapers(2)
    skirting = Texture("plain", ((0.92, 0.91, 0.88), (0.85, 0.84, 0.8), (0.9, 0.9, 0.9)))
    for wall in range(4):
        foot, yaw, length = wall_frame(bbox, wall)
        turn = rotation_z(yaw)
        start = foot + turn @ np.array([-length / 2, 0.0, 0.0])
        face = patch(start, (0, 0, size[2]), turn @ np.array([length, 0, 0]), 0.1)
        pieces.append((face, papers[wall % 2]))
        board = box((length, 0.014, 0.09), (0, 0.007, 0)).moved(foot, turn)
        pieces.append((board, skirting))
    pieces += _rug(bbox, palette)
    lights = [_ceiling_light(bbox, pieces)]
    taken = list(occupied)
    window = _free_wall(bbox, taken, palette.rng, (min(1.5, 0.5 * float(size[:2].min())), 0.25, 1.2), 0.95)
    if window is not None:
        lights.append(_window(window, pieces, palette))
    door = _free_wall(bbox, taken, palette.rng, (0.95, 0.3, 2.08), 0.0)
    if door is not None:
        _door(door, pieces, palette)
    return Shell(pieces, lights, np.zeros(3))


def open_lights(bbox: np.ndarray) -> tuple[list[AreaLight], np.ndarray]:
    """Lights of a room without walls and ceiling: a large soft lamp above one corner, and the radiance of the sky."""
    low, high = bbox
    size = high - low
    side = 0.5 * float(size[:2].max())
    corner = np.array([low[0] - 0.6 * side, low[1] - 0.4 * side, high[2] + 2.2])
    lamp = AreaLight(corner, np.array([0, side, 0.0]), np.array([side, 0, 0.0]), np.array([26.0, 24.0, 21.0]))
    return [lamp], np.array([0.75, 0.85, 1.0])


def _rug(bbox: np.ndarray, palette: Palette) -> list[tuple[Mesh, Texture]]:
    size = (bbox[1] - bbox[0])[:2] * palette.rng.uniform(0.4, 0.52, 2)
    x, y = palette.rng.uniform(-0.12, 0.12, 2) * (bbox[1] - bbox[0])[:2]
    return [(box((size[0], size[1], 0.012), (x, y, bbox[0, 2]), 0.06), palette.fabric(0.42))]


def _ceiling_light(bbox: np.ndarray, pieces: list[tuple[Mesh, Texture]]) -> AreaLight:
    middle, top = (bbox[0] + bbox[1])[:2] / 2, bbox[1, 2]
    disc = cylinder(0.24, 0.06, (middle[0], middle[1], top - 0.061), top_radius=0.28, sides=24)
    pieces.append(
        (disc, Texture("plain", ((1.0, 0.97, 0.9), (1.0, 0.97, 0.9), (1.0, 0.97, 0.9)), tint=0.0, emission=1.2))
    )
    # The panel is larger than the lamp: a softer light than the lamp's own, without speckle at the vertices.
    side = 0.9
    corner = np.array([middle[0] - side / 2, middle[1] - side / 2, top - 0.09])
    return AreaLight(corner, np.array([0, side, 0.0]), np.array([side, 0, 0.0]), np.array([6.0, 5.4, 4.5]))


def _free_wall(
    bbox: np.ndarray, taken: list[np.ndarray], rng: np.random.Generator, size: tuple[float, float, float], rise: float
) -> tuple[np.ndarray, float, tuple[float, float, float]] | None:
    """A (foot, yaw, size) on some wall where a box of `size` hits nothing; adds it to `taken`."""
    for _ in range(80):
        foot, yaw, length = wall_frame(bbox, int(rng.integers(4)))
        slack = (length - size[0]) / 2 - 0.15
        if slack <= 0 or rise + size[2] > bbox[1, 2] - 0.1:
            continue
        turn = rotation_z(yaw)
        position = foot + turn @ np.array([float(rng.uniform(-slack, slack)), 0.0, rise])
        shape = box(size, (0, size[1] / 2, 0), spacing=9.0).moved(position, turn).vertices
        zone = np.stack([shape.min(0), shape.max(0)])
        if not any(overlaps(zone, item, 0.02) for item in taken):
            taken.append(zone)
            return position, yaw, size
    return None


def _window(
    place: tuple[np.ndarray, float, tuple[float, float, float]], pieces: list[tuple[Mesh, Texture]], palette: Palette
) -> AreaLight:
    position, yaw, (width, _, height) = place
    turn, rim = rotation_z(yaw), 0.06
    white = Texture("plain", ((0.95, 0.95, 0.93), (0.88, 0.88, 0.86), (0.9, 0.9, 0.9)))
    bars = [box((width, 0.05, rim), (0, 0.025, z)) for z in (0.0, height - rim)]
    bars += [box((rim, 0.05, height - 2 * rim), (x, 0.025, rim)) for x in ((rim - width) / 2, 0, (width - rim) / 2)]
    bars.append(box((width + 0.1, 0.12, 0.03), (0, 0.06, -0.03)))
    pieces.append((join(bars).moved(position, turn), white))
    # The view hangs a centimetre before the wall: finite depth, like a poster that glows.
    pane = box((width - 2 * rim, 0.01, height - 2 * rim), (0, 0.006, rim), spacing=0.3).moved(position, turn)
    view = ((0.55, 0.75, 0.95), (0.95, 0.97, 1.0), (0.42, 0.62, 0.36))
    sky = Texture("sky", view, 0.55, 0.0, (float(palette.rng.uniform(-3, 3)), 0.3, -position[2]), 0.1, 0.85)
    pieces.append((pane, sky))
    u, v = turn @ np.array([width - 2 * rim, 0, 0]), np.array([0, 0, height - 2 * rim])
    corner = position + turn @ np.array([-(width / 2 - rim), 0.07, rim])
    # edge_u x edge_v must point into the room, along the frame's y.
    return AreaLight(corner, v, u, np.array([6.4, 7.2, 8.2]))


def _door(
    place: tuple[np.ndarray, float, tuple[float, float, float]], pieces: list[tuple[Mesh, Texture]], palette: Palette
) -> None:
    position, yaw, (width, _, height) = place
    turn, rim = rotation_z(yaw), 0.08
    frame = [box((rim, 0.05, height), (side * (width - rim) / 2, 0.025, 0)) for side in (-1, 1)]
    frame.append(box((width - 2 * rim, 0.05, rim), (0, 0.025, height - rim)))
    wood = palette.wood(0.16, upright=True)
    pieces.append((join(frame).moved(position, turn), wood))
    panel = box((width - 2 * rim, 0.03, height - rim), (0, 0.015, 0)).moved(position, turn)
    pieces.append((panel, palette.wood(0.2, upright=True)))
    fields = [box((width - 0.42, 0.012, tall), (0, 0.036, z)) for z, tall in ((0.2, 0.75), (1.1, 0.7))]
    pieces.append((join(fields).moved(position, turn), palette.wood(0.2, upright=True)))
    handle = box((0.12, 0.04, 0.03), (width / 2 - rim - 0.1, 0.06, 1.0)).moved(position, turn)
    pieces.append((handle, palette.metal()))
