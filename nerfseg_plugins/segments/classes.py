"""COCO's categories in the terms used here: NYU40 class ids, and which of the "stuff" is structure."""

NYU40_OTHER_PROP = 40
"""NYU40's class for things that have none of their own."""

COCO_TO_NYU40 = {
    "person": 31,
    "backpack": 37,
    "handbag": 37,
    "suitcase": 37,
    "chair": 5,
    "bench": 5,
    "couch": 6,
    "bed": 4,
    "dining table": 7,
    "toilet": 33,
    "tv": 25,
    "microwave": 40,
    "sink": 34,
    "refrigerator": 24,
    "book": 23,
    "pillow": 18,
    "towel": 27,
    "cabinet": 3,
    "shelf": 15,
    "counter": 12,
    "table": 7,
    "light": 35,
    "mirror": 19,
}
"""COCO category -> NYU40 class; other things are `NYU40_OTHER_PROP`."""

COCO_STRUCTURE = frozenset({"wall", "floor", "ceiling", "window", "door", "curtain", "stairs", "rug"})
"""First words of COCO panoptic stuff that is background (wall-brick, floor-wood, door-stuff, window-blind ...)."""


def plain_name(category: str) -> str:
    """COCO's panoptic names without their suffixes: "wall-other-merged" -> "wall", "door-stuff" -> "door"."""
    return category.replace("-merged", "").replace("-stuff", "").replace("-other", "").strip()


def nyu40_class(category: str) -> int:
    """NYU40 class of a COCO thing or stuff."""
    return COCO_TO_NYU40.get(plain_name(category), NYU40_OTHER_PROP)


def is_structure(category: str) -> bool:
    """Whether a stuff category is background: walls, floors, ceilings, windows, doors, curtains, stairs, rugs."""
    return plain_name(category).split("-")[0] in COCO_STRUCTURE
