"""Instance-NeRF trained from end to end on the tiny room."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.cli.eval import evaluate_run  # noqa: E402
from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint  # noqa: E402
from nerfseg_plugins.scene.run import load_run  # noqa: E402
from nerfseg_plugins.segments.masks import read_ids, write_ids  # noqa: E402

METHOD = "instance-nerf-tiny"


def test_masks_teach_the_field(tiny_run):
    """Most of what the training views show is told apart, and held-out views agree better than by chance."""
    run = load_run(tiny_run.config)
    train, val = (evaluate_run(run, split).metrics for split in ("train", "val"))
    assert train["miou"] > 0.25 and val["miou"] > 0.1
    assert val["psnr"] > 13


def permuted(data: Path, folder: Path, seed: int) -> Path:
    """The true masks with other ids in every view, out of 1..6."""
    rng = np.random.default_rng(seed)
    for path in sorted((data / "masks").iterdir()):
        names = np.concatenate([[0], 1 + rng.permutation(6)[:4], [-1]]).astype(np.int32)
        write_ids(folder / path.name, names[read_ids(path)])
    return folder


def test_per_view_ids_train_the_same_field_however_they_are_named(
    ns_train, quick_flags, tiny_room: Path, tmp_path: Path
):
    """Two sets of names: equal weights where each view counts on its own, others where an id means one instance."""
    heads = {}
    for mode in ("view", "scene"):
        for seed in (1, 2):
            masks = permuted(tiny_room, tmp_path / f"masks-{seed}", seed)
            options = {"label_mode": mode, "max_instances": 6}
            flags = [
                *quick_flags(tiny_room, 3, 9, **options),
                "front3d-data",
                f"--data={tiny_room}",
                f"--masks={masks}",
            ]
            config = ns_train(METHOD, tmp_path, *flags, name=f"{mode}-{seed}")
            state = read_checkpoint(find_checkpoint(config.parent / "nerfstudio_models"))["pipeline"]
            heads[mode, seed] = {key: value for key, value in state.items() if key.startswith("_model.head.")}
    for mode in ("view", "scene"):
        first, second = heads[mode, 1], heads[mode, 2]
        equal = all(torch.equal(value, second[key]) for key, value in first.items())
        assert equal == (mode == "view"), mode


def test_per_view_ids_are_learned(ns_config, tiny_run, tiny_flags, tmp_path: Path):
    """The matched cross entropy falls, and the run evaluates: its ids are its own, so it has no classes."""
    masks = permuted(tiny_run.data, tmp_path / "masks", 0)
    config = ns_config(
        METHOD,
        tmp_path,
        *tiny_flags,
        "--pipeline.model.label-mode=view",
        "--pipeline.model.max-instances=6",
        f"--pipeline.pretrained={tiny_run.config}",
        "front3d-data",
        f"--data={tiny_run.data}",
        f"--masks={masks}",
    )
    config.save_config()
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    losses = []
    original = trainer.train_iteration

    def watched(step: int):
        found = original(step)
        losses.append(float(found[1]["instance_loss"]))
        return found

    trainer.train_iteration = watched
    trainer.train()
    assert len(losses) == 110 and np.mean(losses[-20:]) < 0.8 * np.mean(losses[:5])
    run = load_run(config.get_base_dir() / "config.yml")
    metrics, reason, _ = evaluate_run(run, "val")
    assert reason is None and metrics["pq"] is not None and metrics["class_miou"] is None


def test_geometry_first_and_masks_later(ns_train, quick_flags, tiny_room: Path, tmp_path: Path):
    """Without masks geometry trains alone; once masks are there, a second run takes it over and trains the head."""
    data = tmp_path / "room"
    shutil.copytree(tiny_room, data)
    (data / "masks").rename(tmp_path / "later")
    with pytest.raises(InputError, match=r"no instance masks.*--max-num-iterations 5"):
        ns_train(METHOD, tmp_path, *quick_flags(data, 5, 6), name="refused")

    first = ns_train(METHOD, tmp_path, *quick_flags(data, 5, 5), name="geometry")
    run = load_run(first)
    assert run.step == 4 and not run.pipeline.model.head_trained
    metrics, reason, _ = evaluate_run(run, "val")
    assert metrics["psnr"] > 0 and metrics["pq"] is None and "head is not trained yet" in reason

    (tmp_path / "later").rename(data / "masks")
    with pytest.raises(InputError, match="another number of instances") as caught:
        load_run(first)  # the data are others now, and so is the head
    assert str(first.parent / "nerfstudio_models") in str(caught.value)
    second = ns_train(METHOD, tmp_path, *quick_flags(data, 5, 9), f"--pipeline.pretrained={first}", name="head")
    run = load_run(second)
    assert run.pipeline.model.head_trained and run.pipeline.model.head_dim() == 5
    assert evaluate_run(run, "val").metrics["pq"] is not None
