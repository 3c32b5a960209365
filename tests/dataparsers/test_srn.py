"""`srn-data`: objects in the layout of Scene Representation Networks."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.dataparsers.srn import (
    SRNDataParserConfig,
    category_folders,
    read_pose_file,
    read_srn_intrinsics,
)

from .many_scenes import HEIGHT, VIEWS, WIDTH, check_cameras, check_points, refusal, write

FOUR = "131.25 64 60 0.\n0. 0. 0.\n1.\n120 128\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set and its objects; tests change nothing in it."""
    folder = tmp_path_factory.mktemp("srn") / "data"
    return folder, write(folder, "srn")


@pytest.fixture
def chair(made, tmp_path) -> Path:
    """One object that a test may damage."""
    shutil.copytree(made[0], tmp_path / "data")
    return tmp_path / "data" / "chairs_train" / "chair_0000"


def test_the_cameras_are_those_that_were_written(made):
    folder, items = made
    for item in items:
        config = SRNDataParserConfig(data=folder, scene=f"chairs/{item.name}")
        outputs = config.setup().get_dataparser_outputs("train")
        check_cameras(outputs, item)
        masks = [(np.asarray(Image.open(path)) != 255).any(-1) for path in outputs.image_filenames]
        check_points(outputs.cameras, item.room.surfaces.vertices, masks, 1.25, 2.75)


def test_outputs_of_one_object(made):
    folder, _ = made
    parser = SRNDataParserConfig(data=folder).setup()
    outputs = {split: parser.get_dataparser_outputs(split) for split in ("train", "val", "test")}
    place = folder / "chairs_train" / "chair_0000" / "rgb"
    for found in outputs.values():  # all views in every split
        assert found.image_filenames == [place / f"{index:06d}.png" for index in range(VIEWS)]
    train = outputs["train"]
    assert train.metadata == {
        "scene": "chairs/chair_0000",
        "category": "chairs",
        "near": 1.25,
        "far": 2.75,
        "background": (1.0, 1.0, 1.0),
        "bounded": False,
    }
    assert train.alpha_color is not None and train.alpha_color.tolist() == [1, 1, 1]
    assert torch.equal(train.dataparser_transform, torch.eye(4)[:3]) and train.dataparser_scale == 1
    assert torch.allclose(train.scene_box.aabb, torch.tensor([[-0.75] * 3, [0.75] * 3]))


def test_names_of_the_scenes(made):
    folder, _ = made
    parser = SRNDataParserConfig(data=folder).setup()
    assert parser.scene_names("train") == ["chairs/chair_0000", "chairs/chair_0001"]
    assert parser.scene_names("val") == ["chairs/chair_0002"] and parser.scene_names("test") == ["chairs/chair_0003"]
    config = parser.of_scene("chairs/chair_0003")
    assert config == SRNDataParserConfig(data=folder, scene="chairs/chair_0003")
    assert config.setup().get_dataparser_outputs("train").metadata["scene"] == "chairs/chair_0003"


def test_the_first_scene_of_a_split(made):
    folder, _ = made
    outputs = SRNDataParserConfig(data=folder, scene_split="test").setup().get_dataparser_outputs("train")
    assert outputs.metadata["scene"] == "chairs/chair_0003"


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("chairs", {"train": ["chairs/chair_0000", "chairs/chair_0001"], "test": ["chairs/chair_0003"]}),
        ("chairs_test", {"train": ["chairs/chair_0003"], "test": ["chairs/chair_0003"]}),
        ("chairs_train/chair_0001", {"train": ["chair_0001"], "val": ["chair_0001"]}),
    ],
)
def test_smaller_folders(made, data, names):
    parser = SRNDataParserConfig(data=made[0] / data).setup()
    assert {split: parser.scene_names(split) for split in names} == names
    name = names["train"][-1]
    assert parser.of_scene(name).setup().get_dataparser_outputs("train").metadata["scene"] == name


def test_a_name_without_its_category(made):
    outputs = SRNDataParserConfig(data=made[0], scene="chair_0002").setup().get_dataparser_outputs("train")
    assert outputs.metadata["scene"] == "chairs/chair_0002"


def test_folders_of_the_original_release(tmp_path):
    for name in ("cars_train/a", "cars_val/b", "cars_train_val/a", "chairs_train/chairs_2.0_train/c", "notes"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("cars_train/a", "cars_val/b", "cars_train_val/a", "chairs_train/chairs_2.0_train/c"):
        (tmp_path / name / "intrinsics.txt").write_text(FOUR)
    assert {name: set(found) for name, found in category_folders(tmp_path).items()} == {
        "cars": {"train", "val"},
        "chairs": {"train"},
    }
    parser = SRNDataParserConfig(data=tmp_path).setup()
    assert parser.scene_names("train") == ["cars/a", "chairs/c"] and parser.scene_names("val") == ["cars/b"]
    assert parser.of_scene("chairs/c").setup().chosen().folder == tmp_path / "chairs_train" / "chairs_2.0_train" / "c"


@pytest.mark.parametrize(
    ("text", "inverse"),
    [
        (FOUR, False),
        (FOUR.rstrip("\n"), False),
        (FOUR + "\n\n", False),
        (FOUR + "0\n", False),
        (FOUR + "1\n", True),
        ("131.25 64 60 0.\n0. 0. 0.\n0.8\n1.\n120 128\n", False),  # a near plane: five lines
        ("131.25 64 60 0.\n0. 0. 0.\n0.8\n1.\n120 128\n1\n", True),
        ("131.25 64 60\n0. 0. 0.\n1.\n120 128\n", False),
    ],
)
def test_intrinsics_of_four_lines_or_more(tmp_path, text, inverse):
    path = tmp_path / "intrinsics.txt"
    path.write_text(text)
    assert read_srn_intrinsics(path) == (131.25, 64, 60, 128, 120, inverse)


def test_poses_the_other_way_round(made, chair):
    original = SRNDataParserConfig(data=chair).setup().get_dataparser_outputs("train")
    (chair / "intrinsics.txt").write_text((chair / "intrinsics.txt").read_text() + "1\n")
    for path in (chair / "pose").iterdir():
        np.savetxt(path, np.linalg.inv(np.loadtxt(path).reshape(4, 4)))  # and four rows of four
    turned = SRNDataParserConfig(data=chair).setup().get_dataparser_outputs("train")
    assert torch.allclose(turned.cameras.camera_to_worlds, original.cameras.camera_to_worlds, atol=1e-5)


def test_smaller_images_have_smaller_cameras(chair):
    for path in (chair / "rgb").iterdir():
        Image.open(path).resize((WIDTH // 2, HEIGHT // 2)).save(path)
    cameras = SRNDataParserConfig(data=chair).setup().get_dataparser_outputs("train").cameras
    assert float(cameras.fx[0]) == pytest.approx(131.25 / 128 * WIDTH / 2)
    assert (float(cameras.cx[0]), float(cameras.cy[0])) == (WIDTH / 4, HEIGHT / 4)
    assert (int(cameras.width[0]), int(cameras.height[0])) == (WIDTH // 2, HEIGHT // 2)


def test_bounds_of_other_objects(made, chair):
    metadata = SRNDataParserConfig(data=chair).setup().get_dataparser_outputs("train").metadata
    # The cameras stand 2 away, so the object may reach from 2 - 0.75 to 2 + 0.75.
    assert (metadata["near"], metadata["far"]) == pytest.approx((1.25, 2.75)) and metadata["category"] == ""
    config = SRNDataParserConfig(data=chair, near=1.0, far=3.0)
    assert config.setup().get_dataparser_outputs("train").metadata["far"] == 3.0
    assert refusal(SRNDataParserConfig(data=chair, near=5.0)).startswith("near is 5.0 and far 2.75")


def test_ns_train_reads_it(made, ns_config, tmp_path):
    config = ns_config("nerfacto", tmp_path, "srn-data", f"--data={made[0]}", "--scene=chairs/chair_0001")
    outputs = config.pipeline.datamanager.dataparser.setup().get_dataparser_outputs("train")
    assert outputs.metadata["scene"] == "chairs/chair_0001" and len(outputs.cameras) == VIEWS


def test_data_that_are_none(tmp_path):
    message = refusal(SRNDataParserConfig(data=tmp_path / "none"))
    assert message.startswith(f"{tmp_path / 'none'} is not a folder; give --data")
    message = refusal(SRNDataParserConfig(data=tmp_path))
    assert message.startswith(f"{tmp_path} has neither folders such as chairs_train nor objects")


def test_a_scene_that_is_not_there(made):
    for name in ("chairs/none", "none", "tables/chair_0000", "chairs/"):
        message = refusal(SRNDataParserConfig(data=made[0], scene=name))
        assert message.startswith(f"{made[0]} has no scene {name!r}; it has chairs/chair_0000, chairs/chair_0001,")
    message = refusal(SRNDataParserConfig(data=made[0], scene="chairs/.."))
    assert message.startswith(f"{made[0]} has no scene 'chairs/..'")


def test_a_split_without_scenes(chair):
    target = chair.parent.parent
    for path in (target / "chairs_val").iterdir():
        path.rename(target / path.name)
    message = refusal(SRNDataParserConfig(data=target, scene_split="val"))
    assert message.startswith(f"{target} has no scene in its split val")


def test_a_missing_pose(chair):
    (chair / "pose" / "000001.txt").unlink()
    message = refusal(SRNDataParserConfig(data=chair))
    assert message.startswith(f"{chair / 'pose' / '000001'}.txt does not exist, but {chair / 'rgb' / '000001.png'}")


def test_a_missing_image(chair):
    (chair / "rgb" / "000001.png").unlink()
    message = refusal(SRNDataParserConfig(data=chair))
    assert message.startswith(f"{chair / 'rgb' / '000001'}.png does not exist, but its pose does; restore")


@pytest.mark.parametrize("name", ["rgb", "pose", "intrinsics.txt"])
def test_missing_parts_of_an_object(chair, name):
    (chair / name).rename(chair.parents[2] / name)
    message = refusal(SRNDataParserConfig(data=chair.parent.parent, scene="chairs/chair_0000"))
    assert message.startswith(str(chair / name)) and "restore" in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "131.25 64 60 0.\n",
        "131.25 64 60 0.\n0. 0. 0.\n1.\n128\n",
        "131.25\n0. 0. 0.\n1.\n120 128\n",
        "131.25 64 60 0.\n0. 0. 0.\n120 128\n",
        "131.25 64 60 0.\n0. 0. 0.\n1.\n2.\n3.\n120 128\n",
    ],
)
def test_intrinsics_of_other_lines(chair, text):
    (chair / "intrinsics.txt").write_text(text)
    message = refusal(SRNDataParserConfig(data=chair))
    assert message.startswith(f"{chair / 'intrinsics.txt'} has lines of") and '"H W"' in message


@pytest.mark.parametrize("word", ["focal", "nan", "0", "-3"])
def test_intrinsics_of_other_numbers(chair, word):
    (chair / "intrinsics.txt").write_text(FOUR.replace("131.25", word))
    message = refusal(SRNDataParserConfig(data=chair))
    assert message.startswith(f"{chair / 'intrinsics.txt'} ") and ("positive" in message or "numbers" in message)


def test_intrinsics_of_another_shape(chair):
    (chair / "intrinsics.txt").write_text(FOUR)
    message = refusal(SRNDataParserConfig(data=chair))
    image = chair / "rgb" / "000000.png"
    assert message.startswith(f"{image} is {WIDTH}x{HEIGHT} pixels, which is no smaller version of the 128x120 of")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 numbers; write a 4x4"),
        ("1 0 0 0 0 1 0 0 0 0 1 2", "has 12 numbers; write a 4x4"),
        ("one 0 0 0 0 1 0 0 0 0 1 2 0 0 0 1", "is not a pose of 16 numbers"),
        ("1 0 0 nan 0 1 0 0 0 0 1 2 0 0 0 1", "has a pose that is not finite"),
        ("2 0 0 0 0 2 0 0 0 0 2 2 0 0 0 1", "has a pose whose rotation scales"),
        ("0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1", "has a pose whose rotation is singular"),
    ],
)
def test_poses_that_are_none(chair, text, message):
    path = chair / "pose" / "000001.txt"
    path.write_text(text)
    assert refusal(SRNDataParserConfig(data=chair)).startswith(f"{path} {message}")


def test_a_pose_by_hand(tmp_path):
    path = tmp_path / "pose.txt"
    path.write_text("1 0 0 1\n0 0 -1 2\n0 1 0 3\n0 0 0 1\n")
    assert read_pose_file(path).tolist() == [[1, 0, 0, 1], [0, 0, -1, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
