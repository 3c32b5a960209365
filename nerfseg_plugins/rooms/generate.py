"""From a seed to a data set: the room, its cameras and the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.cameras import NoViewError, sample_cameras
from nerfseg_plugins.rooms.category import SPLITS, chair_category, check_category
from nerfseg_plugins.rooms.category_writers import write_dvr, write_nmr, write_srn
from nerfseg_plugins.rooms.llff import write_llff
from nerfseg_plugins.rooms.rigs import forward_cameras, orbit_cameras
from nerfseg_plugins.rooms.room import Room, make_room
from nerfseg_plugins.rooms.sam_hierarchy import write_sam_hierarchy
from nerfseg_plugins.rooms.writers import MASK_FORMATS, Shots, check_target, no_progress, write_front3d

LAYOUTS = ("front3d", "sam-hierarchy", "llff")
MANY_LAYOUTS = ("srn", "nmr", "dvr")
"""Layouts of many objects, or of many scans."""
CATEGORY = "chairs"
ATTEMPTS = 12


def make_scene(
    seed: int,
    layout: str = "front3d",
    num_objects: int = 10,
    num_train: int = 40,
    num_val: int = 8,
    width: int = 160,
    height: int = 120,
) -> tuple[Room, Shots]:
    """A room and cameras that see it well; rooms with a hidden object are made anew.

    Args:
        seed: equal seeds give equal scenes.
        layout: one of `LAYOUTS`: it decides where the cameras stand and whether the room has walls.
        num_objects: how many objects.
        num_train: training views.
        num_val: held-out views.
        width: pixels.
        height: pixels.

    Raises:
        InputError: an argument is out of range.
    """
    check_arguments(seed, layout, num_objects, num_train, num_val, width, height)
    rig = {"front3d": sample_cameras, "sam-hierarchy": orbit_cameras, "llff": forward_cameras}[layout]
    reason = ""
    for attempt in range(ATTEMPTS):
        room = make_room(seed, num_objects, enclosed=layout != "sam-hierarchy", attempt=attempt)
        try:
            train, val = rig(room, num_train, num_val, seed)
        except NoViewError as error:
            reason = str(error)
            continue
        return room, Shots(train, val, width, height)
    raise InputError(f"no good views for seed {seed} with {num_objects} objects ({reason}); try another seed or fewer")


def write_scene(
    path: Path,
    room: Room,
    shots: Shots,
    layout: str = "front3d",
    noisy: bool = False,
    mask_format: str = "png",
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Write a scene of `make_scene` in its layout; see the writer of each layout.

    Raises:
        InputError: the folder is not empty, or an argument is unknown.
    """
    if layout == "front3d":
        write_front3d(path, room, shots, mask_format, noisy, overwrite, progress)
    elif layout == "sam-hierarchy":
        write_sam_hierarchy(path, room, shots, noisy, overwrite, progress)
    else:
        write_llff(path, room, shots, noisy, overwrite, progress)


def write_many(
    path: Path,
    layout: str,
    seed: int = 0,
    counts: tuple[int, int, int] = (32, 6, 6),
    views: int = 50,
    width: int = 64,
    height: int = 64,
    rooms: bool = False,
    num_objects: int = 10,
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Make and write a category of chairs, or, in the DVR layout, scans of rooms from outside.

    Args:
        path: the folder to make.
        layout: one of `MANY_LAYOUTS`.
        seed: equal seeds give equal data sets.
        counts: objects or scans to train on, to validate on and to test on.
        views: of each.
        width: pixels.
        height: pixels.
        rooms: scans of furnished rooms without walls, on black; the DVR layout alone.
        num_objects: pieces of furniture in each room.
        overwrite: replace a folder that has something in it.
        progress: called after each view.

    Raises:
        InputError: an argument is out of range, or the folder is not empty.
    """
    if layout not in MANY_LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown; choose one of {', '.join(MANY_LAYOUTS)}")
    check_category(seed, counts, views, width, height)
    check_target(path, overwrite)
    if rooms:
        if layout != "dvr":
            raise InputError(f"the {layout} layout holds single objects; write rooms in the dvr layout")
        scans = _room_scans(seed, counts, views, width, height, num_objects)
        write_dvr(path, scans, overwrite, progress)
        return
    objects = chair_category(seed, counts, views, width, height, ring=layout == "nmr")
    if layout == "dvr":
        write_dvr(path, ((item.name, item.split, item.room, item.shots) for item in objects), overwrite, progress)
    else:
        (write_srn if layout == "srn" else write_nmr)(path, CATEGORY, objects, overwrite, progress)


def _room_scans(
    seed: int, counts: tuple[int, int, int], views: int, width: int, height: int, num_objects: int
) -> Iterator[tuple[str, str, Room, Shots]]:
    splits = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    for index, split in enumerate(splits):
        room, shots = make_scene(seed + index, "sam-hierarchy", num_objects, views, 0, width, height)
        yield f"scan{index + 1}", split, room, shots


def check_arguments(
    seed: int, layout: str, num_objects: int, num_train: int, num_val: int, width: int, height: int
) -> None:
    """Refuse arguments that make no data set.

    Raises:
        InputError: naming the argument, its value and what is allowed.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    if seed < 0:
        raise InputError(f"seed is {seed}; it must not be negative")
    if num_train < 1:
        raise InputError(f"views is {num_train}; at least one training view is needed")
    if num_val < 0:
        raise InputError(f"val-views is {num_val}; it must be 0 or more")
    if num_objects < 1:
        raise InputError(f"objects is {num_objects}; at least one is needed")
    if min(width, height) < 16:
        raise InputError(f"images of {width}x{height} are too small; width and height must be at least 16")


__all__ = ["LAYOUTS", "MASK_FORMATS", "check_arguments", "check_target", "make_scene", "write_many", "write_scene"]
