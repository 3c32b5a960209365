"""Masks beside images: what a batch gets, and which data are refused before training."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig  # noqa: E402
from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.instance_nerf.dataset import InstanceDataset  # noqa: E402
from nerfseg_plugins.segments.masks import read_ids, write_ids  # noqa: E402


@pytest.fixture
def room(tiny_room: Path, tmp_path: Path) -> Path:
    """A copy of the tiny room, to be spoiled."""
    shutil.copytree(tiny_room, tmp_path / "room", ignore=shutil.ignore_patterns("depth", "parts", "semantics"))
    return tmp_path / "room"


def dataset(data: Path, split: str = "train", **options: Any) -> InstanceDataset:
    return InstanceDataset(Front3DDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split))


def declare(data: Path, **changes: Any) -> None:
    """Change what the JSON files say; None removes a key."""
    for path in data.glob("*transforms.json"):
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


# What a batch gets ---------------------------------------------------------------------------------------------------


def test_every_view_has_its_ids(room: Path):
    ids = read_ids(room / "masks" / "0003.png")
    ids[:5, :7] = -1
    write_ids(room / "masks" / "0003.png", ids)
    found = dataset(room)
    assert len(found) == 10 and found.metadata["num_labels"] == 4
    for view in range(10):
        labels = found[view]["instance_ids"]
        assert labels.dtype == torch.int64 and labels.shape == (36, 48)
        np.testing.assert_array_equal(labels.numpy(), read_ids(room / "masks" / f"{view:04d}.png"))
    assert (found[3]["instance_ids"][:5, :7] == -1).all()


def test_the_number_of_instances_comes_from_the_masks_and_what_the_data_declare(room: Path):
    declare(room, num_instances=9)
    assert dataset(room).metadata["num_labels"] == 9, "declared, if not seen"
    declare(room, num_instances=None, num_room_objects=None)
    assert dataset(room).metadata["num_labels"] == 4, "seen, if not declared"
    write_ids(room / "other" / "0000.png", np.full((36, 48), 6, np.int32))
    declare(room, num_instances=4)
    options = {"masks": Path("other"), "allow_missing_masks": True}
    assert dataset(room, **options).metadata["num_labels"] == 6, "what the data declare is not about other masks"


def test_ids_beyond_sixteen_bits_of_signed_integers(room: Path):
    declare(room, num_instances=None, num_room_objects=None)
    for path in (room / "masks").iterdir():
        path.unlink()
    for view in range(13):
        write_ids(room / "masks" / f"{view:04d}.png", np.full((36, 48), 40_000, np.int32))
    found = dataset(room)
    assert found.metadata["num_labels"] == 40_000 and (found[0]["instance_ids"] == 40_000).all()


def test_a_view_without_a_mask_is_unlabelled_where_that_is_allowed(room: Path):
    (room / "masks" / "0004.png").unlink()
    found = dataset(room, allow_missing_masks=True)
    assert (found[4]["instance_ids"] == -1).all() and (found[5]["instance_ids"] >= 0).all()


def test_held_out_views_need_no_masks_and_no_instances(room: Path):
    for view in (10, 11, 12):
        write_ids(room / "masks" / f"{view:04d}.png", np.zeros((36, 48), np.int32))
    assert (dataset(room, "val")[0]["instance_ids"] == 0).all()
    for view in (10, 11, 12):
        (room / "masks" / f"{view:04d}.png").unlink()
    found = dataset(room, "val")
    assert len(found) == 3 and "instance_ids" not in found[0]


def test_no_masks_at_all(room: Path):
    shutil.rmtree(room / "masks")
    found = dataset(room)
    assert found.metadata["num_labels"] == 0 and "instance_ids" not in found[0]


# What is refused -----------------------------------------------------------------------------------------------------


def spoil(room: Path, kind: str) -> Path:
    """Spoil the data; the path that the error must name."""
    mask, image = room / "masks" / "0002.png", room / "images" / "0005.png"
    if kind == "size of a mask":
        write_ids(mask, np.ones((18, 24), np.int32))
    elif kind == "mask missing":
        mask.unlink()
        return room / "masks"
    elif kind == "id beyond":
        ids = read_ids(mask)
        ids[0, 0] = 9
        write_ids(mask, ids)
    elif kind in {"all unlabelled", "background alone"}:
        for path in (room / "masks").iterdir():
            write_ids(path, np.full((36, 48), -1 if kind == "all unlabelled" else 0, np.int32))
        return room / "masks"
    elif kind == "truncated mask":
        mask.write_bytes(mask.read_bytes()[:60])
    elif kind == "truncated image":
        image.write_bytes(image.read_bytes()[:900])
        return image
    elif kind == "sizes of images":
        Image.new("RGB", (24, 18)).save(image)
        write_ids(room / "masks" / "0005.png", np.zeros((18, 24), np.int32))
        for path in room.glob("*transforms.json"):
            content = json.loads(path.read_text())
            for frame in content["frames"]:
                if frame["file_path"].endswith("0005.png"):
                    frame |= {"w": 24, "h": 18, "fl_x": 15, "fl_y": 15, "cx": 12, "cy": 9}
            path.write_text(json.dumps(content))
        return image
    elif kind == "no masks":
        shutil.rmtree(room / "masks")
        return room
    return mask


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("size of a mask", "24x18 pixels but its image is 48x36"),
        ("mask missing", r"no mask for 1 of 10 training images \(images/0002\.png\)"),
        ("id beyond", "holds id 9 but the data declare 4"),
        ("all unlabelled", "leave every pixel unlabelled"),
        ("background alone", "label background alone"),
        ("truncated mask", "damaged|truncated"),
        ("truncated image", "cannot be decoded"),
        ("sizes of images", "24x18 pixels, .*0000.png has 48x36"),
        ("no masks", r"no instance masks.*--masks.*--max-num-iterations 4"),
    ],
)
def test_bad_data_are_named_before_training(ns_train, quick_flags, room: Path, tmp_path: Path, kind: str, said: str):
    path = spoil(room, kind)
    with pytest.raises(InputError, match=said) as caught:
        ns_train("instance-nerf-tiny", tmp_path, *quick_flags(room, 4, 8))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.ckpt"))
