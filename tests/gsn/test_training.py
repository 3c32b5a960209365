"""Both stages through nerfstudio's own training, on two tiny rooms, and their runs as commands load them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.checkpoint import find_checkpoint, model_state, read_checkpoint
from nerfseg_plugins.scene.run import load_run, render_views

from .conftest import CHANNELS, Stages, flags

GSN_OUTPUTS = {"features", "feature_colormap", "segment_id", "segment_colormap", "similarity_colormap"}


def weights(config: Path) -> dict[str, Tensor]:
    return model_state(read_checkpoint(find_checkpoint(config.parent / "nerfstudio_models")))


def test_the_second_stage_leaves_a_frozen_first_bit_identical(stages: Stages):
    first, second = weights(stages.gnt), weights(stages.gsn)
    networks = [name for name in first if name.startswith(("trunk.", "encoder."))]
    assert len(networks) > 50
    assert all(torch.equal(first[name], second[name]) for name in networks)
    assert second["semantics.feature_fc.weight"].any()  # begins as zeros


def test_runs_render_as_any_other(stages: Stages):
    for config, more in ((stages.gnt, set()), (stages.gsn, GSN_OUTPUTS)):
        run = load_run(config)
        view = next(render_views(run, "val", indices=[1]))
        assert set(view.outputs) == {"rgb", "depth", "expected_depth", "accumulation"} | more
        assert view.outputs["rgb"].shape == (36, 48, 3)
        assert all(torch.isfinite(value).all() for value in view.outputs.values())


def test_another_teacher_is_refused(stages: Stages, ns_train: Any, rooms: Path, tmp_path: Path):
    room = shutil.copytree(rooms / "room_3", tmp_path / "room_3")
    Features(data=room, source="labels", channels=8, name="eight").main()
    options = flags(room, 1, feature_dim=8, head_width=8)
    more = ["--pipeline.datamanager.features", "eight", "--pipeline.pretrained", str(stages.gsn)]
    with pytest.raises(InputError, match=r"features of 16 channels, but this one is made for 8; pass .*feature-dim 16"):
        ns_train("gsn-tiny", tmp_path, *options, *more)
    options = flags(room, 1, feature_dim=CHANNELS, head_width=8)
    with pytest.raises(InputError, match=r"have 8 channels, but this network was made for 16"):
        ns_train("gsn-tiny", tmp_path, *options, *more)


def test_published_weights_begin_a_run(ns_train: Any, rooms: Path, tmp_path: Path, stages: Stages):
    path = tmp_path / "published.pth"
    plain = ns_train("gnt-tiny", tmp_path, *flags(rooms, 1, color="latent", query="maximum"), name="plain")
    state = weights(plain)
    parts = {"net_coarse": "trunk.", "feature_net": "encoder."}
    saved = {
        name: {key.removeprefix(part): value for key, value in state.items() if key.startswith(part)}
        for name, part in parts.items()
    }
    torch.save(saved, path)
    more = ["--pipeline.pretrained", str(path)]
    still = [f"--optimizers.{group}.optimizer.lr=1e-9" for group in ("transformers", "encoder")]
    found = weights(ns_train("gnt-tiny", tmp_path, *flags(rooms, 1, color="latent", query="maximum"), *more, *still))
    assert torch.allclose(found["trunk.rgb_fc.weight"], state["trunk.rgb_fc.weight"], atol=1e-6)
    assert torch.allclose(found["encoder.conv1.weight"], state["encoder.conv1.weight"], atol=1e-6)
    with pytest.raises(InputError, match=r"published\.pth is of a network with color latent, but this one has blend"):
        ns_train("gnt-tiny", tmp_path, *flags(rooms, 1, query="maximum"), *more)
