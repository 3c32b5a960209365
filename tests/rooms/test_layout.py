"""Where furniture stands."""

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.layout import GROUPS, MAX_OBJECTS, build_units, compose, overlaps, place_units, wall_frame
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.room import make_room


@pytest.mark.parametrize("count", [1, 4, 10, 17, MAX_OBJECTS])
def test_compose_gives_exactly_the_number_of_objects(count):
    for seed in range(5):
        groups = compose(np.random.default_rng(seed), count)
        assert sum(len(kinds) for kinds in groups.values()) == count
        for name, kinds in groups.items():
            assert tuple(kinds) == GROUPS[name][: len(kinds)]


def test_compose_leaves_pictures_out_where_there_are_no_walls():
    kinds = compose(np.random.default_rng(0), MAX_OBJECTS, pictures=False)
    assert "picture" not in [kind for group in kinds.values() for kind in group]


@pytest.mark.parametrize("count", [0, MAX_OBJECTS + 1])
def test_compose_refuses_numbers_out_of_range(count):
    with pytest.raises(InputError, match=f"objects is {count}; a room holds 1 to {MAX_OBJECTS}"):
        compose(np.random.default_rng(0), count)


@pytest.mark.parametrize(("seed", "count"), [(0, 6), (1, 10), (2, 15), (3, MAX_OBJECTS)])
def test_objects_stay_in_the_room_and_apart(seed, count):
    rng = np.random.default_rng(seed)
    bbox, placed = place_units(build_units(compose(rng, count), Palette(rng)), rng)
    assert len(placed) == count
    boxes = [item.aabb for item in placed]
    for index, box in enumerate(boxes):
        assert np.all(box[0] >= bbox[0] - 1e-6) and np.all(box[1] <= bbox[1] + 1e-6)
        for other in boxes[:index]:
            assert not overlaps(box, other)


def test_what_does_not_stand_on_the_floor_stands_on_something_or_hangs():
    rng = np.random.default_rng(5)
    _, placed = place_units(build_units(compose(rng, MAX_OBJECTS), Palette(rng)), rng)
    for item in placed:
        low = item.aabb[0, 2]
        if low > 0.01 and item.furniture.kind != "picture":
            centre = item.aabb.mean(0)[:2]
            under = [
                other
                for other in placed
                if abs(other.position[2] + other.furniture.top - low) < 0.005
                and np.all(other.aabb[0, :2] < centre)
                and np.all(other.aabb[1, :2] > centre)
            ]
            assert under, item.furniture.kind


@pytest.mark.parametrize("wall", range(4))
def test_wall_frames_look_into_the_room(wall):
    bbox = np.array([[-2.0, -1.5, 0.0], [2.0, 1.5, 2.5]])
    foot, yaw, length = wall_frame(bbox, wall)
    # +y turned by the yaw points from the wall's foot to the middle of the room.
    assert np.allclose(foot + np.array([-np.sin(yaw), np.cos(yaw), 0]) * np.linalg.norm(foot), 0)
    assert length == pytest.approx(4.0 if wall % 2 == 0 else 3.0)


def test_rooms_depend_on_seed_and_attempt_alone():
    one, same, other, again = (make_room(*item, attempt=attempt) for *item, attempt in
                               ((4, 6, True, 0), (4, 6, True, 0), (5, 6, True, 0), (4, 6, True, 1)))  # fmt: skip
    assert np.array_equal(one.surfaces.vertices, same.surfaces.vertices)
    assert np.array_equal(one.irradiance, same.irradiance)
    for different in (other, again):
        assert not np.array_equal(one.bbox, different.bbox)


def test_open_room_stands_on_a_labelled_slab():
    room = make_room(0, 4, enclosed=False)
    assert [item.name for item in room.objects][-1] == "slab" and len(room.objects) == 5
    assert room.groups[-1] == "ground" and np.all(room.surface_ids[:, :3] > 0)


def test_part_object_group_map_is_consistent(room):
    assert [part.part_id for part in room.parts] == list(range(1, len(room.parts) + 1))
    assert [item.instance_id for item in room.objects] == list(range(1, len(room.objects) + 1))
    ids = room.surface_ids[room.surface_ids[:, 0] > 0]
    assert np.array_equal(room.part_to_object[ids[:, 0]], ids[:, 1])
    assert np.array_equal(room.object_to_group[ids[:, 1]], ids[:, 2])
    assert np.array_equal(room.object_to_class[ids[:, 1]], ids[:, 3])
    assert set(room.part_to_object[1:]) == set(range(1, len(room.objects) + 1))
    assert len({item.name for item in room.objects}) == len(room.objects)
