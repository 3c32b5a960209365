"""Geometry taken over from another run: all of it, as it is, or one sentence on why not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.configs.method_configs import all_methods  # noqa: E402
from nerfstudio.data.scene_box import SceneBox  # noqa: E402

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.instance_nerf.model import InstanceModel, InstanceModelConfig  # noqa: E402
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint  # noqa: E402
from nerfseg_plugins.scene.config_file import read_config  # noqa: E402
from nerfseg_plugins.scene.pretrained import adopt_settings, load_geometry  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402

METHOD = "instance-nerf-tiny"


def weights(config: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(find_checkpoint(config.parent / "nerfstudio_models"))["pipeline"]


def test_a_plain_nerfacto_run_is_taken_over_as_it_is(
    ns_train, quick_flags, quick_nerfacto: Path, tiny_room: Path, tmp_path: Path
):
    """Its weights bit for bit and its settings, whatever ours are; only the head is trained."""
    flags = quick_flags(tiny_room, 4, 8)
    config = ns_train(METHOD, tmp_path, *flags, f"--pipeline.pretrained={quick_nerfacto}")
    ours, theirs = weights(config), weights(quick_nerfacto)
    geometry = [key for key in theirs if key.startswith(("_model.field.", "_model.proposal", "_model.camera_opt"))]
    assert len(geometry) > 10 and all(torch.equal(ours[key], theirs[key]) for key in geometry)
    assert int(ours["_model.head_steps"]) == 4, "the first stage is skipped, not added"

    saved = read_config(config).pipeline.model
    assert (saved.num_levels, saved.max_res, saved.hidden_dim_color, saved.near_plane) == (3, 24, 10, 0.07)
    assert (saved.background_color, saved.num_proposal_samples_per_ray) == ("black", (9, 7))
    assert (saved.bounds, saved.disable_scene_contraction) == ("nerfacto", False)
    assert saved.head_num_levels == 2, "the head's own settings stay ours"

    rendered = [
        next(iter(render_views(load_run(path), "val", names=("rgb", "depth"), indices=[0]))).outputs
        for path in (quick_nerfacto, config)
    ]
    for name, value in rendered[0].items():
        torch.testing.assert_close(rendered[1][name], value)


def test_a_run_on_pretrained_geometry_resumes(
    ns_train, quick_flags, quick_nerfacto: Path, tiny_room: Path, tmp_path: Path
):
    """The same command with --load-dir, as for any other run."""
    pretrained = f"--pipeline.pretrained={quick_nerfacto}"
    config = ns_train(METHOD, tmp_path, *quick_flags(tiny_room, 4, 6), pretrained)
    models = config.parent / "nerfstudio_models"
    ns_train(METHOD, tmp_path, *quick_flags(tiny_room, 4, 9), pretrained, f"--load-dir={models}")
    assert find_checkpoint(models).name == "step-000000008.ckpt"
    assert int(weights(config)["_model.head_steps"]) == 5
    assert load_run(config).step == 8


def test_one_of_our_runs_is_taken_over(ns_train, quick_flags, tiny_room: Path, tmp_path: Path):
    """Bounds and all; its head is not."""
    first = ns_train(METHOD, tmp_path, *quick_flags(tiny_room, 4, 6, num_levels=3), name="first")
    flags = quick_flags(tiny_room, 4, 5, num_levels=2)
    second = ns_train(METHOD, tmp_path, *flags, f"--pipeline.pretrained={first}", name="second")
    saved = read_config(second).pipeline.model
    assert (saved.num_levels, saved.bounds) == (3, "auto")
    old, new = weights(first), weights(second)
    assert all(torch.equal(new[key], old[key]) for key in old if key.startswith("_model.field."))
    assert not torch.equal(new["_model.head.mlp.layers.0.weight"], old["_model.head.mlp.layers.0.weight"])


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["tensorf", "vanilla-nerf", "splatfacto", "neus-facto"])
def test_another_method_is_refused(method: str, tmp_path: Path):
    path = tmp_path / "config.yml"
    path.write_text(yaml.dump(all_methods[method]), encoding="utf-8")
    with pytest.raises(InputError, match=f"{method}.*no nerfacto") as caught:
        adopt_settings(InstanceModelConfig(), path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("method", ["nerfacto", "nerfacto-big", "depth-nerfacto", "instance-nerf"])
def test_the_nerfacto_family_is_accepted(method: str, tmp_path: Path):
    path = tmp_path / "config.yml"
    path.write_text(yaml.dump(all_methods[method]), encoding="utf-8")
    config = InstanceModelConfig()
    adopt_settings(config, path)
    theirs = all_methods[method].pipeline.model
    assert (config.max_res, config.hidden_dim) == (theirs.max_res, theirs.hidden_dim)
    assert type(config) is InstanceModelConfig and config._target is InstanceModel


def model_like(run: Path, box: Any = None) -> tuple[InstanceModel, dict[str, Any]]:
    """A model after `adopt_settings`, as a trainer builds it for the same data, and the data's transform."""
    config = InstanceModelConfig(head_num_levels=2, head_log2_hashmap_size=8)
    adopt_settings(config, run)
    aabb = weights(run)["_model.field.aabb"] if box is None else box
    model = InstanceModel(
        config, scene_box=SceneBox(aabb), num_train_data=10, metadata={"num_labels": 4, "bounded": True}
    )
    return model, json.loads((run.parent / "dataparser_transforms.json").read_text())


@pytest.fixture
def copied(quick_nerfacto: Path, tmp_path: Path) -> Path:
    """config.yml of a copy of the nerfacto run, to be spoiled."""
    shutil.copytree(quick_nerfacto.parent, tmp_path / "run")
    return tmp_path / "run" / "config.yml"


def test_the_copy_is_accepted(copied: Path):
    model, transform = model_like(copied)
    load_geometry(model, copied, transform)
    assert torch.equal(model.field.mlp_head.layers[0].weight, weights(copied)["_model.field.mlp_head.layers.0.weight"])


def test_a_missing_run_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist") as caught:
        adopt_settings(InstanceModelConfig(), tmp_path / "config.yml")
    assert str(tmp_path / "config.yml") in str(caught.value)


@pytest.mark.parametrize("kind", ["no checkpoint", "truncated", "missing weights", "other shapes", "unknown weights"])
def test_bad_checkpoints_change_nothing(copied: Path, kind: str):
    model, transform = model_like(copied)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    path = find_checkpoint(copied.parent / "nerfstudio_models")
    state = read_checkpoint(path)
    if kind == "no checkpoint":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "missing weights":
        del state["pipeline"]["_model.field.mlp_head.layers.0.weight"]
    elif kind == "other shapes":
        state["pipeline"]["_model.field.mlp_head.layers.0.weight"] = torch.zeros(2, 2)
    else:
        state["pipeline"]["_model.field.transient.weight"] = torch.zeros(2)
    if kind in {"missing weights", "other shapes", "unknown weights"}:
        torch.save(state, path)
    with pytest.raises(InputError) as caught:
        load_geometry(model, copied, transform)
    assert str(path.parent if kind == "no checkpoint" else path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_another_scene_box_is_refused(copied: Path):
    box = weights(copied)["_model.field.aabb"]
    model, transform = model_like(copied, box * torch.tensor([1.0, 1.0, 0.9]))
    with pytest.raises(InputError, match="another scene box") as caught:
        load_geometry(model, copied, transform)
    assert str(find_checkpoint(copied.parent / "nerfstudio_models")) in str(caught.value)


@pytest.mark.parametrize("change", ["shift", "scale"])
def test_another_frame_is_refused(copied: Path, change: str):
    model, transform = model_like(copied)
    if change == "shift":
        transform["transform"][0][3] += 0.01
    else:
        transform["scale"] *= 1.01
    with pytest.raises(InputError, match="another frame") as caught:
        load_geometry(model, copied, transform)
    assert str(copied) in str(caught.value)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"transform": [[1, 2]], "scale": 1}', '{"scale": 1}'])
def test_an_unknown_frame_is_refused(copied: Path, content: str):
    model, transform = model_like(copied)
    path = copied.parent / "dataparser_transforms.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_geometry(model, copied, transform)
    assert str(path) in str(caught.value)


def test_ns_train_refuses_other_data_before_training(
    ns_train, quick_flags, quick_nerfacto: Path, tiny_room: Path, tmp_path: Path
):
    """The same room said to be less high: the same frame and scale, another box."""
    data = tmp_path / "room"
    shutil.copytree(tiny_room, data)
    for name in ("train_transforms.json", "val_transforms.json"):
        content = json.loads((data / name).read_text())
        low, high = content["room_bbox"]
        content["room_bbox"] = [[*low[:2], low[2] + 0.1], [*high[:2], high[2] - 0.1]]
        (data / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match="another scene box"):
        ns_train(METHOD, tmp_path, *quick_flags(data, 4, 8), f"--pipeline.pretrained={quick_nerfacto}")
    assert not list(tmp_path.rglob("*.ckpt"))
