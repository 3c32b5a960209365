"""Beds, chairs, sofas: what people lie and sit on."""

from __future__ import annotations

import numpy as np

from nerfseg_plugins.rooms.meshes import box, cylinder, join, rotation_x, rounded_box
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture


def make_bed(palette: Palette) -> Furniture:
    """Frame, headboard, four legs, mattress, blanket and pillows."""
    rng = palette.rng
    width, length = rng.uniform(1.1, 1.65), rng.uniform(1.9, 2.1)
    wood, cloth, white = palette.wood(), palette.fabric(0.3), palette.fabric(0.09)
    bed = Furniture("bed", "bed")
    leg, rail, mattress = rng.uniform(0.08, 0.14), 0.2, rng.uniform(0.16, 0.22)
    bed.add("frame", box((width, length, rail), (0, length / 2, leg)), wood)
    bed.add_legs((width, length), leg, wood, 0.08)
    head = rng.uniform(0.9, 1.2)
    bed.add("headboard", box((width + 0.06, 0.06, head - leg), (0, 0.03, leg)), palette.wood(upright=True))
    if rng.uniform() < 0.5:
        bed.add("footboard", box((width, 0.05, 0.42), (0, length - 0.025, leg)), wood)
    base = leg + rail - 0.04
    cream = palette.texture("checks", ((0.93, 0.9, 0.84), (0.8, 0.76, 0.68), (0.7, 0.66, 0.6)), 0.1)
    size = (width - 0.06, length - 0.16, mattress)
    bed.add("mattress", rounded_box(size, (0, length / 2 + 0.01, base), 0.05, spacing=0.09), cream)
    cover = length * rng.uniform(0.58, 0.68)
    y = length - 0.06 - cover / 2
    bed.add("blanket", rounded_box((width - 0.01, cover, mattress + 0.02), (0, y, base + 0.025), 0.06, 0.015), cloth)
    count = 2 if width > 1.3 else 1
    for number in range(count):
        x = (number - (count - 1) / 2) * width * 0.46
        size = (width * 0.42 if count == 2 else width * 0.6, 0.36, 0.12)
        pillow = rounded_box(size, (0, 0, -0.06), 0.055, 0.03).moved(
            (x, 0.3, base + mattress + 0.07), rotation_x(np.radians(14))
        )
        bed.add(f"pillow{number + 1}", pillow, white)
    return bed


def make_chair(palette: Palette) -> Furniture:
    """Seat, back and legs; slatted, solid or shell."""
    rng = palette.rng
    width, depth, height = rng.uniform(0.42, 0.5), rng.uniform(0.42, 0.5), rng.uniform(0.43, 0.48)
    wood = palette.wood() if rng.uniform() < 0.6 else palette.paint()
    chair = Furniture("chair", "chair", top=0.0)
    chair.add_legs((width, depth), height - 0.04, wood, 0.05, round_=bool(rng.uniform() < 0.5))
    chair.add(
        "seat", rounded_box((width, depth, 0.06), (0, depth / 2, height - 0.05), 0.025, 0.012), palette.fabric(0.13)
    )
    rise = rng.uniform(0.4, 0.5)
    if rng.uniform() < 0.5:
        chair.add("back", rounded_box((width, 0.05, rise), (0, 0.025, height), 0.024), palette.fabric(0.13))
        return chair
    posts = [box((0.045, 0.045, rise), (side * (width / 2 - 0.025), 0.025, height)) for side in (-1, 1)]
    rails = [box((width - 0.09, 0.03, 0.09), (0, 0.025, height + rise - 0.1 - 0.15 * number)) for number in range(3)]
    chair.add("back", join(posts + rails), wood)
    return chair


def make_armchair(palette: Palette) -> Furniture:
    """A small upholstered seat with two arms."""
    return _upholstered(palette, "armchair", "chair", palette.rng.uniform(0.75, 0.88), 1)


def make_sofa(palette: Palette) -> Furniture:
    """Base, back, arms, seat cushions, scatter cushions and feet."""
    seats = int(palette.rng.integers(2, 4))
    return _upholstered(palette, "sofa", "sofa", 0.62 * seats + palette.rng.uniform(0.3, 0.42), seats)


def make_pouf(palette: Palette) -> Furniture:
    """A round padded stool: body, band and cushion."""
    rng = palette.rng
    radius, height = rng.uniform(0.2, 0.27), rng.uniform(0.34, 0.42)
    pouf = Furniture("pouf", "other")
    cloth = palette.fabric(0.14)
    pouf.add("body", cylinder(radius, height * 0.75, (0, radius + 0.01, 0), sides=20), cloth)
    seat = cylinder(radius * 1.04, height * 0.25, (0, radius + 0.01, height * 0.75), radius * 0.85, sides=20)
    pouf.add("cushion", seat, palette.fabric(0.12))
    return pouf


def _upholstered(palette: Palette, kind: str, class_name: str, width: float, seats: int) -> Furniture:
    rng = palette.rng
    depth, seat, arm = rng.uniform(0.78, 0.9), rng.uniform(0.38, 0.44), rng.uniform(0.13, 0.18)
    foot, back = 0.09, rng.uniform(0.74, 0.86)
    cloth, cushion, accent = palette.fabric(0.22), palette.fabric(0.2), palette.fabric(0.12)
    piece = Furniture(kind, class_name)
    piece.add_legs((width - 0.04, depth - 0.04), foot, palette.wood(), 0.06, round_=True)
    piece.add("base", box((width - 0.02, depth - 0.02, seat - foot - 0.14), (0, depth / 2, foot)), cloth)
    piece.add("back", rounded_box((width - 0.04, 0.2, back - foot), (0, 0.1, foot), 0.07), cloth)
    for number, side in enumerate((-1, 1), start=1):
        x = side * (width / 2 - arm / 2)
        arm_mesh = rounded_box((arm, depth, 0.6 - foot), (x, depth / 2, foot), 0.06)
        piece.add(f"arm{number}", arm_mesh, cloth)
    room = (width - 2 * arm) / seats
    for number in range(seats):
        x = -width / 2 + arm + room * (number + 0.5)
        size = (room - 0.012, depth - 0.2, 0.15)
        mesh = rounded_box(size, (x, 0.2 + size[1] / 2, seat - 0.14), 0.045, 0.015)
        piece.add(f"cushion{number + 1}", mesh, cushion)
    for number, side in enumerate((-1, 1)[: 2 if seats > 1 else 1], start=1):
        x = side * (width / 2 - arm - 0.22) if seats > 1 else 0.0
        mesh = rounded_box((0.4, 0.1, 0.36), (0, 0, 0), 0.045, 0.022).moved((x, 0.27, seat), rotation_x(np.radians(12)))
        piece.add(f"pillow{number}", mesh, accent)
    return piece
