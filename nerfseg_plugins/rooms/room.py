"""A room: labelled triangles with textures, made from a seed."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from nerfseg_plugins.rooms.layout import Placed, build_units, compose, place_units
from nerfseg_plugins.rooms.lighting import bake
from nerfseg_plugins.rooms.meshes import Mesh, box
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import NYU40
from nerfseg_plugins.rooms.shell import AreaLight, make_shell, open_lights
from nerfseg_plugins.rooms.textures import Texture, TextureTable
from nerfseg_plugins.rooms.tracing import Surfaces, Tracer


@dataclass(frozen=True)
class PartInfo:
    """A labelled part: its id over the whole room (1..P), its name and the id of its object."""

    part_id: int
    name: str
    instance_id: int


@dataclass(frozen=True)
class ObjectInfo:
    """A labelled object.

    Attributes:
        instance_id: 1..N.
        name: unique in the room, such as `chair 2`.
        class_name: NYU40 name.
        class_id: NYU40 id.
        group_id: 1..G.
        extents: (3,) full side lengths of its oriented box, metres.
        orientation: (3, 3) whose columns are the axes of the box in the world.
        position: (3,) centre of the box, metres, world.
    """

    instance_id: int
    name: str
    class_name: str
    class_id: int
    group_id: int
    extents: np.ndarray
    orientation: np.ndarray
    position: np.ndarray


@dataclass
class Room:
    """A furnished room; z is up, the floor is at z = 0, metres.

    Attributes:
        seed: what it was made from.
        bbox: (2, 3) inner box of the room.
        groups: names; group id g is `groups[g - 1]`.
        objects: object id i is `objects[i - 1]`.
        parts: part id p is `parts[p - 1]`.
        surfaces: geometry.
        textures: one texture for each surface.
        surface_ids: (S, 4) int32: part, object, group and class id of each surface, 0 for structure.
        lights: lamps and windows.
        sky: (3,) radiance beyond the geometry.
        enclosed: whether there are walls and a ceiling.
    """

    seed: int
    bbox: np.ndarray
    groups: list[str]
    objects: list[ObjectInfo]
    parts: list[PartInfo]
    surfaces: Surfaces
    textures: TextureTable
    surface_ids: np.ndarray
    lights: list[AreaLight]
    sky: np.ndarray
    enclosed: bool

    @functools.cached_property
    def tracer(self) -> Tracer:
        """Casts rays into the room."""
        return Tracer(self.surfaces)

    @functools.cached_property
    def irradiance(self) -> np.ndarray:
        """(V, 3) linear light that arrives at each vertex; computed once, for all views."""
        return bake(self.surfaces, self.textures, self.tracer, self.lights, self.sky, self.seed)

    @property
    def part_to_object(self) -> np.ndarray:
        """(P + 1,) int32: object id of each part id, 0 for 0."""
        return np.array([0] + [part.instance_id for part in self.parts], dtype=np.int32)

    @property
    def object_to_group(self) -> np.ndarray:
        """(N + 1,) int32: group id of each object id, 0 for 0."""
        return np.array([0] + [item.group_id for item in self.objects], dtype=np.int32)

    @property
    def object_to_class(self) -> np.ndarray:
        """(N + 1,) int32: NYU40 id of each object id, 0 for 0."""
        return np.array([0] + [item.class_id for item in self.objects], dtype=np.int32)


class _Collector:
    """Gathers surfaces and their labels."""

    def __init__(self) -> None:
        self.meshes: list[Mesh] = []
        self.locals: list[Mesh] = []
        self.textures: list[Texture] = []
        self.ids: list[tuple[int, int, int, int]] = []

    def add(self, world: Mesh, local: Mesh, texture: Texture, ids: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
        self.meshes.append(world)
        self.locals.append(local)
        self.textures.append(texture)
        self.ids.append(ids)


def make_room(seed: int, num_objects: int = 10, enclosed: bool = True, attempt: int = 0) -> Room:
    """Furnish a room.

    Args:
        seed: equal seeds give equal rooms.
        num_objects: how many objects.
        enclosed: with walls, ceiling and pictures; otherwise the furniture stands on a slab, which is one more object.
        attempt: another room for the same seed, for when the first has no good views.

    Raises:
        InputError: `num_objects` is out of range.
    """
    rng = np.random.default_rng([seed, attempt])
    palette = Palette(rng)
    groups = compose(rng, num_objects, pictures=enclosed)
    bbox, placed = place_units(build_units(groups, palette), rng)
    collector = _Collector()
    objects, parts = _collect_objects(placed, list(groups), collector)
    names = list(groups)
    if enclosed:
        shell = make_shell(bbox, [item.aabb for item in placed], palette)
        lights, sky = shell.lights, shell.sky
        for mesh, texture in shell.pieces:
            collector.add(mesh, mesh, texture)
    else:
        lights, sky = open_lights(bbox)
        names.append("ground")
        objects.append(_collect_slab(bbox, len(objects) + 1, len(parts) + 1, len(names), palette, collector))
        parts.append(PartInfo(len(parts) + 1, "slab", len(objects)))
    return Room(
        seed=seed,
        bbox=bbox,
        groups=names,
        objects=objects,
        parts=parts,
        surfaces=Surfaces.of(collector.meshes, collector.locals),
        textures=TextureTable(collector.textures),
        surface_ids=np.array(collector.ids, dtype=np.int32),
        lights=lights,
        sky=sky,
        enclosed=enclosed,
    )


def _collect_objects(
    placed: list[Placed], groups: list[str], collector: _Collector
) -> tuple[list[ObjectInfo], list[PartInfo]]:
    objects: list[ObjectInfo] = []
    parts: list[PartInfo] = []
    seen: dict[str, int] = {}
    for item in placed:
        piece, instance, group = item.furniture, len(objects) + 1, groups.index(item.group) + 1
        seen[piece.kind] = seen.get(piece.kind, 0) + 1
        name = piece.kind if seen[piece.kind] == 1 else f"{piece.kind} {seen[piece.kind]}"
        low, high = piece.bounds
        centre = item.rotation @ ((low + high) / 2) + item.position
        objects.append(
            ObjectInfo(instance, name, piece.class_name, piece.class_id, group, high - low, item.rotation, centre)
        )
        for part in piece.parts:
            parts.append(PartInfo(len(parts) + 1, part.name, instance))
            ids = (len(parts), instance, group, piece.class_id)
            collector.add(part.mesh.moved(item.position, item.rotation), part.mesh, part.texture, ids)
    return objects, parts


def _collect_slab(
    bbox: np.ndarray, instance: int, part: int, group: int, palette: Palette, collector: _Collector
) -> ObjectInfo:
    """The ground of an open room: a slab whose top is the floor."""
    size = np.array([*(bbox[1] - bbox[0])[:2], 0.08])
    centre = np.array([*(bbox[0] + bbox[1])[:2] / 2, -0.04])
    mesh = box(size, centre - [0, 0, 0.04], 0.06)
    collector.add(mesh, mesh, palette.floor(), (part, instance, group, NYU40["other"]))
    return ObjectInfo(instance, "slab", "other", NYU40["other"], group, size, np.eye(3), centre)
