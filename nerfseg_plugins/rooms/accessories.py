"""Lamps, plants and what stands on tables or hangs on walls."""

from __future__ import annotations

import numpy as np

from nerfseg_plugins.rooms.meshes import box, cylinder, ellipsoid, join, lathe, leaf
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture
from nerfseg_plugins.rooms.textures import Texture


def make_table_lamp(palette: Palette) -> Furniture:
    """Foot, body and a glowing shade."""
    rng = palette.rng
    radius, height = rng.uniform(0.13, 0.17), rng.uniform(0.4, 0.52)
    lamp = Furniture("table lamp", "lamp")
    centre = (0.0, radius + 0.01, 0.0)
    lamp.add("foot", cylinder(radius * 0.6, 0.025, centre), palette.metal())
    belly = rng.uniform(0.4, 0.6) * radius
    profile = [(0, 0.02), (belly, 0.06), (belly * 1.15, 0.12), (belly * 0.35, height * 0.55), (0, height * 0.56)]
    lamp.add("body", lathe(profile, centre, smooth=True, spacing=0.04), palette.ceramic(0.08))
    shade = cylinder(radius, height * 0.45, (0, centre[1], height * 0.55), radius * rng.uniform(0.55, 0.8), sides=18)
    lamp.add("shade", shade, _glow(palette))
    return lamp


def make_floor_lamp(palette: Palette) -> Furniture:
    """Foot, pole and a glowing shade."""
    rng = palette.rng
    radius, height = rng.uniform(0.19, 0.25), rng.uniform(1.4, 1.65)
    lamp = Furniture("floor lamp", "lamp")
    centre = (0.0, radius + 0.01, 0.0)
    metal = palette.metal()
    lamp.add("foot", cylinder(radius * 0.75, 0.035, centre, sides=18), metal)
    lamp.add("pole", cylinder(0.022, height - 0.2, (0, centre[1], 0.03), sides=10), metal)
    shade = cylinder(radius, 0.32, (0, centre[1], height - 0.32), radius * rng.uniform(0.6, 0.85), sides=20)
    lamp.add("shade", shade, _glow(palette))
    return lamp


def make_plant(palette: Palette) -> Furniture:
    """Pot, soil and a whorl of leaves."""
    rng = palette.rng
    radius, pot, tall = rng.uniform(0.14, 0.19), rng.uniform(0.26, 0.36), rng.uniform(0.6, 0.95)
    plant = Furniture("plant", "other")
    y = 0.32
    profile = [
        (0, 0),
        (radius * 0.75, 0),
        (radius, pot),
        (radius * 0.88, pot),
        (radius * 0.85, pot - 0.04),
        (0, pot - 0.04),
    ]
    plant.add("pot", lathe(profile, (0, y, 0), sides=18), palette.ceramic(0.16))
    brown = ((0.25, 0.16, 0.1), (0.36, 0.24, 0.15), (0.2, 0.12, 0.07))
    plant.add("soil", cylinder(radius * 0.84, 0.02, (0, y, pot - 0.045)), palette.texture("blobs", brown, 0.08))
    hue = rng.uniform(0.0, 0.1)
    count = int(rng.integers(11, 16))
    blades: list[list] = [[], []]
    for number in range(count):
        azimuth = 2.399963 * number + rng.uniform(-0.25, 0.25)
        rise = np.radians(86 - 50 * (number / count) + rng.uniform(-5, 5))
        length = tall * rng.uniform(0.6, 0.95)
        droop = np.radians(rng.uniform(30, 75))
        base = (0.03 * np.cos(azimuth), y + 0.03 * np.sin(azimuth), pot - 0.04)
        # The horizontal reach stays within the footprint that the layout reserves.
        reach = length * max(float(np.cos(max(rise - droop, 0.0))), 0.2)
        length *= min(1.0, 0.33 / reach)
        blades[number % 2].append(leaf(base, azimuth, length, rng.uniform(0.08, 0.12), rise, droop))
    for number, group in enumerate(blades, start=1):
        light = 0.12 * number
        green = ((0.06 + hue, 0.3 + light, 0.12), (0.18 + hue, 0.5 + light, 0.16), (0.55, 0.7, 0.25))
        plant.add(f"leaves{number}", join(group), palette.texture("blobs", green, 0.12))
    return plant


def make_vase(palette: Palette) -> Furniture:
    """A vase with a bunch of flowers."""
    rng = palette.rng
    radius, height = rng.uniform(0.07, 0.1), rng.uniform(0.2, 0.28)
    vase = Furniture("vase", "other")
    y = 0.14
    turns = ((0, 0), (0.6, 0), (1, 0.4), (0.45, 0.8), (0.65, 1), (0, 1))
    profile = [(radius * across, height * up) for across, up in turns]
    vase.add("body", lathe(profile, (0, y, 0), smooth=True, spacing=0.04), palette.ceramic(0.1))
    stems, heads = [], []
    for number in range(6):
        azimuth, lean = 2.4 * number + rng.uniform(-0.3, 0.3), rng.uniform(0.02, 0.08)
        x, z = lean * np.cos(azimuth), height + rng.uniform(0.08, 0.2)
        foot = (0.3 * x, y + 0.3 * lean * np.sin(azimuth), height * 0.9)
        stems.append(cylinder(0.008, z - height * 0.9, foot, sides=6))
        heads.append(ellipsoid((0.042, 0.042, 0.036), (x, y + lean * np.sin(azimuth), z + 0.02), 8))
    green = palette.texture("plain", ((0.2, 0.45, 0.15), (0.3, 0.55, 0.2), (0.2, 0.4, 0.1)), 0.1)
    vase.add("stems", join(stems), green)
    vase.add("flowers", join(heads), palette.paint())
    return vase


def make_bowl(palette: Palette) -> Furniture:
    """A bowl of fruit."""
    rng = palette.rng
    radius, height = rng.uniform(0.14, 0.18), rng.uniform(0.08, 0.11)
    bowl = Furniture("bowl", "other")
    y = radius + 0.01
    profile = [(0, 0), (radius * 0.5, 0), (radius, height), (radius * 0.9, height), (radius * 0.5, 0.03), (0, 0.03)]
    bowl.add("bowl", lathe(profile, (0, y, 0), sides=18, spacing=0.05), palette.ceramic(0.09))
    size = radius * 0.33
    for number in range(5):
        azimuth = 2 * np.pi * number / 4
        spread = 0.0 if number == 4 else radius * 0.42
        centre = (spread * np.cos(azimuth), y + spread * np.sin(azimuth), height * 0.85 + (size if number == 4 else 0))
        bowl.add(f"fruit{number + 1}", ellipsoid((size, size, size), centre, 10), palette.paint())
    return bowl


def make_computer(palette: Palette) -> Furniture:
    """Screen on a stand, and a keyboard."""
    rng = palette.rng
    width, tall = rng.uniform(0.5, 0.62), rng.uniform(0.3, 0.36)
    computer = Furniture("computer", "other")
    metal = palette.metal()
    computer.add("foot", box((0.22, 0.16, 0.015), (0, 0.12, 0)), metal)
    computer.add("stand", box((0.05, 0.03, 0.2), (0, 0.1, 0.015)), metal)
    computer.add("casing", box((width, 0.03, tall), (0, 0.13, 0.12)), metal)
    colors = ((0.05, 0.25, 0.45), (0.3, 0.85, 0.8), (1.0, 0.75, 0.3))
    screen = palette.texture(str(rng.choice(["contours", "blobs", "zigzag"])), colors, 0.2, emission=0.35)
    computer.add("screen", box((width - 0.03, 0.006, tall - 0.03), (0, 0.147, 0.135)), screen)
    light = ((0.85, 0.85, 0.88), (0.3, 0.3, 0.34), (0.6, 0.6, 0.65))
    computer.add("keyboard", box((0.4, 0.14, 0.02), (0, 0.33, 0)), palette.texture("tiles", light, 0.035))
    return computer


def make_picture(palette: Palette) -> Furniture:
    """A framed picture; its back is at y = 0."""
    rng = palette.rng
    width, height = rng.uniform(0.55, 0.95), rng.uniform(0.45, 0.7)
    picture = Furniture("picture", "other")
    rim = 0.045
    bars = [box((width, 0.035, rim), (0, 0.0175, z)) for z in (0.0, height - rim)]
    bars += [box((rim, 0.035, height - 2 * rim), (side * (width - rim) / 2, 0.0175, rim)) for side in (-1, 1)]
    picture.add("frame", join(bars), palette.wood(0.07))
    canvas = palette.fabric(0.3)
    kind = str(rng.choice(["contours", "blobs", "rings", "sky"]))
    look = palette.texture(kind, canvas.colors, 0.35 if kind != "sky" else 0.4)
    if kind == "sky":
        look = Texture("sky", ((0.62, 0.78, 0.9), (0.97, 0.95, 0.9), (0.25, 0.5, 0.3)), 0.28, offset=(1.3, 0.0, 0.0))
    picture.add("canvas", box((width - 2 * rim, 0.02, height - 2 * rim), (0, 0.01, rim), spacing=0.1), look)
    return picture


def _glow(palette: Palette) -> Texture:
    rng = palette.rng
    r, g, b = palette.fabric(0.09).colors[0]
    cream, figure = (1.0, 0.9, 0.7), (0.45 * r + 0.55, 0.45 * g + 0.5, 0.45 * b + 0.39)
    kind = str(rng.choice(["stripes", "bands", "dots"]))
    return palette.texture(kind, (cream, figure, figure), 0.11, tint=0.1, emission=0.55)
