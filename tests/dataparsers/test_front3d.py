"""front3d-data: frames, splits and cameras of good captures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import transform_poses_to_original_space
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.plugins.registry_dataparser import DataParserSpecification, discover_dataparsers

from nerfseg_plugins.dataparsers.front3d import (
    Front3D,
    Front3DDataParserConfig,
    frame_of_room,
    front3d,
    split_indices,
)
from nerfseg_plugins.errors import InputError

ROOM = [[-2.0, -1.0, 0.0], [4.0, 3.0, 2.0]]


def parse(folder: Path, split: str = "train", **settings):
    return Front3DDataParserConfig(data=folder, **settings).setup().get_dataparser_outputs(split)


def names(outputs) -> list[str]:
    return [path.name for path in outputs.image_filenames]


# ---------------------------------------------------------------- registration


def test_the_entry_point_names_this_parser():
    assert isinstance(front3d, DataParserSpecification)
    found, descriptions = discover_dataparsers()
    assert found["front3d-data"] is front3d.config
    assert descriptions["front3d-data"]
    assert isinstance(front3d.config.setup(), Front3D)


def test_importing_the_parser_first_pulls_in_no_datamanager():
    code = (
        "import sys, nerfseg_plugins.dataparsers.front3d\n"
        "bad = [name for name in sys.modules if name.startswith(('nerfstudio.data.datamanagers', "
        "'nerfstudio.configs.method_configs', 'nerfstudio.pipelines'))]\n"
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------- the frame


def test_a_room_is_centred_and_scaled_without_rotation():
    # 6 x 4 x 2 room with a margin of 2: longest half side 3 + 2 = 5.
    scene = frame_of_room(np.array(ROOM), 2.0)
    assert scene.scale == pytest.approx(0.2)
    torch.testing.assert_close(scene.transform, torch.tensor([[1.0, 0, 0, -1], [0, 1, 0, -1], [0, 0, 1, -1]]))
    torch.testing.assert_close(scene.aabb, torch.tensor([[-1.0, -0.8, -0.6], [1.0, 0.8, 0.6]]))


def test_the_margin_is_the_flag_then_the_json_then_a_part_of_the_longest_side(capture):
    capture.save(room_bbox=ROOM)
    assert parse(capture.folder).dataparser_scale == pytest.approx(1 / (3 + 0.2 * 6))
    capture.save(room_bbox=ROOM, room_margin=0.5)
    assert parse(capture.folder).dataparser_scale == pytest.approx(1 / 3.5)
    assert parse(capture.folder, room_margin=0.0).dataparser_scale == pytest.approx(1 / 3)


@pytest.mark.parametrize("room", [None, ROOM])
def test_scene_coordinates_are_scale_times_r_x_plus_t(capture, room):
    capture.save(room_bbox=room)
    outputs = parse(capture.folder, eval_mode="all")
    assert outputs.metadata["bounded"] is (room is not None)
    rotation, offset = outputs.dataparser_transform[:, :3].double(), outputs.dataparser_transform[:, 3].double()
    for index, frame in enumerate(capture.meta["frames"]):
        data_pose = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
        pose = outputs.cameras.camera_to_worlds[index].double()
        expected = outputs.dataparser_scale * (rotation @ data_pose[:3, 3] + offset)
        torch.testing.assert_close(pose[:, 3], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(pose[:, :3], rotation @ data_pose[:3, :3], atol=1e-5, rtol=0)
    back = transform_poses_to_original_space(
        outputs.cameras.camera_to_worlds, outputs.dataparser_transform, outputs.dataparser_scale, "opengl"
    )
    data_poses = torch.tensor([frame["transform_matrix"] for frame in capture.meta["frames"]])[:, :3]
    torch.testing.assert_close(back, data_poses, atol=1e-4, rtol=0)


def test_without_a_room_the_frame_is_nerfstudios_own(capture):
    ours = parse(capture.folder, eval_mode="all")
    theirs = NerfstudioDataParserConfig(data=capture.folder, eval_mode="all", downscale_factor=1).setup()
    theirs = theirs.get_dataparser_outputs("train")
    assert ours.dataparser_scale == pytest.approx(theirs.dataparser_scale, rel=1e-5)
    torch.testing.assert_close(ours.dataparser_transform, theirs.dataparser_transform, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.cameras.camera_to_worlds, theirs.cameras.camera_to_worlds, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.scene_box.aabb, theirs.scene_box.aabb)


@pytest.mark.parametrize("room", [None, ROOM])
def test_both_splits_share_one_frame(capture, room):
    frames = capture.meta["frames"]
    capture.save("train_transforms.json", frames=frames[:7], room_bbox=room)
    capture.save("val_transforms.json", frames=frames[7:], room_bbox=room)
    train, val = parse(capture.folder), parse(capture.folder, "val")
    torch.testing.assert_close(train.dataparser_transform, val.dataparser_transform)
    assert train.dataparser_scale == val.dataparser_scale
    torch.testing.assert_close(train.scene_box.aabb, val.scene_box.aabb)


def test_a_single_view_has_a_finite_frame(capture):
    capture.save(frames=capture.meta["frames"][:1])
    outputs = parse(capture.folder)
    assert torch.isfinite(outputs.cameras.camera_to_worlds).all()
    assert names(outputs) == names(parse(capture.folder, "val")) == ["0000.png"]


# ---------------------------------------------------------------------- splits


def test_fraction_holds_out_at_least_one_view():
    train, held_out = split_indices(5, "fraction", 0.9, 8)
    assert len(train) == 4 and len(held_out) == 1
    train, held_out = split_indices(20, "fraction", 0.9, 8)
    assert len(train) == 18 and {0, 19} <= set(train.tolist())
    assert sorted([*train, *held_out]) == list(range(20))


def test_interval_holds_out_every_nth_view():
    train, held_out = split_indices(9, "interval", 0.9, 4)
    assert held_out.tolist() == [0, 4, 8]
    assert train.tolist() == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"train_split_fraction": 0.0}, "train_split_fraction"),
        ({"train_split_fraction": 1.0}, "train_split_fraction"),
        ({"eval_mode": "interval", "eval_interval": 1}, "eval_interval"),
    ],
)
def test_settings_that_leave_a_side_empty_are_refused(capture, settings, flag):
    with pytest.raises(InputError, match=f"{flag} is"):
        parse(capture.folder, **settings)


def test_split_files_decide_and_test_falls_back_to_val(capture):
    frames = capture.meta["frames"]
    capture.save("train_transforms.json", frames=frames[3:])
    capture.save("val_transforms.json", frames=frames[:3])
    assert names(parse(capture.folder)) == [f"{index:04d}.png" for index in range(3, 10)]
    assert (
        names(parse(capture.folder, "val"))
        == names(parse(capture.folder, "test"))
        == [
            "0000.png",
            "0001.png",
            "0002.png",
        ]
    )
    capture.save("test_transforms.json", frames=frames[:1])
    assert names(parse(capture.folder, "test")) == ["0000.png"]


def test_nerfstudios_lists_of_filenames_decide(capture):
    capture.save(train_filenames=["images/0001.png", "./images/0004.png"], val_filenames=["images/0002.png"])
    assert names(parse(capture.folder)) == ["0001.png", "0004.png"]
    assert names(parse(capture.folder, "val")) == ["0002.png"]


def test_a_missing_split_file_is_named(capture):
    capture.save("train_transforms.json")
    with pytest.raises(InputError, match=r"val_transforms\.json is missing beside train_transforms\.json; write it"):
        parse(capture.folder)


def test_splits_that_contradict_each_other_are_refused(capture):
    capture.save("train_transforms.json", room_bbox=ROOM)
    capture.save("val_transforms.json", room_bbox=[[0, 0, 0], [1, 1, 1]])
    with pytest.raises(InputError, match=r"val_transforms\.json has another room_bbox than the other split"):
        parse(capture.folder)


# -------------------------------------------------------- images, poses, order


def test_frames_are_in_natural_order_and_keep_their_poses(capture):
    frames = capture.meta["frames"]
    for old, new in zip(frames[:3], ("images/v10.png", "images/v2.png", "images/v1.png"), strict=True):
        old["file_path"] = str(capture.image(new).relative_to(capture.folder))
    capture.save(frames=frames[:3], room_bbox=ROOM)
    (capture.folder / "masks").rename(capture.folder / "unused")
    outputs = parse(capture.folder, eval_mode="all")
    assert names(outputs) == ["v1.png", "v2.png", "v10.png"]
    origins = outputs.cameras.camera_to_worlds[:, :, 3] / outputs.dataparser_scale - outputs.dataparser_transform[:, 3]
    expected = [np.array(frames[index]["transform_matrix"])[:3, 3] for index in (2, 1, 0)]
    np.testing.assert_allclose(origins.numpy(), expected, atol=1e-5)


def test_missing_images_are_skipped_with_one_warning_that_counts_them(capture, capsys):
    for index in (2, 5, 6):
        (capture.folder / "images" / f"{index:04d}.png").unlink()
    parser = Front3DDataParserConfig(data=capture.folder).setup()
    train, val = parser.get_dataparser_outputs("train"), parser.get_dataparser_outputs("val")
    text = capsys.readouterr().out
    assert text.count("Warning") == 1
    assert "3 of 10 images" in text and "images/0002.png" in text and str(capture.folder) in text
    assert len(names(train)) + len(names(val)) == 7
    for outputs in (train, val):
        assert [path.name for path in outputs.metadata["mask_filenames"]] == names(outputs)


def test_file_path_may_lack_its_suffix_or_begin_with_a_dot(capture):
    frames = capture.meta["frames"]
    frames[0]["file_path"] = "images/0000"
    frames[1]["file_path"] = "./images/0001.png"
    capture.image("images/0002.v1.jpeg")
    frames[2]["file_path"] = "images/0002.v1"
    capture.save(frames=frames[:3])
    (capture.folder / "masks").rename(capture.folder / "unused")
    assert names(parse(capture.folder, eval_mode="all")) == ["0000.png", "0001.png", "0002.v1.jpeg"]


def test_file_path_may_name_the_mask_as_the_original_does(capture):
    for frame in capture.meta["frames"]:
        frame["file_path"] = frame["file_path"].replace("images/", "masks_2d/").replace(".png", ".hdf5")
    capture.save()
    assert names(parse(capture.folder, eval_mode="all")) == [f"{index:04d}.png" for index in range(10)]


def test_data_may_be_the_scene_above_train_or_a_json_file(capture, tmp_path):
    (tmp_path / "scene").mkdir()
    capture.folder.rename(tmp_path / "scene" / "train")
    assert len(names(parse(tmp_path / "scene", eval_mode="all"))) == 10
    assert len(names(parse(tmp_path / "scene" / "train" / "transforms.json", eval_mode="all"))) == 10


# ------------------------------------------------------------------ intrinsics


def test_intrinsics_with_distortion_reach_the_cameras(capture):
    capture.save(k1=0.1, k2=0.2, k3=0.3, k4=0.4, p1=0.5, p2=0.6)
    cameras = parse(capture.folder, eval_mode="all").cameras
    assert cameras.fx.flatten().tolist() == [10.0] * 10
    assert cameras.fy[0].item() == 11.0 and cameras.cx[0].item() == 4.0 and cameras.cy[0].item() == 3.0
    assert (cameras.width[0].item(), cameras.height[0].item()) == (8, 6)
    torch.testing.assert_close(cameras.distortion_params[3], torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))


def test_no_distortion_costs_no_undistortion(capture):
    capture.save(k1=0.0, k2=0.0, p1=0.0, p2=0.0)
    assert parse(capture.folder).cameras.distortion_params is None


def test_a_frame_overrides_the_intrinsics_of_its_file(capture):
    frames = capture.meta["frames"]
    frames[2].update(fl_x=20.0, k1=0.1)
    capture.save()
    cameras = parse(capture.folder, eval_mode="all").cameras
    assert cameras.fx.flatten()[1:4].tolist() == [10.0, 20.0, 10.0]
    assert cameras.distortion_params[:, 0].tolist() == pytest.approx([0, 0, 0.1] + [0] * 7)


def test_a_field_of_view_alone_is_enough(capture):
    for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
        del capture.meta[key]
    capture.save(camera_angle_x=np.pi / 2)  # 90 degrees over 8 pixels: focal length 4
    camera = parse(capture.folder).cameras[0]
    assert (camera.width.item(), camera.height.item()) == (8, 6)
    assert (camera.cx.item(), camera.cy.item()) == (4.0, 3.0)
    assert camera.fx.item() == pytest.approx(4.0) and camera.fy.item() == pytest.approx(4.0)


@pytest.mark.parametrize("changes", [{"camera_model": "OPENCV_FISHEYE"}, {"is_fisheye": True}])
def test_fisheye_cameras_are_recognised(capture, changes):
    from nerfstudio.cameras.cameras import CameraType

    capture.save(**changes)
    assert parse(capture.folder).cameras.camera_type[0].item() == CameraType.FISHEYE.value


def test_downscaled_images_scale_the_cameras(capture):
    for index in range(10):
        capture.image(f"images_2/{index:04d}.png", 4, 3)
    outputs = parse(capture.folder, downscale_factor=2)
    assert outputs.image_filenames[0].parent.name == "images_2"
    camera = outputs.cameras[0]
    assert (camera.width.item(), camera.height.item()) == (4, 3)
    assert [camera.fx.item(), camera.fy.item(), camera.cx.item(), camera.cy.item()] == [5.0, 5.5, 2.0, 1.5]


# --------------------------------------------------------------- real captures


def test_fox_skips_17_images_and_keeps_names_with_poses(real_data, capsys):
    folder = real_data / "fox"
    outputs = parse(folder, eval_mode="all")
    assert "17 of 67 images" in capsys.readouterr().out
    assert len(outputs.image_filenames) == 50
    assert outputs.metadata == {"bounded": False}
    assert outputs.cameras.camera_to_worlds[:, :, 3].abs().max().item() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(
        outputs.cameras.distortion_params[0],
        torch.tensor([0.0578421, -0.0805099, 0.0, 0.0, -0.000980296, 0.00015575]),
    )
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    poses = {Path(frame["file_path"]).name: frame["transform_matrix"] for frame in frames}
    back = transform_poses_to_original_space(
        outputs.cameras.camera_to_worlds, outputs.dataparser_transform, outputs.dataparser_scale, "opengl"
    )
    expected = torch.tensor([poses[path.name] for path in outputs.image_filenames])[:, :3]
    torch.testing.assert_close(back, expected, atol=1e-4, rtol=0)
    assert outputs.cameras.generate_rays(0).directions.shape == (480, 270, 3)


def test_room_a_reprojects_inside_its_box(real_data):
    folder = real_data / "room_a"
    train, val = parse(folder), parse(folder, "val")
    assert (len(train.image_filenames), len(val.image_filenames)) == (60, 12)
    assert not set(train.image_filenames) & set(val.image_filenames)
    assert train.metadata["bounded"] and train.metadata["num_instances"] == 15
    assert len(train.metadata["instance_classes"]) == 15 and train.metadata["instance_classes"][1] == 4
    # Everything the cameras see lies in the scene box, what shines through the window too (views 3, 5 and 6).
    box = train.scene_box.aabb
    for index in (0, 3, 5, 6, 40):
        depth = np.load(folder / "depth" / f"{train.image_filenames[index].stem}.npy").astype(np.float32)
        rays = train.cameras.generate_rays(index)
        z = torch.from_numpy(depth)[..., None] * train.dataparser_scale
        forward = -train.cameras.camera_to_worlds[index, :, 2]
        points = rays.origins + rays.directions * (z / (rays.directions @ forward)[..., None])
        assert (points >= box[0]).all() and (points <= box[1]).all()


def test_room_a_learns_from_noisy_masks_and_keeps_its_truth(real_data):
    metadata = parse(real_data / "room_a", masks=Path("masks_noisy")).metadata
    assert metadata["mask_filenames"][0] == real_data / "room_a" / "masks_noisy" / "0000.png"
    assert metadata["truth_filenames"][0] == real_data / "room_a" / "masks" / "0000.png"
