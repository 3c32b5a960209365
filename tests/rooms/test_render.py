"""Pictures, labels and depth."""

from itertools import pairwise

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from nerfseg_plugins.rooms.cameras import MIN_SHARE, Camera, in_free_space, look_at, object_boxes, sample_cameras
from nerfseg_plugins.rooms.render import render_view
from nerfseg_plugins.rooms.rigs import ORBIT_RADIUS, SCENE_RADIUS, forward_cameras, orbit_cameras, orbit_frame
from nerfseg_plugins.rooms.room import make_room


def unproject(view):
    """(H*W, 3) world points of a view, from its z-depth, by the textbook formula."""
    height, width = view.depth.shape
    focal = 0.5 * width / np.tan(view.camera.angle_x / 2)
    v, u = np.mgrid[:height, :width] + 0.5
    points = (
        np.stack([(u - width / 2) / focal, -(v - height / 2) / focal, -np.ones_like(u)], -1) * view.depth[..., None]
    )
    return points.reshape(-1, 3) @ view.camera.c2w[:3, :3].T + view.camera.c2w[:3, 3]


def project(points, view):
    """Pixel (row, column) int and z-depth of world points in another view."""
    height, width = view.depth.shape
    focal = 0.5 * width / np.tan(view.camera.angle_x / 2)
    local = (points - view.camera.c2w[:3, 3]) @ view.camera.c2w[:3, :3]
    z = -local[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        column = np.floor(local[:, 0] / z * focal + width / 2)
        row = np.floor(-local[:, 1] / z * focal + height / 2)
    good = (z > 0.1) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return np.where(good, row, 0).astype(int), np.where(good, column, 0).astype(int), z, good


def test_depth_reprojects_onto_the_same_ids_and_colours(views):
    agree, compared, differences = 0, 0, []
    for first, second in pairwise(views):
        row, column, z, good = project(unproject(first), second)
        good &= np.abs(z - second.depth[row, column]) < 0.01
        agree += (first.instances.ravel() == second.instances[row, column])[good].sum()
        compared += good.sum()
        colors = np.abs(first.rgb.reshape(-1, 3).astype(int) - second.rgb[row, column])[good]
        differences.append(np.median(colors))
    assert compared > 2000
    assert agree / compared > 0.985
    # Surfaces look alike from everywhere, up to where a pixel falls on a pattern.
    assert np.mean(differences) < 20


def test_labels_and_depth_agree_with_another_ray_caster(room, views):
    view = views[0]
    mesh = trimesh.Trimesh(room.surfaces.vertices, room.surfaces.faces, process=False)
    pixels = np.random.default_rng(0).choice(view.depth.size, 60, replace=False)
    height, width = view.depth.shape
    directions = view.camera.directions(width, height)[pixels]
    caster = trimesh.ray.ray_triangle.RayMeshIntersector(mesh)
    origins = np.tile(view.camera.position, (len(pixels), 1))
    points, ray, face = caster.intersects_location(origins, directions, multiple_hits=False)
    depth = np.zeros(len(pixels))
    depth[ray] = -((points - view.camera.position) @ view.camera.c2w[:3, 2])
    assert np.allclose(depth, view.depth.ravel()[pixels], atol=1e-4)
    ids = np.zeros(len(pixels), dtype=int)
    ids[ray] = room.surface_ids[room.surfaces.face_surface[face], 1]
    assert (ids == view.instances.ravel()[pixels]).mean() > 0.95


def test_boxes_contain_the_points_of_their_object(room, views):
    found = set()
    for view in views:
        points = unproject(view)
        for item in room.objects:
            own = points[view.instances.ravel() == item.instance_id]
            local = (own - item.position) @ item.orientation
            assert np.all(np.abs(local) <= item.extents / 2 + 1e-3)
            found |= {item.instance_id} if len(own) else set()
        outside = (points < room.bbox[0] - 1e-3) | (points > room.bbox[1] + 1e-3)
        assert not outside.any()
    assert found == {item.instance_id for item in room.objects}


def test_labels_of_a_pixel_belong_together(room, views):
    for view in views:
        assert np.array_equal(room.part_to_object[view.parts], view.instances)
        assert np.array_equal(room.object_to_group[view.instances], view.groups)
        assert np.array_equal(room.object_to_class[view.instances], view.classes)
        assert np.all(view.depth > 0) and np.all(view.alpha == 255)


def test_pictures_are_neither_dark_nor_blown_out_and_have_texture(views):
    for view in views:
        grey = view.rgb.mean(-1)
        assert 60 < grey.mean() < 200 and grey.std() > 20
        assert (grey > 250).mean() < 0.1 and (grey < 5).mean() < 0.05


def test_light_is_darker_under_furniture(room):
    floor = room.surfaces.vertices[:, 2] == room.bbox[0, 2]
    under = np.zeros(len(floor), dtype=bool)
    for item, box in zip(room.objects, object_boxes(room), strict=True):
        if item.class_name in ("bed", "sofa", "table", "desk"):
            inner = (room.surfaces.vertices > box[0] + 0.1) & (room.surfaces.vertices < box[1] - 0.1)
            under |= inner[:, :2].all(1)
    light = room.irradiance.mean(1)
    assert light[floor & under].mean() < 0.5 * light[floor & ~under].mean()


def test_a_view_is_rendered_alike_twice(room, shots):
    one, two = (render_view(room, shots.train[0], 40, 30) for _ in range(2))
    for name in ("rgb", "alpha", "depth", "parts", "instances", "groups", "classes"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


def test_ids_come_from_pixel_centres_at_any_resolution(room, shots):
    # The centre of a pixel of a third of the resolution is the centre of the middle one of its nine.
    coarse, fine = (render_view(room, shots.train[1], width, height) for width, height in ((30, 20), (90, 60)))
    assert (coarse.parts == fine.parts[1::3, 1::3]).mean() > 0.995
    assert np.allclose(coarse.depth, fine.depth[1::3, 1::3], atol=1e-3)


def test_look_at_by_hand():
    c2w = look_at(np.array([0.0, -2.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    assert np.allclose(c2w[:3], [[1, 0, 0, 0], [0, 0, -1, -2], [0, 1, 0, 1]])
    rays = Camera(c2w, 2 * np.arctan(1.0)).directions(2, 2)
    assert np.allclose(rays, [[-0.5, 1, 0.5], [0.5, 1, 0.5], [-0.5, 1, -0.5], [0.5, 1, -0.5]])


def test_focal_length_of_a_room_camera():
    assert Camera(np.eye(4)).focal(320) == pytest.approx(200.0)


def all_rigs(room):
    shut, open_ = room, make_room(3, 7, enclosed=False)
    return [sample_cameras(shut, 9, 3, 0), orbit_cameras(open_, 9, 3, 0), forward_cameras(shut, 9, 3, 0)]


def test_poses_are_proper_rotations_and_deterministic(room):
    first, second = all_rigs(room), all_rigs(room)
    for (train, val), (train_again, val_again) in zip(first, second, strict=True):
        assert (len(train), len(val)) == (9, 3)
        poses = np.stack([camera.c2w for camera in train + val])
        assert np.array_equal(poses, np.stack([camera.c2w for camera in train_again + val_again]))
        turns = poses[:, :3, :3]
        assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3), atol=1e-9)
        assert np.allclose(np.linalg.det(turns), 1)
        assert np.allclose(Rotation.from_matrix(turns).as_matrix(), turns)
        assert len(np.unique(poses[:, :3, 3].round(6), axis=0)) == 12


def test_cameras_stand_in_free_space(room, shots):
    points = np.stack([camera.position for camera in [*shots.train, *shots.val]])
    assert in_free_space(room, points).all()
    assert np.all((points > room.bbox[0]) & (points < room.bbox[1]))
    for box in object_boxes(room):
        assert not np.any(np.all((points > box[0]) & (points < box[1]), 1))


def test_free_space_by_hand(room):
    centre = object_boxes(room)[0].mean(0)
    assert not in_free_space(room, np.stack([centre, room.bbox[1] + 1.0, room.bbox[0]])).any()


@pytest.mark.parametrize(("seed", "count"), [(0, 10), (11, 15)])
def test_every_object_is_seen_in_five_training_views(seed, count):
    from nerfseg_plugins.rooms.generate import make_scene
    from nerfseg_plugins.rooms.render import render_labels

    room, shots = make_scene(seed, num_objects=count, num_train=40, num_val=4, width=80, height=60)
    seen = np.zeros(count, dtype=int)
    for camera in shots.train:
        ids = render_labels(room, camera, 80, 60)[0][..., 1]
        seen += np.bincount(ids.ravel(), minlength=count + 1)[1:] > 0.7 * MIN_SHARE * ids.size
    assert seen.min() >= 5


def test_orbit_fits_the_nerf_synthetic_convention():
    room = make_room(2, 6, enclosed=False)
    centre, scale = orbit_frame(room)
    train, val = orbit_cameras(room, 12, 4, 0)
    offsets = (np.stack([camera.position for camera in train + val]) - centre) * scale
    assert np.allclose(np.linalg.norm(offsets, axis=1), ORBIT_RADIUS) and np.all(offsets[:, 2] > 0.5)
    corners = (room.surfaces.vertices - centre) * scale
    assert np.linalg.norm(corners[:, :2], axis=1).max() <= SCENE_RADIUS + 1e-6
    view = render_view(room, train[0], 64, 48)
    border = np.concatenate([view.alpha[0], view.alpha[-1], view.alpha[:, 0], view.alpha[:, -1]])
    assert not border.any() and view.alpha.max() == 255
    assert np.all((view.depth == 0) == (view.instances == 0))
