"""`nerfseg match` on a trained tiny run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.cli.match import Match
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.manifest import read_manifest, write_manifest
from nerfseg_plugins.segments.masks import read_ids, read_segments
from nerfseg_plugins.segments.match_config import MatchConfig


@pytest.fixture(scope="module")
def matched(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The noisy masks of the tiny room, matched."""
    folder = tmp_path_factory.mktemp("matched")
    command(tiny_run, folder).main()
    return folder


def command(tiny_run, folder: Path, **options) -> Match:
    """The tiny room has ten views of 48x36, where a thing has few voxels."""
    settings = {"segments": tiny_run.data / "masks_noisy", "downscale": 1.0} | options
    matching = MatchConfig(resolution=32, min_voxels=3)
    return Match(load_config=tiny_run.config, output_path=folder, matching=matching, **settings)


def train_stems(data: Path) -> list[str]:
    frames = json.loads((data / "train_transforms.json").read_text())["frames"]
    return sorted(Path(frame["file_path"]).stem for frame in frames)


def test_writes_maps_instances_preview_and_manifest(matched: Path, tiny_run) -> None:
    stems = train_stems(tiny_run.data)
    assert sorted(path.stem for path in matched.glob("*.npz")) == stems  # held-out views stay out
    rows = json.loads((matched / "instances.json").read_text())
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1)) and rows
    classes = {row["id"]: row["class_id"] for row in rows}
    for stem in stems:
        segments = read_segments(matched / f"{stem}.npz")
        assert segments.ids.shape == (36, 48)
        assert segments.ids.max() <= len(rows)
        assert segments.class_ids.tolist() == [classes[i] for i in segments.segment_ids.tolist()]
    # Boxes are in the data's frame: inside of the room's box and a margin.
    bbox = np.array(json.loads((tiny_run.data / "train_transforms.json").read_text())["room_bbox"])
    for row in rows:
        if row["box"] is not None:
            assert np.all(np.array(row["box"]) >= bbox[0] - 1) and np.all(np.array(row["box"]) <= bbox[1] + 1)
    with Image.open(matched / "preview.png") as sheet:
        assert sheet.width >= 3 * 48
    manifest = read_manifest(matched)
    assert manifest.source == "masks_noisy-matched" and manifest.checkpoint is not None
    assert manifest.parameters["resolution"] == 32


def test_matching_again_replaces_and_agrees(matched: Path, tiny_run, tmp_path: Path) -> None:
    command(tiny_run, tmp_path / "again").main()
    (tmp_path / "again" / "stranger.npz").write_bytes(b"")
    command(tiny_run, tmp_path / "again").main()
    assert not (tmp_path / "again" / "stranger.npz").exists()
    for path in matched.glob("*.npz"):
        np.testing.assert_array_equal(read_ids(path), read_ids(tmp_path / "again" / path.name))


def test_given_3d_masks_are_followed(tiny_run, tmp_path: Path) -> None:
    meta = json.loads((tiny_run.data / "train_transforms.json").read_text())
    bbox = np.array(meta["room_bbox"])
    size = (np.array([30, 30, 20]), (bbox[1] - bbox[0]) / [30, 30, 20])
    ids = np.zeros(size[0], np.int32)
    centers = bbox[0] + (np.stack(np.meshgrid(*map(np.arange, size[0]), indexing="ij"), -1) + 0.5) * size[1]
    for box in meta["bounding_boxes"]:
        local = (centers - np.array(box["position"])) @ np.array(box["orientation"])
        ids[(np.abs(local) <= np.array(box["extents"]) / 2 + 0.05).all(axis=-1)] = box["instance_id"]
    np.save(tmp_path / "grid.npy", ids)
    folder = tmp_path / "out"
    command(tiny_run, folder, masks3d=tmp_path / "grid.npy").main()
    rows = json.loads((folder / "instances.json").read_text())
    assert [row["id"] for row in rows] == np.unique(ids[ids > 0]).tolist()
    assert read_manifest(folder).model == "assigned-to-3d-masks-1"
    for path in folder.glob("*.npz"):
        assert set(np.unique(read_ids(path))) <= {-1, 0, *(row["id"] for row in rows)}
    with pytest.raises(InputError, match="no view sees an instance"):
        command(tiny_run, folder, masks3d=tmp_path / "grid.npy", masks3d_box=(90, 90, 90, 91, 91, 91)).main()


def test_held_out_views_on_request(tiny_run, tmp_path: Path) -> None:
    command(tiny_run, tmp_path, include_held_out=True).main()
    assert len(list(tmp_path.glob("*.npz"))) == 13


def test_a_view_without_segments_is_filled_with_a_warning(tiny_run, tmp_path: Path, capsys) -> None:
    stems = train_stems(tiny_run.data)
    (tmp_path / "in").mkdir()
    for stem in stems[1:]:
        (tmp_path / "in" / f"{stem}.png").write_bytes((tiny_run.data / "masks_noisy" / f"{stem}.png").read_bytes())
    command(tiny_run, tmp_path / "out", segments=tmp_path / "in").main()
    assert f"no segments of 1 of 10 views (first: {stems[0]})" in capsys.readouterr().out.replace("images/", "")
    assert (read_ids(tmp_path / "out" / f"{stems[0]}.npz") >= 0).any()


def test_bad_input(tiny_run, matched: Path, tmp_path: Path) -> None:
    def refused(words: str, **options) -> None:
        with pytest.raises(InputError) as caught:
            command(tiny_run, **({"folder": tmp_path / "out"} | options)).main()
        assert words in str(caught.value), caught.value

    empty = tmp_path / "empty"
    refused(f"{empty} is no folder", segments=empty)
    empty.mkdir()
    refused(f"{empty} has segments of none of the 10 views", segments=empty)
    refused("--downscale is 0", downscale=0)
    stem = train_stems(tiny_run.data)[0]
    Image.fromarray(np.zeros((20, 30), np.uint16)).save(empty / f"{stem}.png")
    refused(f"{empty / stem}.png is 30x20 pixels but its image is 48x36", segments=empty)
    (empty / f"{stem}.png").unlink()
    (empty / f"{stem}.npz").write_bytes((matched / f"{stem}.npz").read_bytes()[:100])
    refused(f"{empty / stem}.npz is damaged or truncated", segments=empty)
    np.savez(tmp_path / "keys.npz", mask=np.zeros(3))
    refused(f"{tmp_path / 'keys.npz'} has no 'masks'", masks3d=tmp_path / "keys.npz")
    np.save(tmp_path / "flat.npy", np.zeros((3, 3), int))
    refused(f"{tmp_path / 'flat.npy'} has shape (3, 3)", masks3d=tmp_path / "flat.npy")
    refused("is the folder of the segments themselves", segments=matched, folder=matched)
    for index in range(10):
        np.savez(empty / f"{index}.npz", ids=np.zeros((36, 48), np.uint16))
    refused(f"{empty} holds masks that nerfseg match did not write", folder=empty)
    assert not (tmp_path / "out").exists()


def test_a_stranger_with_a_manifest_of_another_source_stays(tiny_run, matched: Path, tmp_path: Path) -> None:
    import dataclasses

    write_manifest(tmp_path, dataclasses.replace(read_manifest(matched), source="classical"))
    np.savez(tmp_path / "a.npz", ids=np.zeros((36, 48), np.uint16))
    with pytest.raises(InputError, match="pass --overwrite"):
        command(tiny_run, tmp_path).main()
    command(tiny_run, tmp_path, overwrite=True).main()
    assert not (tmp_path / "a.npz").exists()


def test_nothing_alike_is_said(tiny_run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for stem in train_stems(tiny_run.data):
        Image.fromarray(np.zeros((36, 48), np.uint16)).save(tmp_path / "in" / f"{stem}.png")
    with pytest.raises(InputError, match="no instance was found"):
        command(tiny_run, tmp_path / "out", segments=tmp_path / "in").main()
    assert not (tmp_path / "out").exists()
