"""Colour schemes: draws textures so that neighbouring objects differ and a room still looks composed."""

from __future__ import annotations

import colorsys

import numpy as np

from nerfseg_plugins.rooms.textures import Color, Texture

WOODS: tuple[tuple[str, str, str], ...] = (
    ("#d9b27c", "#b98748", "#8a5a2b"),
    ("#8a5a36", "#5f3a20", "#3f2413"),
    ("#e6cfa3", "#cda568", "#a67a40"),
    ("#a4562f", "#7a3819", "#54230d"),
    ("#d6d0c2", "#a59c8a", "#7d7362"),
    ("#6b5446", "#43332a", "#2a1f19"),
)
WALLS: tuple[tuple[str, str, str], ...] = (
    ("#dfe8d0", "#a9c48f", "#7ea05f"),
    ("#d8e6ee", "#94b8d1", "#e9b872"),
    ("#f2e3c9", "#ddb07a", "#b9774a"),
    ("#e9d9e6", "#bd94bb", "#8a5f91"),
    ("#f3d9cf", "#e0a08a", "#fff3e2"),
    ("#d5e9e2", "#7fbfae", "#f0d58a"),
    ("#f4edd3", "#e3cb70", "#7fa3a8"),
    ("#dcdfe8", "#8e9bc2", "#d98d7c"),
)
WALLPAPERS = {"contours": 0.5, "stripes": 0.42, "rings": 0.4, "blobs": 0.5, "zigzag": 0.4, "dots": 0.38, "chess": 0.7}
"""Pattern -> period in metres."""
FABRIC_PATTERNS = ("stripes", "checks", "dots", "zigzag", "contours", "blobs", "chess", "rings")


class Palette:
    """Draws textures for one room.

    Hues of painted and woven things walk around the colour circle by the golden angle: consecutive draws differ.

    Args:
        rng: where every choice comes from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.hue = float(rng.uniform())
        self.woods = list(rng.permutation(len(WOODS)))
        self.walls = list(rng.permutation(len(WALLS)))
        self.patterns: list[str] = []

    def wood(self, scale: float = 0.11, upright: bool = False) -> Texture:
        """A wood; consecutive draws are different species. `upright` runs the grain along z."""
        self.woods.append(self.woods.pop(0))
        return self.texture("wood", _hexes(WOODS[self.woods[-1]]), scale, np.pi / 2 if upright else 0.0, tint=0.15)

    def fabric(self, scale: float = 0.16) -> Texture:
        """A saturated woven pattern."""
        if not self.patterns:
            self.patterns = [FABRIC_PATTERNS[index] for index in self.rng.permutation(len(FABRIC_PATTERNS))]
        kind = self.patterns.pop()
        base = self._next_hue()
        other = base + float(self.rng.choice([0.08, 0.45, -0.1, 0.5]))
        ground = _hsv(base, self.rng.uniform(0.5, 0.75), self.rng.uniform(0.4, 0.7))
        figure = _hsv(base + self.rng.uniform(-0.03, 0.03), self.rng.uniform(0.12, 0.3), self.rng.uniform(0.82, 0.95))
        accent = _hsv(other, self.rng.uniform(0.5, 0.8), self.rng.uniform(0.55, 0.95))
        angle = float(self.rng.choice([0.0, np.pi / 4, np.pi / 2])) if kind in ("stripes", "checks", "chess") else 0.0
        return self.texture(kind, (ground, figure, accent), scale * float(self.rng.uniform(0.85, 1.25)), angle)

    def paint(self, scale: float = 0.25) -> Texture:
        """One strong colour with slow variation."""
        hue = self._next_hue()
        saturation, value = self.rng.uniform(0.45, 0.7), self.rng.uniform(0.45, 0.8)
        base, light = _hsv(hue, saturation, value), _hsv(hue + 0.03, saturation * 0.8, value * 1.25)
        return self.texture("plain", (base, light, base), scale)

    def ceramic(self, scale: float = 0.12) -> Texture:
        """A glazed pattern for vases and pots."""
        hue = self._next_hue()
        colors = (_hsv(hue, 0.65, 0.7), _hsv(hue + 0.08, 0.2, 0.95), _hsv(hue + 0.5, 0.6, 0.8))
        return self.texture(str(self.rng.choice(["bands", "blobs", "zigzag"])), colors, scale)

    def metal(self) -> Texture:
        """Dark or bright metal."""
        value = float(self.rng.choice([0.18, 0.32, 0.62]))
        colors = (_hsv(0.6, 0.08, value), _hsv(0.6, 0.08, value * 1.2), _hsv(0.6, 0.08, value * 0.8))
        return self.texture("plain", colors, 0.2, tint=0.1)

    def wallpapers(self, count: int) -> list[Texture]:
        """Large patterns in light colours, all different."""
        kinds = self.rng.choice(list(WALLPAPERS), count, replace=False)
        sizes = self.rng.uniform(0.9, 1.15, count)
        return [
            self.texture(str(kind), _hexes(WALLS[index]), WALLPAPERS[str(kind)] * float(size), tint=0.3)
            for kind, size, index in zip(kinds, sizes, self.walls, strict=False)
        ]

    def floor(self) -> Texture:
        """Boards or tiles."""
        angle = float(self.rng.choice([0.0, np.pi / 2]))
        if self.rng.uniform() < 0.7:
            light, dark, (r, g, b) = _hexes(WOODS[int(self.rng.choice([0, 1, 2, 3]))])
            return self.texture("planks", (light, dark, (0.55 * r, 0.55 * g, 0.55 * b)), 0.19, angle, tint=0.3)
        light, middle, _ = _hexes(WALLS[self.walls[0]])
        return self.texture("tiles", (light, middle, (0.35, 0.33, 0.31)), 0.42, 0.0, tint=0.3)

    def texture(
        self,
        kind: str,
        colors: tuple[Color, Color, Color],
        scale: float,
        angle: float = 0.0,
        tint: float = 0.22,
        emission: float = 0.0,
    ) -> Texture:
        """A texture of the given look at a random offset; see `Texture`."""
        x, y, z = (float(item) for item in self.rng.uniform(-4, 4, 3))
        return Texture(kind, colors, scale, angle, (x, y, z), tint, emission)

    def _next_hue(self) -> float:
        self.hue = (self.hue + 0.381966 + float(self.rng.uniform(-0.04, 0.04))) % 1.0
        return self.hue


def from_hex(text: str) -> Color:
    """(r, g, b) in 0..1 of "#rrggbb"."""
    return int(text[1:3], 16) / 255, int(text[3:5], 16) / 255, int(text[5:7], 16) / 255


def _hexes(texts: tuple[str, str, str]) -> tuple[Color, Color, Color]:
    return from_hex(texts[0]), from_hex(texts[1]), from_hex(texts[2])


def _hsv(hue: float, saturation: float, value: float) -> Color:
    return colorsys.hsv_to_rgb(hue % 1.0, min(1.0, float(saturation)), min(1.0, float(value)))
