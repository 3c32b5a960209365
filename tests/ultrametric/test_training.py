"""The ultrametric field trained from end to end on a tiny scene, and what it refuses to train on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint
from nerfseg_plugins.scene.run import load_run

from .conftest import FEATURE_DIM

METHOD = "ultrametric-tiny"


def weights(config: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(find_checkpoint(config.parent / "nerfstudio_models"))["pipeline"]


def geometry(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefixes = ("_model.field.", "_model.proposal", "_model.camera")
    return {key: value for key, value in state.items() if key.startswith(prefixes)}


# What is learned -----------------------------------------------------------------------------------------------------


def test_geometry_and_colour_stay_bit_identical_while_features_are_learned(ultrametric_run: Path):
    models = ultrametric_run.parent / "nerfstudio_models"
    first, last = (read_checkpoint(path)["pipeline"] for path in sorted(models.iterdir()))
    frozen = geometry(first)
    assert len(frozen) > 10 and all(torch.equal(value, last[key]) for key, value in frozen.items())
    changed = [key for key in first if not torch.equal(first[key], last[key])]
    assert changed and all(key.startswith(("_model.head", "_model.trained_positions")) for key in changed)


def losses_of(config: Path, step: int) -> dict[str, float]:
    """Means over the same few batches of the weights of a step."""
    run = load_run(config, step=step)
    model: Any = run.pipeline.model
    manager: Any = run.pipeline.datamanager
    assert manager.head_lacks() is None
    manager.stage, found = "head", []
    for seed in range(4):
        torch.manual_seed(seed)
        bundle, batch = manager.next_train(0)
        with torch.no_grad():
            found.append(model.head_loss(model.head_train_outputs(model.frozen_samples(bundle)), batch))
    return {name: float(torch.stack([losses[name] for losses in found]).mean()) for name in found[0]}


def test_every_loss_falls(ultrametric_run: Path):
    models = ultrametric_run.parent / "nerfstudio_models"
    first, last = (read_checkpoint(path)["step"] for path in sorted(models.iterdir()))
    before, after = losses_of(ultrametric_run, first), losses_of(ultrametric_run, last)
    assert before.keys() == {"ultrametric_loss", "euclidean_loss", "norm_loss"}
    assert after["ultrametric_loss"] < 0.8 * before["ultrametric_loss"]
    assert after["euclidean_loss"] < 0.8 * before["euclidean_loss"]
    assert after["norm_loss"] < 0.8 * before["norm_loss"]


def test_equal_seeds_give_equal_weights(ns_train, ultrametric_flags, furniture: Path, tmp_path: Path):
    """With everything that draws: both stages, and runs of four for the smoothness of depth."""
    flags = ultrametric_flags(furniture, 4, 10, ultrametric_mode="reference")
    flags += ["--pipeline.datamanager.depth-smooth=True", "--pipeline.datamanager.depth-smooth-start=1"]
    runs = [
        weights(ns_train(METHOD, tmp_path, *flags, *more, name=name))
        for name, more in (("one", []), ("two", []), ("other", ["--machine.seed=7"]))
    ]
    assert all(torch.equal(value, runs[1][key]) for key, value in runs[0].items())
    assert any(not torch.equal(value, runs[2][key]) for key, value in geometry(runs[0]).items())


def test_smoothness_of_depth_changes_geometry_alone_too(ns_train, ultrametric_flags, furniture: Path, tmp_path: Path):
    """Also without a head to train; until it starts nothing differs."""
    found = []
    for start in (2, 5):
        flags = [*ultrametric_flags(furniture, 4, 4), "--pipeline.datamanager.depth-smooth=True"]
        flags.append(f"--pipeline.datamanager.depth-smooth-start={start}")
        config = ns_train(METHOD, tmp_path, *flags, name=f"from-{start}")
        found.append(weights(config))
    assert int(found[0]["_model.head_steps"]) == 0
    assert any(not torch.equal(value, found[1][key]) for key, value in geometry(found[0]).items())


def test_geometry_of_another_run_is_taken_over(
    ns_train, ultrametric_flags, ultrametric_run: Path, furniture: Path, tmp_path: Path
):
    flags = [*ultrametric_flags(furniture, 4, 8), f"--pipeline.pretrained={ultrametric_run}"]
    config = ns_train(METHOD, tmp_path, *flags)
    ours, theirs = weights(config), geometry(weights(ultrametric_run))
    assert len(theirs) > 10 and all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert int(ours["_model.head_steps"]) == 4
    model: Any = load_run(config).pipeline.model
    assert model.head_dim() == FEATURE_DIM


def test_a_run_resumes(ns_train, ultrametric_flags, furniture: Path, tmp_path: Path):
    config = ns_train(METHOD, tmp_path, *ultrametric_flags(furniture, 3, 6))
    first = weights(config)
    ns_train(METHOD, tmp_path, *ultrametric_flags(furniture, 3, 9), f"--load-dir={config.parent / 'nerfstudio_models'}")
    last = weights(config)
    assert int(last["_model.head_steps"]) == 6 and load_run(config).step == 8
    assert all(torch.equal(value, last[key]) for key, value in geometry(first).items())
    assert any(not torch.equal(first[key], last[key]) for key in first if key.startswith("_model.head."))


# What is refused -----------------------------------------------------------------------------------------------------


def test_without_masks_the_command_is_told(ns_train, ultrametric_flags, furniture: Path, tmp_path: Path):
    """Before the first step; geometry alone needs none, and a loaded run neither."""
    scene = Path(shutil.copytree(furniture, tmp_path / "scene"))
    config = ns_train(METHOD, tmp_path, *ultrametric_flags(scene, 2, 4), name="with")
    shutil.rmtree(scene / "train_seg")
    assert load_run(config).pipeline.model.head_trained
    match = r"cannot be trained on .*scene.*no masks.*nerfseg masks --data .*scene.*; geometry alone .*iterations 3$"
    with pytest.raises(InputError, match=match) as caught:
        ns_train(METHOD, tmp_path, *ultrametric_flags(scene, 3, 6), name="refused")
    assert "\n" not in str(caught.value)
    config = ns_train(METHOD, tmp_path, *ultrametric_flags(scene, 3, 3), name="geometry")
    assert not load_run(config).pipeline.model.head_trained
