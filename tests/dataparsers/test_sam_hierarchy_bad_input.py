"""sam-hierarchy-data: what cannot be used is refused in one sentence that names the file and the mend."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.dataparsers.depth_files import read_depth
from nerfseg_plugins.dataparsers.sam_hierarchy import SamHierarchyDataParserConfig
from nerfseg_plugins.dataparsers.truth_levels import read_level
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import write_ids

from .hierarchy_scene import HEIGHT, WIDTH, BlenderHS
from .test_sam_hierarchy import partnet


@pytest.fixture
def hs(tmp_path) -> BlenderHS:
    return BlenderHS(tmp_path / "object")


def parse(folder: Path, split: str = "train", **settings):
    return SamHierarchyDataParserConfig(data=folder, **settings).setup().get_dataparser_outputs(split)


def refusal(folder: Path, split: str = "train", **settings) -> str:
    """The message with which the data are refused."""
    with pytest.raises(InputError) as caught:
        parse(folder, split, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_there(tmp_path):
    assert "does not exist; give --data" in refusal(tmp_path / "nowhere")
    assert "holds neither transforms.json" in refusal(tmp_path)


def test_a_transforms_file_is_missing(hs):
    (hs.folder / "transforms_val.json").unlink()
    message = refusal(hs.folder)
    assert str(hs.folder / "val_transforms.json") in message and "transforms_train.json" in message


def test_masks_that_were_asked_for_are_missing(hs):
    message = refusal(hs.folder, masks="labels")
    assert message.startswith(f"{hs.folder / 'segments' / 'labels'} does not exist (there: nothing)")
    assert f"nerfseg masks --data {hs.folder} --source labels" in message
    (hs.folder / "segments" / "labels").mkdir(parents=True)
    message = refusal(hs.folder, masks="labels")
    assert message.startswith(f"{hs.folder / 'segments' / 'labels'} has masks for none of the 3 images")


def test_one_view_has_no_masks(hs):
    shutil.rmtree(hs.folder / "train_seg" / "r_1")
    message = refusal(hs.folder)
    assert message.startswith(f"{hs.folder / 'train_seg'} has no masks for 1 of 3 training images (train/r_1.png)")
    assert "--allow-missing-masks True" in message
    assert parse(hs.folder, "val").metadata["hierarchy_filenames"]


@pytest.mark.parametrize("key", ["file_path", "depth_file_path"])
@pytest.mark.parametrize("value", ["../../secret", "/etc/passwd"])
def test_paths_out_of_the_data_folder(hs, key, value):
    path = hs.folder / "transforms_train.json"
    meta = json.loads(path.read_text())
    meta["frames"][1][key] = value
    path.write_text(json.dumps(meta))
    assert f"{value!r} points outside the data folder {hs.folder}" in refusal(hs.folder)


def test_no_rotated_views(hs, capture):
    assert "has neither transforms_val_rotate.json" in refusal(hs.folder, "rotate")
    assert f"{capture.folder} has no rotated views" in refusal(capture.folder, "rotate")


def test_rotated_views_without_images(hs):
    hs.rotated()
    shutil.rmtree(hs.folder / "val_rotate")
    message = refusal(hs.folder, "rotate")
    assert "none of the 2 images listed in" in message and "transforms_val_rotate.json" in message


@pytest.mark.parametrize("box", [0.0, -1.0, float("nan")])
def test_a_box_without_size(hs, box):
    assert "give half the side of the cube" in refusal(hs.folder, box=box)


def test_cameras_in_the_object(hs):
    path = hs.folder / "transforms_train.json"
    meta = json.loads(path.read_text())
    meta["frames"][2]["transform_matrix"][0][3] = 0.5
    meta["frames"][2]["transform_matrix"][1][3] = 0.5
    meta["frames"][2]["transform_matrix"][2][3] = 0.5
    path.write_text(json.dumps(meta))
    message = refusal(hs.folder)
    assert "train/r_2.png" in message and "--box" in message
    assert parse(hs.folder, box=5.0).dataparser_scale == pytest.approx(0.2)


def test_downscaling_is_the_datamanagers(hs):
    message = refusal(hs.folder, downscale_factor=4)
    assert message.startswith(f"{hs.folder / 'images_4'} does not exist; instead of --downscale-factor 4")
    assert message.endswith("--pipeline.datamanager.camera-res-scale-factor 0.25")


def test_depth_of_another_size(hs):
    path = hs.folder / "val_depth" / "r_0.npy"
    np.save(path, np.ones((3, 4), np.float16))
    with pytest.raises(InputError, match=f"{path} is 4x3 pixels but its image is {WIDTH}x{HEIGHT}"):
        read_depth(path, (HEIGHT, WIDTH))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"not an array"])
def test_damaged_depth(tmp_path, content):
    path = tmp_path / "r_0.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} is damaged"):
        read_depth(path)


def test_pickled_depth_is_not_loaded(tmp_path):
    path = tmp_path / "r_0.npy"
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match=f"{path} is damaged"):
        read_depth(path)


def test_depth_in_millimetres_and_what_is_no_depth(tmp_path):
    Image.fromarray(np.array([[0, 1500]], np.uint16)).save(tmp_path / "depth.png")
    assert np.allclose(read_depth(tmp_path / "depth.png"), [[0, 1.5]])
    np.save(tmp_path / "depth.npy", np.array([[np.nan, np.inf, -1, 2]], np.float32))
    assert read_depth(tmp_path / "depth.npy").tolist() == [[0, 0, 0, 2]]
    np.save(tmp_path / "flags.npy", np.array([[True]]))
    with pytest.raises(InputError, match="depth is one number per pixel"):
        read_depth(tmp_path / "flags.npy")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow also warns of what it then refuses
def test_damaged_and_fractional_truth(tmp_path):
    scene = BlenderHS(tmp_path / "data", released=True)
    level = parse(scene.folder, "val").metadata["truth_levels"]["objects"]
    path = level.files[0]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=f"{path} cannot be read"):
        read_level(level, 0)
    Image.fromarray(np.full((HEIGHT, WIDTH), 0.5, np.float32)).save(path)
    with pytest.raises(InputError, match=f"{path} holds float32 values"):
        read_level(level, 0)


def test_an_object_without_group(capture):
    path = capture.folder / "hierarchy.json"
    path.write_text(json.dumps({"objects": {"1": {"group": 1}}}))
    level = parse(capture.folder).metadata["truth_levels"]["groups"]
    write_ids(level.files[0], np.full((6, 8), 2, np.int32))
    with pytest.raises(InputError, match=f"{level.files[0]} has id 2, which hierarchy.json does not list"):
        read_level(level, 0)
    path.write_text(json.dumps({"objects": {"1": {"name": "bed"}}}))
    assert f"{path} names no group for each object" in refusal(capture.folder)


@pytest.mark.parametrize("text", ["", "10 20 0", "10 20 0 -1", "10 90 0 2", "a b c d"])
def test_partnet_cameras_that_are_none(tmp_path, text):
    partnet(tmp_path, 2)
    path = tmp_path / "view-01" / "meta.txt"
    path.write_text(text)
    assert str(path) in refusal(tmp_path)
    path.unlink()
    assert f"{path} is missing" in refusal(tmp_path)
