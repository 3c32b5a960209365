"""`ns-train inerf-tiny`: poses are found in a frozen scene, checkpoints hold poses alone, bad input is refused."""

import copy
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.evaluation.poses import rotation_error_degrees, translation_error  # noqa: E402
from nerfseg_plugins.files import sha256_file  # noqa: E402
from nerfseg_plugins.inerf.poses import moved  # noqa: E402
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint  # noqa: E402
from nerfseg_plugins.scene.config_file import read_config  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402

METHOD = "inerf-tiny"
STEPS = 20


class Photos(NamedTuple):
    """Two photos that the scene itself has rendered, so that it agrees with them to the last detail."""

    data: Path
    """transforms.json with the true poses."""
    starts: Path
    """The same with poses that are 4 degrees and 0.1 scene units off."""


@pytest.fixture(scope="session")
def photos(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Photos:
    from PIL import Image

    folder = tmp_path_factory.mktemp("queries")
    run = load_run(tiny_run.config)
    frames, starts = [], []
    for view in render_views(run, "train", ["rgb"], [1, 4]):
        name = f"view_{view.index}.png"
        Image.fromarray((view.outputs["rgb"].clamp(0, 1) * 255).byte().numpy()).save(folder / name)
        truth = view.camera.camera_to_worlds[0]
        off = torch.tensor([[0.06, -0.08, 0.0, 0.0, 0.0, math.radians(4.0)]])
        start = moved(truth[None], off, truth[None, :, 3])[0]
        for listed, c2w in ((frames, truth), (starts, start)):
            pose = np.vstack([run.pose_to_data_frame(c2w.double().numpy()), [0, 0, 0, 1]])
            listed.append({"file_path": name, "transform_matrix": pose.tolist()})
        camera = view.camera
    lens = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy, "w": camera.width}
    meta = {**{key: float(value) for key, value in lens.items()}, "h": int(camera.height), "w": int(camera.width)}
    (folder / "transforms.json").write_text(json.dumps({**meta, "frames": frames}))
    (folder / "starts.json").write_text(json.dumps({"frames": starts}))
    return Photos(folder / "transforms.json", folder / "starts.json")


@pytest.fixture(scope="session")
def flags(tiny_run, photos: Photos) -> list[str]:
    """Flags of a short run from the starts."""
    return [
        f"--data={photos.data}",
        f"--pipeline.load-config={tiny_run.config}",
        "--pipeline.query.poses-are=truth",
        f"--pipeline.query.start={photos.starts}",
        "--pipeline.pose.init=start",
        "--pipeline.pose.rays=200",
        "--pipeline.pose.samples-per-ray=0",
        "--pipeline.pose.pyramid.resolution=32",
        "--pipeline.pose.pyramid.levels=2",
        "--pipeline.pose.lm.iterations=8",
        "--pipeline.overlay=gif",
        f"--max-num-iterations={STEPS}",
        "--steps-per-save=10",
    ]


@pytest.fixture(scope="session")
def pose_run(flags: list[str], ns_train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config.yml of a finished run of both photos."""
    return ns_train(METHOD, tmp_path_factory.mktemp("runs"), *flags)


@pytest.fixture
def build(ns_config, flags: list[str], tmp_path: Path):
    """A trainer, set up but not started."""

    def trainer(*more: str) -> Any:
        config = ns_config(METHOD, tmp_path, *flags, *more)
        config.pipeline.datamanager.data = config.data
        config.save_config()
        made = config.setup(local_rank=0, world_size=1)
        made.setup()
        return made

    return trainer


def errors(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())["errors"]


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


# What a run does -----------------------------------------------------------------------------------------------------


def test_a_run_leaves_poses_pictures_and_figures(pose_run: Path):
    folder = pose_run.parent
    frames = json.loads((folder / "poses.json").read_text())["frames"]
    assert [frame["name"] for frame in frames] == ["view_1", "view_4"]
    phases = [step["phase"] for step in frames[0]["trajectory"]]
    assert phases[:STEPS] == ["level 0"] * 6 + ["level 1"] * 6 + ["scene"] * 8  # three fifths on two coarse copies
    assert set(phases[STEPS:]) == {"polish"}
    assert sorted(path.name for path in (folder / "overlays").iterdir()) == ["view_1.gif", "view_4.gif"]
    assert (folder / "convergence.png").is_file()
    assert errors(folder)["count"] == 2


def test_poses_get_nearer_to_the_truth(pose_run: Path):
    """They are 4 degrees and 0.1 scene units off at first."""
    inversion: Any = load_run(pose_run).pipeline.inversion
    for query, estimate in zip(inversion.queries, inversion.estimates, strict=True):
        truth, poses = query.truth.numpy()[None], np.stack([estimate.trajectory[0].c2w, estimate.c2w])
        turn, shift = rotation_error_degrees(poses, truth), translation_error(poses, truth)
        assert (turn[0], shift[0]) == (pytest.approx(4, abs=0.01), pytest.approx(0.1, abs=1e-4))
        assert turn[1] < 2 and shift[1] < 0.05


def test_the_scene_stays_as_it_is(build, tiny_run):
    before = sha256_file(find_checkpoint(tiny_run.models))
    trainer = build("--max-num-iterations=6")
    scene = trainer.pipeline.model
    old = weights(scene)
    trainer.train()
    assert not scene.training
    assert all(torch.equal(value, old[name]) for name, value in scene.state_dict().items())
    assert all(parameter.grad is None for parameter in scene.parameters())
    assert sha256_file(find_checkpoint(tiny_run.models)) == before


def test_the_rate_falls_by_a_fifth_every_100_steps(build):
    trainer = build()
    scheduler = trainer.optimizers.schedulers["poses"]
    for _ in range(100):
        trainer.optimizers.optimizers["poses"].step()
        scheduler.step()
    assert scheduler.get_last_lr() == [pytest.approx(0.8 * 0.01)]


def test_several_hypotheses_begin_and_one_arrives(build):
    trainer = build("--pipeline.pose.init=global", "--pipeline.pose.hypotheses=24", "--pipeline.slots=5")
    counts = []
    original = trainer.train_iteration

    def watched(step: int) -> Any:
        result = original(step)
        counts.append(trainer.pipeline.inversion.alive.sum(dim=1).tolist())
        return result

    trainer.train_iteration = watched
    trainer.train()
    assert max(counts[0]) > 1 and max(counts[0]) <= 5
    assert counts[-1] == [1, 1]
    assert all(now <= then for before, after in pairwise(counts) for now, then in zip(after, before, strict=True))


def test_without_coarse_copies_hypotheses_are_compared_in_the_scene(build):
    trainer = build("--pipeline.pose.coarse=False", "--pipeline.pose.init=global", "--pipeline.pose.hypotheses=8")
    trainer.train()
    assert set(trainer.pipeline.inversion.history.phases) == {"scene"}
    assert trainer.pipeline.inversion.alive.sum(dim=1).tolist() == [1, 1]


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_poses_alone(pose_run: Path):
    path = find_checkpoint(pose_run.parent / "nerfstudio_models")
    state = read_checkpoint(path)
    assert state["step"] == STEPS - 1
    assert {key.split(".")[0] for key in state["pipeline"]} == {"inversion"}
    assert path.stat().st_size < 400_000


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(build, pose_run: Path, tmp_path: Path):
    first = build("--timestamp=stopped")
    first.config.max_num_iterations = 11
    first.pipeline.finish = lambda *_: None  # it is killed
    first.train()
    second = build(f"--load-dir={first.checkpoint_dir}", "--timestamp=resumed")
    assert second._start_step == 11 and not second.pipeline.inversion.estimates
    second.train()
    assert second.step == STEPS - 1
    whole, resumed = (
        json.loads((folder / "poses.json").read_text())["frames"] for folder in (pose_run.parent, second.base_dir)
    )
    for one, other in zip(whole, resumed, strict=True):
        assert np.allclose(one["scene_transform_matrix"], other["scene_transform_matrix"], atol=1e-4)
        assert len(one["trajectory"]) == len(other["trajectory"])


def test_a_finished_run_has_nothing_to_train_but_writes_again(build, pose_run: Path):
    trainer = build(f"--load-dir={pose_run.parent / 'nerfstudio_models'}", "--pipeline.overlay=none")
    trainer.train()
    again = json.loads((trainer.base_dir / "poses.json").read_text())
    first = json.loads((pose_run.parent / "poses.json").read_text())
    assert [frame["transform_matrix"] for frame in again["frames"]] == [
        frame["transform_matrix"] for frame in first["frames"]
    ]
    assert find_checkpoint(trainer.checkpoint_dir).name == f"step-{STEPS - 1:09d}.ckpt"


def test_a_checkpoint_of_other_photos_is_refused(build, pose_run: Path, photos: Photos, tmp_path: Path):
    meta = json.loads(photos.data.read_text())
    meta["frames"] = meta["frames"][:1]
    for frame in meta["frames"]:
        frame["file_path"] = str(photos.data.parent / frame["file_path"])
    (tmp_path / "one.json").write_text(json.dumps(meta))
    models = pose_run.parent / "nerfstudio_models"
    with pytest.raises(InputError, match=r"step-000000019.ckpt: its poses are of other photos.*view_4.png"):
        build(f"--load-dir={models}", f"--data={tmp_path / 'one.json'}")


def test_a_checkpoint_of_another_scene_is_refused(build, pose_run: Path, tiny_run, tmp_path: Path):
    """The same run, before its head was trained."""
    other = tmp_path / "earlier"
    shutil.copytree(tiny_run.folder, other)
    models = other / "nerfstudio_models"
    find_checkpoint(models).unlink()
    config = read_config(other / "config.yml")
    (other / config.relative_model_dir).mkdir(exist_ok=True)
    with pytest.raises(InputError, match="of another scene"):
        build(f"--load-dir={pose_run.parent / 'nerfstudio_models'}", f"--pipeline.load-config={other / 'config.yml'}")


def test_a_checkpoint_of_another_method_is_refused(build, tiny_run):
    with pytest.raises(InputError, match="it holds no poses of photos"):
        build(f"--load-dir={tiny_run.models}")


# Loading a finished run ----------------------------------------------------------------------------------------------


def test_a_run_loads_and_renders_the_scene_from_the_estimates(pose_run: Path, tiny_run, photos: Photos):
    config = read_config(pose_run)
    assert config.pipeline.load_config.is_absolute()
    run = load_run(pose_run)
    frames = json.loads((pose_run.parent / "poses.json").read_text())["frames"]
    poses = np.array([frame["scene_transform_matrix"] for frame in frames])[:, :3]
    assert np.allclose(run.dataset("val").cameras.camera_to_worlds.numpy(), poses, atol=1e-6)
    # The photos are the scene's own renderings, so from the right poses it renders them.
    for view in render_views(run, "val", ["rgb"]):
        assert float((view.outputs["rgb"] - view.batch["image"]).abs().mean()) < 0.03


def test_ns_render_renders_every_photo_s_pose(pose_run: Path, tmp_path: Path, monkeypatch):
    from nerfstudio.scripts.render import DatasetRender

    monkeypatch.chdir(tmp_path)
    DatasetRender(load_config=pose_run, output_path=tmp_path / "out", rendered_output_names=["rgb", "gt-rgb"]).main()
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.jpg"))
    assert written == [f"test/{name}/view_{index}.jpg" for name in ("gt-rgb", "rgb") for index in (1, 4)]


def test_average_metrics_are_those_of_the_renderings(pose_run: Path):
    metrics = load_run(pose_run).pipeline.get_average_eval_image_metrics()
    assert metrics["psnr"] > 25


# Bad input -----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_photo(build):
    trainer = build()
    with torch.no_grad():
        for parameter in trainer.pipeline.model.field.mlp_head.parameters():
            parameter.fill_(math.nan)
    trainer._start_step = 15  # in the scene itself
    with pytest.raises(InputError, match=r"view_1.png: at step 15 its loss is not a number"):
        trainer.train()
    assert not (trainer.base_dir / "poses.json").exists()


def test_a_missing_scene_is_named(build, tmp_path: Path):
    with pytest.raises(InputError, match=r"missing/config.yml does not exist"):
        build(f"--pipeline.load-config={tmp_path / 'missing' / 'config.yml'}")


def test_a_run_without_a_scene_says_what_to_pass(ns_config, flags: list[str], tmp_path: Path):
    config = ns_config(METHOD, tmp_path, *[flag for flag in flags if "load-config" not in flag])
    with pytest.raises(InputError, match=r"pass --pipeline.load-config RUN/config.yml"):
        config.setup(local_rank=0, world_size=1).setup()


def test_a_run_without_photos_says_what_to_pass(ns_config, flags: list[str], tmp_path: Path):
    config = ns_config(METHOD, tmp_path, *flags)
    with pytest.raises(InputError, match=r"pass --data with an image"):
        config.setup(local_rank=0, world_size=1).setup()


def test_a_run_of_poses_is_no_scene(build, pose_run: Path, tiny_run):
    with pytest.raises(InputError, match=r"is a run of poses; pass the run of its scene") as caught:
        build(f"--pipeline.load-config={pose_run}")
    assert str(pose_run) in str(caught.value) and str(tiny_run.config) in str(caught.value)


def test_a_run_of_a_method_that_renders_whole_images_is_refused(build, tmp_path: Path):
    from nerfstudio.configs.method_configs import all_methods

    config = copy.deepcopy(all_methods["splatfacto"])
    config.output_dir, config.experiment_name, config.timestamp = tmp_path, "room", "splats"
    config.save_config()
    with pytest.raises(InputError, match="which renders whole images, not rays"):
        build(f"--pipeline.load-config={tmp_path / 'room' / 'splatfacto' / 'splats' / 'config.yml'}")


def test_a_photo_without_a_start_where_one_is_needed_is_named(build, photos: Photos, tmp_path: Path):
    meta = json.loads(photos.data.read_text())
    bare = [{"file_path": str(photos.data.parent / frame["file_path"])} for frame in meta["frames"]]
    (tmp_path / "bare.json").write_text(json.dumps({**meta, "frames": bare}))
    with pytest.raises(InputError, match=r"view_1.png: it has no pose to start from"):
        build(f"--data={tmp_path / 'bare.json'}", "--pipeline.query.start=None")
