"""Checkpoints are found, read and compared; bad ones are named."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.checkpoint import differences, find_checkpoint, model_state, read_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (5, 100, 99):
        torch.save({"step": step, "pipeline": {}}, tmp_path / f"step-{step:09d}.ckpt")
    return tmp_path


def test_the_newest_or_a_certain_step_is_found(folder: Path):
    (folder / ".step-000000200-x.ckpt").write_bytes(b"half")  # what a killed process leaves
    (folder / "step-000000300.ckpt.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("")
    assert find_checkpoint(folder).name == "step-000000100.ckpt"
    assert find_checkpoint(folder, 5).name == "step-000000005.ckpt"


def test_a_missing_checkpoint_is_named(folder: Path):
    with pytest.raises(InputError, match=r"no checkpoint of step 7.*\[5, 99, 100\]") as caught:
        find_checkpoint(folder, 7)
    assert str(folder) in str(caught.value)
    for empty in (folder / "none", folder.parent):
        with pytest.raises(InputError, match="holds no checkpoint") as caught:
            find_checkpoint(empty)
        assert str(empty) in str(caught.value)


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "does not exist"),
        ("truncated", "cut off"),
        ("empty", "cut off"),
        ("text", "cut off"),
        ("another program", "not a nerfstudio checkpoint"),
        ("attack", "could run code"),
        ("a list", "not a nerfstudio checkpoint"),
    ],
)
def test_bad_checkpoints_are_named_and_run_nothing(folder: Path, kind: str, said: str):
    path, marker = folder / "step-000000100.ckpt", folder / "marker"
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        torch.save({"step": 1, "pipeline": {"a": torch.rand(1000)}}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind in {"empty", "text"}:
        path.write_text("" if kind == "empty" else "not a checkpoint\n")
    elif kind == "another program":
        torch.save({"state_dict": {}}, path)
    elif kind == "attack":
        torch.save({"step": 1, "pipeline": Attack(marker)}, path)
    else:
        torch.save([1, 2], path)
    with pytest.raises(InputError, match=said) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not marker.exists()


def test_the_models_part_of_a_checkpoint():
    """Alone, and as distributed training prefixes it."""
    for prefix in ("_model.", "_model.module.", "module._model."):
        state = {"pipeline": {f"{prefix}field.a": 1, "datamanager.b": 2}}
        assert model_state(state) == {"field.a": 1}


def test_differences_say_what_does_not_fit():
    module = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(1, 1)})
    state = module.state_dict()
    assert differences(module, state) == []
    state["a.weight"] = torch.zeros(4, 2)
    del state["b.bias"]
    state["c"] = torch.zeros(1)
    found = differences(module, state)
    assert found == ["b.bias is missing", "c is unknown", "a.weight has shape (4, 2), expected (3, 2)"]
    assert differences(module, state, ignore=("a.", "b.", "c")) == []
