"""llff-data: poses, recentring, splits, images and masks of good captures, and the refusal of bad ones."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.plugins.registry_dataparser import discover_dataparsers
from scipy.spatial.transform import Rotation

from nerfseg_plugins.dataparsers.llff import llff
from nerfseg_plugins.dataparsers.recentring import average_pose, choose_recentring, nearest_to_axes, place, spherify
from nerfseg_plugins.segments.masks import write_ids

from .llff_scene import FOCAL, HEIGHT, WIDTH, SmallLLFF, looking, names, parse, refusal, rig, ring


def test_the_entry_point_names_this_parser():
    found, descriptions = discover_dataparsers()
    assert found["llff-data"] is llff.config
    assert "poses_bounds.npy" in descriptions["llff-data"]


def test_importing_the_parser_first_pulls_in_no_datamanager():
    code = (
        "import sys, nerfseg_plugins.dataparsers.llff\n"
        "bad = [name for name in sys.modules if name.startswith(('nerfstudio.data.datamanagers', "
        "'nerfstudio.configs.method_configs', 'nerfstudio.pipelines'))]\n"
        "assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Poses ---------------------------------------------------------------------------------------------------------------


def test_a_row_is_down_right_back_position(scene: SmallLLFF):
    # A camera at (1, 2, 3) that looks along +x, its right along -y and its down along -z.
    matrix = [[0, 0, -1, 1, HEIGHT], [0, -1, 0, 2, WIDTH], [-1, 0, 0, 3, FOCAL]]
    scene.rows[:] = np.r_[np.ravel(matrix), 2.0, 10.0]
    scene.save()
    outputs = parse(scene.folder, recentring="none", bound_factor=None)
    expected = torch.tensor([[0.0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3]])  # columns: right, up, back, position
    torch.testing.assert_close(outputs.cameras.camera_to_worlds[0], expected)


@pytest.mark.parametrize("recentring", ["forward", "360", "none"])
def test_scene_coordinates_are_scale_times_r_x_plus_t(tmp_path: Path, recentring: str):
    poses = ring() if recentring == "360" else rig()
    scene = SmallLLFF(tmp_path, poses)
    outputs = parse(scene.folder, recentring=recentring, eval_interval=0)
    matrix, scale = outputs.dataparser_transform.double().numpy(), outputs.dataparser_scale
    np.testing.assert_allclose(matrix[:, :3] @ matrix[:, :3].T, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix[:, :3]) == pytest.approx(1)
    found = outputs.cameras.camera_to_worlds.double().numpy()
    np.testing.assert_allclose(found[:, :, :3], matrix[:, :3] @ poses[:, :3, :3], atol=1e-6)
    np.testing.assert_allclose(found[:, :, 3], scale * (poses[:, :3, 3] @ matrix[:, :3].T + matrix[:, 3]), atol=1e-5)


def test_a_point_before_the_camera_lands_on_its_pixel(scene: SmallLLFF):
    """A point that the file's own camera sees at a pixel is met by the ray that the parsed camera sends through it."""
    outputs = parse(scene.folder, eval_interval=0)
    column, line, depth = 11.5, 3.5, 7.0  # pixel centres
    for index, pose in enumerate(rig()):
        # Pinhole in OpenGL axes: x to the right, y up, looking along -z.
        in_camera = depth * np.array([(column - WIDTH / 2) / FOCAL, -(line - HEIGHT / 2) / FOCAL, -1, 1 / depth])
        point = (pose @ in_camera)[:3]
        matrix, scale = outputs.dataparser_transform.double().numpy(), outputs.dataparser_scale
        point = scale * (matrix[:, :3] @ point + matrix[:, 3])
        coords = torch.tensor([[line, column]])
        ray = outputs.cameras.generate_rays(torch.tensor([[index]]), coords=coords)
        offset = point - ray.origins[0].double().numpy()
        distance = np.linalg.norm(offset)
        np.testing.assert_allclose(ray.directions[0].numpy(), offset / distance, atol=1e-5)
        assert outputs.metadata["near"] < distance < outputs.metadata["far"]


# Recentring ----------------------------------------------------------------------------------------------------------


def test_forward_makes_the_average_pose_the_identity(scene: SmallLLFF):
    poses = parse(scene.folder, recentring="forward", eval_interval=0).cameras.camera_to_worlds.double().numpy()
    np.testing.assert_allclose(poses[:, :, 3].mean(0), 0, atol=1e-6)
    back = poses[:, :, 2].mean(0)
    np.testing.assert_allclose(back / np.linalg.norm(back), [0, 0, 1], atol=1e-6)
    up = poses[:, :, 1].mean(0)
    assert up[0] == pytest.approx(0, abs=1e-6) and up[1] > 0.9


def test_forward_undoes_any_rigid_motion_of_the_data():
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()
    motion[:3, 3] = [4, 5, -6]
    poses = rig()
    for pair in (poses, motion @ poses):
        placement = place(pair, 2.0, "forward", 0.75, "x.npy")
        moved = placement.transform[:, :3] @ pair[:, :3, 3].T + placement.transform[:, 3:]
        if pair is poses:
            expected = moved
    np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_the_nearest_bound_is_four_thirds_as_in_nerf(scene: SmallLLFF):
    scene.rows[:, 15] = np.linspace(4.5, 3.0, len(scene.rows))
    scene.rows[:, 16] = 12.0
    scene.save()
    outputs = parse(scene.folder)
    assert outputs.dataparser_scale == pytest.approx(1 / (3.0 * 0.75))  # 3 data units are 4/3 scene units
    assert outputs.metadata["near"] == pytest.approx(0.9 * 4 / 3)
    # The corner's ray leaves the axis by (8, 6) pixels at 20 pixels' depth: 12 deep is 12 sqrt(1 + 0.25) away.
    assert outputs.metadata["far"] == pytest.approx(12 * np.sqrt(1.25) / 2.25)
    assert outputs.metadata["recentring"] == "forward" and outputs.metadata["bounded"] is False
    outputs = parse(scene.folder, bound_factor=0.5)
    assert outputs.dataparser_scale == pytest.approx(1 / 1.5)
    outputs = parse(scene.folder, bound_factor=None)
    assert outputs.dataparser_scale == 1 and outputs.metadata["near"] == pytest.approx(2.7)


def test_360_puts_the_common_centre_at_the_origin_and_the_cameras_at_one(tmp_path: Path):
    scene = SmallLLFF(tmp_path, ring())  # radius 4, height 3: 5 away
    outputs = parse(scene.folder, eval_interval=0)
    assert outputs.metadata["recentring"] == "360"
    assert outputs.dataparser_scale == pytest.approx(1 / 5)
    positions = outputs.cameras.camera_to_worlds[:, :, 3].numpy()
    np.testing.assert_allclose(np.linalg.norm(positions, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(positions[:, 2], 3 / 5, atol=1e-5)  # z is up
    looks = -outputs.cameras.camera_to_worlds[:, :, 2].numpy()
    np.testing.assert_allclose(looks, -positions, atol=1e-5)
    assert outputs.metadata["near"] == pytest.approx(0.9 * 2 / 5)


def test_cameras_of_unequal_distance_have_a_root_mean_square_of_one():
    poses = np.concatenate([ring(), ring(radius=8.0, height=6.0)])  # 5 and 10 away
    assert spherify(poses, "x.npy").scale == pytest.approx(1 / np.sqrt((25 + 100) / 2))


def test_a_flat_ring_takes_its_up_from_the_cameras():
    poses = ring(radius=5.0, height=0.0)
    placement = spherify(poses, "x.npy")
    np.testing.assert_allclose(placement.transform[2, :3], [0, 0, 1], atol=1e-9)


def test_the_point_nearest_to_two_skew_axes_lies_between_them():
    # One axis along y through z = 1, the other along x through z = 3: they pass each other at (0, 0).
    poses = np.stack([looking([0, -4, 1], [0, 0, 1]), looking([-4, 0, 3], [0, 0, 3])])
    np.testing.assert_allclose(nearest_to_axes(poses), [0, 0, 2], atol=1e-9)
    assert nearest_to_axes(np.stack([looking([0, -4, 1], [0, 0, 1]), looking([2, -4, 1], [2, 0, 1])])) is None


def test_the_average_of_two_poses_looks_between_them():
    poses = np.stack([looking([4, 1, 0], [0, 1, 0]), looking([0, 5, 0], [0, 1, 0])])
    average = average_pose(poses, "x.npy")
    half = np.sqrt(0.5)
    expected = [[-half, 0, half, 2], [half, 0, half, 3], [0, 1, 0, 0]]
    np.testing.assert_allclose(average, expected, atol=1e-9)


def test_auto_decides_by_the_geometry():
    assert choose_recentring(rig()) == "forward"
    assert choose_recentring(ring()) == "360"
    assert choose_recentring(ring(radius=5.0, height=0.0)) == "360"
    narrow = [looking([10 * np.sin(a), -10 * np.cos(a), 0], [0, 0, 0]) for a in np.radians([-20, -10, 0, 10, 20])]
    assert choose_recentring(np.stack(narrow)) == "forward", "a common centre, seen from 40 degrees"
    for height in (0.0, 3.0):  # the second look upwards, yet no camera is the middle one
        outwards = ring(height=height)
        outwards[:, :3, [0, 2]] *= -1
        assert choose_recentring(outwards) == "none"
    wide = [looking([3 * i, 0, 0], [3 * i + 10 * np.tan(a), 10, 0]) for i, a in enumerate(np.radians([-40, 0, 40]))]
    assert choose_recentring(np.stack(wide)) == "forward", "a wide view outwards from a line has no centre before it"


def test_the_scene_box_holds_cameras_and_all_that_they_see(tmp_path: Path):
    # One camera in the origin that looks along -z: its corners at depth 10 are (4, 3) off the axis.
    scene = SmallLLFF(tmp_path, np.eye(4)[None])
    box = parse(scene.folder, recentring="none", bound_factor=None).scene_box.aabb
    torch.testing.assert_close(box, torch.tensor([[-4.0, -3.0, -10.0], [4.0, 3.0, 0.0]]))


# Images and intrinsics -----------------------------------------------------------------------------------------------


def test_images_follow_the_rows_in_natural_order(tmp_path: Path):
    scene = SmallLLFF(tmp_path, np.repeat(rig(), 2, axis=0)[:12])
    (tmp_path / "images" / ".DS_Store").write_text("")
    (tmp_path / "images" / "notes.txt").write_text("")
    outputs = parse(scene.folder, eval_interval=0)
    assert names(outputs) == [f"image{index}.png" for index in range(12)]  # not image1, image10, image11, image2


def test_intrinsics_are_those_of_the_size_found(scene: SmallLLFF):
    for index in range(10):
        scene.image(f"images_2/IMG_{index}.jpg", 8, 6)
    cameras = parse(scene.folder, downscale_factor=2).cameras
    assert (cameras.width[0].item(), cameras.height[0].item()) == (8, 6)
    assert (cameras.fx[0].item(), cameras.fy[0].item()) == (10.0, 10.0)
    assert (cameras.cx[0].item(), cameras.cy[0].item()) == (4.0, 3.0)
    assert cameras.distortion_params is None
    # images_5 of 16 x 12 is 3.2 x 2.4, so 3 x 2: the focal lengths follow each side.
    for index in range(10):
        scene.image(f"images_5/IMG_{index}.jpg", 3, 2)
    cameras = parse(scene.folder, downscale_factor=5).cameras
    assert cameras.fx[0].item() == pytest.approx(3.75) and cameras.fy[0].item() == pytest.approx(20 / 6)


def test_the_largest_images_of_at_most_1600_pixels_are_taken(scene: SmallLLFF):
    def taken(**settings: Any) -> str:
        return parse(scene.folder, **settings).image_filenames[0].parent.name

    assert taken() == "images"
    for path in list((scene.folder / "images").iterdir()):
        scene.image(f"images/{path.name}", 1616, 1212)
        scene.image(f"images_2/{path.name}", 808, 606)
        scene.image(f"images_4/{path.name}", 404, 303)
    (scene.folder / "images_8").mkdir()
    (scene.folder / "images_16x12").mkdir()
    assert taken() == "images_2"
    assert taken(downscale_factor=1) == "images"
    assert taken(downscale_factor=4) == "images_4"
    for folder in ("images_2", "images_4"):
        for path in list((scene.folder / folder).iterdir()):
            path.unlink()
    assert taken() == "images", "there is nothing smaller"


def test_each_row_has_its_own_focal_length(scene: SmallLLFF):
    scene.rows[3, 14] = 30.0
    scene.save()
    fx = parse(scene.folder, eval_interval=0).cameras.fx[:, 0]
    assert fx[3] == 30.0 and fx[2] == FOCAL


def test_data_may_name_the_file(scene: SmallLLFF):
    assert names(parse(scene.path)) == names(parse(scene.folder))


# Splits --------------------------------------------------------------------------------------------------------------


def test_every_eighth_view_is_held_out(scene: SmallLLFF):
    assert names(parse(scene.folder, "val")) == names(parse(scene.folder, "test")) == ["image0.png", "image8.png"]
    assert names(parse(scene.folder)) == [f"image{index}.png" for index in (1, 2, 3, 4, 5, 6, 7, 9)]
    assert names(parse(scene.folder, "val", eval_interval=5)) == ["image0.png", "image5.png"]
    assert len(names(parse(scene.folder, "val", eval_interval=0))) == len(names(parse(scene.folder, eval_interval=0)))


def test_splits_json_names_the_views(scene: SmallLLFF):
    splits = {"train": ["image4.png", "image2.JPG"], "val": ["image3.png"]}
    (scene.folder / "splits.json").write_text(json.dumps(splits))
    assert names(parse(scene.folder)) == ["image2.png", "image4.png"]
    assert names(parse(scene.folder, "val")) == names(parse(scene.folder, "test")) == ["image3.png"]
    splits["test"] = ["image9.png"]
    (scene.folder / "splits.json").write_text(json.dumps(splits))
    assert names(parse(scene.folder, "test")) == ["image9.png"]


def test_both_splits_share_one_frame(scene: SmallLLFF):
    train, val = parse(scene.folder), parse(scene.folder, "val")
    assert torch.equal(train.dataparser_transform, val.dataparser_transform)
    assert train.dataparser_scale == val.dataparser_scale
    assert torch.equal(train.scene_box.aabb, val.scene_box.aabb)
    assert train.metadata == val.metadata


# Masks ---------------------------------------------------------------------------------------------------------------


def test_masks_lie_beside_the_images(scene: SmallLLFF):
    for index in range(10):
        write_ids(scene.folder / "masks" / f"image{index}.png", np.ones((HEIGHT, WIDTH), np.int32))
        if index != 4:
            write_ids(scene.folder / "noisy" / f"image{index}.png", np.ones((HEIGHT, WIDTH), np.int32))
    metadata = parse(scene.folder, "val").metadata
    assert metadata["mask_filenames"] == metadata["truth_filenames"]
    assert metadata["mask_filenames"] == [scene.folder / "masks" / f"image{index}.png" for index in (0, 8)]
    message = refusal(scene.folder, masks=Path("noisy"))
    assert message.startswith(f"{scene.folder / 'noisy'} has no mask for 1 of 8 training images (images/image4.png)")
    metadata = parse(scene.folder, masks=Path("noisy"), allow_missing_masks=True).metadata
    assert metadata["mask_filenames"][3] is None
    assert metadata["truth_filenames"][3] == scene.folder / "masks" / "image4.png"
    assert "does not exist; give --masks" in refusal(scene.folder, masks=Path("nowhere"))


def test_without_masks_there_are_none(scene: SmallLLFF):
    assert not {"mask_filenames", "truth_filenames"} & set(parse(scene.folder).metadata)


def test_a_room_in_this_layout_keeps_its_poses_and_splits(tmp_path: Path):
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    room, shots = make_scene(2, "llff", num_objects=4, num_train=6, num_val=2, width=32, height=24)
    write_scene(tmp_path / "room", room, shots, "llff")
    for split, cameras in (("train", shots.train), ("val", shots.val)):
        outputs = parse(tmp_path / "room", split, recentring="none", bound_factor=None)
        expected = np.stack([camera.c2w[:3] for camera in cameras])
        np.testing.assert_allclose(outputs.cameras.camera_to_worlds.numpy(), expected, atol=1e-6)
        assert outputs.cameras.fx[0].item() == pytest.approx(shots.train[0].focal(32))
        assert len(outputs.metadata["mask_filenames"]) == len(cameras)
    assert parse(tmp_path / "room").metadata["recentring"] == "forward"


# Real captures -------------------------------------------------------------------------------------------------------


def test_fern(real_data: Path):
    outputs = parse(real_data / "fern")
    assert outputs.metadata["recentring"] == "forward" and len(outputs.image_filenames) == 17
    assert names(parse(real_data / "fern", "val")) == ["image000.png", "image008.png", "image016.png"]
    assert (outputs.cameras.width[0].item(), outputs.cameras.height[0].item()) == (504, 378)
    assert outputs.cameras.fx[0].item() == pytest.approx(3260.52633 / 8)  # the file is for 4032 x 3024
    assert outputs.metadata["near"] == pytest.approx(1.2)


def test_dtu_cameras_look_at_the_object(real_data: Path):
    folder = real_data / "dtu_scan37"
    outputs = parse(folder, eval_interval=0)
    assert outputs.metadata["recentring"] == "360" and outputs.image_filenames[0].parent.name == "images_4"
    assert outputs.cameras.fx[0].item() == pytest.approx(2935.01296 / 4)
    poses = outputs.cameras.camera_to_worlds.double().numpy()
    origin = np.einsum("nji,nj->ni", poses[:, :, :3], -poses[:, :, 3])  # as each camera sees it: x right, y up, z back
    assert (origin[:, 2] < 0).all()
    offset = origin[:, :2] / -origin[:, 2:] * outputs.cameras.fx.numpy()
    assert np.linalg.norm(offset, axis=1).max() < 20, "pixels from the image's middle"


def test_dtu_cameras_are_those_of_another_file(real_data: Path):
    """`cameras_sphere.npz` holds the rig's own calibration; its projection matrices have OpenCV's axes."""
    import cv2

    outputs = parse(real_data / "dtu_scan37", eval_interval=0)
    rotations = outputs.cameras.camera_to_worlds[:, :, :3].double().numpy()
    with np.load(real_data / "dtu_scan37" / "cameras_sphere.npz") as stored:
        matrices = [stored[f"world_mat_{index}"][:3] for index in range(49)]
    theirs = np.stack([cv2.decomposeProjectionMatrix(matrix)[1].T for matrix in matrices]) * [1, -1, -1]
    between = rotations @ theirs.transpose(0, 2, 1)  # turns their world into ours, the same for all views
    apart = Rotation.from_matrix(between[0].T @ between).magnitude()
    assert np.degrees(apart).max() < 1.5
