"""The catalogue: every kind of furniture by name."""

from __future__ import annotations

from collections.abc import Callable

from nerfseg_plugins.rooms import accessories, beds_seats, cases_tables
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture

KINDS: dict[str, Callable[[Palette], Furniture]] = {
    "bed": beds_seats.make_bed,
    "chair": beds_seats.make_chair,
    "armchair": beds_seats.make_armchair,
    "sofa": beds_seats.make_sofa,
    "pouf": beds_seats.make_pouf,
    "nightstand": cases_tables.make_nightstand,
    "dresser": cases_tables.make_dresser,
    "wardrobe": cases_tables.make_wardrobe,
    "bookshelf": cases_tables.make_bookshelf,
    "desk": cases_tables.make_desk,
    "dining table": cases_tables.make_dining_table,
    "coffee table": cases_tables.make_coffee_table,
    "basket": cases_tables.make_basket,
    "table lamp": accessories.make_table_lamp,
    "floor lamp": accessories.make_floor_lamp,
    "plant": accessories.make_plant,
    "vase": accessories.make_vase,
    "bowl": accessories.make_bowl,
    "computer": accessories.make_computer,
    "picture": accessories.make_picture,
}
"""Kind -> what makes one."""


def make_furniture(kind: str, palette: Palette) -> Furniture:
    """A piece of furniture of `kind` (a key of `KINDS`), its sizes and looks drawn from `palette`."""
    return KINDS[kind](palette)
