"""Shapes, textures and the catalogue."""

import numpy as np
import pytest
import trimesh

from nerfseg_plugins.rooms import meshes
from nerfseg_plugins.rooms.furniture import KINDS, make_furniture
from nerfseg_plugins.rooms.palette import Palette
from nerfseg_plugins.rooms.textures import PATTERNS, Texture, TextureTable, linear_to_srgb, noise, srgb_to_linear

NYU40_IDS = {3, 4, 5, 6, 7, 10, 14, 32, 35, 39}


def as_trimesh(mesh: meshes.Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


@pytest.mark.parametrize(
    ("mesh", "volume"),
    [
        (meshes.box((1.0, 2.0, 3.0)), 6.0),
        (meshes.cylinder(0.5, 2.0, sides=400), np.pi * 0.25 * 2.0),
        (meshes.cylinder(0.3, 1.0, top_radius=0.0, sides=400), np.pi * 0.09 / 3),
        (meshes.ellipsoid((0.5, 0.4, 0.3), sides=200), 4 / 3 * np.pi * 0.06),
        # A box with rounded edges: core, six slabs, twelve quarter cylinders and one ball.
        (
            meshes.rounded_box((1.0, 0.8, 0.6), radius=0.1, spacing=0.02),
            0.8 * 0.6 * 0.4
            + 2 * 0.1 * (0.8 * 0.6 + 0.6 * 0.4 + 0.8 * 0.4)
            + np.pi * 0.01 * (0.8 + 0.6 + 0.4)
            + 4 / 3 * np.pi * 0.001,
        ),
    ],
)
def test_shapes_are_closed_and_have_their_volume(mesh, volume):
    # A surface that is open or partly inside out has another signed volume.
    assert as_trimesh(mesh).volume == pytest.approx(volume, rel=0.02)


@pytest.mark.parametrize(
    "mesh",
    [
        meshes.box((1, 2, 3), (4, 5, 6)),
        meshes.rounded_box((1, 1, 0.3), radius=0.1, puff=0.05),
        meshes.cylinder(0.2, 1.0, top_radius=0.1),
        meshes.ellipsoid((0.1, 0.2, 0.3)),
        meshes.leaf((0, 0, 0), 0.4, 0.5, 0.1, 1.2, 1.0),
    ],
)
def test_normals_are_unit_length_and_agree_with_the_winding(mesh):
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1)
    corners = mesh.vertices[mesh.faces]
    winding = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    solid = np.linalg.norm(winding, axis=1) > 1e-10
    assert np.all(np.einsum("ij,ij->i", winding, mesh.normals[mesh.faces].mean(1))[solid] > 0)


def test_box_stands_on_its_position():
    vertices = meshes.box((1, 2, 3), (10, 20, 30)).vertices
    assert np.allclose(vertices.min(0), [9.5, 19, 30]) and np.allclose(vertices.max(0), [10.5, 21, 33])


def test_no_edge_is_longer_than_the_spacing_asks():
    mesh = meshes.patch((0, 0, 0), (1.0, 0, 0), (0, 0.5, 0), 0.1)
    assert as_trimesh(mesh).edges_unique_length.max() <= 0.1 * np.sqrt(2) + 1e-9


def test_rotations_turn_the_axes():
    x, y, z = np.eye(3)
    assert np.allclose(meshes.rotation_z(np.pi / 2) @ x, y)
    assert np.allclose(meshes.rotation_x(np.pi / 2) @ y, z)
    assert np.allclose(meshes.rotation_y(np.pi / 2) @ z, x)


@pytest.mark.parametrize("kind", list(KINDS))
def test_furniture_has_named_parts_on_its_foot(kind):
    sizes = set()
    for seed in range(3):
        piece = make_furniture(kind, Palette(np.random.default_rng(seed)))
        names = [part.name for part in piece.parts]
        assert len(names) >= 2 and len(set(names)) == len(names)
        assert piece.class_id in NYU40_IDS
        low, high = piece.bounds
        assert low[2] == pytest.approx(0, abs=0.002) and low[1] > -0.03
        assert np.all(high - low > 0.03) and np.all(high - low < 2.7)
        sizes.add(tuple((high - low).round(3)))
    assert len(sizes) == 3


def test_there_are_at_least_eight_kinds_of_all_classes():
    pieces = [make_furniture(kind, Palette(np.random.default_rng(0))) for kind in KINDS]
    assert len(pieces) >= 8 and {piece.class_id for piece in pieces} == NYU40_IDS


@pytest.mark.parametrize("kind", list(PATTERNS))
def test_patterns_stay_in_range_and_have_structure(kind):
    rng = np.random.default_rng(0)
    points, normals = rng.uniform(-2, 2, (4000, 3)), np.tile([0.0, -1.0, 0.0], (4000, 1))
    table = TextureTable([Texture(kind, ((0.1, 0.2, 0.3), (0.9, 0.8, 0.7), (0.9, 0.1, 0.1)), 0.3)])
    albedo = table.albedo(np.zeros(4000, dtype=int), points, normals)
    assert albedo.shape == (4000, 3) and albedo.min() >= 0 and albedo.max() <= 1
    assert albedo.std(0).max() > 0.05


def test_chess_alternates_by_hand():
    table = TextureTable([Texture("chess", ((0, 0, 0), (1, 1, 1), (1, 1, 1)), 1.0, tint=0.0)])
    points = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.0], [1.0, 1.0, 0.0]])
    albedo = table.albedo(np.zeros(5, dtype=int), points, np.tile([0.0, 0.0, 1.0], (5, 1)))
    # Some dark squares are half covered by the accent; light ones are white throughout.
    assert np.allclose(albedo[[0, 2, 4], 0], 1) and albedo[[1, 3], 0].max() <= 0.5


def test_noise_is_smooth_periodic_and_centred():
    points = np.random.default_rng(1).uniform(-20, 20, (5000, 3))
    values = noise(points)
    assert abs(values.mean()) < 0.06 and 0.2 < values.std() < 0.7
    assert np.allclose(values, noise(points + 8.0), atol=1e-3)
    assert np.abs(noise(points + 0.01) - values).max() < 0.2


def test_srgb_round_trip_and_known_value():
    values = np.linspace(0, 1, 100)
    assert np.allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-6)
    assert srgb_to_linear(np.array([0.5]))[0] == pytest.approx(0.21404, abs=1e-4)
