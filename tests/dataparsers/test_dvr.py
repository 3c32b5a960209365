"""`dvr-data`: scans with projection matrices, in the layouts of DVR and IDR."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfseg_plugins.dataparsers.camera_archive import decompose, read_similarity
from nerfseg_plugins.dataparsers.dvr import DVRDataParserConfig
from nerfseg_plugins.dataparsers.foreground_files import read_foreground
from nerfseg_plugins.errors import InputError

from .many_scenes import HEIGHT, VIEWS, WIDTH, check_cameras, check_points, refusal, to_data, write
from .test_nmr import change


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set and its objects; tests change nothing in it."""
    folder = tmp_path_factory.mktemp("dvr") / "data"
    return folder, write(folder, "dvr")


@pytest.fixture
def scan(made, tmp_path) -> Path:
    """One scan that a test may damage; its data set is two folders up."""
    return shutil.copytree(made[0], tmp_path / "data") / "DTU" / "chair_0000"


def test_the_cameras_are_those_that_were_written(made):
    folder, items = made
    for item in items:
        outputs = DVRDataParserConfig(data=folder, scene=f"DTU/{item.name}").setup().get_dataparser_outputs("train")
        # The writer fits chairs of radius 0.7 into the unit sphere with 5 % to spare.
        to_scene = lambda points: points / 0.735  # noqa: E731
        check_cameras(outputs, item, to_scene)
        masks = [read_foreground(path, (HEIGHT, WIDTH)) for path in outputs.metadata["foreground_filenames"]]
        check_points(outputs.cameras, to_scene(item.room.surfaces.vertices), masks, 0.1, 5.0)
        assert np.allclose(to_data(outputs, np.array([[0.0, 0.0, 1.0]])), [[0, -0.735, 0]], atol=1e-6)  # y is down


def test_lists_and_one_scan(made):
    folder, _ = made
    parser = DVRDataParserConfig(data=folder).setup()
    assert parser.scene_names("train") == ["DTU/chair_0000", "DTU/chair_0001"]
    assert parser.scene_names("test") == ["DTU/chair_0003"]
    metadata = parser.get_dataparser_outputs("train").metadata
    assert (metadata["near"], metadata["far"], metadata["background"]) == (0.1, 5.0, (0.0, 0.0, 0.0))
    inner = DVRDataParserConfig(data=folder / "DTU").setup()
    assert inner.scene_names("val") == ["chair_0002"] and inner.of_scene("chair_0002").setup().chosen().category == ""
    one = DVRDataParserConfig(data=folder / "DTU" / "chair_0001").setup()
    assert one.scene_names("val") == ["chair_0001"]
    outputs = one.get_dataparser_outputs("val")
    # Cameras 2 from the object stand 2 / 0.735 from the unit sphere's centre, and the sphere reaches 1 to both sides.
    expected = (2 / 0.735 - 1, 2 / 0.735 + 1)
    assert (outputs.metadata["near"], outputs.metadata["far"]) == pytest.approx(expected, abs=1e-4)
    assert torch.allclose(outputs.scene_box.aabb, torch.tensor([[-1.0] * 3, [1.0] * 3]), atol=1e-4)


def test_validation_scans_serve_as_test_scans(scan):
    root = scan.parent.parent
    (root / "DTU" / "new_test.lst").unlink()
    assert DVRDataParserConfig(data=root).setup().scene_names("test") == ["DTU/chair_0002"]


def idr(scan: Path, factor: int = 4) -> None:
    """Turn a scan into IDR's layout, with cameras for images `factor` times larger than those that there are."""
    arrays = dict(np.load(scan / "cameras.npz"))
    # Integers are pixel centres before and after: u' + 0.5 = factor (u + 0.5).
    grow = np.diag([factor, factor, 1.0, 1.0])
    grow[:2, 2] = 0.5 * factor - 0.5
    for index in range(VIEWS):
        arrays[f"world_mat_{index}"] = grow @ arrays[f"world_mat_{index}"]
        del arrays[f"world_mat_inv_{index}"], arrays[f"scale_mat_inv_{index}"]
    np.savez(scan / "cameras_sphere.npz", **arrays)
    (scan / "cameras.npz").unlink()
    (scan / "image").rename(scan / f"images_{factor}")
    (scan / "mask").rename(scan / f"mask_{factor}")
    for index, path in enumerate(sorted((scan / f"mask_{factor}").iterdir())):
        path.rename(path.with_name(f"{index:03d}.png"))  # IDR's masks have shorter names


def test_cameras_of_larger_images(scan):
    before = DVRDataParserConfig(data=scan).setup().get_dataparser_outputs("train")
    idr(scan)
    after = DVRDataParserConfig(data=scan).setup().get_dataparser_outputs("train")
    assert [path.parent.name for path in after.image_filenames] == ["images_4"] * VIEWS
    masks = after.metadata["foreground_filenames"]
    assert [path.relative_to(scan).as_posix() for path in masks] == [f"mask_4/{index:03d}.png" for index in range(3)]
    for name in ("fx", "fy", "cx", "cy", "camera_to_worlds"):
        assert torch.allclose(getattr(after.cameras, name), getattr(before.cameras, name), atol=1e-4), name
    again = DVRDataParserConfig(data=scan, downscale_factor=4, camera_size=(4 * WIDTH, 4 * HEIGHT)).setup()
    assert torch.equal(again.get_dataparser_outputs("train").cameras.fx, after.cameras.fx)


def test_the_largest_images_are_read(scan):
    (scan / "images_2").mkdir()
    for path in (scan / "image").iterdir():
        Image.open(path).resize((WIDTH // 2, HEIGHT // 2)).save(scan / "images_2" / path.name)
    full = DVRDataParserConfig(data=scan).setup().get_dataparser_outputs("train")
    half = DVRDataParserConfig(data=scan, downscale_factor=2).setup().get_dataparser_outputs("train")
    assert full.image_filenames[0].parent.name == "image" and half.image_filenames[0].parent.name == "images_2"
    assert torch.allclose(half.cameras.fx, full.cameras.fx / 2) and int(half.cameras.width[0]) == WIDTH // 2
    assert "foreground_filenames" in full.metadata and "foreground_filenames" not in half.metadata
    message = refusal(DVRDataParserConfig(data=scan, downscale_factor=8))
    assert message == f"{scan} has no images for --downscale-factor 8; give one that exists: 1, 2"


def test_cameras_that_are_for_another_size(scan):
    idr(scan)
    (scan / "images_4").rename(scan / "image")
    message = refusal(DVRDataParserConfig(data=scan))
    assert message.startswith(f"world_mat_0 of {scan / 'cameras_sphere.npz'} has its principal point at (95.5, 79.5)")
    assert "give --camera-size the width and height" in message
    outputs = DVRDataParserConfig(data=scan, camera_size=(4 * WIDTH, 4 * HEIGHT)).setup()
    assert float(outputs.get_dataparser_outputs("train").cameras.cx[0]) == pytest.approx(WIDTH / 2, abs=1e-3)


def test_a_scan_without_scale_matrices_keeps_its_frame(scan):
    change(scan / "cameras.npz", **{f"scale_mat_{index}": None for index in range(VIEWS)})
    change(scan / "cameras.npz", **{f"scale_mat_inv_{index}": None for index in range(VIEWS)})
    outputs = DVRDataParserConfig(data=scan).setup().get_dataparser_outputs("train")
    assert outputs.dataparser_scale == 1
    distances = outputs.cameras.camera_to_worlds[:, :, 3].norm(dim=-1)
    assert torch.allclose(distances, torch.tensor(2.0), atol=1e-4)


def camera(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K (3, 3), R (3, 3) and a centre (3,)."""
    intrinsics = np.array([[900.0, 0, 310], [0, 880, 245], [0, 0, 1]])
    return intrinsics, Rotation.random(random_state=seed).as_matrix(), np.array([3.0, -700.0, 40.0])


@pytest.mark.parametrize("factor", [1.0, -1.0, 250.0, -1e-3])
def test_taking_a_projection_apart(factor):
    intrinsics, rotation, centre = camera()
    projection = factor * intrinsics @ np.concatenate([rotation, -(rotation @ centre)[:, None]], axis=1)
    found, c2w = decompose(projection, "P")
    assert np.allclose(found, intrinsics) and np.allclose(c2w[:3, :3], rotation.T) and np.allclose(c2w[:3, 3], centre)


def test_taking_a_projection_apart_as_opencv_does():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(1)
    for seed in range(20):
        intrinsics, rotation, _ = camera(seed)
        intrinsics[0, 2] += rng.uniform(-100, 100)
        projection = intrinsics @ np.concatenate([rotation, rng.normal(size=(3, 1)) * 500], axis=1)
        expected, turn, centre = cv2.decomposeProjectionMatrix(projection)[:3]
        found, c2w = decompose(projection, "P")
        assert np.allclose(found, expected / expected[2, 2]) and np.allclose(c2w[:3, :3], turn.T)
        assert np.allclose(c2w[:3, 3], (centre[:3] / centre[3])[:, 0])


def test_projections_that_are_none():
    intrinsics, rotation, centre = camera()
    skewed = intrinsics + np.array([[0, 90.0, 0], [0, 0, 0], [0, 0, 0]])
    pose = np.concatenate([rotation, -(rotation @ centre)[:, None]], axis=1)
    with pytest.raises(InputError, match=r"^P has skewed pixels \(skew 90, focal length 900\)"):
        decompose(skewed @ pose, "P")
    flat = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 5]])  # an affine camera along z
    with pytest.raises(InputError, match=r"^P has no inverse"):
        decompose(flat, "P")


def test_a_scale_matrix_by_hand():
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = 250 * turn, [1, 2, 3]
    scale, rotation, centre = read_similarity(matrix, "S")
    assert scale == pytest.approx(250) and np.allclose(rotation, turn) and centre.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((4, 4)), "has no inverse; correct it"),
        (np.diag([1.0, 1, 0, 1]), "has no inverse"),
        (np.ones((4, 4)), "has no inverse"),
        (np.diag([1.0, 2, 3, 1]), "mirrors, shears or scales its axes differently"),
        (np.diag([-1.0, 1, 1, 1]), "mirrors"),
        (np.full((4, 4), np.inf), "is not finite"),
    ],
)
def test_scale_matrices_that_are_none(scan, matrix, message):
    path = scan / "cameras.npz"
    change(path, scale_mat_1=matrix)
    said = refusal(DVRDataParserConfig(data=scan))
    assert said.startswith(f"scale_mat_1 of {path} ") and message in said


def test_scale_matrices_that_differ_or_are_missing(scan):
    path = scan / "cameras.npz"
    matrix = np.load(path)["scale_mat_1"].copy()
    matrix[0, 3] += 0.1
    change(path, scale_mat_1=matrix)
    assert refusal(DVRDataParserConfig(data=scan)).startswith(f"scale_mat_1 of {path} differs from scale_mat_0")
    change(path, scale_mat_1=None)
    assert refusal(DVRDataParserConfig(data=scan)).startswith(f"{path} has no scale_mat_1; write it")


@pytest.mark.parametrize(
    ("matrix", "message"),
    [(np.zeros((4, 4)), "has no inverse"), (np.full((4, 4), np.nan), "is not finite; correct it or remove the view")],
)
def test_projections_of_a_file_that_are_none(scan, matrix, message):
    change(scan / "cameras.npz", world_mat_2=matrix)
    said = refusal(DVRDataParserConfig(data=scan))
    assert said.startswith(f"world_mat_2 of {scan / 'cameras.npz'} ") and message in said


def test_other_numbers_of_images_and_masks(scan):
    (scan / "mask" / "000001.png").unlink()
    message = refusal(DVRDataParserConfig(data=scan))
    assert message.startswith(f"{scan / 'mask'} has 2 masks but {scan / 'image'} has 3 images")
    change(scan / "cameras.npz", world_mat_2=None, world_mat_inv_2=None)
    for path in (scan / "mask").iterdir():
        path.unlink()
    message = refusal(DVRDataParserConfig(data=scan))
    assert message.startswith(f"{scan / 'cameras.npz'} has 2 cameras") and "has 3 images" in message


def test_masks_of_another_size(scan):
    path = scan / "mask" / "000001.png"
    Image.open(path).resize((7, 5)).save(path)
    image = scan / "image" / "000001.png"
    assert refusal(DVRDataParserConfig(data=scan)).startswith(f"{path} has another size than its image {image}")


def test_scans_without_files(scan):
    data = scan.parent.parent
    (scan / "cameras.npz").rename(scan / "other.npz")
    message = refusal(DVRDataParserConfig(data=data))
    assert message.startswith(f"{scan / 'cameras.npz'} does not exist; it has other.npz: pass --cameras-file")
    assert len(DVRDataParserConfig(data=data, cameras_file="other.npz").setup().get_dataparser_outputs("val").cameras)
    for path in (scan / "image").iterdir():
        path.unlink()
    assert refusal(DVRDataParserConfig(data=data)).startswith(f"{scan} has no images in image/, images/ or images_N/")


def test_a_list_that_names_a_missing_scan(scan):
    path = scan.parent / "new_train.lst"
    path.write_text("chair_0000\nscan9\n")
    message = refusal(DVRDataParserConfig(data=scan.parent.parent))
    assert message.startswith(f"line 2 of {path} names 'scan9', but {scan.parent / 'scan9'} does not exist")


def test_masks_of_all_kinds(tmp_path):
    truth = np.zeros((4, 5), dtype=bool)
    truth[1, 2:] = True
    bright = truth.astype(np.uint8) * 255
    Image.fromarray(bright).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([bright] * 3, -1)).save(tmp_path / "colour.png")
    opaque = np.full_like(bright, 255)
    Image.fromarray(np.stack([bright, 0 * bright, 0 * bright, opaque], -1)).save(tmp_path / "alpha.png")
    Image.fromarray(truth).save(tmp_path / "bits.png")
    Image.fromarray(bright.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for path in tmp_path.iterdir():
        assert np.array_equal(read_foreground(path, (4, 5)), truth), path.name
    with pytest.raises(InputError, match=r"grey\.png is 5x4 pixels but its image is 6x4; write the mask"):
        read_foreground(tmp_path / "grey.png", (4, 6))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.png is not a readable mask"):
        read_foreground(tmp_path / "bad.png")


def test_ns_train_reads_it(made, ns_config, tmp_path):
    config = ns_config("nerfacto", tmp_path, "dvr-data", f"--data={made[0]}", "--scene=DTU/chair_0003")
    outputs = config.pipeline.datamanager.dataparser.setup().get_dataparser_outputs("train")
    assert outputs.metadata["scene"] == "DTU/chair_0003" and len(outputs.cameras) == VIEWS


def test_a_real_scan(real_data):
    folder = real_data / "dtu_scan37"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    outputs = DVRDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    cameras = outputs.cameras
    assert len(cameras) == 49 and (cameras.width == 400).all() and (cameras.height == 300).all()
    # The release gives one calibrated camera: a focal length of 2892.33 pixels in images of 1600x1200.
    assert torch.allclose(cameras.fx, torch.tensor(2892.33 / 4), atol=0.01)
    assert 1 < outputs.metadata["near"] < 2 < outputs.metadata["far"] < 5
    looking = -cameras.camera_to_worlds[:, :, 2]
    offset = -cameras.camera_to_worlds[:, :, 3]
    assert ((looking * offset).sum(-1) / offset.norm(dim=-1) > 0.9).all()
