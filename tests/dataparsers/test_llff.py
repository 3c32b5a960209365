"""llff-data: poses, recentring, splits, images and masks of good captures, and the refusal of bad ones."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.plugins.registry_dataparser import discover_dataparsers
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfseg_plugins.dataparsers.llff import LLFFDataParserConfig, llff
from nerfseg_plugins.dataparsers.recentring import average_pose, choose_recentring, nearest_to_axes, place, spherify
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import write_ids

WIDTH, HEIGHT, FOCAL = 16, 12, 20.0


def row(c2w: np.ndarray, near: float = 2.0, far: float = 10.0, focal: float = FOCAL) -> np.ndarray:
    """A row of poses_bounds.npy from an OpenGL camera-to-world pose."""
    right, up, back, position = c2w[:3, :4].T
    return np.r_[np.stack([-up, right, back, position, [HEIGHT, WIDTH, focal]], 1).ravel(), near, far]


def looking(position: Any, target: Any, up: Any = (0, 0, 1)) -> np.ndarray:
    """(4, 4) OpenGL camera-to-world of a camera at `position` that looks at `target`."""
    position = np.array(position, dtype=float)
    back = position - target
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    return np.block([[np.stack([right, np.cross(back, right), back, position], 1)], [0, 0, 0, 1]])


def rig(count: int = 10) -> np.ndarray:
    """(N, 4, 4) hand-held cameras in a patch before z = -8, none looking quite where another does."""
    rng = np.random.default_rng(3)
    poses = [
        looking([*rng.uniform(-1, 1, 2), rng.uniform(-0.1, 0.1)], [*rng.uniform(-1, 1, 2), -8], up=(0, 1, 0))
        for _ in range(count)
    ]
    return np.stack(poses)


def ring(count: int = 8, centre: Any = (5.0, -3.0, 2.0), radius: float = 4.0, height: float = 3.0) -> np.ndarray:
    """(N, 4, 4) cameras on a circle above a point, all looking at it; each is 5 from it."""
    angles = np.arange(count) * 2 * np.pi / count
    circle = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(count, height)], 1)
    return np.stack([looking(centre + offset, centre) for offset in circle])


class SmallLLFF:
    """A folder in LLFF's layout; tests change `rows` and `save` it again."""

    def __init__(self, folder: Path, c2w: np.ndarray):
        self.folder, self.rows = folder, np.stack([row(pose) for pose in c2w])
        self.path = folder / "poses_bounds.npy"
        for index in range(len(c2w)):
            self.image(f"images/image{index}.png")
        self.save()

    def image(self, name: str, width: int = WIDTH, height: int = HEIGHT) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)
        return path

    def save(self) -> None:
        np.save(self.path, self.rows)


@pytest.fixture
def scene(tmp_path: Path) -> SmallLLFF:
    """Ten forward-facing views."""
    return SmallLLFF(tmp_path / "data", rig())


def parse(folder: Path, split: str = "train", **settings: Any) -> DataparserOutputs:
    return LLFFDataParserConfig(data=folder, **settings).setup().get_dataparser_outputs(split)


def refusal(folder: Path, **settings: Any) -> str:
    """The message with which the capture is refused."""
    with pytest.raises(InputError) as caught:
        parse(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(outputs: DataparserOutputs) -> list[str]:
    return [path.name for path in outputs.image_filenames]


# Registration --------------------------------------------------------------------------------------------------------


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


# Bad input -----------------------------------------------------------------------------------------------------------


def test_a_folder_without_poses(tmp_path: Path):
    assert refusal(tmp_path).startswith(f"{tmp_path / 'poses_bounds.npy'} does not exist; give --data the folder")


@pytest.mark.parametrize("shape", [(10, 14), (10, 5, 3), (17,), (0, 17)])
def test_another_shape(scene: SmallLLFF, shape: tuple[int, ...]):
    np.save(scene.path, np.ones(shape))
    message = refusal(scene.folder)
    assert message.startswith(f"{scene.path} has the shape {shape}; write one row of 17 numbers for each image")


def test_a_pickled_array_is_not_opened(scene: SmallLLFF):
    np.save(scene.path, np.array([{"pose": 1}], dtype=object), allow_pickle=True)
    message = refusal(scene.folder)
    assert message.startswith(f"{scene.path} is no readable array of numbers") and "save it again" in message


@pytest.mark.parametrize("content", [b"", b"not numpy at all", b"\x93NUMPY\x01\x00", b"PK\x03\x04 half a zip"])
def test_a_file_that_is_no_array(scene: SmallLLFF, content: bytes):
    scene.path.write_bytes(content)
    assert refusal(scene.folder).startswith(f"{scene.path} is no readable array of numbers")


def test_an_array_of_text_or_an_archive(scene: SmallLLFF):
    np.save(scene.path, np.full((10, 17), "1.0"))
    assert refusal(scene.folder).startswith(f"{scene.path} is no array of numbers; save")
    with scene.path.open("wb") as stream:
        np.savez(stream, scene.rows)
    assert refusal(scene.folder).startswith(f"{scene.path} is no array of numbers; save")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 3, 14, 16])
def test_values_that_are_not_finite(scene: SmallLLFF, value: float, column: int):
    scene.rows[3, column] = value
    scene.save()
    assert refusal(scene.folder).startswith(f"row 3 of {scene.path} is not finite; correct it")


@pytest.mark.parametrize("column", [4, 9, 14])
def test_a_camera_without_size_or_focal_length(scene: SmallLLFF, column: int):
    scene.rows[3, column] = 0
    scene.save()
    message = refusal(scene.folder)
    assert message.startswith(f"row 3 of {scene.path} has height, width, focal length") and "positive" in message


@pytest.mark.parametrize(("near", "far"), [(0, 5), (-1, 5), (5, 5), (6, 5)])
def test_bounds_that_are_none(scene: SmallLLFF, near: float, far: float):
    scene.rows[3, 15:] = near, far
    scene.save()
    message = refusal(scene.folder)
    assert message.startswith(f"row 3 of {scene.path} has the bounds near {near}, far {far}; write depths")


@pytest.mark.parametrize(("factors", "what"), [((1, 1, -1), "mirrors"), ((2, 2, 2), "scales"), ((1, 0, 1), "singular")])
def test_a_rotation_that_is_none(scene: SmallLLFF, factors: tuple[int, int, int], what: str):
    scene.rows[3, :15] = (scene.rows[3, :15].reshape(3, 5) * [*factors, 1, 1]).ravel()
    scene.save()
    message = refusal(scene.folder)
    assert message.startswith(f"row 3 of {scene.path} has a pose whose rotation") and what in message


def test_more_rows_than_images(scene: SmallLLFF):
    (scene.folder / "images" / "image9.png").unlink()
    message = refusal(scene.folder)
    assert message.startswith(f"{scene.path} has 10 rows but {scene.folder / 'images'} has 9 images; each row needs")


def test_no_images(scene: SmallLLFF):
    for path in (scene.folder / "images").iterdir():
        path.unlink()
    assert refusal(scene.folder).startswith(f"{scene.folder} has no png or jpg in images/ or images_N/; put")


@pytest.mark.parametrize("factor", [0, 3, 4])
def test_a_factor_whose_folder_is_missing(scene: SmallLLFF, factor: int):
    scene.image("images_2/image0.png", 8, 6)
    (scene.folder / "images_4").mkdir()
    message = refusal(scene.folder, downscale_factor=factor)
    assert message.startswith(f"{scene.folder / f'images_{factor}'} has no images; write them, or pass")
    assert message.endswith("--downscale-factor with one that exists: 1, 2")


def test_an_unreadable_image(scene: SmallLLFF):
    path = scene.folder / "images" / "image3.png"
    path.write_bytes(path.read_bytes()[:10])
    assert refusal(scene.folder).startswith(f"{path} is not a readable image; restore it")


def test_an_image_of_another_shape(scene: SmallLLFF):
    path = scene.image("images/image3.png", 12, 16)
    message = refusal(scene.folder)
    assert message.startswith(f"{path} is 12x16 pixels, which is no smaller version of the 16x12 of row 3 of")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([], "must hold"),
        ({"train": ["image1.png"]}, "must hold"),
        ({"train": ["image1.png"], "val": "image2.png"}, "must hold"),
        ({"train": ["image1.png"], "val": ["image77.png"]}, "names 'image77.png', which"),
        ({"train": ["image1.png"], "val": [5]}, "names 5, which"),
        ({"train": ["image1.png", "image2.png"], "val": ["image2.png"]}, "names image2.png twice"),
        ({"train": ["image1.png"], "val": []}, "names no image for val"),
        ({"train": [], "val": ["image1.png"]}, "names no image for train"),
    ],
)
def test_splits_that_cannot_be_used(scene: SmallLLFF, splits: Any, message: str):
    path = scene.folder / "splits.json"
    path.write_text(json.dumps(splits))
    assert refusal(scene.folder).startswith(f"{path} {message}")


def test_settings_that_make_no_sense(scene: SmallLLFF):
    assert "eval_interval is 1; give 2 or more" in refusal(scene.folder, eval_interval=1)
    for factor in (0.0, -1.0, float("nan")):
        assert "bound_factor is" in refusal(scene.folder, bound_factor=factor)


def test_recentring_that_the_cameras_do_not_allow(tmp_path: Path):
    outwards = ring(radius=5.0, height=0.0)
    outwards[:, :3, [0, 2]] *= -1
    scene = SmallLLFF(tmp_path / "outwards", outwards)
    message = refusal(scene.folder, recentring="forward")
    assert message.startswith(f"the cameras of {scene.path} share no viewing direction") and "--recentring" in message
    parallel = np.stack([np.eye(4)] * 4)
    parallel[:, 0, 3] = np.arange(4)
    scene = SmallLLFF(tmp_path / "parallel", parallel)
    message = refusal(scene.folder, recentring="360")
    assert message.startswith(f"the optical axes of {scene.path} are parallel") and "forward" in message
    turning = ring()
    turning[:, :3, 3] = 0
    scene = SmallLLFF(tmp_path / "turning", turning)
    assert refusal(scene.folder, recentring="360").startswith(f"the cameras of {scene.path} all stand in one point")
