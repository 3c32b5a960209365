"""Both stages through nerfstudio's own training, on two tiny rooms, and their runs as commands load them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.generate import make_scene, write_scene
from nerfseg_plugins.scene.checkpoint import find_checkpoint, model_state, read_checkpoint
from nerfseg_plugins.scene.run import load_run, render_views

SIZES = {
    "width": 16,
    "num-samples": 6,
    "num-source-views": 3,
    "encoder-dim": 8,
    "encoder-widths": "8 8 8",
}
CHANNELS = 16


def flags(data: Path, steps: int, **options: Any) -> list[str]:
    """Of a run on as few numbers as possible."""
    found = ["--data", str(data), "--max-num-iterations", str(steps), "--steps-per-save", "100"]
    found += ["--pipeline.datamanager.rays-per-scene", "32", "--pipeline.datamanager.pool.num-views", "3"]
    found += ["--steps-per-eval-image", "100", "--steps-per-eval-all-images", "100"]
    for name, value in {**SIZES, **options}.items():
        found += [f"--pipeline.model.{name.replace('_', '-')}", *str(value).split()]
    return found


def weights(config: Path) -> dict[str, Tensor]:
    return model_state(read_checkpoint(find_checkpoint(config.parent / "nerfstudio_models")))


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two rooms seen from one side, with 2D features made of their labels."""
    folder = tmp_path_factory.mktemp("rooms")
    for seed in (3, 4):
        room, shots = make_scene(seed, "llff", num_objects=3, num_train=6, num_val=2, width=48, height=36)
        write_scene(folder / f"room_{seed}", room, shots, "llff")
        Features(data=folder / f"room_{seed}", source="labels", channels=CHANNELS).main()
    return folder


@dataclass(frozen=True)
class Stages:
    """Configurations of a run of each stage."""

    gnt: Path
    gsn: Path


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, ns_train: Any, rooms: Path) -> Stages:
    """Three steps of each, the second on a frozen first."""
    output = tmp_path_factory.mktemp("runs")
    gnt = ns_train("gnt-tiny", output, *flags(rooms, 3))
    options = flags(rooms, 3, feature_dim=CHANNELS, freeze_backbone=True, head_width=8)
    gsn = ns_train("gsn-tiny", output, *options, "--pipeline.pretrained", str(gnt))
    return Stages(gnt, gsn)


def test_the_second_stage_leaves_a_frozen_first_bit_identical(stages: Stages):
    first, second = weights(stages.gnt), weights(stages.gsn)
    networks = [name for name in first if name.startswith(("trunk.", "encoder."))]
    assert len(networks) > 50
    assert all(torch.equal(first[name], second[name]) for name in networks)
    assert second["semantics.feature_fc.weight"].any()  # begins as zeros


def test_runs_render_as_any_other(stages: Stages):
    for config, more in ((stages.gnt, set()), (stages.gsn, {"features", "feature_colormap"})):
        run = load_run(config)
        view = next(render_views(run, "val", indices=[1]))
        assert set(view.outputs) == {"rgb", "depth", "expected_depth", "accumulation"} | more
        assert view.outputs["rgb"].shape == (36, 48, 3)
        assert all(torch.isfinite(value).all() for value in view.outputs.values())


def test_another_teacher_is_refused(stages: Stages, ns_train: Any, rooms: Path, tmp_path: Path):
    Features(data=rooms / "room_3", source="labels", channels=8, name="eight").main()
    options = flags(rooms / "room_3", 1, feature_dim=8, head_width=8)
    more = ["--pipeline.datamanager.features", "eight", "--pipeline.pretrained", str(stages.gsn)]
    with pytest.raises(InputError, match=r"features of 16 channels, but this one is made for 8; pass .*feature-dim 16"):
        ns_train("gsn-tiny", tmp_path, *options, *more)
    options = flags(rooms / "room_3", 1, feature_dim=CHANNELS, head_width=8)
    with pytest.raises(InputError, match=r"have 8 channels, but this network was made for 16"):
        ns_train("gsn-tiny", tmp_path, *options, *more)


def test_published_weights_begin_a_run(ns_train: Any, rooms: Path, tmp_path: Path, stages: Stages):
    path = tmp_path / "published.pth"
    plain = ns_train("gnt-tiny", tmp_path, *flags(rooms, 1, color="latent"), name="plain")
    state = weights(plain)
    parts = {"net_coarse": "trunk.", "feature_net": "encoder."}
    saved = {
        name: {key.removeprefix(part): value for key, value in state.items() if key.startswith(part)}
        for name, part in parts.items()
    }
    torch.save(saved, path)
    more = ["--pipeline.pretrained", str(path)]
    still = [f"--optimizers.{group}.optimizer.lr=1e-9" for group in ("transformers", "encoder")]
    found = weights(ns_train("gnt-tiny", tmp_path, *flags(rooms, 1, color="latent"), *more, *still))
    assert torch.allclose(found["trunk.rgb_fc.weight"], state["trunk.rgb_fc.weight"], atol=1e-6)
    assert torch.allclose(found["encoder.conv1.weight"], state["encoder.conv1.weight"], atol=1e-6)
    with pytest.raises(InputError, match=r"published\.pth is of a network with color latent, but this one has blend"):
        ns_train("gnt-tiny", tmp_path, *flags(rooms, 1), *more)
