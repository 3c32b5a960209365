"""Shapes that furniture is made of: finely tessellated, so that baked light varies smoothly over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Vector = Sequence[float] | np.ndarray

SPACING = 0.08
"""Default distance between vertices in metres: about the finest shadow that light baked at the vertices can show."""


@dataclass(frozen=True)
class Mesh:
    """Triangles whose normals point outwards.

    Attributes:
        vertices: (V, 3) float64, metres.
        normals: (V, 3) float64, unit length; flat shapes own a vertex per face corner, round ones share them.
        faces: (F, 3) int64, counter-clockwise seen from outside.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray

    def moved(self, translation: Vector = (0.0, 0.0, 0.0), rotation: np.ndarray | None = None) -> Mesh:
        """The mesh after `rotation` (3, 3) about the origin and then `translation` (3,)."""
        turn = np.eye(3) if rotation is None else np.asarray(rotation, dtype=float)
        return Mesh(self.vertices @ turn.T + np.asarray(translation, dtype=float), self.normals @ turn.T, self.faces)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several; vertices keep their order."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]),
    )


def rotation_z(angle: float) -> np.ndarray:
    """(3, 3) rotation about z by `angle` radians, counter-clockwise seen from above."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def rotation_x(angle: float) -> np.ndarray:
    """(3, 3) rotation about x by `angle` radians; a positive angle turns +y towards +z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rotation_y(angle: float) -> np.ndarray:
    """(3, 3) rotation about y by `angle` radians; a positive angle turns +z towards +x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def grid_faces(rows: int, columns: int) -> np.ndarray:
    """(2 (rows-1) (columns-1), 3) triangles of a grid of vertices stored row by row, facing row axis x column axis."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def patch(origin: Vector, edge_u: Vector, edge_v: Vector, spacing: float = SPACING) -> Mesh:
    """A flat parallelogram that faces `edge_u` x `edge_v`."""
    start, u, v = (np.asarray(item, dtype=float) for item in (origin, edge_u, edge_v))
    rows = _steps(float(np.linalg.norm(u)), spacing)
    columns = _steps(float(np.linalg.norm(v)), spacing)
    s, t = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    vertices = start + s.reshape(-1, 1) * u + t.reshape(-1, 1) * v
    normal = np.cross(u, v)
    normals = np.tile(normal / np.linalg.norm(normal), (len(vertices), 1))
    return Mesh(vertices, normals, grid_faces(rows, columns))


def box(size: Vector, position: Vector = (0.0, 0.0, 0.0), spacing: float = SPACING) -> Mesh:
    """A box of full side lengths `size` whose bottom centre is at `position`."""
    w, d, h = (float(side) for side in size)
    x, y, z = -w / 2, -d / 2, 0.0
    sides = [
        patch((x, y, z), (0, d, 0), (w, 0, 0), spacing),
        patch((x, y, z + h), (w, 0, 0), (0, d, 0), spacing),
        patch((x, y, z), (w, 0, 0), (0, 0, h), spacing),
        patch((x, y + d, z), (0, 0, h), (w, 0, 0), spacing),
        patch((x, y, z), (0, 0, h), (0, d, 0), spacing),
        patch((x + w, y, z), (0, d, 0), (0, 0, h), spacing),
    ]
    return join(sides).moved(position)


def rounded_box(
    size: Vector, position: Vector = (0.0, 0.0, 0.0), radius: float = 0.04, puff: float = 0.0, spacing: float = SPACING
) -> Mesh:
    """A box with rounded edges, bottom centre at `position`: mattresses, cushions, pillows.

    Args:
        size: full side lengths in metres, before puffing.
        position: bottom centre.
        radius: of the edges, at most half the shortest side.
        puff: how far the middle of each face swells, metres.
        spacing: distance between vertices.
    """
    half = np.asarray(size, dtype=float) / 2
    radius = min(radius, float(half.min()) * 0.999)
    meshes = []
    for axis in range(3):
        u_axis, v_axis = (axis + 1) % 3, (axis + 2) % 3
        lines_u, lines_v = (_rounded_lines(half[item], radius, spacing) for item in (u_axis, v_axis))
        for sign in (1.0, -1.0):
            u, v = np.meshgrid(lines_u, lines_v, indexing="ij")
            cube = np.zeros((u.size, 3))
            cube[:, axis], cube[:, u_axis], cube[:, v_axis] = sign * half[axis], u.ravel(), v.ravel()
            core = np.clip(cube, radius - half, half - radius)
            normals = cube - core
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
            vertices = core + radius * normals
            swell = (1 - (u.ravel() / half[u_axis]) ** 2) * (1 - (v.ravel() / half[v_axis]) ** 2)
            vertices[:, axis] += sign * puff * swell
            faces = grid_faces(*u.shape)
            meshes.append(Mesh(vertices, normals, faces if sign > 0 else faces[:, ::-1]))
    return join(meshes).moved(np.asarray(position, dtype=float) + np.array([0.0, 0.0, half[2]]))


def lathe(
    profile: Sequence[tuple[float, float]],
    position: Vector = (0.0, 0.0, 0.0),
    sides: int = 16,
    smooth: bool = False,
    spacing: float = SPACING,
) -> Mesh:
    """A solid of revolution about z.

    Args:
        profile: (radius, z) from the bottom to the top; radius 0 at both ends closes the solid.
        position: of the profile's origin.
        sides: of the polygon that stands for the circle.
        smooth: shade the profile's corners as a curve; otherwise they stay edges.
        spacing: distance between vertices along the profile.
    """
    points = np.asarray(profile, dtype=float)
    steps = np.diff(points, axis=0)
    tilts = np.stack([steps[:, 1], -steps[:, 0]], -1)
    tilts /= np.maximum(np.linalg.norm(tilts, axis=1, keepdims=True), 1e-12)
    corners = np.concatenate([tilts[:1], tilts[:-1] + tilts[1:], tilts[-1:]])
    corners /= np.maximum(np.linalg.norm(corners, axis=1, keepdims=True), 1e-12)
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angles), np.sin(angles)], -1)
    meshes = []
    for index, step in enumerate(steps):
        count = _steps(float(np.linalg.norm(step)), spacing)
        t = np.linspace(0, 1, count)[:, None]
        line = points[index] + t * step
        first, last = (corners[index], corners[index + 1]) if smooth else (tilts[index], tilts[index])
        tilt = (1 - t) * first + t * last
        tilt /= np.maximum(np.linalg.norm(tilt, axis=1, keepdims=True), 1e-12)
        meshes.append(
            Mesh(
                _sweep(ring, line[:, 0], line[:, 1]),
                _sweep(ring, tilt[:, 0], tilt[:, 1]),
                grid_faces(sides + 1, count),
            )
        )
    return join(meshes).moved(position)


def cylinder(
    radius: float, height: float, position: Vector = (0.0, 0.0, 0.0), top_radius: float | None = None, sides: int = 14
) -> Mesh:
    """A closed cylinder, or a cone stump with `top_radius`, whose bottom centre is at `position`."""
    top = radius if top_radius is None else top_radius
    return lathe([(0, 0), (radius, 0), (top, height), (0, height)], position, sides)


def ellipsoid(radii: Vector, position: Vector = (0.0, 0.0, 0.0), sides: int = 14) -> Mesh:
    """An ellipsoid with half axes `radii` and its centre at `position`."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 2)
    ball = lathe(
        list(zip(np.cos(angles).round(12), np.sin(angles), strict=True)), sides=sides, smooth=True, spacing=9.0
    )
    scale = np.asarray(radii, dtype=float)
    normals = ball.normals / scale
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Mesh(ball.vertices * scale + np.asarray(position, dtype=float), normals, ball.faces)


def leaf(base: Vector, azimuth: float, length: float, width: float, rise: float, droop: float) -> Mesh:
    """A bent blade with two sides, a millimetre apart.

    Args:
        base: where it grows, metres.
        azimuth: direction seen from above, radians.
        length: along the blade, metres.
        width: at its widest, metres.
        rise: slope at the base, radians above the horizontal.
        droop: how far the slope has fallen at the tip, radians.
    """
    t = np.linspace(0, 1, 6)
    slope = rise - droop * t
    step = length / (len(t) - 1)
    along = np.concatenate([[0.0], np.cumsum(np.cos(slope[:-1]) * step)])
    up = np.concatenate([[0.0], np.cumsum(np.sin(slope[:-1]) * step)])
    half = width / 2 * np.sin(np.pi * np.clip(t * 0.94 + 0.06, 0, 1)) ** 0.8
    side = np.linspace(-1, 1, 3)
    vertices = np.zeros((len(t), len(side), 3))
    vertices[..., 0] = along[:, None]
    vertices[..., 1] = half[:, None] * side
    vertices[..., 2] = up[:, None] + 0.25 * half[:, None] * np.abs(side)
    normals = np.stack([-np.sin(slope), np.zeros_like(slope), np.cos(slope)], -1)[:, None].repeat(len(side), 1)
    flat, upward, faces = vertices.reshape(-1, 3), normals.reshape(-1, 3), grid_faces(len(t), len(side))
    blade = join([Mesh(flat + 0.0005 * upward, upward, faces), Mesh(flat - 0.0005 * upward, -upward, faces[:, ::-1])])
    return blade.moved(base, rotation_z(azimuth))


def _sweep(ring: np.ndarray, radial: np.ndarray, vertical: np.ndarray) -> np.ndarray:
    """(sides * count, 3): the (radial, vertical) line turned through each direction of `ring`."""
    out = np.empty((len(ring), len(radial), 3))
    out[..., :2] = ring[:, None] * radial[:, None]
    out[..., 2] = vertical
    return out.reshape(-1, 3)


def _steps(length: float, spacing: float) -> int:
    return max(2, int(np.ceil(length / spacing)) + 1)


def _rounded_lines(half: float, radius: float, spacing: float) -> np.ndarray:
    """Grid lines over [-half, half]: three steps over each rounded edge, `spacing` between."""
    inner = half - radius
    edge = np.tan(np.linspace(0, np.pi / 4, 4)) * radius
    middle = np.linspace(-inner, inner, _steps(2 * inner, spacing))
    return np.unique(np.concatenate([-inner - edge[::-1], middle, inner + edge]).round(9))
