"""A category of small objects: each stands alone on nothing, all alike in scale and orientation, seen from around."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.cameras import Camera, look_at
from nerfseg_plugins.rooms.chairs import make_varied_chair
from nerfseg_plugins.rooms.meshes import Mesh
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture
from nerfseg_plugins.rooms.room import ObjectInfo, PartInfo, Room
from nerfseg_plugins.rooms.shell import AreaLight
from nerfseg_plugins.rooms.textures import TextureTable
from nerfseg_plugins.rooms.tracing import Surfaces
from nerfseg_plugins.rooms.writers import Shots

OBJECT_RADIUS = 0.7
"""Of the sphere about the origin that every object just fits into, scene units."""
SRN_RADIUS = 2.0
"""Distance of the cameras from the origin in SRN's chairs; near and far are 1.25 and 2.75."""
SRN_FOCAL = 131.25 / 128
"""Focal length of SRN's images in image widths."""
NMR_RADIUS = 2.732
"""Distance of the cameras from the origin in the NMR renderings; near and far are 1.2 and 4."""
NMR_VIEWS = 24
NMR_ELEVATION = 30.0
NMR_ANGLE = np.radians(30.0)
"""Field of view of the NMR renderings."""
LOWEST, HIGHEST = -0.35, 0.95
"""Sines of the elevations between which SRN-like cameras stand: 20 degrees below the object's middle to 72 above."""
SPIRAL_TURNS = 7.0
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CategoryObject:
    """One object of a category.

    Attributes:
        name: unique over all splits.
        split: train, val or test.
        room: the object alone, scene units: z up, facing +y, centred at the origin, of radius `OBJECT_RADIUS`.
        shots: from where; all cameras are in `shots.train`.
    """

    name: str
    split: str
    room: Room
    shots: Shots


def make_chair_scene(
    seed: int, views: int = 50, width: int = 64, height: int = 64, rig: str = "random"
) -> tuple[Room, Shots]:
    """A chair alone, and cameras around it.

    Args:
        seed: equal seeds give equal chairs.
        views: how many cameras.
        width: pixels.
        height: pixels.
        rig: `random` and `spiral` as in SRN's training and test sets, `ring` as in the NMR renderings.

    Raises:
        InputError: an argument is out of range.
    """
    check_category(seed, (1, 0, 0), views, width, height)
    room = object_room(make_varied_chair(Palette(np.random.default_rng([seed, 61]))), seed)
    if rig == "random":
        cameras = random_cameras(views, seed)
    elif rig == "spiral":
        cameras = spiral_cameras(views)
    else:
        cameras = ring_cameras(views)
    return room, Shots(cameras, [], width, height)


def chair_category(
    seed: int, counts: tuple[int, int, int], views: int, width: int, height: int, ring: bool = False
) -> list[CategoryObject]:
    """All chairs of a category; nothing is lit or rendered yet.

    Args:
        seed: of the whole category; every chair has its own, derived from it.
        counts: objects to train on, to validate on and to test on.
        views: of each object.
        width: pixels.
        height: pixels.
        ring: cameras of the NMR renderings; otherwise SRN's: random ones to train on, a spiral for the others.

    Raises:
        InputError: an argument is out of range.
    """
    check_category(seed, counts, views, width, height)
    splits = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    objects = []
    for index, split in enumerate(splits):
        rig = "ring" if ring else "random" if split == "train" else "spiral"
        own = int(np.random.default_rng([seed, 67, index]).integers(2**31))
        objects.append(CategoryObject(f"chair_{index:04d}", split, *make_chair_scene(own, views, width, height, rig)))
    return objects


def check_category(seed: int, counts: tuple[int, int, int], views: int, width: int, height: int) -> None:
    """Refuse arguments that make no category.

    Raises:
        InputError: naming the argument, its value and what is allowed.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}; it must not be negative")
    if len(counts) != len(SPLITS) or min(counts) < 0 or sum(counts) < 1:
        raise InputError(f"count is {counts}; give the numbers of training, validation and test objects, 0 or more")
    if views < 1:
        raise InputError(f"views is {views}; at least one view of each object is needed")
    if min(width, height) < 16:
        raise InputError(f"images of {width}x{height} are too small; width and height must be at least 16")


def object_room(piece: Furniture, seed: int, radius: float = OBJECT_RADIUS) -> Room:
    """A piece of furniture alone: centred at the origin, scaled to fit a sphere, lit from above, on nothing.

    Args:
        piece: what stands there.
        seed: of the light's sampling.
        radius: of the sphere about the origin that holds it, scene units.
    """
    low, high = piece.bounds
    centre = (low + high) / 2
    vertices = np.concatenate([part.mesh.vertices for part in piece.parts])
    scale = radius / float(np.linalg.norm(vertices - centre, axis=1).max())
    world = [_scaled(part.mesh, centre, scale) for part in piece.parts]
    half = (high - low) / 2 * scale
    info = ObjectInfo(1, piece.kind, piece.class_name, piece.class_id, 1, 2 * half, np.eye(3), np.zeros(3))
    lights, sky = studio_lights()
    return Room(
        seed=seed,
        bbox=np.stack([-half, half]),
        groups=["object"],
        objects=[info],
        parts=[PartInfo(number, part.name, 1) for number, part in enumerate(piece.parts, start=1)],
        surfaces=Surfaces.of(world, [part.mesh for part in piece.parts]),
        textures=TextureTable([part.texture for part in piece.parts]),
        surface_ids=np.array([(n, 1, 1, piece.class_id) for n in range(1, len(piece.parts) + 1)], dtype=np.int32),
        lights=lights,
        sky=sky,
        enclosed=False,
    )


def studio_lights() -> tuple[list[AreaLight], np.ndarray]:
    """A large soft lamp above the front left, and the radiance of the white surroundings."""
    corner = np.array([-2.6, 0.4, 2.6])
    lamp = AreaLight(corner, np.array([0.0, 1.8, 0.0]), np.array([1.8, 0.0, 0.0]), np.array([13.0, 12.4, 11.4]))
    return [lamp], np.array([0.95, 0.98, 1.0])


def random_cameras(count: int, seed: int) -> list[Camera]:
    """Cameras at random places on SRN's sphere, uniform in azimuth and height, looking at the origin."""
    rng = np.random.default_rng([seed, 71])
    return [
        _camera(sine, azimuth, SRN_RADIUS, SRN_FOCAL)
        for sine, azimuth in zip(rng.uniform(LOWEST, HIGHEST, count), rng.uniform(0, 2 * np.pi, count), strict=True)
    ]


def spiral_cameras(count: int) -> list[Camera]:
    """Cameras on an Archimedean spiral over SRN's sphere, from the top downwards, looking at the origin."""
    steps = (np.arange(count) + 0.5) / count
    return [
        _camera(HIGHEST + (LOWEST - HIGHEST) * step, 2 * np.pi * SPIRAL_TURNS * step, SRN_RADIUS, SRN_FOCAL)
        for step in steps
    ]


def ring_cameras(count: int = NMR_VIEWS) -> list[Camera]:
    """Cameras at equal distances on a ring 30 degrees above the object, as in the NMR renderings."""
    focal = 0.5 / float(np.tan(NMR_ANGLE / 2))
    sine = float(np.sin(np.radians(NMR_ELEVATION)))
    return [_camera(sine, 2 * np.pi * index / count, NMR_RADIUS, focal) for index in range(count)]


def _camera(sine: float, azimuth: float, radius: float, focal: float) -> Camera:
    flat = np.sqrt(1 - sine**2)
    position = radius * np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), sine])
    return Camera(look_at(position, np.zeros(3)), 2 * float(np.arctan(0.5 / focal)))


def _scaled(mesh: Mesh, centre: np.ndarray, scale: float) -> Mesh:
    return replace(mesh, vertices=(mesh.vertices - centre) * scale)
