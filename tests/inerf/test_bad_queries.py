"""Photos that cannot be used are refused in one sentence that names the file and the mend."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.inerf.lens import LensConfig  # noqa: E402
from nerfseg_plugins.inerf.query import QueryConfig, read_poses, read_queries  # noqa: E402

from .photos import HEIGHT, IDENTITY, LENS, WIDTH, photo, pose, transforms  # noqa: E402

SAME = (IDENTITY, 1.0)
FOCAL = QueryConfig(lens=LensConfig(fl_x=20.0))


def refusal(*arguments, **options) -> str:
    """The one sentence with which queries are refused."""
    with pytest.raises(InputError) as caught:
        read_queries(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_no_sources():
    assert refusal([], SAME).startswith("no photo was given")


def test_a_missing_image(tmp_path: Path):
    path = tmp_path / "gone.png"
    assert refusal(path, SAME, FOCAL) == f"{path} does not exist; check the path"


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
def test_an_unreadable_image(tmp_path: Path, content):
    path = photo(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:100] if content == "truncated" else content)
    message = refusal(path, SAME, FOCAL)
    assert message.startswith(f"{path} ") and "restore it" in message


def test_an_empty_folder_and_one_of_split_files(tmp_path: Path):
    message = refusal(tmp_path, SAME, FOCAL)
    assert message.startswith(f"{tmp_path} holds neither transforms.json nor images; put images there")
    transforms(tmp_path, ["test/a.png"], name="transforms_test.json")
    assert refusal(tmp_path, SAME).endswith("name transforms_test.json itself")


def test_listed_photos_none_of_which_exist(tmp_path: Path):
    path = transforms(tmp_path, ["a.png", "b.png"])
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    message = refusal(path, SAME)
    assert message.startswith(f"none of the 2 images listed in {path} exists (first: a.png)") and "restore" in message


def test_no_intrinsics(tmp_path: Path):
    path = photo(tmp_path / "a.png")
    for source, config in ((path, None), (transforms(tmp_path, ["a.png"], meta={}), None)):
        message = refusal(source, SAME, config)
        assert message.startswith(f"{path} has no intrinsics; give fl_x")
        assert all(word in message for word in ("fov", "like_run", "transforms.json"))


def test_intrinsics_of_another_size(tmp_path: Path):
    path = transforms(tmp_path, ["a.png"], meta={**LENS, "w": 99})
    message = refusal(path, SAME)
    assert f"{tmp_path / 'a.png'} is 16x12 pixels but frame 0 (a.png) of {path} says w 99, h 12" in message
    message = refusal(tmp_path / "a.png", SAME, QueryConfig(lens=LensConfig(fl_x=20.0, w=16, h=99)))
    assert f"{tmp_path / 'a.png'} is 16x12 pixels but" in message and "says w 16, h 99" in message


@pytest.mark.parametrize("kind", ["black", "constant", "noisy black"])
def test_a_photo_of_nothing(tmp_path: Path, kind: str):
    pixels = np.full((HEIGHT, WIDTH, 3), 90 if kind == "constant" else 0, np.uint8)
    if kind == "noisy black":
        pixels[::2, ::3] = 2
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    message = refusal(path, SAME, FOCAL)
    said = "of one colour" if kind == "constant" else "all black"
    assert message == f"{path} is {said}: there is nothing to align; give a photo of the scene"


def test_a_mask_of_another_size(tmp_path: Path):
    path, mask = photo(tmp_path / "a.png"), photo(tmp_path / "masks" / "a.png", 8, 6, "L")
    for masks in (mask, mask.parent):
        message = refusal(path, SAME, QueryConfig(lens=LensConfig(fl_x=20.0), masks=masks))
        assert message.startswith(f"{mask} is 8x6 pixels but its image is 16x12")


def test_no_mask_for_this_photo(tmp_path: Path):
    path, mask = photo(tmp_path / "a.png"), photo(tmp_path / "masks" / "b.png", mode="L")
    message = refusal(path, SAME, QueryConfig(lens=LensConfig(fl_x=20.0), masks=mask.parent))
    assert message == f"{mask.parent} holds no mask for {path}; add a.png (0 = do not use)"
    message = refusal(path, SAME, QueryConfig(lens=LensConfig(fl_x=20.0), masks=tmp_path / "gone"))
    assert message.startswith(f"{tmp_path / 'gone'} does not exist")


@pytest.mark.parametrize("usable, said", [(0, "leaves none of"), (63, "leaves only 63 of"), (64, None)])
def test_a_mask_that_leaves_too_little(tmp_path: Path, usable: int, said):
    path, mask = photo(tmp_path / "a.png"), tmp_path / "mask.png"
    pixels = np.zeros(HEIGHT * WIDTH, np.uint8)
    pixels[:usable] = 1
    Image.fromarray(pixels.reshape(HEIGHT, WIDTH)).save(mask)
    config = QueryConfig(lens=LensConfig(fl_x=20.0), masks=mask)
    if said is None:
        assert int(read_queries(path, SAME, config)[0].mask.sum()) == 64
    else:
        message = refusal(path, SAME, config)
        assert f"the mask {mask} {said} the 192 pixels of {path}" in message and "inverted" in message


def test_a_mask_that_leaves_one_colour(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:6] = 120
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:6] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    message = refusal(tmp_path / "a.png", SAME, QueryConfig(lens=LensConfig(fl_x=20.0), masks=tmp_path / "mask.png"))
    assert f"{tmp_path / 'a.png'} is of one colour where {tmp_path / 'mask.png'} lets it be used" in message


def test_a_photo_of_too_few_pixels(tmp_path: Path):
    path = photo(tmp_path / "a.png", 8, 7)
    assert refusal(path, SAME, FOCAL).startswith(f"{path} has only 56 pixels; at least 64 are needed")


@pytest.mark.parametrize(
    "matrix, said",
    [
        ((2 * np.eye(4)).tolist(), "scales or shears"),
        (np.diag([1.0, 1, -1, 1]).tolist(), "mirrors"),
        (np.zeros((4, 4)).tolist(), "is singular"),
        ([[1, 2], [3, 4]], "of shape (2, 2)"),
        ("upright", "not numbers"),
        ([[float("nan")] * 4] * 4, "not finite"),
    ],
)
def test_a_start_that_is_no_pose(tmp_path: Path, matrix, said: str):
    path, starts = photo(tmp_path / "a.png"), tmp_path / "starts.json"
    starts.write_text(json.dumps({"frames": [{"file_path": "a.png", "transform_matrix": matrix}]}))
    message = refusal(path, SAME, QueryConfig(lens=LensConfig(fl_x=20.0), start=starts))
    assert message.startswith(f"frame 0 (a.png) of {starts} has a") and said in message


def test_a_start_file_without_this_image(tmp_path: Path):
    path, starts = photo(tmp_path / "a.png"), tmp_path / "starts.json"
    config = QueryConfig(lens=LensConfig(fl_x=20.0), start=starts)
    frames = [{"file_path": f"{name}.png", "transform_matrix": np.eye(4).tolist()} for name in "bcde"]
    starts.write_text(json.dumps({"frames": frames}))
    message = refusal(path, SAME, config)
    assert message.startswith(f"{starts} has no pose for {path} (it has b, c, d ...); add a frame")
    starts.write_text(json.dumps({"frames": [{"file_path": "a.png"}]}))
    assert refusal(path, SAME, config).startswith(f"{starts} lists no pose")
    starts.write_text("{")
    assert refusal(path, SAME, config).startswith(f"{starts} is not valid JSON")
    starts.unlink()
    assert refusal(path, SAME, config).startswith(f"{starts} does not exist")


def test_two_starts_of_one_stem(tmp_path: Path):
    path = tmp_path / "starts.json"
    frames = [{"file_path": f"{folder}/a.png", "transform_matrix": pose(0).tolist()} for folder in "xy"]
    path.write_text(json.dumps({"frames": frames}))
    assert list(read_poses(path)) == ["a"]  # one pose, said twice
    frames[1]["transform_matrix"] = pose(1).tolist()
    path.write_text(json.dumps({"frames": frames}))
    with pytest.raises(InputError) as caught:
        read_poses(path)
    assert str(caught.value).startswith(f"{path} has two poses for images named a")
