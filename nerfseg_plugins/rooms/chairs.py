"""Chairs of many shapes: a category of small objects. What varies is drawn from a palette's generator alone.

All share one frame, that of `Furniture`: x along the width, y from the back to the front, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.rooms.meshes import (
    Mesh,
    box,
    cylinder,
    grid_faces,
    join,
    lathe,
    rotation_x,
    rounded_box,
)
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture
from nerfseg_plugins.rooms.textures import Texture

BASES = {"legs": 0.5, "splayed": 0.2, "pedestal": 0.12, "sled": 0.12, "cross": 0.06}
"""What a chair stands on -> how often."""
BACKS = {"solid": 0.24, "slats": 0.2, "ladder": 0.18, "shell": 0.18, "frame": 0.12, "none": 0.08}
"""What one leans on -> how often; a chair without a back is a stool."""
FRAMES = {"wood": 0.55, "paint": 0.25, "metal": 0.2}
SEATS = {"fabric": 0.55, "paint": 0.25, "wood": 0.2}


@dataclass(frozen=True)
class ChairSizes:
    """Measures of a chair in metres.

    Attributes:
        width: of the seat.
        depth: of the seat.
        height: of the top of the seat.
        thick: of the seat.
        rise: of the back above the seat.
        lean: of the back, radians from the vertical.
        round_: whether the seat is a disc.
    """

    width: float
    depth: float
    height: float
    thick: float
    rise: float
    lean: float
    round_: bool


def make_varied_chair(palette: Palette) -> Furniture:
    """A chair or, rarely, a stool.

    Four legs (round, square or tapered, upright or splayed), a pedestal, a sled or crossed legs; a seat of wood or
    fabric; a back that is solid, slatted, a ladder, a shell or a framed panel; often armrests; two or three colours.
    """
    rng = palette.rng
    back = _choose(rng, BACKS)
    sizes = _sizes(rng, back)
    frame, seat, accent = _colors(palette)
    chair = Furniture("stool" if back == "none" else "chair", "chair")
    _add_base(chair, _choose(rng, BASES), sizes, frame, rng)
    _add_seat(chair, sizes, seat, rng)
    _add_back(chair, back, sizes, frame, accent, rng)
    if back != "none" and not sizes.round_ and rng.uniform() < 0.45:
        _add_arms(chair, sizes, frame, accent, rng)
    return chair


def rod(start: np.ndarray, end: np.ndarray, radius: float, end_radius: float | None = None, sides: int = 10) -> Mesh:
    """A round bar between the points `start` and `end` (3,), metres, tapering from `radius` to `end_radius`."""
    turn, length = _along(start, end)
    return cylinder(radius, length, top_radius=end_radius, sides=sides).moved(start, turn)


def bar(start: np.ndarray, end: np.ndarray, size: tuple[float, float]) -> Mesh:
    """A bar of rectangular section `size` (across x and y when it stands upright) between two points (3,), metres."""
    turn, length = _along(start, end)
    return box((*size, length), spacing=0.1).moved(start, turn)


def shell(radius: float, angle: float, height: float, thick: float, flare: float) -> Mesh:
    """A curved panel: a piece of a cylinder's wall that stands on z = 0, open towards +y.

    Args:
        radius: of its inner side at the foot, metres.
        angle: that it spans, radians, half of it to either side of -y.
        height: metres.
        thick: metres.
        flare: how much the radius grows over the height, metres.
    """
    angles = np.linspace(-angle / 2, angle / 2, 15)
    rises = np.linspace(0.0, 1.0, 7)
    # The upper edge is an arch: lower at the two ends than in the middle.
    top = height * (1 - 0.22 * (2 * angles / angle) ** 4)
    sides = []
    for offset, sign in ((0.0, -1.0), (thick, 1.0)):
        size = radius + offset + flare * rises[None, :] ** 1.5 + 0 * angles[:, None]
        points = np.stack(
            [
                size * np.sin(angles)[:, None],
                -size * np.cos(angles)[:, None],
                top[:, None] * rises[None, :],
            ],
            -1,
        )
        outward = np.stack([np.sin(angles), -np.cos(angles), np.full_like(angles, -flare / height)], -1)
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        normals = np.repeat(outward[:, None], len(rises), 1) * sign
        sides.append((points, normals))
    (inner, inner_normals), (outer, outer_normals) = sides
    faces = grid_faces(len(angles), len(rises))
    meshes = [
        Mesh(outer.reshape(-1, 3), outer_normals.reshape(-1, 3), faces),
        Mesh(inner.reshape(-1, 3), inner_normals.reshape(-1, 3), faces[:, ::-1]),
        _strip(outer[:, -1], inner[:, -1]),
        _strip(inner[:, 0], outer[:, 0]),
        _strip(outer[0], inner[0]),
        _strip(inner[-1], outer[-1]),
    ]
    return join(meshes)


def _choose(rng: np.random.Generator, shares: dict[str, float]) -> str:
    weights = np.array(list(shares.values()))
    return str(rng.choice(list(shares), p=weights / weights.sum()))


def _sizes(rng: np.random.Generator, back: str) -> ChairSizes:
    round_ = bool(rng.uniform() < (0.5 if back == "none" else 0.15))
    width = float(rng.uniform(0.36, 0.62))
    depth = width if round_ else float(np.clip(width * rng.uniform(0.82, 1.12), 0.36, 0.6))
    height = float(rng.uniform(0.36, 0.52))
    if back == "none":
        height = float(rng.uniform(0.4, 0.75))
    rise = float(rng.uniform(0.3, 0.68))
    return ChairSizes(
        width, depth, height, float(rng.uniform(0.03, 0.1)), rise, float(np.radians(rng.uniform(2, 16))), round_
    )


def _colors(palette: Palette) -> tuple[Texture, Texture, Texture]:
    """Looks of the frame, the seat and the back; the back is often like one of the others."""
    frame = _look(palette, FRAMES)
    seat = _look(palette, SEATS)
    draw = palette.rng.uniform()
    if draw < 0.45:
        return frame, seat, seat
    return frame, seat, frame if draw < 0.75 else palette.paint()


def _look(palette: Palette, shares: dict[str, float]) -> Texture:
    kind = _choose(palette.rng, shares)
    if kind == "wood":
        return palette.wood(0.1, upright=shares is FRAMES)
    return {"fabric": palette.fabric, "paint": palette.paint, "metal": palette.metal}[kind]()


def _add_base(chair: Furniture, kind: str, sizes: ChairSizes, texture: Texture, rng: np.random.Generator) -> None:
    height = sizes.height - sizes.thick
    if kind == "pedestal":
        _add_pedestal(chair, sizes, height, texture, rng)
        return
    thick = float(rng.uniform(0.03, 0.06))
    inset = 0.29 if sizes.round_ else 0.46
    x, y = inset * sizes.width - thick / 2, inset * sizes.depth - thick / 2
    middle = sizes.depth / 2
    if kind == "sled":
        low = thick / 2
        for number, side in enumerate((-1, 1), start=1):
            back, front = np.array([side * x, middle - y, low]), np.array([side * x, middle + y, low])
            up = np.array([0.0, 0.0, height - low])
            pieces = [bar(back, front, (thick, thick))] + [
                bar(item, item + up, (thick, thick)) for item in (back, front)
            ]
            chair.add(f"runner{number}", join(pieces), texture)
        return
    if kind == "cross":
        for number, side in enumerate((-1, 1), start=1):
            ends = [np.array([side * x, middle + step * y, 0.0]) for step in (-1, 1)]
            up = np.array([0.0, 0.0, height])
            pieces = [bar(ends[0], ends[1] + up, (thick, thick)), bar(ends[1], ends[0] + up, (thick, thick))]
            chair.add(f"leg{number}", join(pieces), texture)
        return
    spread = float(rng.uniform(0.04, 0.11)) if kind == "splayed" else 0.0
    round_, taper = bool(rng.uniform() < 0.5), float(rng.choice([1.0, 0.75, 0.5]))
    for number, (side, front) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1)), start=1):
        top = np.array([side * x, middle + front * y, height])
        foot = np.array([side * (x + spread), middle + front * (y + spread), 0.0])
        if round_ or kind == "splayed":
            mesh = rod(foot, top, thick / 2 * taper, thick / 2 * 1.1)
        else:
            mesh = bar(foot, top, (thick, thick))
        chair.add(f"leg{number}", mesh, texture)
    if rng.uniform() < 0.35:
        level = height * float(rng.uniform(0.25, 0.55))
        shift = spread * (1 - level / height)
        for number, side in enumerate((-1, 1), start=1):
            ends = [np.array([side * (x + shift), middle + step * (y + shift), level]) for step in (-1, 1)]
            chair.add(f"stretcher{number}", rod(ends[0], ends[1], thick * 0.3), texture)


def _add_pedestal(
    chair: Furniture, sizes: ChairSizes, height: float, texture: Texture, rng: np.random.Generator
) -> None:
    middle = np.array([0.0, sizes.depth / 2, 0.0])
    reach, radius = 0.5 * max(sizes.width, sizes.depth) * float(rng.uniform(0.8, 1.0)), float(rng.uniform(0.025, 0.045))
    if rng.uniform() < 0.5:
        profile = [(0, 0), (reach, 0), (reach, 0.02), (radius, 0.06), (radius, height), (0, height)]
        chair.add("pedestal", lathe(profile, (0, float(middle[1]), 0), 20), texture)
        return
    column = cylinder(radius, height - 0.06, (0, float(middle[1]), 0.06), sides=14)
    feet, count = [], int(rng.integers(4, 6))
    for number in range(count):
        angle = 2 * np.pi * (number + 0.5) / count
        tip = middle + np.array([reach * np.cos(angle), reach * np.sin(angle), 0.02])
        feet.append(rod(middle + np.array([0, 0, 0.09]), tip, radius * 0.8, 0.02))
    chair.add("pedestal", join([column, *feet]), texture)


def _add_seat(chair: Furniture, sizes: ChairSizes, texture: Texture, rng: np.random.Generator) -> None:
    bottom, middle = sizes.height - sizes.thick, sizes.depth / 2
    if sizes.round_:
        edge = min(0.02, sizes.thick / 3)
        half = sizes.width / 2
        profile = [(0, 0), (half - edge, 0), (half, edge), (half, sizes.thick - edge), (half - edge, sizes.thick)]
        chair.add("seat", lathe([*profile, (0, sizes.thick)], (0, middle, bottom), 24), texture)
        return
    puff = float(rng.choice([0.0, 0.015, 0.03]))
    size = (sizes.width, sizes.depth, sizes.thick)
    chair.add("seat", rounded_box(size, (0, middle, bottom), min(0.03, sizes.thick * 0.45), puff), texture)


def _add_back(
    chair: Furniture, kind: str, sizes: ChairSizes, frame: Texture, accent: Texture, rng: np.random.Generator
) -> None:
    """Everything is built upright over y = 0, z = 0, and then leant and put on the seat's rear edge."""
    if kind == "none":
        return
    place = np.array([0.0, 0.035, sizes.height - 0.4 * sizes.thick])
    turn = rotation_x(sizes.lean)
    width, rise = sizes.width * (0.72 if sizes.round_ else 0.96), sizes.rise
    thick = float(rng.uniform(0.03, 0.05))
    if kind == "shell":
        radius, angle = sizes.width / 2 - 0.02, float(np.radians(rng.uniform(120, 200)))
        mesh = shell(radius, angle, rise * 0.85, 0.03, float(rng.uniform(0.0, 0.1)))
        depth = sizes.depth / 2 if sizes.round_ else radius + 0.02
        chair.add("back", mesh.moved((0.0, depth, place[2]), rotation_x(0.4 * sizes.lean)), accent)
        return
    if kind == "solid":
        gap = float(rng.choice([0.0, 0.0, 0.09]))
        panel = rounded_box((width, thick * 1.3, rise - gap), (0, 0, gap), thick * 0.6, float(rng.choice([0.0, 0.012])))
        chair.add("back", panel.moved(place, turn), accent)
        if gap:
            posts = [bar(np.array([x, 0, 0]), np.array([x, 0, gap + 0.02]), (thick, thick)) for x in (-0.12, 0.12)]
            chair.add("posts", join(posts).moved(place, turn), frame)
        return
    half = width / 2 - thick / 2
    posts = [bar(np.array([x, 0, 0]), np.array([x, 0, rise]), (thick, thick)) for x in (-half, half)]
    chair.add("posts", join(posts).moved(place, turn), frame)
    inner = 2 * half - thick
    rail = lambda level, tall: box((inner, thick * 0.7, tall), (0, 0, level), spacing=0.1)  # noqa: E731
    if kind == "frame":
        panel = rounded_box((inner * 0.94, thick * 0.8, rise * 0.62), (0, 0, rise * 0.3), 0.012)
        pieces = [rail(rise - 0.05, 0.05), rail(rise * 0.22, 0.04)]
        chair.add("rails", join(pieces).moved(place, turn), frame)
    elif kind == "ladder":
        count = int(rng.integers(2, 6))
        tall = min(0.09, 0.5 * rise / count)
        panel = join([rail(rise * (number + 1) / count - tall, tall) for number in range(count)])
    else:
        count = int(rng.integers(3, 7))
        slat = min(0.05, 0.5 * inner / count)
        pieces = [rail(rise - 0.06, 0.06), rail(0.04, 0.04)]
        chair.add("rails", join(pieces).moved(place, turn), frame)
        columns = (np.arange(count) - (count - 1) / 2) * inner / count
        panel = join([box((slat, thick * 0.5, rise - 0.1), (float(x), 0, 0.06)) for x in columns])
    chair.add("back", panel.moved(place, turn), accent)


def _add_arms(chair: Furniture, sizes: ChairSizes, frame: Texture, accent: Texture, rng: np.random.Generator) -> None:
    above, thick = float(rng.uniform(0.17, 0.25)), float(rng.uniform(0.035, 0.06))
    solid = bool(rng.uniform() < 0.3)
    reach = sizes.depth * float(rng.uniform(0.75, 0.98))
    for number, side in enumerate((-1, 1), start=1):
        x = side * (sizes.width / 2 - 0.2 * thick)
        if solid:
            size = (thick * 1.4, reach, above + sizes.thick)
            mesh = rounded_box(size, (x, 0.02 + reach / 2, sizes.height - sizes.thick), 0.025)
            chair.add(f"arm{number}", mesh, accent)
            continue
        post = bar(
            np.array([x, reach - thick / 2, sizes.height - sizes.thick * 0.7]),
            np.array([x, reach - thick / 2, sizes.height + above]),
            (thick * 0.8, thick * 0.8),
        )
        rear = 0.02 - above * float(np.tan(sizes.lean))
        rest = rounded_box(
            (thick * 1.3, reach - rear, 0.03), (x, (reach + rear) / 2, sizes.height + above - 0.005), 0.012
        )
        chair.add(f"arm{number}", join([post, rest]), frame)


def _along(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, float]:
    """(3, 3) smallest rotation that turns z towards `end - start`, and the distance between the two."""
    step = np.asarray(end, dtype=float) - np.asarray(start, dtype=float)
    length = float(np.linalg.norm(step))
    z = step / length
    axis = np.array([-z[1], z[0], 0.0])
    skew = np.array([[0.0, 0.0, axis[1]], [0.0, 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    if z[2] > -1 + 1e-9:
        return np.eye(3) + skew + skew @ skew / (1 + z[2]), length
    return np.diag([1.0, -1.0, -1.0]), length


def _strip(first: np.ndarray, second: np.ndarray) -> Mesh:
    """Quadrilaterals between two lines of (N, 3) points; they face (along the lines) x (from first to second)."""
    points, faces = np.stack([first, second], 1), grid_faces(len(first), 2)
    normals = np.repeat(np.cross(np.gradient(points[:, 0], axis=0), second - first), 2, axis=0)
    return Mesh(points.reshape(-1, 3), normals / np.linalg.norm(normals, axis=1, keepdims=True), faces)
