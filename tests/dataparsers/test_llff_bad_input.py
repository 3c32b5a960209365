"""What `llff-data` refuses, each by a message that names the file and the mend."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .llff_scene import SmallLLFF, refusal, ring


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
