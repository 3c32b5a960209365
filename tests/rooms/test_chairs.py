"""The category of chairs."""

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.category import (
    NMR_RADIUS,
    OBJECT_RADIUS,
    SRN_RADIUS,
    chair_category,
    make_chair_scene,
    object_room,
    random_cameras,
    ring_cameras,
    spiral_cameras,
)
from nerfseg_plugins.rooms.chairs import bar, make_varied_chair, rod, shell
from nerfseg_plugins.rooms.meshes import box
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.parts import Furniture
from nerfseg_plugins.rooms.render import render_color


def chair(seed: int) -> Furniture:
    return make_varied_chair(Palette(np.random.default_rng(seed)))


def volume(mesh) -> float:
    """Of a closed mesh, by the divergence theorem: negative where triangles face inwards."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_bars_between_two_points():
    start, end = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 7.0])  # 5 apart
    square = bar(start, end, (0.1, 0.2))
    assert volume(square) == pytest.approx(0.1 * 0.2 * 5)
    ends = square.vertices @ (end - start) / 5
    assert ends.min() == pytest.approx(start @ (end - start) / 5) and np.ptp(ends) == pytest.approx(5)
    sides = 10
    polygon = sides / 2 * np.sin(2 * np.pi / sides) * 0.1**2
    assert volume(rod(start, end, 0.1, sides=sides)) == pytest.approx(polygon * 5)
    # A frustum has a third of (A + B + sqrt(A B)) times its length: here radii 0.1 and 0.05.
    assert volume(rod(start, end, 0.1, 0.05, sides)) == pytest.approx(polygon * 5 * (1 + 0.25 + 0.5) / 3)
    assert volume(rod(end * [0, 0, 1], start * [0, 0, 1], 0.1)) > 0  # straight down


def test_a_shell_is_closed_and_faces_outwards():
    mesh = shell(0.25, np.pi, 0.4, 0.03, 0.0)
    # Half a ring of radii 0.25 and 0.28; the arch lowers the upper edge by 0.22 u^4, a fifth of 0.22 on average.
    ring = np.pi / 2 * (0.28**2 - 0.25**2)
    assert volume(mesh) == pytest.approx(ring * 0.4 * (1 - 0.22 / 5), rel=0.02)
    corners = mesh.vertices[mesh.faces]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ij,ikj->ik", faces, mesh.normals[mesh.faces]) > 0).all()
    assert mesh.vertices[:, 1].max() == pytest.approx(0, abs=1e-12) and mesh.vertices[:, 2].min() == 0
    assert volume(shell(0.25, 2.5, 0.4, 0.03, 0.1)) > volume(shell(0.25, 2.5, 0.4, 0.03, 0.0))


def test_equal_seeds_give_equal_chairs_and_others_differ():
    one, two, other = (make_chair_scene(seed, 2)[0] for seed in (5, 5, 6))
    assert np.array_equal(one.surfaces.vertices, two.surfaces.vertices)
    assert np.array_equal(one.irradiance, two.irradiance)
    assert one.surfaces.vertices.shape != other.surfaces.vertices.shape


def test_a_category_is_varied():
    pieces = [chair(seed) for seed in range(150)]
    names = [{part.name for part in piece.parts} for piece in pieces]
    assert all(len(found) == len(piece.parts) for found, piece in zip(names, pieces, strict=True))
    stools = sum(piece.kind == "stool" for piece in pieces)
    assert 3 <= stools <= 25
    for part, least in (("leg4", 70), ("pedestal", 8), ("runner1", 8), ("arm1", 30), ("posts", 50), ("back", 110)):
        assert sum(part in found for found in names) >= least, part
    assert sum("leg2" in found and "leg3" not in found for found in names) >= 3  # crossed
    for piece, found in zip(pieces, names, strict=True):
        colors = {part.texture.colors for part in piece.parts}
        assert 2 <= len(colors) <= 3
        assert "seat" in found and ("back" in found) == (piece.kind == "chair")
        size = np.ptp(piece.bounds, axis=0)
        assert (size[:2] < 1.2).all() and 0.4 < size[2] < 1.4
    shapes = {(len(piece.parts), *np.ptp(piece.bounds, axis=0).round(2)) for piece in pieces}
    assert len(shapes) > 140


@pytest.mark.parametrize("seed", range(8))
def test_all_chairs_share_a_frame(seed):
    room, _ = make_chair_scene(seed, 1)
    vertices = room.surfaces.vertices
    assert np.linalg.norm(vertices, axis=1).max() == pytest.approx(OBJECT_RADIUS)
    assert np.allclose(vertices.min(0) + vertices.max(0), 0)
    owner = {info.part_id: info.name for info in room.parts}
    ids = room.surface_ids[:, 0]
    middle = {
        owner[part]: vertices[np.unique(room.surfaces.faces[room.surfaces.face_surface == index])].mean(0)
        for index, part in enumerate(ids)
    }
    base = [point for name, point in middle.items() if name.startswith(("leg", "runner", "pedestal"))]
    assert max(point[2] for point in base) < middle["seat"][2]
    if "back" in middle:
        assert middle["back"][2] > middle["seat"][2] and middle["back"][1] < middle["seat"][1]


def test_a_box_fills_the_sphere():
    piece = Furniture("crate", "other")
    piece.add("crate", box((1, 2, 2)), chair(0).parts[0].texture)
    room = object_room(piece, 0, radius=3.0)
    # The diagonal of 1 x 2 x 2 is 3, so a sphere of radius 3 holds it at twice its size.
    assert np.allclose(room.bbox, [[-1, -2, -2], [1, 2, 2]])
    assert np.allclose(room.surfaces.vertices.max(0), [1, 2, 2])
    assert room.surfaces.local[:, 2].min() == 0  # textures keep the size of furniture


@pytest.mark.parametrize(
    ("cameras", "radius"),
    [(random_cameras(40, 3), SRN_RADIUS), (spiral_cameras(40), SRN_RADIUS), (ring_cameras(), NMR_RADIUS)],
)
def test_cameras_look_at_the_origin_from_their_sphere(cameras, radius):
    for camera in cameras:
        assert np.linalg.norm(camera.position) == pytest.approx(radius)
        assert np.allclose(camera.c2w[:3, 2], camera.position / radius)
        assert camera.c2w[2, 0] == pytest.approx(0) and camera.c2w[2, 1] > 0  # upright
        # The whole sphere of the objects fits the picture.
        assert np.arcsin(OBJECT_RADIUS / radius) < camera.angle_x / 2


def test_where_the_cameras_stand():
    heights = np.array([camera.position[2] for camera in random_cameras(400, 1)]) / SRN_RADIUS
    assert -0.35 <= heights.min() < -0.3 and 0.9 < heights.max() <= 0.95  # some below, most above
    spiral = np.stack([camera.position for camera in spiral_cameras(50)])
    assert (np.diff(spiral[:, 2]) < 0).all()
    ring = np.stack([camera.position for camera in ring_cameras()])
    assert len(ring) == 24 and np.allclose(ring[:, 2], NMR_RADIUS * 0.5)  # 30 degrees up
    assert np.allclose(np.diff(np.unwrap(np.arctan2(ring[:, 1], ring[:, 0]))), np.radians(15))
    assert ring_cameras()[0].focal(64) == pytest.approx(32 / np.tan(np.radians(15)))
    assert random_cameras(1, 0)[0].focal(128) == pytest.approx(131.25)  # SRN's own


def test_what_stands_on_nothing_is_seen_whole():
    room, shots = make_chair_scene(2, 6, 48, 48)
    for camera in shots.train:
        rgb, alpha = render_color(room, camera, 48, 48)
        assert 0.03 < (alpha > 0).mean() < 0.7
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert not border.any()
        assert (rgb[alpha == 0] == 0).all() and rgb[alpha == 255].std() > 5


def test_splits_hold_different_objects():
    items = chair_category(0, (3, 2, 1), 4, 32, 32)
    assert [item.split for item in items] == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert len({item.name for item in items}) == 6
    assert len({item.room.surfaces.vertices.tobytes() for item in items}) == 6
    spiral = [camera.c2w for camera in spiral_cameras(4)]
    assert np.allclose([camera.c2w for camera in items[-1].shots.train], spiral)
    assert not np.allclose([camera.c2w for camera in items[0].shots.train], spiral)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1; it must not be negative"),
        ({"counts": (0, 0, 0)}, r"count is \(0, 0, 0\); give the numbers of training, validation and test objects"),
        ({"counts": (2, -1, 0)}, "count is"),
        ({"views": 0}, "views is 0; at least one view"),
        ({"width": 8}, "images of 8x32 are too small"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"seed": 0, "counts": (1, 0, 0), "views": 1, "width": 32, "height": 32, **change}
    with pytest.raises(InputError, match=message):
        chair_category(**arguments)
