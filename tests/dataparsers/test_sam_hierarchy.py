"""sam-hierarchy-data: Blender-HS in both forms, PartNet, and other captures with masks of nerfseg masks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.dataparsers.depth_files import read_depth, read_visible
from nerfseg_plugins.dataparsers.sam_hierarchy import SamHierarchyDataParserConfig
from nerfseg_plugins.dataparsers.truth_levels import read_level
from nerfseg_plugins.segments.masks import Segments, write_ids, write_segments

from .hierarchy_scene import ANGLE, COLLECTIONS, HEIGHT, OBJECTS, WIDTH, BlenderHS, look_at_origin


def parse(folder: Path, split: str = "train", **settings):
    return SamHierarchyDataParserConfig(data=folder, **settings).setup().get_dataparser_outputs(split)


@pytest.fixture
def released(tmp_path) -> BlenderHS:
    return BlenderHS(tmp_path / "data", released=True)


@pytest.fixture
def scene_of_ours(tmp_path) -> BlenderHS:
    return BlenderHS(tmp_path / "data")


def pack(folder: Path, names: list[str]) -> None:
    """What `nerfseg masks` leaves behind, for a parser that only looks at names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_segments((folder / name).with_suffix(".npz"), Segments.of_ids(OBJECTS))


# Blender-HS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["released", "scene_of_ours"])
def test_blender_hs_gives_masks_truth_and_depth_of_each_view(form, request):
    folder = request.getfixturevalue(form).folder
    for split, count in (("train", 3), ("val", 2)):
        metadata = parse(folder, split).metadata
        assert metadata["hierarchy_filenames"] == [folder / f"{split}_seg" / f"r_{i}" for i in range(count)]
        assert metadata["transparent"] is True and metadata["bounded"] is True
        levels = metadata["truth_levels"]
        assert list(levels) == ["collections", "objects"]
        for index in range(count):
            assert np.array_equal(read_level(levels["collections"], index), COLLECTIONS)
            assert np.array_equal(read_level(levels["objects"], index), OBJECTS)
            depth = read_depth(metadata["z_depth_filenames"][index], (HEIGHT, WIDTH))
            assert np.array_equal(depth, np.where(COLLECTIONS > 0, 4.0, 0.0))  # 8 (1 - 128 / 256)


def test_the_box_becomes_the_unit_cube(released):
    poses = json.loads((released.folder / "transforms_train.json").read_text())["frames"]
    expected = np.array([frame["transform_matrix"] for frame in poses])
    for box, settings in ((1.5, {}), (2.0, {"box": 2.0})):
        outputs = parse(released.folder, **settings)
        assert outputs.dataparser_scale == pytest.approx(1 / box)
        assert outputs.metadata["z_depth_scale"] == outputs.dataparser_scale
        assert torch.equal(outputs.scene_box.aabb, torch.tensor([[-1.0] * 3, [1.0] * 3]))
        c2w = outputs.cameras.camera_to_worlds.numpy()
        assert np.allclose(c2w[:, :, :3], expected[:, :3, :3]) and np.allclose(c2w[:, :, 3], expected[:, :3, 3] / box)
        assert outputs.cameras.fx[0].item() == pytest.approx(WIDTH / 2 / np.tan(ANGLE / 2))


@pytest.mark.parametrize("name", ["transforms_val_rotate.json", "transforms_val_rotate_90.json"])
def test_rotated_views_are_a_split(released, name):
    released.rotated(name)
    outputs = parse(released.folder, "rotate")
    assert [path.parent.name for path in outputs.image_filenames] == ["val_rotate"] * 2
    assert not torch.allclose(outputs.cameras.camera_to_worlds, parse(released.folder, "val").cameras.camera_to_worlds)
    visible = outputs.metadata["visible_filenames"]
    assert [path.name for path in visible] == ["r_0_rotate.png", "r_1_rotate.png"]
    assert [path.name for path in parse(released.folder, "val").metadata["visible_filenames"]] == ["r_0.png", "r_1.png"]
    # The lower right 200 x 200 pixels: black above, white below.
    assert np.array_equal(read_visible(visible[0], (4, 6)), np.repeat([False, False, True, True], 6).reshape(4, 6))


def test_rotated_views_under_the_names_of_others_have_not_their_truth(released):
    poses = [look_at_origin(np.array([1.0, 3.0, 2.0])), look_at_origin(np.array([3.0, 1.0, 2.0]))]
    released.split("val", poses, "transforms_val_rotate.json")
    metadata = parse(released.folder, "rotate").metadata
    assert not {"truth_levels", "hierarchy_filenames", "z_depth_filenames"} & set(metadata)


def test_sixteen_bit_tiffs_of_several_channels(released):
    import tifffile

    ids = np.stack([COLLECTIONS * 300, COLLECTIONS * 0 + 9, COLLECTIONS], axis=-1).astype(np.uint16)
    tifffile.imwrite(released.folder / "gt_seg" / "val" / "r_1_seg_collections.tif", ids, photometric="rgb")
    level = parse(released.folder, "val").metadata["truth_levels"]["collections"]
    assert np.array_equal(read_level(level, 1), COLLECTIONS * 300)


def test_nerf_synthetic_without_masks_is_an_object_too(tmp_path):
    scene = BlenderHS(tmp_path / "data")
    for name in ("train_seg", "val_seg", "gt_seg", "train_depth", "val_depth"):
        (scene.folder / name).rename(tmp_path / name)
    outputs = parse(scene.folder)
    assert outputs.dataparser_scale == pytest.approx(1 / 1.5)
    assert outputs.metadata["hierarchy_command"] == f"nerfseg masks --data {scene.folder} --source sam"
    assert not {"hierarchy_filenames", "truth_levels", "z_depth_filenames"} & set(outputs.metadata)


def test_a_procedural_scene(tmp_path):
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    room, shots = make_scene(1, "sam-hierarchy", num_objects=5, num_train=3, num_val=1, width=48, height=36)
    write_scene(tmp_path / "data", room, shots, "sam-hierarchy")
    metadata = parse(tmp_path / "data", "val").metadata
    assert metadata["hierarchy_filenames"] == [tmp_path / "data" / "val_seg" / "r_0"]
    parts = read_level(metadata["truth_levels"]["parts"], 0)
    depth = read_depth(metadata["z_depth_filenames"][0], (36, 48))
    assert parts is not None and np.array_equal(parts > 0, depth > 0)


# Which masks ---------------------------------------------------------------------------------------------------------


def test_packed_masks_are_chosen_before_and_after_pictures(scene_of_ours):
    folder, names = scene_of_ours.folder, [f"train/r_{i}" for i in range(3)]
    pack(folder / "segments" / "classical", names)
    assert parse(folder).metadata["hierarchy_filenames"][0] == folder / "train_seg" / "r_0"
    pack(folder / "segments" / "sam", names)
    assert parse(folder).metadata["hierarchy_filenames"] == [folder / "segments/sam" / f"{name}.npz" for name in names]
    named = parse(folder, masks="classical").metadata["hierarchy_filenames"]
    assert named == [folder / "segments/classical" / f"{name}.npz" for name in names]
    assert "hierarchy_filenames" not in parse(folder, masks=None).metadata


def test_masks_of_another_folder(scene_of_ours, tmp_path):
    pack(tmp_path / "mine", [f"r_{i}" for i in range(3)])
    assert parse(scene_of_ours.folder, masks=str(tmp_path / "mine")).metadata["hierarchy_filenames"] == [
        tmp_path / "mine" / f"r_{i}.npz" for i in range(3)
    ]
    (scene_of_ours.folder / "train_seg").rename(tmp_path / "mine" / "train_seg")
    for path in (tmp_path / "mine").glob("*.npz"):
        path.unlink()
    assert parse(scene_of_ours.folder, masks=str(tmp_path / "mine")).metadata["hierarchy_filenames"] == [
        tmp_path / "mine" / "train_seg" / f"r_{i}" for i in range(3)
    ]


def test_a_view_without_masks_is_accepted_where_that_is_said(scene_of_ours):
    (scene_of_ours.folder / "train_seg" / "r_1").rename(scene_of_ours.folder / "elsewhere")
    found = parse(scene_of_ours.folder, allow_missing_masks=True).metadata["hierarchy_filenames"]
    assert [path is None for path in found] == [False, True, False]


def test_image_names_in_natural_order(capture):
    """2 before 10, and each its own masks."""
    for index in (2, 10):
        capture.image(f"images/view{index}.png")
        capture.meta["frames"].append({**capture.meta["frames"][0], "file_path": f"images/view{index}.png"})
    capture.save()
    pack(capture.folder / "segments" / "labels", [*(f"{i:04d}" for i in range(10)), "view10", "view2"])
    outputs = parse(capture.folder, eval_mode="all")
    assert [path.name for path in outputs.image_filenames][-2:] == ["view2.png", "view10.png"]
    assert [path.name for path in outputs.metadata["hierarchy_filenames"]][-2:] == ["view2.npz", "view10.npz"]


# Other layouts -------------------------------------------------------------------------------------------------------


def test_any_transforms_json_is_read_as_front3d_data_reads_it(capture):
    from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig

    pack(capture.folder / "segments" / "sam", [f"{i:04d}" for i in range(10)])
    (capture.folder / "depth").mkdir()
    np.save(capture.folder / "depth" / "0003.npy", np.ones((6, 8), np.float16))
    for split in ("train", "val"):
        ours, theirs = parse(capture.folder, split), Front3DDataParserConfig(data=capture.folder).setup()
        theirs = theirs.get_dataparser_outputs(split)
        assert ours.image_filenames == theirs.image_filenames and ours.dataparser_scale == theirs.dataparser_scale
        assert torch.equal(ours.cameras.camera_to_worlds, theirs.cameras.camera_to_worlds)
        assert ours.metadata["truth_filenames"] == theirs.metadata["truth_filenames"]
        assert "mask_filenames" not in ours.metadata and ours.mask_filenames is None
        names = [path.stem for path in ours.image_filenames]
        assert [path.stem for path in ours.metadata["hierarchy_filenames"]] == names
        assert [path is not None for path in ours.metadata.get("z_depth_filenames", [None] * len(names))] == [
            name == "0003" for name in names
        ]


def test_groups_come_through_the_table_of_objects(capture):
    tree = {"objects": {"1": {"name": "bed", "group": 2}, "2": {"name": "lamp", "group": 2}}}
    (capture.folder / "hierarchy.json").write_text(json.dumps(tree))
    ids = np.zeros((6, 8), np.int32)
    ids[0, :4] = [1, 2, -1, 0]
    for index in range(10):
        write_ids(capture.folder / "masks" / f"{index:04d}.png", ids)
        write_ids(capture.folder / "parts" / f"{index:04d}.png", ids * (ids > 0) * 7)
    levels = parse(capture.folder).metadata["truth_levels"]
    assert list(levels) == ["groups", "objects", "parts"]
    assert [read_level(level, 0)[0, :4].tolist() for level in levels.values()] == [
        [2, 2, -1, 0],
        [1, 2, -1, 0],
        [7, 14, 0, 0],
    ]
    # Other masks have other ids: hierarchy.json and parts/ do not speak of them.
    (capture.folder / "masks").rename(capture.folder / "mine")
    assert list(parse(capture.folder, truth=Path("mine")).metadata["truth_levels"]) == ["objects"]


def test_llff_scenes_take_packed_masks(scene):
    names = sorted(path.stem for path in (scene.folder / "images").iterdir())
    pack(scene.folder / "segments" / "classical", names)
    for split, held_out in (("train", False), ("val", True)):
        outputs = parse(scene.folder, split)
        wanted = [name for index, name in enumerate(names) if (index % 8 == 0) == held_out]
        assert [path.stem for path in outputs.metadata["hierarchy_filenames"]] == wanted
        assert outputs.metadata["near"] > 0 and outputs.metadata["transparent"] is False
    assert len(parse(scene.folder, eval_mode="all").image_filenames) == len(names)
    command = f"nerfseg masks --data {scene.folder} --source classical"
    assert parse(scene.folder, masks="classical").metadata["hierarchy_command"] == command
    found = parse(scene.folder, masks="classical", downscale_factor=1).metadata["hierarchy_command"]
    assert found == f"{command} --downscale-factor 1"


def partnet(folder: Path, count: int = 10) -> None:
    for index in range(count):
        view = folder / f"view-{index:02d}"
        view.mkdir(parents=True)
        Image.fromarray(np.zeros((224, 224, 4), np.uint8)).save(view / "shape-rgb.png")
        (view / "meta.txt").write_text(f"{30 * index} 20 0 2.5\n")
        (folder / "seg" / f"{index:02d}").mkdir(parents=True)


def test_partnet_renderings(tmp_path):
    partnet(tmp_path)
    train, val = parse(tmp_path), parse(tmp_path, "val")
    assert [path.parent.name for path in val.image_filenames] == ["view-00", "view-08"]
    assert len(train.image_filenames) == 8
    assert val.metadata["hierarchy_filenames"] == [tmp_path / "seg" / "00", tmp_path / "seg" / "08"]
    # View 0: azimuth 0, elevation 20 degrees above the plane x = 0, at distance 2.5; the box is what is seen there.
    side = 2.5 * np.tan(np.radians(25))
    assert val.dataparser_scale == pytest.approx(1 / side)
    c2w = val.cameras.camera_to_worlds[0].numpy()
    a = np.radians(20)
    assert np.allclose(c2w[:, 3] * side, [2.5 * np.sin(a), 0, 2.5 * np.cos(a)], atol=1e-5)
    assert np.allclose(c2w[:, 2], c2w[:, 3] / np.linalg.norm(c2w[:, 3]), atol=1e-6)  # looks at the origin
    assert c2w[0, 1] > 0.9 and np.linalg.det(c2w[:, :3]) == pytest.approx(1)  # up is x
    assert val.cameras.fx[0].item() == pytest.approx(112 / np.tan(np.radians(25)))


def test_nerfseg_masks_lists_partnet_renderings_under_names_that_are_found(tmp_path):
    from nerfseg_plugins.cli.derived import list_images
    from nerfseg_plugins.cli.views import output_names

    partnet(tmp_path)
    names = output_names(list_images(tmp_path), ".npz")
    pack(tmp_path / "segments" / "sam", [str(name.with_suffix("")) for name in names])
    found = parse(tmp_path, "val").metadata["hierarchy_filenames"]
    assert found == [tmp_path / "segments" / "sam" / f"view-0{i}" / "shape-rgb.npz" for i in (0, 8)]


def test_a_transforms_json_of_partnet_size(capture):
    capture.meta = {"camera_angle_x": 0.9, "frames": []}
    for index in range(9):
        capture.image(f"images/{index}.png", 224, 224)
        pose = look_at_origin(np.array([2.0, 0.1 * index, 1.0])).tolist()
        capture.meta["frames"].append({"file_path": f"images/{index}.png", "transform_matrix": pose})
    capture.save()
    outputs = parse(capture.folder, "val")
    assert [path.stem for path in outputs.image_filenames] == ["0", "8"] and outputs.metadata["bounded"] is True


@pytest.mark.parametrize(
    "name, layout, counts, levels",
    [
        ("object_a", "blender-hs", (50, 10), ["collections", "objects", "parts"]),
        ("room_a", "transforms", (60, 12), ["groups", "objects", "parts"]),
        ("fox", "transforms", (45, 5), []),
        ("fern", "llff", (17, 3), []),
        ("lego", "blender-hs", (100, 10), []),
    ],
)
def test_real_captures(real_data, name, layout, counts, levels):
    parser = SamHierarchyDataParserConfig(data=real_data / name, masks=None).setup()
    assert parser.layout() == layout
    for split, count in zip(("train", "val"), counts, strict=True):
        outputs = parser.get_dataparser_outputs(split)
        assert len(outputs.image_filenames) == count and list(outputs.metadata.get("truth_levels", {})) == levels
