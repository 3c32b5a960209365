"""Saved edits: read back as they were, and refused where they are damaged, foreign or of other weights."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.edit_file import load_edits, save_edits, write_run_with_edit
from nerfseg_plugins.isrf.edits import Edit
from nerfseg_plugins.scene.fingerprint import fingerprint

from .boxes import FRONT, GLOSSY, WALL, voxels_of

WEIGHTS = "0123abcd"


def motion() -> torch.Tensor:
    """Ninety degrees about z, and a step."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    matrix[:3, 3] = torch.tensor([0.1, 1 / 3, -2.0])
    return matrix


def some_edits() -> list[Edit]:
    return [
        Edit("a chair, 你好", voxels_of(FRONT), "move", transform=motion()),
        Edit("lamp", voxels_of(GLOSSY), "recolor", (0.1, 0.2, 0.3), 0.7, 0.4),
        Edit("wall", voxels_of(WALL)),
    ]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "edits" / "chair.npz"
    save_edits(path, some_edits(), WEIGHTS)
    return path


def test_edits_come_back_as_they_were(saved: Path):
    for before, after in zip(some_edits(), load_edits(saved, WEIGHTS), strict=True):
        assert (after.name, after.action, after.color) == (before.name, before.action, before.color)
        assert (after.strength, after.luminance) == (before.strength, before.luminance)
        assert torch.equal(after.transform, before.transform)
        assert after.voxels.grid == before.voxels.grid and after.voxels.offset == before.voxels.offset
        assert torch.equal(after.voxels.occupied, before.voxels.occupied)


def test_no_edit_is_a_file_as_well(tmp_path: Path):
    save_edits(tmp_path / "none.npz", [], WEIGHTS)
    assert load_edits(tmp_path / "none.npz", WEIGHTS) == []


def test_a_file_is_small_and_nothing_else_is_left(saved: Path):
    assert saved.stat().st_size < 6000, "a bit a voxel, compressed"
    assert [path.name for path in saved.parent.iterdir()] == ["chair.npz"]


def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch):
    before = saved.read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match=r"chair\.npz could not be written.*free space"):
        save_edits(saved, [], WEIGHTS)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1


# The fingerprint -----------------------------------------------------------------------------------------------------


def test_a_fingerprint_is_that_of_the_weights():
    from nerfstudio.data.scene_box import SceneBox

    from nerfseg_plugins.isrf.model import IsrfModel, IsrfModelConfig

    def build(seed: int) -> IsrfModel:
        torch.manual_seed(seed)
        options: dict[str, Any] = {"num_levels": 2, "log2_hashmap_size": 6, "head_num_levels": 2}
        config = IsrfModelConfig(implementation="torch", head_log2_hashmap_size=6, feature_dim=3, **options)
        box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
        return IsrfModel(config, scene_box=box, num_train_data=1, metadata={"bounded": True})

    first, same, other = build(0), build(0), build(1)
    assert fingerprint(first) == fingerprint(same) != fingerprint(other)
    assert len(fingerprint(first)) == 64
    same.edits, same.selected = some_edits(), voxels_of(FRONT)
    same.head_steps += 5
    same.trained_positions.fill_(1.0)
    assert fingerprint(first) == fingerprint(same), "what is shown, and what is only known of the training"
    for name in ("field.mlp_head.layers.0.weight", "proposal_networks.0.mlp_base.1.layers.0.weight", "head.mlp."):
        changed = build(0)
        parameter = next(value for key, value in changed.named_parameters() if key.startswith(name))
        parameter.data.view(-1)[-1] += 1e-6
        assert fingerprint(changed) != fingerprint(first), name


def test_edits_of_other_weights_are_refused(saved: Path):
    with pytest.raises(InputError, match=r"made for other weights.*save the edit again") as caught:
        load_edits(saved, "other")
    assert str(saved) in str(caught.value)


# Bad files -----------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.npz does not exist; .*save the edit again"):
        load_edits(tmp_path / "gone.npz", WEIGHTS)


def test_a_file_has_its_suffix(tmp_path: Path):
    with pytest.raises(InputError, match=r"chair\.zip must end in \.npz"):
        save_edits(tmp_path / "chair.zip", [], WEIGHTS)


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_edits(path, WEIGHTS)
    message = str(caught.value)
    assert str(path) in message and "save the edit again" in message and "\n" not in message


def test_a_truncated_file_is_refused(saved: Path):
    whole = saved.read_bytes()
    for size in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        refused(saved, "is no readable edit")


def test_a_file_with_changed_bytes_is_refused(saved: Path):
    whole = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        place = archive.infolist()[1].header_offset + 60
    saved.write_bytes(whole[:place] + bytes(b ^ 255 for b in whole[place : place + 20]) + whole[place + 20 :])
    refused(saved, "is no readable edit")


@pytest.mark.parametrize("what", ["text", "array", "npz", "pickle", "folder"])
def test_a_foreign_file_is_refused(what: str, tmp_path: Path):
    path = tmp_path / "foreign.npz"
    if what == "text":
        path.write_text("hello")
    elif what == "array":
        np.save(tmp_path / "foreign.npy", np.zeros(3))
        (tmp_path / "foreign.npy").rename(path)
    elif what == "npz":
        np.savez(path, features=np.zeros(3))
    elif what == "pickle":
        np.savez(path, about=np.array([{"format": "nerfseg-edit-1"}], dtype=object))
    else:
        path.mkdir()
    refused(path, "is no readable edit|is no saved edit")


def spoil(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> None:
    """Write the file again with something changed in what it says or in its arrays."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    about = json.loads(str(arrays["about"]))
    change(about, arrays)
    arrays["about"] = np.array(json.dumps(about))
    np.savez(path, **arrays)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda about, _: about.update(format="other"), "has the format 'other'"),
        (lambda about, _: about.pop("made_for"), "is no saved edit"),
        (lambda about, _: about["edits"][0].pop("action"), "is damaged"),
        (lambda about, _: about["edits"][0].update(action="explode"), "'explode' is no action"),
        (lambda about, _: about["edits"][0].update(color=[0, 1]), "is damaged"),
        (lambda about, _: about["edits"][0].update(color=[0, 1, 7]), "is no colour"),
        (lambda about, _: about["edits"][0]["transform"][0].__setitem__(3, float("nan")), "no rotation"),
        (lambda about, _: about["edits"][0]["transform"][0].__setitem__(0, 2.0), "no rotation"),
        (lambda about, _: about["edits"][0]["transform"].pop(), "no rotation"),
        (lambda about, _: about["edits"][0].update(transform="east"), "is damaged"),
        (lambda about, _: about["edits"].append(about["edits"][0]), "bits is missing"),
        (lambda _, arrays: arrays.pop("1.edge"), "edge is missing"),
        (lambda _, arrays: arrays.update({"1.bits": arrays["1.bits"][:-1]}), "bits has shape"),
        (lambda _, arrays: arrays.update({"1.bits": arrays["1.bits"].astype(float)}), "bits has type"),
        (lambda _, arrays: arrays.update({"1.box": arrays["1.box"] + 30}), "does not lie in a grid"),
        (lambda _, arrays: arrays.update({"1.corner": arrays["1.corner"] * np.nan}), "is none"),
    ],
)
def test_what_a_file_says_is_checked(saved: Path, change: Any, match: str):
    spoil(saved, change)
    refused(saved, match)


# Beside a run --------------------------------------------------------------------------------------------------------


def test_a_run_of_another_method_has_no_edits(tiny_run, saved: Path):
    with pytest.raises(InputError, match="a run of 'instance-nerf-tiny', whose scenes cannot be edited") as caught:
        write_run_with_edit(tiny_run.folder, "chair", saved)
    assert str(tiny_run.config) in str(caught.value)


def test_an_edit_that_is_not_there_is_no_edit(isrf_run: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.npz does not exist; save the edit first"):
        write_run_with_edit(isrf_run, "chair", tmp_path / "none.npz")
    with pytest.raises(InputError, match="does not exist; pass the config"):
        write_run_with_edit(tmp_path, "chair", tmp_path / "none.npz")
