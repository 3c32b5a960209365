"""Which objects a room holds and where they stand: groups against walls or on the free floor, nothing overlapping."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.furniture import make_furniture
from nerfseg_plugins.rooms.meshes import rotation_z
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture

GROUPS: dict[str, tuple[str, ...]] = {
    "sleeping area": ("bed", "nightstand", "table lamp", "nightstand", "table lamp"),
    "lounge": ("sofa", "coffee table", "floor lamp", "vase", "armchair", "pouf"),
    "work area": ("desk", "chair", "computer", "table lamp"),
    "dining area": ("dining table", "chair", "chair", "bowl", "chair", "chair"),
    "storage": ("bookshelf", "wardrobe", "dresser", "basket"),
    "decoration": ("plant", "picture", "pouf", "floor lamp", "picture", "basket"),
}
"""Group -> its objects, the ones that it cannot do without first."""

MAX_OBJECTS = 24
"""More would leave no floor for cameras in a room of sensible size."""

_GAP = 0.07
_CLEARANCE = 0.4
_TRIES = 120
_GROWTHS = 25


@dataclass
class Placed:
    """An object in the room: its frame is turned by `yaw` about z and then moved to `position` (metres, world)."""

    furniture: Furniture
    group: str
    position: np.ndarray
    yaw: float

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) object to world."""
        return rotation_z(self.yaw)

    @property
    def aabb(self) -> np.ndarray:
        """(2, 3) lowest and highest corner in the world, metres."""
        vertices = np.concatenate([part.mesh.vertices for part in self.furniture.parts]) @ self.rotation.T
        return np.stack([vertices.min(0), vertices.max(0)]) + self.position


@dataclass
class Unit:
    """Objects that are placed as one: `items` hold (furniture, x, y, z, yaw) in the frame of the unit.

    The frame of a unit is that of furniture: y = 0 is the back, which stands against a wall unless `free`.
    """

    group: str
    items: list[tuple[Furniture, float, float, float, float]] = field(default_factory=list)
    free: bool = False
    on_wall: bool = False

    def add(self, furniture: Furniture, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> None:
        """Add an object at (x, y, z) metres, turned by `yaw` radians about its own origin."""
        self.items.append((furniture, x, y, z, yaw))

    def placed(self, position: np.ndarray, yaw: float) -> list[Placed]:
        """The objects when the unit stands at `position` (3,), turned by `yaw`."""
        turn = rotation_z(yaw)
        return [
            Placed(furniture, self.group, position + turn @ np.array([x, y, z]), yaw + own)
            for furniture, x, y, z, own in self.items
        ]


def compose(rng: np.random.Generator, count: int, pictures: bool = True) -> dict[str, list[str]]:
    """Choose `count` kinds of furniture, spread over the groups.

    Args:
        rng: where the choice comes from.
        count: number of objects, 1 to `MAX_OBJECTS`.
        pictures: whether things may hang on walls.

    Returns:
        Group -> kinds, in the order of `GROUPS`, empty groups left out.

    Raises:
        InputError: `count` is out of range.
    """
    if not 1 <= count <= MAX_OBJECTS:
        raise InputError(f"objects is {count}; a room holds 1 to {MAX_OBJECTS}, choose a number in that range")
    left = {name: [kind for kind in kinds if pictures or kind != "picture"] for name, kinds in GROUPS.items()}
    chosen: dict[str, list[str]] = {name: [] for name in GROUPS}
    order = [list(GROUPS)[index] for index in rng.permutation(len(GROUPS))]
    while count > 0:
        for name in order:
            take = min(count, 3 if name == "sleeping area" and not chosen[name] else 2, len(left[name]))
            chosen[name] += left[name][:take]
            left[name] = left[name][take:]
            count -= take
    return {name: kinds for name, kinds in chosen.items() if kinds}


def build_units(groups: dict[str, list[str]], palette: Palette) -> list[Unit]:
    """Make the furniture of each group and arrange what belongs together."""
    units: list[Unit] = []
    for group, kinds in groups.items():
        pieces = [make_furniture(kind, palette) for kind in kinds]
        main = Unit(group, free=group == "dining area")
        loose: list[Furniture] = []
        if group == "sleeping area":
            _arrange_bed(main, pieces)
        elif group == "lounge":
            loose = _arrange_lounge(main, pieces)
        elif group == "work area":
            _arrange_desk(main, pieces, palette.rng)
        elif group == "dining area":
            _arrange_dining(main, pieces, palette.rng)
        else:
            loose = pieces
        if main.items:
            units.append(main)
        units += [Unit(group, [(piece, 0.0, 0.0, 0.0, 0.0)], on_wall=piece.kind == "picture") for piece in loose]
    return units


def place_units(units: list[Unit], rng: np.random.Generator) -> tuple[np.ndarray, list[Placed]]:
    """Find a place for every unit in a room that is as small as allows it.

    Returns:
        (2, 3) the room from floor to ceiling, metres, centred on the origin; and the objects in the order of `units`.
    """
    footprint = sum(float(np.prod(_extent(unit.placed(np.zeros(3), 0.0))[:2] + 0.25)) for unit in units)
    area = max(7.5, 1.3 * footprint + 2.0)
    aspect, height = float(rng.uniform(1.0, 1.3)), round(float(rng.uniform(2.5, 2.75)), 2)
    for _ in range(_GROWTHS):
        half = 0.5 * np.array([np.sqrt(area * aspect), np.sqrt(area / aspect)]).round(2)
        bbox = np.array([[-half[0], -half[1], 0.0], [half[0], half[1], height]])
        placed = _try_place(units, bbox, rng)
        if placed is not None:
            return bbox, placed
        area *= 1.08
    raise RuntimeError("no place was found for the furniture, though the room was allowed to grow")


def wall_frame(bbox: np.ndarray, wall: int) -> tuple[np.ndarray, float, float]:
    """The frame of wall 0..3 (at -y, +x, +y, -x), in which x runs along the wall and y into the room.

    Returns:
        (3,) the foot of the wall's middle, the yaw of the frame in radians, the wall's length in metres.
    """
    half = (bbox[1] - bbox[0])[:2] / 2
    yaw = wall * np.pi / 2
    depth, length = (half[1], 2 * half[0]) if wall % 2 == 0 else (half[0], 2 * half[1])
    centre = np.array([*(bbox[0] + bbox[1])[:2] / 2, bbox[0, 2]])
    return centre + rotation_z(yaw) @ np.array([0.0, -depth, 0.0]), yaw, float(length)


def overlaps(a: np.ndarray, b: np.ndarray, gap: float = 0.0) -> bool:
    """Whether two boxes (2, 3) come closer than `gap` along every axis."""
    return bool(np.all(a[0] - gap < b[1]) and np.all(b[0] - gap < a[1]))


def _try_place(units: list[Unit], bbox: np.ndarray, rng: np.random.Generator) -> list[Placed] | None:
    sizes = [float(np.prod(_extent(unit.placed(np.zeros(3), 0.0))[:2])) for unit in units]
    # Large ones first; pictures last, where furniture leaves the wall visible.
    order = sorted(range(len(units)), key=lambda index: (units[index].on_wall, -sizes[index]))
    done: dict[int, list[Placed]] = {}
    boxes: list[np.ndarray] = []
    clear: list[np.ndarray] = []
    for index in order:
        for _ in range(_TRIES):
            candidate = _candidate(units[index], bbox, rng)
            own = [item.aabb for item in candidate]
            zone = _clear_zone(units[index], candidate, own)
            inside = all(np.all(item[0] >= bbox[0] - 1e-6) and np.all(item[1] <= bbox[1] + 1e-6) for item in own)
            if not inside or any(overlaps(zone, item, _GAP) for item in boxes):
                continue
            if any(overlaps(item, other, _GAP) for item in own for other in clear):
                continue
            done[index] = candidate
            boxes += own
            clear.append(zone)
            break
        else:
            return None
    return [item for index in range(len(units)) for item in done[index]]


def _candidate(unit: Unit, bbox: np.ndarray, rng: np.random.Generator) -> list[Placed]:
    size = _extent(unit.placed(np.zeros(3), 0.0))
    if unit.free:
        yaw = float(rng.integers(0, 4)) * np.pi / 2
        reach = (bbox[1] - bbox[0])[:2] / 2 - (size[:2] if round(yaw / (np.pi / 2)) % 2 == 0 else size[1::-1]) / 2
        middle = rng.uniform(-1, 1, 2) * np.maximum(reach - 0.3, 0.0)
        return unit.placed(np.array([*middle, 0.0]), yaw)
    foot, yaw, length = wall_frame(bbox, int(rng.integers(4)))
    corner = size[0] < 0.75 and not unit.on_wall and rng.uniform() < 0.5
    slack = max((length - size[0]) / 2 - 0.04, 0.0)
    along = float(np.sign(rng.uniform(-1, 1)) * slack if corner else rng.uniform(-slack, slack))
    low = unit.placed(np.zeros(3), 0.0)
    middle = (min(item.aabb[0, 0] for item in low) + max(item.aabb[1, 0] for item in low)) / 2
    off = 0.004 if unit.on_wall else 0.03
    rise = float(rng.uniform(1.25, 1.5)) if unit.on_wall else 0.0
    back = min(item.aabb[0, 1] for item in low)
    return unit.placed(foot + rotation_z(yaw) @ np.array([along - middle, off - min(back, 0.0), rise]), yaw)


def _clear_zone(unit: Unit, placed: list[Placed], boxes: list[np.ndarray]) -> np.ndarray:
    """The box that must stay free of other units: the objects and some floor in front of them."""
    zone = np.stack([np.min([item[0] for item in boxes], 0), np.max([item[1] for item in boxes], 0)])
    if unit.on_wall:
        return zone
    zone[0, 2] = 0.0
    if unit.free:
        zone[0, :2] -= _CLEARANCE / 2
        zone[1, :2] += _CLEARANCE / 2
        return zone
    front = placed[0].rotation @ np.array([0.0, _CLEARANCE, 0.0])
    return np.stack([zone[0] + np.minimum(front, 0), zone[1] + np.maximum(front, 0)])


def _extent(placed: list[Placed]) -> np.ndarray:
    boxes = [item.aabb for item in placed]
    return np.max([item[1] for item in boxes], 0) - np.min([item[0] for item in boxes], 0)


def _size(piece: Furniture) -> np.ndarray:
    return piece.bounds[1] - np.minimum(piece.bounds[0], [np.inf, 0.0, np.inf])


def _arrange_bed(unit: Unit, pieces: list[Furniture]) -> None:
    bed = pieces[0]
    unit.add(bed)
    side = -1.0
    stand, x = None, 0.0
    for piece in pieces[1:]:
        if piece.kind == "nightstand":
            stand = piece
            x = side * ((_size(bed)[0] + _size(piece)[0]) / 2 + 0.06)
            side = -side
            unit.add(piece, x, 0.0)
        elif stand is not None:
            unit.add(piece, x, (_size(stand)[1] - piece.bounds[1, 1]) / 2, stand.top + 0.001)


def _arrange_lounge(unit: Unit, pieces: list[Furniture]) -> list[Furniture]:
    sofa, loose, table, front = pieces[0], [], None, 0.0
    unit.add(sofa)
    for piece in pieces[1:]:
        if piece.kind == "coffee table":
            table, front = piece, float(_size(sofa)[1]) + 0.35
            unit.add(piece, 0.0, front)
        elif piece.kind == "vase" and table is not None:
            middle = (table.bounds[0, 1] + table.bounds[1, 1]) / 2
            unit.add(piece, 0.0, front + middle - 0.14, table.top + 0.001)
        elif piece.kind == "floor lamp":
            unit.add(piece, float(_size(sofa)[0] / 2 + _size(piece)[0] / 2 + 0.05), 0.05)
        else:
            loose.append(piece)
    return loose


def _arrange_desk(unit: Unit, pieces: list[Furniture], rng: np.random.Generator) -> None:
    desk = pieces[0]
    unit.add(desk)
    cabinet = next(part for part in desk.parts if part.name == "cabinet").mesh.vertices[:, 0].mean()
    side = float(np.sign(cabinet))
    for piece in pieces[1:]:
        if piece.kind == "chair":
            yaw = np.pi + float(rng.uniform(-0.16, 0.16))
            unit.add(piece, -side * 0.2, float(_size(desk)[1] + piece.bounds[1, 1]) + 0.12, 0.0, yaw)
        elif piece.kind == "computer":
            unit.add(piece, -side * 0.15, 0.06, desk.top + 0.001)
        else:
            unit.add(piece, side * (_size(desk)[0] / 2 - 0.2), 0.08, desk.top + 0.001)


def _arrange_dining(unit: Unit, pieces: list[Furniture], rng: np.random.Generator) -> None:
    """Table in the middle of the unit, chairs on its four sides, a bowl on it."""
    table = pieces[0]
    width, depth = _size(table)[:2]
    middle = (table.bounds[0, 1] + table.bounds[1, 1]) / 2
    unit.add(table, 0.0, -middle)
    seats = [(0.0, np.pi), (0.0, 0.0), (1.0, np.pi / 2), (-1.0, -np.pi / 2)]
    for piece in pieces[1:]:
        if piece.kind == "bowl":
            unit.add(piece, float(rng.uniform(-0.15, 0.15)), -piece.bounds[1, 1] / 2, table.top + 0.001)
            continue
        _, yaw = seats.pop(0)
        yaw += float(rng.uniform(-0.1, 0.1))
        reach = (depth if abs(np.sin(yaw)) < 0.5 else width) / 2 + piece.bounds[1, 1] + 0.06
        # A chair at yaw 0 looks along +y, so it stands on the -y side of the table and faces it.
        x, y, _ = rotation_z(yaw) @ np.array([0.0, -reach, 0.0])
        unit.add(piece, float(x), float(y), 0.0, yaw)
