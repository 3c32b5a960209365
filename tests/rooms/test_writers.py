"""Data sets on disk."""

import csv
import hashlib
import json
import time

import h5py
import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.room import Room as RoomCommand
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.generate import make_scene, write_scene
from nerfseg_plugins.rooms.llff import pose_from_row, pose_row
from nerfseg_plugins.rooms.rigs import orbit_frame
from nerfseg_plugins.rooms.sam_hierarchy import containment
from nerfseg_plugins.rooms.writers import HDF5_KEY, save_ids, whole_folder

SMALL = {"num_objects": 5, "num_train": 4, "num_val": 2, "width": 48, "height": 36}


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder, room and shots of each layout, with noisy masks."""
    out = {}
    for layout in ("front3d", "sam-hierarchy", "llff"):
        room, shots = make_scene(1, layout, **SMALL)
        folder = tmp_path_factory.mktemp("rooms") / layout
        write_scene(folder, room, shots, layout, noisy=layout != "sam-hierarchy")
        out[layout] = (folder, room, shots)
    return out


@pytest.mark.parametrize("layout", ["front3d", "sam-hierarchy", "llff"])
def test_two_writes_are_byte_identical(written, layout, tmp_path):
    room, shots = make_scene(1, layout, **SMALL)
    write_scene(tmp_path / "again", room, shots, layout, noisy=layout != "sam-hierarchy")
    assert digest(tmp_path / "again") == digest(written[layout][0])


def test_front3d_files_and_frames(written):
    folder, room, shots = written["front3d"]
    full, train, val = (json.loads((folder / f"{name}transforms.json").read_text()) for name in ("", "train_", "val_"))
    assert full["frames"] == train["frames"] + val["frames"] and len(train["frames"]) == 4 and len(val["frames"]) == 2
    assert full["num_instances"] == full["num_room_objects"] == 5
    assert full["fl_x"] == pytest.approx(30.0) and (full["cx"], full["cy"], full["w"], full["h"]) == (24, 18, 48, 36)
    assert np.allclose(full["room_bbox"], room.bbox)
    boxes = {item["instance_id"]: item for item in full["bounding_boxes"]}
    tree = json.loads((folder / "hierarchy.json").read_text())
    for frame, camera in zip(full["frames"], [*shots.train, *shots.val], strict=True):
        stem = frame["file_path"][-8:-4]
        assert np.array_equal(frame["transform_matrix"], camera.c2w)
        image, masks, parts, classes = (
            np.asarray(Image.open(folder / name / f"{stem}.png")) for name in ("images", "masks", "parts", "semantics")
        )
        depth = np.load(folder / "depth" / f"{stem}.npy")
        assert image.shape == (36, 48, 3) and depth.dtype == np.float16 and depth.shape == (36, 48)
        assert masks.dtype == parts.dtype == np.uint16 and classes.dtype == np.uint8
        assert set(np.unique(masks)) - {0} <= set(boxes)
        for part, instance, class_id in {*zip(parts.ravel(), masks.ravel(), classes.ravel(), strict=True)}:
            if part == 0:
                assert instance == 0 and class_id == 0
                continue
            assert tree["parts"][str(part)]["object"] == instance
            assert boxes[instance]["class_id"] == tree["objects"][str(instance)]["class_id"] == class_id
            assert str(tree["objects"][str(instance)]["group"]) in tree["groups"]
        noisy = np.asarray(Image.open(folder / "masks_noisy" / f"{stem}.png"))
        segments = json.loads((folder / "masks_noisy" / f"{stem}.json").read_text())
        assert set(np.unique(noisy)) <= {0, 65535} | {item["id"] for item in segments}


@pytest.mark.parametrize("kind", ["npy", "hdf5"])
def test_front3d_masks_in_other_formats(written, kind, tmp_path):
    folder, room, shots = written["front3d"]
    write_scene(tmp_path / "data", room, shots, mask_format=kind)
    path = tmp_path / "data" / "masks" / f"0003.{kind}"
    if kind == "npy":
        ids = np.load(path)
    else:
        with h5py.File(path) as stream:
            ids = stream[HDF5_KEY][:]
    assert ids.dtype == np.int32
    assert np.array_equal(ids, np.asarray(Image.open(folder / "masks" / "0003.png")))
    frames = json.loads((tmp_path / "data" / "transforms.json").read_text())["frames"]
    assert frames[3]["mask_path"] == f"masks/0003.{kind}"


def test_unlabelled_pixels_are_65535_in_png(tmp_path):
    save_ids(tmp_path / "a.png", np.array([[-1, 0], [1, 65534]]))
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[65535, 0], [1, 65534]]
    with pytest.raises(InputError, match=r"b\.png cannot hold id 65535"):
        save_ids(tmp_path / "b.png", np.array([[65535]]))


def test_sam_hierarchy_matrices_by_brute_force(written):
    folder = written["sam-hierarchy"][0]
    frames = json.loads((folder / "transforms_train.json").read_text())["frames"]
    for index in range(len(frames)):
        segments = folder / "train_seg" / f"r_{index}"
        names = sorted(path.name for path in segments.glob("*.png"))
        masks = [np.asarray(Image.open(segments / name)) for name in names]
        assert all(set(np.unique(mask)) == {0, 255} for mask in masks) and len(masks) > 5
        inside = np.load(folder / "train_seg_hierarchy" / f"r_{index}_inside.npy")
        same = np.load(folder / "train_seg_hierarchy" / f"r_{index}_same.npy")
        assert inside.dtype == same.dtype == bool and inside.shape == same.shape == (len(masks), len(masks))
        for i, first in enumerate(masks):
            for j, second in enumerate(masks):
                both, either = ((first > 0) & (second > 0)).sum(), ((first > 0) | (second > 0)).sum()
                assert inside[i, j] == (both / (first > 0).sum() > 0.95 and both / either < 0.9)
                assert same[i, j] == (both / either > 0.9)
        areas = [int((np.asarray(Image.open(segments / f"{k}.png")) > 0).sum()) for k in range(len(masks))]
        assert areas == sorted(areas, reverse=True)
        rows = list(csv.DictReader((segments / "metadata.csv").open()))
        assert [int(row["area"]) for row in rows] == areas and len(rows[0]) == 14


def test_sam_layout_labels_depth_and_poses(written):
    folder, room, shots = written["sam-hierarchy"]
    tree = json.loads((folder / "hierarchy.json").read_text())
    centre, scale = orbit_frame(room)
    for split, cameras in (("train", shots.train), ("val", shots.val)):
        meta = json.loads((folder / f"transforms_{split}.json").read_text())
        assert meta["camera_angle_x"] == pytest.approx(0.6911112) and len(meta["frames"]) == len(cameras)
        for frame, camera in zip(meta["frames"], cameras, strict=True):
            name = frame["file_path"].split("/")[-1]
            c2w = np.array(frame["transform_matrix"])
            assert np.allclose(c2w[:3, :3], camera.c2w[:3, :3])
            assert np.allclose(c2w[:3, 3] / scale + centre, camera.position)
            image = np.asarray(Image.open(folder / split / f"{name}.png"))
            parts, objects, groups = (
                np.asarray(Image.open(folder / "gt_seg" / split / f"{name}_{level}.png"))
                for level in ("parts", "objects", "collections")
            )
            depth = np.load(folder / frame["depth_file_path"])
            assert image.shape == (36, 48, 4) and np.array_equal(depth > 0, parts > 0)
            assert depth[depth > 0].min() > 2.5 and depth.max() < 5.5
            for part, instance, group in {*zip(parts.ravel(), objects.ravel(), groups.ravel(), strict=True)} - {
                (0, 0, 0)
            }:
                assert tree["parts"][str(part)]["object"] == instance
                assert tree["objects"][str(instance)]["collection"] == group
    assert tree["collections"] == tree["groups"]


def test_noisy_sam_masks_differ_from_exact_ones(written, tmp_path):
    folder, room, shots = written["sam-hierarchy"]
    write_scene(tmp_path / "data", room, shots, "sam-hierarchy", noisy=True)
    one, two = (digest(item / "train_seg") for item in (folder, tmp_path / "data"))
    assert one != two
    assert digest(folder / "gt_seg") == digest(tmp_path / "data" / "gt_seg")


def test_containment_by_hand():
    masks = np.zeros((3, 10, 10), dtype=bool)
    masks[0, :, :] = True
    masks[1, :, :5] = True
    masks[2, :, 4:6] = True
    inside, same = containment(masks)
    assert inside.tolist() == [[False, False, False], [True, False, False], [True, False, False]]
    assert same.tolist() == np.eye(3, dtype=bool).tolist()


def test_llff_poses_and_bounds(written):
    folder, room, shots = written["llff"]
    rows = np.load(folder / "poses_bounds.npy")
    splits = json.loads((folder / "splits.json").read_text())
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert rows.shape == (6, 17) and rows.dtype == np.float64
    assert sorted(splits["train"] + splits["val"]) == names and splits["val"] == ["image000.png", "image003.png"]
    cameras = {"train": iter(shots.train), "val": iter(shots.val)}
    for name, row in zip(names, rows, strict=True):
        camera = next(cameras["val" if name in splits["val"] else "train"])
        assert np.allclose(pose_from_row(row), camera.c2w, atol=1e-12)
        height, width, focal = row[[4, 9, 14]]
        assert (height, width) == (36, 48) and focal == pytest.approx(30.0)
        depth = np.load(folder / "depth" / name.replace("png", "npy")).astype(float)
        assert 0 < row[15] <= depth.min() and depth.max() <= row[16] * 1.001
        assert Image.open(folder / "images" / name).size == (48, 36)
        assert Image.open(folder / "images_2" / name).size == (24, 18)
        assert np.asarray(Image.open(folder / "masks" / name)).max() <= len(room.objects)


def test_llff_row_by_hand():
    # A camera at (1, 2, 3) that looks along -z with y up: down is -y, right is x, back is z.
    c2w = np.eye(4)
    c2w[:3, 3] = [1, 2, 3]
    row = pose_row(c2w, 50.0, 40, 30, (0.5, 9.0))
    assert row.tolist() == [0, 1, 0, 1, 30, -1, 0, 0, 2, 40, 0, 0, 1, 3, 50, 0.5, 9.0]
    assert np.allclose(pose_from_row(row), c2w)


def test_a_failed_write_leaves_nothing(tmp_path):
    room, shots = make_scene(1, **SMALL)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scene(tmp_path / "data", room, shots, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_kept_unless_overwrite(tmp_path):
    target = tmp_path / "data"
    target.mkdir()
    (target / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"data is not empty; choose another folder or pass --overwrite"), \
            whole_folder(target, False):  # fmt: skip
        pass
    with pytest.raises(RuntimeError), whole_folder(target, True):
        raise RuntimeError("half way")
    assert (target / "mine.txt").read_text() == "keep" and len(list(tmp_path.iterdir())) == 1
    with whole_folder(target, True) as folder:
        (folder / "new.txt").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new.txt"] and len(list(tmp_path.iterdir())) == 1


def test_an_empty_folder_is_a_fine_target(tmp_path):
    with whole_folder(tmp_path / "data", False) as folder:
        (folder / "new.txt").write_text("new")
    (tmp_path / "empty").mkdir()
    with whole_folder(tmp_path / "empty", False) as folder:
        (folder / "new.txt").write_text("new")
    assert (tmp_path / "empty" / "new.txt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": 0}, "views is 0; at least one training view is needed"),
        ({"val_views": -1}, "val-views is -1"),
        ({"width": 8}, "images of 8x24 are too small"),
        ({"height": 15}, "images of 32x15 are too small"),
        ({"objects": 0}, "objects is 0; at least one is needed"),
        ({"objects": 99}, "objects is 99; a room holds 1 to"),
        ({"layout": "colmap"}, "layout 'colmap' is unknown; choose one of front3d, sam-hierarchy, llff"),
        ({"mask_format": "gif"}, "mask format 'gif' is unknown"),
        ({"seed": -1}, "seed is -1; it must not be negative"),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing(tmp_path, change, message):
    arguments = {"views": 2, "val_views": 1, "width": 32, "height": 24, "objects": 3, **change}
    with pytest.raises(InputError, match=message):
        RoomCommand(tmp_path / "data", **arguments).main()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_target(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match="data is a file; name a folder"):
        RoomCommand(tmp_path / "data").main()


@pytest.mark.parametrize("layout", ["front3d", "sam-hierarchy", "llff"])
def test_command_writes_a_room_and_says_what_is_in_it(tmp_path, layout, capsys):
    RoomCommand(tmp_path / "data", layout, views=3, val_views=0, width=32, height=24, objects=3).main()
    assert "3 + 0 views of" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_time_of_a_room(tmp_path, record_property):
    wall, cpu = time.perf_counter(), time.process_time()
    RoomCommand(tmp_path / "data", views=10, val_views=0, width=160, height=120).main()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    record_property("wall_seconds", wall)
    record_property("cpu_seconds", cpu)
    # Forty views take 4 s of one core, ten some 2 s; processor time, since test machines are busy.
    assert cpu < 15
