"""A trained run is loaded from anywhere and rendered."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.files import read_json  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402


@pytest.fixture(scope="module")
def run(tiny_run):
    return load_run(tiny_run.config)


def test_the_newest_checkpoint_is_loaded(run, tiny_run):
    assert run.step == 229 and run.checkpoint == tiny_run.models / "step-000000229.ckpt"
    assert run.folder == tiny_run.folder and not run.pipeline.training
    assert load_run(tiny_run.config, step=119).step == 119
    assert (len(run.dataset("train")), len(run.dataset("val"))) == (10, 3)


def test_frames_turn_into_each_other(run, tiny_run):
    """The room's centre becomes the origin, and its longest side with a fifth on either side becomes [-1, 1]."""
    low, high = np.array(read_json(tiny_run.data / "transforms.json")["room_bbox"])
    np.testing.assert_allclose(run.to_scene_frame((low + high)[None] / 2), [[0, 0, 0]], atol=1e-6)
    longest = (high - low).max()
    half = (run.to_scene_frame(high[None]) - run.to_scene_frame(low[None]))[0] / 2
    np.testing.assert_allclose(half, (high - low) / 2 / (longest / 2 + 0.2 * longest), rtol=1e-5)
    points = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(run.to_data_frame(run.to_scene_frame(points)), points, atol=1e-9)


def test_frames_with_a_rotation(run, monkeypatch: pytest.MonkeyPatch):
    outputs = run.pipeline.datamanager.train_dataparser_outputs
    monkeypatch.setattr(outputs, "dataparser_transform", torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]]))
    monkeypatch.setattr(outputs, "dataparser_scale", 0.5)
    np.testing.assert_allclose(run.to_scene_frame(np.array([[4.0, 5, 6]])), [[-2.0, 3.0, 4.5]])
    np.testing.assert_allclose(run.to_data_frame(np.array([[-2.0, 3.0, 4.5]])), [[4.0, 5, 6]])


def test_poses_change_frames(run, monkeypatch: pytest.MonkeyPatch):
    """A quarter turn about z, a shift and half the size: x -> y and y -> -x, and no axis of the camera shrinks."""
    outputs = run.pipeline.datamanager.train_dataparser_outputs
    monkeypatch.setattr(outputs, "dataparser_transform", torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]]))
    monkeypatch.setattr(outputs, "dataparser_scale", 0.5)
    data = np.array([[0.6, 0, 0.8, 4], [0, 1, 0, 5], [-0.8, 0, 0.6, 6]])
    scene = np.array([[0, -1, 0, -2.0], [0.6, 0, 0.8, 3.0], [-0.8, 0, 0.6, 4.5]])
    np.testing.assert_allclose(run.pose_to_scene_frame(data), scene, atol=1e-15)
    np.testing.assert_allclose(run.pose_to_data_frame(scene), data, atol=1e-15)
    bottom = [[0, 0, 0, 1]]
    homogeneous = run.pose_to_scene_frame(np.stack([np.concatenate([data, bottom])] * 2))
    np.testing.assert_allclose(homogeneous, np.stack([np.concatenate([scene, bottom])] * 2), atol=1e-15)
    np.testing.assert_allclose(run.pose_to_data_frame(homogeneous)[1, :3], data, atol=1e-15)
    assert data[0, 3] == 4  # the argument is left as it was


def test_views_are_rendered_in_order_with_what_was_asked_for(run):
    views = list(render_views(run, "val", names=("depth", "rgb")))
    assert [view.index for view in views] == [0, 1, 2]
    assert [view.image_path.name for view in views] == ["0010.png", "0011.png", "0012.png"]
    for view in views:
        assert set(view.outputs) == {"depth", "rgb"}
        assert view.outputs["depth"].shape == (36, 48, 1) and view.batch["image"].shape == (36, 48, 3)
        expected = run.dataset("val").cameras[view.index].camera_to_worlds
        assert torch.equal(view.camera.camera_to_worlds[0], expected)
    again = list(render_views(run, "val", names=("rgb",), indices=[2]))
    assert [view.index for view in again] == [2] and torch.equal(again[0].outputs["rgb"], views[2].outputs["rgb"])


def test_half_the_resolution(run):
    view = next(iter(render_views(run, "train", names=("rgb",), indices=[1], downscale=0.5)))
    assert view.outputs["rgb"].shape == (18, 24, 3) and view.batch["image"].shape == (36, 48, 3)


def test_an_output_that_is_not_there_is_named(run):
    with pytest.raises(InputError, match="renders no 'normals'") as caught:
        next(iter(render_views(run, "val", names=("rgb", "normals"))))
    assert str(run.folder) in str(caught.value)


def test_a_run_loads_after_a_move_and_from_elsewhere(tiny_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(tiny_run.folder, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    run = load_run(Path("moved/config.yml"))
    assert run.checkpoint == Path("moved/nerfstudio_models/step-000000229.ckpt")


@pytest.mark.parametrize("kind", ["no config", "no checkpoint", "no such step", "truncated", "other weights"])
def test_bad_runs_are_named(tiny_run, tmp_path: Path, kind: str):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.folder, folder)
    config, checkpoint = folder / "config.yml", folder / "nerfstudio_models" / "step-000000229.ckpt"
    named, step = checkpoint, None
    if kind == "no config":
        config.unlink()
        named = config
    elif kind == "no checkpoint":
        shutil.rmtree(checkpoint.parent)
        named = checkpoint.parent
    elif kind == "no such step":
        named, step = checkpoint.parent, 7
    elif kind == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    else:
        state = torch.load(checkpoint, weights_only=True)
        state["pipeline"]["_model.head.mlp.layers.0.weight"] = torch.zeros(3, 3)
        torch.save(state, checkpoint)
    with pytest.raises(InputError) as caught:
        load_run(config, step=step)
    assert str(named) in str(caught.value)
    assert "\n" not in str(caught.value)
