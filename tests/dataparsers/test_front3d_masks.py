"""front3d-data: masks to learn from, and true ones, of good captures."""

from pathlib import Path

import numpy as np
import pytest
from nerfstudio.data.datasets.base_dataset import InputDataset

from nerfseg_plugins.dataparsers.front3d import (
    Front3DDataParserConfig,
)
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import read_ids, write_ids


def parse(folder: Path, split: str = "train", **settings):
    return Front3DDataParserConfig(data=folder, **settings).setup().get_dataparser_outputs(split)


def test_masks_are_learned_from_and_kept_away_from_nerfstudio(capture):
    outputs = parse(capture.folder, eval_mode="all")
    expected = [capture.folder / "masks" / f"{index:04d}.png" for index in range(10)]
    assert outputs.metadata["mask_filenames"] == outputs.metadata["truth_filenames"] == expected
    assert outputs.mask_filenames is None
    assert "mask" not in InputDataset(outputs)[0]


def test_masks_2d_is_found_and_every_format_mixes(capture):
    (capture.folder / "masks").rename(capture.folder / "masks_2d")
    folder = capture.folder / "masks_2d"
    for name, suffix in (("0000", ".hdf5"), ("0001", ".npy"), ("0002", ".npz")):
        write_ids(folder / f"{name}{suffix}", read_ids(folder / f"{name}.png"))
        (folder / f"{name}.png").unlink()
    found = parse(capture.folder, eval_mode="all").metadata["mask_filenames"]
    assert [path.name for path in found[:4]] == ["0000.hdf5", "0001.npy", "0002.npz", "0003.png"]


def test_other_masks_to_learn_from_leave_the_truth_alone(capture, tmp_path):
    (capture.folder / "segments").mkdir()
    for path in (capture.folder / "masks").iterdir():
        write_ids(capture.folder / "segments" / f"{path.stem}.npz", read_ids(path))
    metadata = parse(capture.folder, masks=Path("segments")).metadata
    assert {path.parent.name for path in metadata["mask_filenames"]} == {"segments"}
    assert {path.parent.name for path in metadata["truth_filenames"]} == {"masks"}
    (capture.folder / "segments").rename(tmp_path / "elsewhere")
    metadata = parse(capture.folder, masks=tmp_path / "elsewhere").metadata
    assert {path.parent for path in metadata["mask_filenames"]} == {tmp_path / "elsewhere"}


def test_a_capture_without_masks_says_nothing_of_them(capture):
    (capture.folder / "masks").rename(capture.folder / "unused")
    assert parse(capture.folder).metadata == {"bounded": False}


@pytest.mark.parametrize("option", ["masks", "truth"])
def test_a_mask_folder_that_was_asked_for_must_exist(capture, option):
    with pytest.raises(InputError, match=rf"segments/sam does not exist; give --{option} a folder of masks"):
        parse(capture.folder, **{option: Path("segments/sam")})


def test_missing_masks_are_refused_by_name_and_count(capture):
    for index in (3, 4, 5, 6):
        (capture.folder / "masks" / f"{index:04d}.png").unlink()
    with pytest.raises(
        InputError, match=r"masks has no mask for 4 of 10 .*0003\.png, images/0004\.png, .* \.\.\.\); add"
    ):
        parse(capture.folder, eval_mode="all")
    found = parse(capture.folder, eval_mode="all", allow_missing_masks=True).metadata["mask_filenames"]
    assert [path is None for path in found] == [False] * 3 + [True] * 4 + [False] * 3


def test_held_out_views_need_no_masks(capture):
    frames = capture.meta["frames"]
    capture.save("train_transforms.json", frames=frames[1:])
    capture.save("val_transforms.json", frames=frames[:1])
    (capture.folder / "masks" / "0000.png").unlink()
    assert parse(capture.folder, "val").metadata["mask_filenames"] == [None]
    assert None not in parse(capture.folder).metadata["mask_filenames"]


def test_an_empty_mask_folder_is_refused_even_where_gaps_are_allowed(capture):
    for path in (capture.folder / "masks").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"masks has no mask for any of the 10 training images.*first wanted: 0000"):
        parse(capture.folder, eval_mode="all", allow_missing_masks=True)


def test_images_of_one_name_in_two_folders_need_masks_in_two_folders(capture):
    frames = capture.meta["frames"][:2]
    for frame, name in zip(frames, ("train/r_0.png", "val/r_0.png"), strict=True):
        capture.image(name)
        frame["file_path"] = name
    capture.save(frames=frames)
    ids = np.zeros((6, 8), np.int32)
    write_ids(capture.folder / "masks" / "r_0.png", ids)
    with pytest.raises(
        InputError, match=r"train/r_0\.png and val/r_0\.png would share the mask .*r_0\.png; keep masks in"
    ):
        parse(capture.folder, eval_mode="all")
    write_ids(capture.folder / "masks" / "val" / "r_0.png", ids)
    found = parse(capture.folder, eval_mode="all").metadata["mask_filenames"]
    assert found == [capture.folder / "masks" / "r_0.png", capture.folder / "masks" / "val" / "r_0.png"]


def test_instances_of_the_json_reach_the_metadata(capture):
    boxes = [
        {"instance_id": 2, "class_id": 5, "name": "chair", "extents": [1, 1, 1], "position": [0, 0, 0]},
        {"extents": [1, 1, 1], "position": [0, 0, 0]},
    ]
    capture.save(bounding_boxes=boxes, num_room_objects=2)
    metadata = parse(capture.folder).metadata
    assert metadata["instance_classes"] == {2: 5}
    assert metadata["instance_names"] == {2: "chair"}
    assert metadata["num_instances"] == 2
