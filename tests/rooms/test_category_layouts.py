"""Data sets of many objects on disk, read here by hand; the dataparsers have tests of their own."""

import time

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.room import Room as RoomCommand
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.category import chair_category, make_chair_scene
from nerfseg_plugins.rooms.category_writers import (
    Y_DOWN,
    over,
    projection,
    unit_sphere,
    write_dvr,
    write_nmr,
    write_srn,
)
from nerfseg_plugins.rooms.generate import write_many
from nerfseg_plugins.rooms.render import render_color

COUNTS, VIEWS, SIZE = (2, 1, 1), 3, 48


def digest(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of each layout, all of the same seed."""
    out = {}
    for layout in ("srn", "nmr", "dvr"):
        out[layout] = tmp_path_factory.mktemp("many") / layout
        write_many(out[layout], layout, 4, COUNTS, VIEWS, SIZE, SIZE)
    return out


@pytest.mark.parametrize("layout", ["srn", "nmr", "dvr"])
def test_two_writes_are_equal(written, layout, tmp_path):
    write_many(tmp_path / "again", layout, 4, COUNTS, VIEWS, SIZE, SIZE)
    first, second = digest(written[layout]), digest(tmp_path / "again")
    assert first.keys() == second.keys()
    for name in first:
        if name.endswith(".npz"):
            one, two = (np.load(folder / name) for folder in (written[layout], tmp_path / "again"))
            assert all(np.array_equal(one[key], two[key]) for key in one.files)
        else:
            assert first[name] == second[name], name


def test_srn_files(written):
    folder, items = written["srn"], chair_category(4, COUNTS, VIEWS, SIZE, SIZE)
    assert sorted(path.name for path in folder.iterdir()) == ["chairs_test", "chairs_train", "chairs_val"]
    for item in items:
        place = folder / f"chairs_{item.split}" / item.name
        assert (place / "intrinsics.txt").read_text() == "49.218750 24.000000 24.000000 0.\n0. 0. 0.\n1.\n48 48\n"
        assert len(list((place / "rgb").iterdir())) == len(list((place / "pose").iterdir())) == VIEWS
        for index, camera in enumerate(item.shots.train):
            line = (place / "pose" / f"{index:06d}.txt").read_text()
            assert line.count("\n") == 1
            pose = np.array(line.split(), dtype=float).reshape(4, 4)
            # OpenCV: x right, y down, z forwards, and the object lies 2 ahead.
            assert np.allclose(pose[:3, :3], camera.c2w[:3, :3] * [1, -1, -1], atol=1e-8)
            assert np.allclose(pose[:3, 3] + 2 * pose[:3, 2], 0, atol=1e-7)
            image = np.asarray(Image.open(place / "rgb" / f"{index:06d}.png"))
            rgb, alpha = render_color(item.room, camera, SIZE, SIZE)
            assert image.shape == (SIZE, SIZE, 3) and (image[alpha == 0] == 255).all()
            assert np.array_equal(image[alpha == 255], rgb[alpha == 255])


def test_nmr_files(written):
    folder, items = written["nmr"] / "chairs", chair_category(4, COUNTS, VIEWS, SIZE, SIZE, ring=True)
    assert (folder / "softras_train.lst").read_text() == "chair_0000\nchair_0001\n"
    assert (folder / "softras_val.lst").read_text() == "chair_0002\n"
    assert (folder / "softras_test.lst").read_text() == "chair_0003\n"
    for item in items:
        cameras = np.load(folder / item.name / "cameras.npz")
        assert len(cameras.files) == 4 * VIEWS
        vertices = item.room.surfaces.vertices
        upright = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)  # y is up in these data
        for index in range(VIEWS):
            world, camera = cameras[f"world_mat_{index}"], cameras[f"camera_mat_{index}"]
            assert np.allclose(world @ cameras[f"world_mat_inv_{index}"], np.eye(4))
            assert np.allclose(camera @ cameras[f"camera_mat_inv_{index}"], np.eye(4))
            assert camera[0, 0] == camera[1, 1] == pytest.approx(1 / np.tan(np.radians(15)))
            mask = np.asarray(Image.open(folder / item.name / "mask" / f"{index:04d}.png"))
            assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
            local = upright @ world[:3, :3].T + world[:3, 3]
            pixels = (local[:, :2] / local[:, 2:] * camera[0, 0] + 1) * SIZE / 2
            check_inside(pixels, mask > 0)
            image = np.asarray(Image.open(folder / item.name / "image" / f"{index:04d}.png"))
            assert (image[0, 0] == 255).all()


def test_dvr_files(written):
    folder = written["dvr"] / "DTU"
    assert (folder / "new_train.lst").read_text() == "chair_0000\nchair_0001\n"
    for item in chair_category(4, COUNTS, VIEWS, SIZE, SIZE):
        cameras = np.load(folder / item.name / "cameras.npz")
        vertices = item.room.surfaces.vertices
        lying = np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], axis=1)  # y is down in these data
        for index in range(VIEWS):
            points = np.concatenate([lying, np.ones((len(lying), 1))], axis=1)
            within = points @ np.linalg.inv(cameras[f"scale_mat_{index}"]).T
            assert np.linalg.norm(within[:, :3], axis=1).max() == pytest.approx(1 / 1.05)
            projected = points @ cameras[f"world_mat_{index}"].T
            assert np.allclose(cameras[f"world_mat_{index}"][3], [0, 0, 0, 1])
            mask = np.asarray(Image.open(folder / item.name / "mask" / f"{index:06d}.png")) > 0
            # Integers are the pixels' centres in these matrices.
            check_inside(projected[:, :2] / projected[:, 2:3] + 0.5, mask)
            image = np.asarray(Image.open(folder / item.name / "image" / f"{index:06d}.png"))
            assert (image[0, 0] == 0).all()


def check_inside(pixels, mask):
    """Points of an object lie on its mask, but for half covered pixels at its edge; and they span it."""
    columns, rows = np.floor(pixels).astype(int).T
    near = np.pad(mask, 1)
    near = sum(np.roll(near, (x, y), (0, 1)) for x in (-1, 0, 1) for y in (-1, 0, 1)).astype(bool)[1:-1, 1:-1]
    assert near[rows, columns].all() and mask[rows, columns].mean() > 0.8
    found_rows, found_columns = np.nonzero(mask)
    for found, used in ((found_rows, rows), (found_columns, columns)):
        assert abs(found.min() - used.min()) <= 1 and abs(found.max() - used.max()) <= 1


def test_a_projection_by_hand():
    room, shots = make_chair_scene(0, 1, 40, 30)
    camera = shots.train[0]
    matrix = projection(camera, 40, 30)
    ahead = camera.position - 2.0 * camera.c2w[:3, 2] + 0.5 * camera.c2w[:3, 0]  # 2 ahead, half to the right
    x, y, depth = (matrix @ np.append(ahead, 1))[:3]
    assert depth == pytest.approx(2) and y / depth == pytest.approx(14.5)
    assert x / depth == pytest.approx(19.5 + camera.focal(40) * 0.25)
    unit = unit_sphere(room)
    assert np.allclose(unit, np.diag([0.735, 0.735, 0.735, 1])) and np.allclose(Y_DOWN @ [0, 0, 1, 1], [0, -1, 0, 1])


def test_colours_over_a_background():
    rgb = np.array([[[100, 0, 200]]], dtype=np.uint8)
    for alpha, expected in ((0, [255, 255, 255]), (255, [100, 0, 200]), (51, [224, 204, 244])):
        assert over(rgb, np.array([[alpha]], dtype=np.uint8), 255)[0, 0].tolist() == expected


def test_rooms_as_scans(tmp_path):
    write_many(tmp_path / "data", "dvr", 1, (1, 1, 0), 6, 48, 36, rooms=True, num_objects=4)
    folder = tmp_path / "data" / "DTU"
    assert (folder / "new_train.lst").read_text() == "scan1\n" and (folder / "new_val.lst").read_text() == "scan2\n"
    assert (folder / "new_test.lst").read_text() == ""
    masks = [np.asarray(Image.open(path)) for path in sorted((folder / "scan2" / "mask").iterdir())]
    assert len(masks) == 6 and all(0.1 < (mask > 0).mean() < 0.9 for mask in masks)


@pytest.mark.parametrize("write", [write_srn, write_nmr])
def test_a_failed_write_leaves_nothing(tmp_path, write):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "data", "chairs", chair_category(0, (1, 0, 0), 2, 16, 16), progress=stop)
    with pytest.raises(KeyboardInterrupt):
        scans = [("a", "train", *make_chair_scene(0, 2, 16, 16))]
        write_dvr(tmp_path / "data", scans, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["srn", "nmr", "dvr"])
def test_the_command(tmp_path, layout, capsys):
    RoomCommand(tmp_path / "data", layout, count=(1, 0, 1), views=2, width=16, height=16).main()
    assert "1 + 0 + 1 chairs, 2 views of each" in capsys.readouterr().out
    (tmp_path / "data" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"data is not empty; choose another folder or pass --overwrite"):
        RoomCommand(tmp_path / "data", layout, count=(1, 0, 1), views=2, width=16, height=16).main()
    RoomCommand(tmp_path / "data", layout, count=(1, 0, 0), views=1, width=16, height=16, overwrite=True).main()
    assert not (tmp_path / "data" / "mine.txt").exists()


def test_the_views_of_a_layout_are_its_own(tmp_path):
    RoomCommand(tmp_path / "nmr", "nmr", count=(1, 0, 0), width=16).main()
    images = list((tmp_path / "nmr" / "chairs" / "chair_0000" / "image").iterdir())
    assert len(images) == 24 and Image.open(images[0]).size == (16, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": (0, 0, 0)}, "count is"),
        ({"views": 0}, "views is 0"),
        ({"height": 4}, "images of 32x4 are too small"),
        ({"seed": -3}, "seed is -3"),
        ({"subject": "rooms"}, "the srn layout holds single objects; write rooms in the dvr layout"),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing(tmp_path, change, message):
    arguments = {"count": (1, 0, 0), "views": 1, "width": 32, "height": 32, **change}
    with pytest.raises(InputError, match=message):
        RoomCommand(tmp_path / "data", "srn", **arguments).main()
    with pytest.raises(InputError, match="layout 'colmap' is unknown; choose one of srn, nmr, dvr"):
        write_many(tmp_path / "data", "colmap")
    assert list(tmp_path.iterdir()) == []


def test_time_of_a_category(tmp_path, record_property):
    cpu = time.process_time()
    RoomCommand(tmp_path / "data", "srn", count=(2, 0, 0)).main()
    cpu = time.process_time() - cpu
    record_property("cpu_seconds", cpu)
    # Two chairs of 50 views take half a second of one core, 44 chairs 15 s; ten times that is still bearable.
    assert cpu < 6
