"""Procedural surface colours: a handful of patterns whose parameters differ from surface to surface.

Patterns are coarse on purpose: at 160x120 a pixel covers some 3 cm of a wall, and a radiance field can only lock on to
what survives that. All are also tinted by a slow, aperiodic noise, so that no two periods of a pattern look the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Texture:
    """How one surface is coloured.

    Attributes:
        kind: a name in `PATTERNS`.
        colors: three sRGB colours in 0..1: ground, figure and accent.
        scale: period of the pattern in metres.
        angle: rotation of the pattern within the surface, radians.
        offset: (3,) shift of the pattern in metres.
        tint: strength of the slow noise, 0..1.
        emission: light that the surface itself sends out, as a multiple of its colour.
    """

    kind: str
    colors: tuple[Color, Color, Color]
    scale: float = 0.2
    angle: float = 0.0
    offset: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))
    tint: float = 0.22
    emission: float = 0.0


class TextureTable:
    """Textures of many surfaces, evaluated together.

    Args:
        textures: one per surface.
    """

    def __init__(self, textures: Sequence[Texture]) -> None:
        self.kinds = np.array([list(PATTERNS).index(texture.kind) for texture in textures])
        self.colors = srgb_to_linear(np.array([texture.colors for texture in textures])).astype(np.float32)
        self.scales = np.array([texture.scale for texture in textures], dtype=np.float32)
        self.cosines = np.cos([texture.angle for texture in textures]).astype(np.float32)
        self.sines = np.sin([texture.angle for texture in textures]).astype(np.float32)
        self.offsets = np.array([texture.offset for texture in textures], dtype=float)
        self.tints = np.array([texture.tint for texture in textures], dtype=np.float32)
        self.emissions = np.array([texture.emission for texture in textures], dtype=np.float32)

    def albedo(self, surface: np.ndarray, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Linear RGB at points of surfaces.

        Args:
            surface: (N,) index of the texture.
            points: (N, 3) position in the frame of the object, metres.
            normals: (N, 3) normal of the face in the frame of the object: patterns are projected along its main axis.

        Returns:
            (N, 3) in 0..1.
        """
        moved = (points + self.offsets[surface]).astype(np.float32)
        axis = np.abs(normals).argmax(1)
        # Fronts, backs and sides keep z upright; tops and bottoms use x and y.
        u = np.where(axis == 0, moved[:, 1], moved[:, 0])
        v = np.where(axis == 2, moved[:, 1], moved[:, 2])
        scale = self.scales[surface]
        cos, sin = self.cosines[surface] / scale, self.sines[surface] / scale
        uv = np.stack([cos * u + sin * v, cos * v - sin * u], -1)
        mix = np.zeros((len(points), 2), dtype=np.float32)
        kinds = self.kinds[surface]
        for index, pattern in enumerate(PATTERNS.values()):
            rows = np.flatnonzero(kinds == index)
            if len(rows):
                mix[rows] = pattern(uv[rows], moved[rows] / scale[rows, None])
        color = self.colors[surface, 0]
        color = color + mix[:, :1] * (self.colors[surface, 1] - color)
        color = color + mix[:, 1:] * (self.colors[surface, 2] - color)
        slow = noise(moved * 1.1)[:, None] * self.tints[surface, None]
        return np.clip(color * (1 + slow * np.array([1.75, 1.5, 1.25], dtype=np.float32)), 0.0, 1.0)


@functools.lru_cache(maxsize=1)
def _noise_volume(size: int = 64) -> np.ndarray:
    """(size, size, size) periodic noise of zero mean, about within -1..1: three octaves of smooth random values."""
    rng = np.random.default_rng(20230407)
    frequencies = np.stack(np.meshgrid(*[np.fft.fftfreq(size) * size] * 3, indexing="ij"), -1)
    radius = np.linalg.norm(frequencies, axis=-1)
    # Periods from 1/4 to 1/16 of the volume: a lookup at 1 unit per metre then varies over a quarter of a metre.
    band = np.exp(-(((np.log2(np.maximum(radius, 0.5)) - 3.0) / 0.9) ** 2)) / np.maximum(radius, 1.0)
    volume = np.fft.ifftn(np.fft.fftn(rng.normal(size=(size,) * 3)) * band).real
    return (volume / (2.2 * volume.std())).astype(np.float32)


def noise(points: np.ndarray) -> np.ndarray:
    """Smooth noise in about -1..1 at (N, 3) points, with features about one unit wide and a period of 8 units."""
    volume = _noise_volume()
    size = volume.shape[0]
    flat = volume.ravel()
    scaled = np.asarray(points, dtype=np.float32).T * np.float32(size / 8.0)
    floor = np.floor(scaled)
    fx, fy, fz = scaled - floor
    low = floor.astype(np.int32) & (size - 1)
    high = (low + 1) & (size - 1)
    strides = np.array([[size * size], [size], [1]], dtype=np.int32)
    (x0, y0, z0), (x1, y1, z1) = low * strides, high * strides

    def along_z(row: np.ndarray) -> np.ndarray:
        near = flat.take(row + z0)
        return near + fz * (flat.take(row + z1) - near)

    def along_y(plane: np.ndarray) -> np.ndarray:
        near = along_z(plane + y0)
        return near + fy * (along_z(plane + y1) - near)

    near = along_y(x0)
    return near + fx * (along_y(x1) - near)


def srgb_to_linear(color: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in 0..1 (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(color: np.ndarray) -> np.ndarray:
    """sRGB values in 0..1 of linear light in 0..1 (IEC 61966-2-1)."""
    return np.where(color <= 0.0031308, color * 12.92, 1.055 * np.maximum(color, 1e-9) ** (1 / 2.4) - 0.055)


# A pattern maps (N, 2) coordinates within the surface and (N, 3) coordinates in space, both in periods, to (N, 2)
# weights in 0..1 of the figure over the ground and of the accent over both.


def _step(value: np.ndarray, width: float = 0.06) -> np.ndarray:
    """0 below zero, 1 above, smooth over `width`."""
    return np.clip(value / width + 0.5, 0.0, 1.0)


def _two(figure: np.ndarray, accent: np.ndarray | float = 0.0) -> np.ndarray:
    return np.stack([figure, np.broadcast_to(accent, figure.shape)], -1)


def _fraction(value: np.ndarray) -> np.ndarray:
    return value - np.floor(value)


def _hash(*cells: np.ndarray) -> np.ndarray:
    """A fixed pseudo-random number in 0..1 for each integer cell."""
    mixed = np.zeros(cells[0].shape, dtype=np.uint64)
    for cell in cells:
        mixed = (mixed ^ cell.astype(np.int64).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return (mixed >> np.uint64(11)).astype(float) / float(1 << 53)


def _plain(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    return _two(0.5 + 0.5 * noise(xyz))


def _wood(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    bend = noise(np.stack([uv[:, 0] * 0.13, uv[:, 1] * 0.45, xyz.sum(1) * 0.03], -1))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (uv[:, 1] + 1.1 * bend))
    fibre = noise(np.stack([uv[:, 0] * 0.4, uv[:, 1] * 3.0, 0.0 * bend], -1))
    return _two(np.clip(0.1 + 0.65 * rings + 0.35 * fibre, 0, 1), np.clip(0.9 * bend - 0.3, 0, 0.6))


def _planks(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    row = np.floor(uv[:, 1])
    along = uv[:, 0] / 6.0 + _hash(row, np.full_like(row, 7)) * 3
    board = np.floor(along)
    tone = _hash(row, board)
    across = _fraction(uv[:, 1])
    seam = np.minimum(np.minimum(across, 1 - across), 6 * np.minimum(_fraction(along), 1 - _fraction(along)))
    grain = noise(np.stack([uv[:, 0] * 0.3, uv[:, 1] * 2.2, tone * 40], -1))
    return _two(np.clip(tone + 0.35 * grain, 0, 1), 0.85 * (1 - _step(seam - 0.045, 0.05)))


def _stripes(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    wave = np.cos(2 * np.pi * uv[:, 0])
    thin = np.cos(2 * np.pi * (uv[:, 0] + 0.5))
    return _two(_step(wave, 0.35), _step(thin - 0.86, 0.2))


def _checks(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    a, b = (_step(np.cos(2 * np.pi * uv[:, item]), 0.3) for item in (0, 1))
    return _two(0.5 * (a + b), a * b * 0.8)


def _chess(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    product = np.cos(2 * np.pi * uv[:, 0]) * np.cos(2 * np.pi * uv[:, 1])
    tone = _hash(*np.floor(2 * uv + 0.5).T)
    return _two(_step(product, 0.2), 0.5 * (tone > 0.8))


def _dots(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    row = np.floor(uv[:, 1])
    x = _fraction(uv[:, 0] + 0.5 * (row % 2)) - 0.5
    y = _fraction(uv[:, 1]) - 0.5
    radius = np.hypot(x, y)
    return _two(_step(0.34 - radius), _step(0.16 - radius))


def _rings(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    x, y = (_fraction(uv) - 0.5).T
    radius = np.hypot(x, y)
    return _two(_step(0.12 - np.abs(radius - 0.33), 0.08), _step(0.14 - radius))


def _tiles(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    cell, inner = np.floor(uv), _fraction(uv)
    edge = np.minimum(inner, 1 - inner).min(1)
    tone = _hash(cell[:, 0], cell[:, 1])
    return _two(tone, np.maximum(1 - _step(edge - 0.04, 0.05), 0.0))


def _zigzag(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    wave = uv[:, 1] + 0.9 * np.abs(_fraction(uv[:, 0]) - 0.5)
    return _two(_step(np.cos(2 * np.pi * wave), 0.35), _step(-np.cos(2 * np.pi * wave) - 0.8, 0.2))


def _contours(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    height = noise(np.stack([uv[:, 0], uv[:, 1], xyz.sum(1) * 0.1], -1) * 0.7)
    return _two(_step(np.sin(7.0 * height), 0.4), _step(np.sin(3.5 * height + 1) - 0.75, 0.2))


def _blobs(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    first, second = noise(xyz * 0.9), noise(xyz * 0.9 + 3.3)
    return _two(_step(first - 0.05, 0.15), _step(second - 0.35, 0.12))


def _bands(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    wave = np.cos(2 * np.pi * xyz[:, 2])
    return _two(_step(wave, 0.4), _step(-wave - 0.75, 0.2))


def _sky(uv: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    hills = 0.9 + 0.35 * noise(np.stack([uv[:, 0], uv[:, 0] * 0 + 1.7, uv[:, 0] * 0], -1))
    cloud = np.clip(noise(np.stack([uv[:, 0] * 1.2, uv[:, 1] * 2.0, uv[:, 0] * 0], -1)), 0, 1)
    return _two(cloud, _step(hills - uv[:, 1], 0.1))


PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "plain": _plain,
    "wood": _wood,
    "planks": _planks,
    "stripes": _stripes,
    "checks": _checks,
    "chess": _chess,
    "dots": _dots,
    "rings": _rings,
    "tiles": _tiles,
    "zigzag": _zigzag,
    "contours": _contours,
    "blobs": _blobs,
    "bands": _bands,
    "sky": _sky,
}
"""Name -> pattern."""
