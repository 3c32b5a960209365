"""Tables, desks and whatever has doors, drawers or shelves."""

from __future__ import annotations

from nerfseg_plugins.rooms.meshes import box, cylinder, ellipsoid, join, rounded_box
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture


def make_nightstand(palette: Palette) -> Furniture:
    """Body on legs with a top and drawers with knobs."""
    rng = palette.rng
    width, depth, height = rng.uniform(0.4, 0.52), rng.uniform(0.36, 0.44), rng.uniform(0.45, 0.58)
    piece = Furniture("nightstand", "nightstand", top=height)
    _chest(piece, palette, (width, depth, height), rows=2, columns=1)
    return piece


def make_dresser(palette: Palette) -> Furniture:
    """A wide chest of drawers."""
    rng = palette.rng
    width, depth, height = rng.uniform(0.85, 1.25), rng.uniform(0.4, 0.48), rng.uniform(0.74, 0.95)
    piece = Furniture("dresser", "cabinet", top=height)
    _chest(piece, palette, (width, depth, height), rows=3, columns=2)
    return piece


def make_wardrobe(palette: Palette) -> Furniture:
    """A tall cabinet: plinth, body, cornice, doors with handles."""
    rng = palette.rng
    doors = int(rng.integers(2, 4))
    width, depth, height = 0.45 * doors * rng.uniform(0.95, 1.15), rng.uniform(0.5, 0.6), rng.uniform(1.85, 2.15)
    piece = Furniture("wardrobe", "cabinet")
    wood, front, metal = palette.wood(upright=True), palette.wood(0.14, upright=True), palette.metal()
    piece.add("plinth", box((width - 0.04, depth - 0.04, 0.08), (0, depth / 2 - 0.01, 0)), metal)
    piece.add("body", box((width, depth - 0.03, height - 0.13), (0, (depth - 0.03) / 2, 0.08)), wood)
    piece.add("cornice", box((width + 0.05, depth + 0.03, 0.05), (0, (depth + 0.03) / 2, height - 0.05)), wood)
    room = width / doors
    for number in range(doors):
        x = -width / 2 + room * (number + 0.5)
        panel = box((room - 0.015, 0.022, height - 0.17), (x, depth - 0.019, 0.1))
        piece.add(f"door{number + 1}", panel, front)
        side = -1 if number == doors - 1 else 1
        handle = box((0.025, 0.03, 0.22), (x + side * (room / 2 - 0.06), depth + 0.006, height * 0.45))
        piece.add(f"handle{number + 1}", handle, metal)
    return piece


def make_bookshelf(palette: Palette) -> Furniture:
    """Sides, back, shelves and rows of books."""
    rng = palette.rng
    width, depth, height = rng.uniform(0.75, 1.15), rng.uniform(0.28, 0.34), rng.uniform(1.5, 1.95)
    shelves = int(rng.integers(4, 6))
    piece = Furniture("bookshelf", "bookshelf")
    wood = palette.wood(upright=True)
    board = 0.03
    for number, side in enumerate((-1, 1), start=1):
        piece.add(f"side{number}", box((board, depth, height), (side * (width - board) / 2, depth / 2, 0)), wood)
    piece.add("back", box((width - 2 * board, 0.015, height - 0.06), (0, 0.008, 0.03)), palette.paint())
    gap = (height - board) / (shelves - 1)
    inner = width - 2 * board
    for number in range(shelves):
        shelf = box((inner, depth - 0.02, board), (0, depth / 2 + 0.008, number * gap))
        piece.add(f"shelf{number + 1}", shelf, wood)
    for number in range(shelves - 1):
        x, books = -inner / 2 + 0.01, 0
        limit = inner / 2 * rng.uniform(0.2, 1.0)
        while x < limit - 0.09:
            thick, tall = rng.uniform(0.04, 0.085), gap * rng.uniform(0.55, 0.82)
            deep = depth * rng.uniform(0.6, 0.75)
            books += 1
            mesh = box((thick - 0.004, deep, tall), (x + thick / 2, 0.02 + deep / 2, number * gap + board))
            texture = palette.paint() if rng.uniform() < 0.6 else palette.ceramic(0.1)
            piece.add(f"book{number + 1}_{books}", mesh, texture)
            x += thick
    return piece


def make_desk(palette: Palette) -> Furniture:
    """A top on a block of drawers and two legs."""
    rng = palette.rng
    width, depth, height = rng.uniform(1.1, 1.45), rng.uniform(0.58, 0.7), rng.uniform(0.72, 0.77)
    piece = Furniture("desk", "desk", top=height)
    wood, front, metal = palette.wood(), palette.paint(), palette.metal()
    piece.add("top", box((width, depth, 0.04), (0, depth / 2, height - 0.04)), wood)
    side = float(rng.choice([-1.0, 1.0]))
    block = 0.4
    x = side * (width / 2 - block / 2 - 0.02)
    piece.add("cabinet", box((block, depth - 0.08, height - 0.04), (x, depth / 2 - 0.02, 0)), wood)
    for number in range(3):
        tall = (height - 0.1) / 3
        mesh = box((block - 0.03, 0.02, tall - 0.02), (x, depth - 0.05, 0.04 + number * tall))
        piece.add(f"drawer{number + 1}", mesh, front)
        knob = ellipsoid((0.02, 0.02, 0.02), (x, depth - 0.03, 0.04 + (number + 0.5) * tall), 8)
        piece.add(f"knob{number + 1}", knob, metal)
    for number, y in enumerate((0.05, depth - 0.05), start=1):
        leg = box((0.05, 0.05, height - 0.04), (-side * (width / 2 - 0.05), y, 0))
        piece.add(f"leg{number}", leg, metal)
    return piece


def make_dining_table(palette: Palette) -> Furniture:
    """A large table, rectangular or round."""
    rng = palette.rng
    height = rng.uniform(0.72, 0.77)
    piece = Furniture("dining table", "table", top=height)
    wood = palette.wood()
    if rng.uniform() < 0.4:
        radius = rng.uniform(0.5, 0.6)
        piece.add("top", cylinder(radius, 0.04, (0, radius, height - 0.04), sides=28), wood)
        piece.add("column", cylinder(0.06, height - 0.07, (0, radius, 0.03), 0.05), palette.paint())
        piece.add("foot", cylinder(0.3, 0.04, (0, radius, 0), 0.24, sides=20), palette.metal())
        return piece
    width, depth = rng.uniform(1.15, 1.5), rng.uniform(0.75, 0.88)
    piece.add("top", box((width, depth, 0.04), (0, depth / 2, height - 0.04)), wood)
    apron = box((width - 0.12, depth - 0.12, 0.08), (0, depth / 2, height - 0.12))
    piece.add("apron", apron, palette.paint())
    piece.add_legs((width - 0.04, depth), height - 0.04, wood, 0.075)
    return piece


def make_coffee_table(palette: Palette) -> Furniture:
    """A low table with a shelf, or a round one with a tray."""
    rng = palette.rng
    height = rng.uniform(0.36, 0.46)
    piece = Furniture("coffee table", "table", top=height)
    wood = palette.wood()
    if rng.uniform() < 0.4:
        radius = rng.uniform(0.33, 0.42)
        piece.add("top", cylinder(radius, 0.04, (0, radius, height - 0.04), sides=24), wood)
        legs = [cylinder(0.035, height - 0.04, (x * radius * 0.6, radius + y * radius * 0.6, 0), 0.03, 10)
                for x, y in ((-1, -0.7), (1, -0.7), (0, 1))]  # fmt: skip
        for number, mesh in enumerate(legs, start=1):
            piece.add(f"leg{number}", mesh, palette.metal() if number == 1 else piece.parts[-1].texture)
        return piece
    width, depth = rng.uniform(0.85, 1.1), rng.uniform(0.48, 0.6)
    piece.add("top", box((width, depth, 0.04), (0, depth / 2, height - 0.04)), wood)
    piece.add("shelf", box((width - 0.1, depth - 0.1, 0.025), (0, depth / 2, height * 0.3)), palette.paint())
    piece.add_legs((width, depth), height - 0.04, wood, 0.06)
    return piece


def make_basket(palette: Palette) -> Furniture:
    """An open storage box with a folded blanket in it."""
    rng = palette.rng
    width, height = rng.uniform(0.34, 0.44), rng.uniform(0.26, 0.36)
    piece = Furniture("basket", "other")
    wall, base = 0.025, width / 2 + 0.01
    sides = [box((width, wall, height), (0, base + sign * (width - wall) / 2, 0)) for sign in (-1, 1)]
    sides += [box((wall, width - 2 * wall, height), (sign * (width - wall) / 2, base, 0)) for sign in (-1, 1)]
    sides.append(box((width - 2 * wall, width - 2 * wall, wall), (0, base, 0)))
    piece.add("box", join(sides), palette.fabric(0.1))
    inner = width - 2 * wall - 0.02
    piece.add(
        "blanket", rounded_box((inner, inner, height * 0.7), (0, base, height * 0.4), 0.06, 0.03), palette.fabric(0.1)
    )
    return piece


def _chest(piece: Furniture, palette: Palette, size: tuple[float, float, float], rows: int, columns: int) -> None:
    """Fill `piece` with a chest of drawers of the given (width, depth, height)."""
    width, depth, height = size
    wood, metal = palette.wood(), palette.metal()
    front = palette.paint() if palette.rng.uniform() < 0.6 else palette.wood()
    leg = 0.1
    piece.add_legs((width - 0.04, depth - 0.04), leg, wood, 0.05, round_=True)
    piece.add("body", box((width - 0.02, depth - 0.03, height - leg - 0.03), (0, (depth - 0.03) / 2, leg)), wood)
    piece.add("top", box((width, depth, 0.03), (0, depth / 2, height - 0.03)), palette.wood())
    tall, wide = (height - leg - 0.05) / rows, (width - 0.04) / columns
    for row in range(rows):
        for column in range(columns):
            number = row * columns + column + 1
            x, z = -width / 2 + 0.02 + wide * (column + 0.5), leg + 0.01 + row * tall
            piece.add(f"drawer{number}", box((wide - 0.02, 0.022, tall - 0.02), (x, depth - 0.024, z)), front)
            knob = ellipsoid((0.022, 0.018, 0.022), (x, depth - 0.005, z + tall / 2), 8)
            piece.add(f"knob{number}", knob, metal)
