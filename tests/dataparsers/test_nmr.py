"""`nmr-data`: ShapeNet renderings of many categories."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.dataparsers.foreground_files import read_foreground
from nerfseg_plugins.dataparsers.nmr import NMRDataParserConfig

from .many_scenes import HEIGHT, VIEWS, WIDTH, check_cameras, check_points, refusal, to_data, write


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set and its objects; tests change nothing in it."""
    folder = tmp_path_factory.mktemp("nmr") / "data"
    return folder, write(folder, "nmr")


@pytest.fixture
def data(made, tmp_path) -> Path:
    """A data set that a test may damage."""
    return shutil.copytree(made[0], tmp_path / "data")


def change(path: Path, **arrays: np.ndarray | None) -> None:
    """Replace arrays of an archive; None removes one."""
    stored = {**np.load(path), **arrays}
    np.savez(path, **{name: array for name, array in stored.items() if array is not None})


def test_the_cameras_are_those_that_were_written(made):
    folder, items = made
    for item in items:
        outputs = NMRDataParserConfig(data=folder, scene=f"chairs/{item.name}").setup().get_dataparser_outputs("val")
        check_cameras(outputs, item)  # the scene frame has z up again
        masks = [read_foreground(path, (HEIGHT, WIDTH)) for path in outputs.metadata["foreground_filenames"]]
        check_points(outputs.cameras, item.room.surfaces.vertices, masks, 1.2, 4.0)
        assert np.allclose(to_data(outputs, np.array([[1.0, 2.0, 3.0]])), [[1, 3, -2]])  # y up, from z up


def test_outputs_of_one_object(made):
    folder, _ = made
    outputs = NMRDataParserConfig(data=folder).setup().get_dataparser_outputs("train")
    place = folder / "chairs" / "chair_0000"
    assert outputs.image_filenames == [place / "image" / f"{index:04d}.png" for index in range(VIEWS)]
    masks = outputs.metadata.pop("foreground_filenames")
    assert masks == [place / "mask" / f"{index:04d}.png" for index in range(VIEWS)]
    assert outputs.metadata == {
        "scene": "chairs/chair_0000",
        "category": "chairs",
        "near": 1.2,
        "far": 4.0,
        "background": (1.0, 1.0, 1.0),
        "bounded": False,
    }
    assert outputs.mask_filenames is None  # nerfstudio would train on no other pixels
    assert torch.allclose(outputs.scene_box.aabb[1], torch.tensor(4.0 - 2.732), atol=1e-4)


def test_names_of_the_scenes_by_lists(made):
    folder, _ = made
    parser = NMRDataParserConfig(data=folder).setup()
    assert parser.scene_names("train") == ["chairs/chair_0000", "chairs/chair_0001"]
    assert parser.scene_names("val") == ["chairs/chair_0002"] and parser.scene_names("test") == ["chairs/chair_0003"]
    assert parser.of_scene("chairs/chair_0002").scene == "chairs/chair_0002"
    one = NMRDataParserConfig(data=folder / "chairs").setup()
    assert one.scene_names("train") == ["chair_0000", "chair_0001"]
    assert one.of_scene("chair_0003").setup().chosen().folder == folder / "chairs" / "chair_0003"
    single = NMRDataParserConfig(data=folder / "chairs" / "chair_0001").setup()
    assert single.scene_names("test") == ["chair_0001"]
    assert len(single.get_dataparser_outputs("test").cameras) == VIEWS


def test_categories_that_were_not_seen(data):
    (data / "tables" / "t1").mkdir(parents=True)
    (data / "tables" / "gen_test.lst").write_text("t1\n\n")
    (data / "chairs" / "gen_test.lst").write_text("chair_0001\n")
    parser = NMRDataParserConfig(data=data, list_prefix="gen_").setup()
    assert parser.scene_names("test") == ["chairs/chair_0001", "tables/t1"] and parser.scene_names("train") == []
    assert NMRDataParserConfig(data=data).setup().scene_names("test") == ["chairs/chair_0003"]


def test_archives_with_less(data):
    """Either matrix will do, of three rows or four; masks are optional."""
    place = data / "chairs" / "chair_0000"
    before = NMRDataParserConfig(data=place).setup().get_dataparser_outputs("train")
    archive = np.load(place / "cameras.npz")
    for index in range(VIEWS):
        change(
            place / "cameras.npz",
            **{
                f"world_mat_inv_{index}": None,
                f"camera_mat_inv_{index}": None,
                f"world_mat_{index}": archive[f"world_mat_{index}"][:3],
            },
        )
    for path in (place / "mask").iterdir():
        path.unlink()
    after = NMRDataParserConfig(data=place).setup().get_dataparser_outputs("train")
    assert torch.allclose(after.cameras.camera_to_worlds, before.cameras.camera_to_worlds, atol=1e-5)
    assert "foreground_filenames" not in after.metadata


def test_a_list_that_names_a_missing_object(data):
    path = data / "chairs" / "softras_train.lst"
    path.write_text("chair_0000\nchair_0099\n")
    message = refusal(NMRDataParserConfig(data=data))
    place = data / "chairs" / "chair_0099"
    assert message == (
        f"line 2 of {path} names 'chair_0099', but {place} does not exist; restore it or remove the line"
    )


@pytest.mark.parametrize("entry", ["../../elsewhere", "/etc"])
def test_a_list_that_leaves_the_data(data, entry):
    (data / "chairs" / "softras_train.lst").write_text(f"{entry}\n")
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"{entry!r} points outside the data folder")


def test_a_list_that_names_an_object_twice(data):
    path = data / "chairs" / "softras_train.lst"
    path.write_text("chair_0000\nchair_0000\n")
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"line 2 of {path} names 'chair_0000' a second time")


def test_a_list_that_is_none(data):
    path = data / "chairs" / "softras_train.lst"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"{path} is not a readable list")


def test_data_without_lists(data, tmp_path):
    message = refusal(NMRDataParserConfig(data=data, list_prefix="gen_"))
    assert message.startswith(f"{data} has no gen_train.lst, gen_val.lst or gen_test.lst; there are softras_test.lst")
    assert "pass --list-prefix" in message
    (tmp_path / "empty").mkdir()
    assert "give --data the data set" in refusal(NMRDataParserConfig(data=tmp_path / "empty"))
    assert refusal(NMRDataParserConfig(data=tmp_path / "none")).startswith(f"{tmp_path / 'none'} is not a folder")


def test_a_scene_that_is_not_there(made):
    message = refusal(NMRDataParserConfig(data=made[0], scene="chairs/none"))
    assert message.startswith(f"{made[0]} has no scene 'chairs/none'; it has chairs/chair_0000,")
    assert "outside" in refusal(NMRDataParserConfig(data=made[0], scene="../../etc"))


def test_an_object_without_files(data):
    place = data / "chairs" / "chair_0000"
    (place / "cameras.npz").rename(data / "moved.npz")
    message = refusal(NMRDataParserConfig(data=data))
    assert message.startswith(f"{place / 'cameras.npz'} does not exist; restore it")
    (place / "image").rename(data / "moved")
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"{place / 'image'} has no images; restore")


def test_other_numbers_of_images_and_masks(data):
    place = data / "chairs" / "chair_0000"
    (place / "mask" / "0001.png").unlink()
    message = refusal(NMRDataParserConfig(data=data))
    assert message.startswith(f"{place / 'mask'} has 2 masks but {place / 'image'} has 3 images")
    change(place / "cameras.npz", world_mat_2=None, world_mat_inv_2=None)
    message = refusal(NMRDataParserConfig(data=data))
    assert message.startswith(f"{place / 'cameras.npz'} has 2 cameras") and "has 3 images" in message


def test_images_of_some_cameras(data):
    """An image may be left out where names give the numbers of the cameras."""
    place = data / "chairs" / "chair_0000"
    before = NMRDataParserConfig(data=place).setup().get_dataparser_outputs("train")
    for folder in ("image", "mask"):
        (place / folder / "0001.png").unlink()
    after = NMRDataParserConfig(data=place).setup().get_dataparser_outputs("train")
    assert torch.equal(after.cameras.camera_to_worlds, before.cameras.camera_to_worlds[[0, 2]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4), np.nan), "is not finite; correct it"),
        (np.zeros((4, 4)), "has no inverse"),
        (np.eye(2), "of shape (2, 2); write a 4x4 matrix"),
        (np.full((4, 4), "a"), "write a 4x4 matrix"),
        (np.diag([2.0, 2, 2, 1]), "has a pose whose rotation scales"),
    ],
)
def test_matrices_that_are_none(data, array, message):
    path = data / "chairs" / "chair_0000" / "cameras.npz"
    change(path, world_mat_1=array, world_mat_inv_1=None)
    said = refusal(NMRDataParserConfig(data=data))
    assert said.startswith(f"world_mat_1 of {path} ") and message in said


def test_intrinsics_that_are_none(data):
    path = data / "chairs" / "chair_0000" / "cameras.npz"
    change(path, camera_mat_1=np.zeros((4, 4)))
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"camera_mat_1 of {path} has a focal length of 0")
    change(path, camera_mat_1=None)
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"{path} has no camera_mat_1; write it")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half a zip"])
def test_an_archive_that_is_none(data, content):
    path = data / "chairs" / "chair_0000" / "cameras.npz"
    path.write_bytes(content)
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"{path} is no readable archive of arrays")


def test_a_pickled_archive_is_not_opened(data):
    path = data / "chairs" / "chair_0000" / "cameras.npz"
    np.savez(path, world_mat_0=np.array([{"pose": 1}], dtype=object), allow_pickle=True)
    assert refusal(NMRDataParserConfig(data=data)).startswith(f"{path} is no readable archive of arrays")
