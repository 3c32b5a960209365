"""Training in two stages: schedules, checkpoints that are whole, resuming, determinism."""

import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint  # noqa: E402
from nerfseg_plugins.scene.trainer import HeadTrainer  # noqa: E402

METHOD = "instance-nerf-tiny"
NS_TRAIN = Path(sys.executable).with_name("ns-train")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}


@pytest.fixture
def build(ns_config, quick_flags, tiny_room: Path, tmp_path: Path):
    """A trainer, set up but not started."""

    def trainer(geometry: int, total: int, *flags: str) -> Any:
        config = ns_config(METHOD, tmp_path, *quick_flags(tiny_room, geometry, total), *flags)
        config.pipeline.datamanager.data = config.data
        config.save_config()
        torch.manual_seed(config.machine.seed)
        made = config.setup(local_rank=0, world_size=1)
        assert isinstance(made, HeadTrainer)
        made.setup()
        return made

    return trainer


def rates(trainer: Any) -> Iterator[tuple[int, float, float]]:
    """Train; (step, rate of the fields, rate of the head) that each step used."""
    seen = []
    original = trainer.train_iteration

    def watched(step: int) -> Any:
        groups = [trainer.optimizers.optimizers[name].param_groups[0]["lr"] for name in ("fields", "head")]
        seen.append((step, *groups))
        return original(step)

    trainer.train_iteration = watched
    trainer.train()
    return iter(seen)


# Schedules -----------------------------------------------------------------------------------------------------------


def expected_rates(step: int, geometry: int, total: int) -> tuple[int, float, float]:
    """By hand: 0.03 falls to a hundredth over the geometry steps, 0.03 to a tenth over the head steps."""
    done, headed = min(step / geometry, 1), max(step - geometry, 0) / (total - geometry)
    return step, pytest.approx(0.03 * 0.01**done), pytest.approx(0.03 * 0.1**headed)


def test_rates_of_an_uninterrupted_and_a_resumed_run(build):
    """Interrupted in either stage, the rest of the schedule is as if it had not been."""
    assert list(rates(build(4, 8))) == [expected_rates(step, 4, 8) for step in range(8)]
    for stop in (2, 6):
        first = build(4, 8, f"--timestamp=stopped-{stop}")
        first.train_iteration(0)  # optimisers have state before they are saved
        first._start_step = 0
        first.config.max_num_iterations = stop
        first.train()
        second = build(4, 8, f"--load-dir={first.checkpoint_dir}")
        assert list(rates(second)) == [expected_rates(step, 4, 8) for step in range(stop, 8)]


def test_a_longer_run_stretches_the_rest_of_the_schedule(build):
    first = build(4, 8)
    first.train()
    second = build(4, 16, f"--load-dir={first.checkpoint_dir}")
    assert list(rates(second)) == [expected_rates(step, 4, 16) for step in range(8, 16)]


# Checkpoints ---------------------------------------------------------------------------------------------------------


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_only_the_newest_checkpoint_stays(build):
    trainer = build(4, 8)
    for step in (3, 7):
        trainer.save_checkpoint(step)
        assert visible(trainer.checkpoint_dir) == [f"step-{step:09d}.ckpt"]
    trainer.config.save_only_latest_checkpoint = False
    trainer.save_checkpoint(9)
    assert visible(trainer.checkpoint_dir) == ["step-000000007.ckpt", "step-000000009.ckpt"]
    assert read_checkpoint(find_checkpoint(trainer.checkpoint_dir))["step"] == 9
    assert [path for path in trainer.base_dir.rglob(".*")] == []


def test_a_full_disk_keeps_the_old_checkpoint(build):
    trainer = build(4, 8)
    trainer.save_checkpoint(3)
    old = (trainer.checkpoint_dir / "step-000000003.ckpt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))  # no file may grow beyond, as on a full disk
    try:
        with pytest.raises(InputError, match="free space on the disk and resume") as caught:
            trainer.save_checkpoint(7)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(trainer.checkpoint_dir / "step-000000007.ckpt") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert visible(trainer.checkpoint_dir) == ["step-000000003.ckpt"]
    assert (trainer.checkpoint_dir / "step-000000003.ckpt").read_bytes() == old
    assert [path for path in trainer.base_dir.rglob(".*")] == [], "no half-written file stays"


def test_kill_9_while_a_checkpoint_is_written(build, monkeypatch: pytest.MonkeyPatch):
    trainer = build(4, 8)
    trainer.save_checkpoint(3)
    old = (trainer.checkpoint_dir / "step-000000003.ckpt").read_bytes()

    def half(state: Any, path: Path) -> None:
        whole = io.BytesIO()
        save(state, whole)
        Path(path).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    save = torch.save
    monkeypatch.setattr(torch, "save", half)
    child = os.fork()
    if child == 0:
        trainer.save_checkpoint(7)
    _, status = os.waitpid(child, 0)
    monkeypatch.undo()
    assert os.WTERMSIG(status) == signal.SIGKILL
    left = [path for path in trainer.base_dir.iterdir() if path.name.startswith(".")]
    assert len(left) == 1 and left[0].stat().st_size > 1000, "it was killed in the middle of writing"
    # nerfstudio reads a step number out of every name in this folder.
    assert os.listdir(trainer.checkpoint_dir) == ["step-000000003.ckpt"]
    assert find_checkpoint(trainer.checkpoint_dir).read_bytes() == old
    assert build(4, 8, f"--load-dir={trainer.checkpoint_dir}")._start_step == 4


@pytest.mark.parametrize("kind", ["truncated", "missing step", "empty folder", "another number of instances"])
def test_checkpoints_that_cannot_be_resumed_are_named(build, kind: str):
    trainer = build(4, 8)
    trainer.save_checkpoint(3)
    path, flags = trainer.checkpoint_dir / "step-000000003.ckpt", [f"--load-dir={trainer.checkpoint_dir}"]
    named, said = path, "damaged"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "missing step":
        flags += ["--load-step=5"]
        named, said = trainer.checkpoint_dir, r"no checkpoint of step 5; it has \[3\]"
    elif kind == "empty folder":
        path.unlink()
        named, said = trainer.checkpoint_dir, "holds no checkpoint"
    else:
        flags += ["--pipeline.model.label-mode=view", "--pipeline.model.max-instances=7"]
        said = r"head.*has shape \(5, .*expected \(8, .*another number of instances"
    with pytest.raises(InputError, match=said) as caught:
        build(4, 8, *flags)
    assert str(named) in str(caught.value) and "\n" not in str(caught.value)


def test_a_checkpoint_of_another_method_is_named(build, ns_train, quick_nerfacto: Path):
    path = find_checkpoint(quick_nerfacto.parent / "nerfstudio_models")
    with pytest.raises(InputError, match="does not fit this run's model") as caught:
        build(4, 8, f"--load-checkpoint={path}")
    assert str(path) in str(caught.value)


def test_optimisers_of_another_kind_are_named(build):
    trainer = build(4, 8)
    trainer.save_checkpoint(3)
    path = trainer.checkpoint_dir / "step-000000003.ckpt"
    state = read_checkpoint(path)
    del state["optimizers"]["head"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"cannot resume.*--pipeline\.pretrained") as caught:
        build(4, 8, f"--load-checkpoint={path}")
    assert str(path) in str(caught.value)


# Whole commands ------------------------------------------------------------------------------------------------------


def test_killed_training_resumes_to_the_same_total(ns_train, quick_flags, tiny_room: Path, tmp_path: Path, capsys):
    """A real ns-train, killed after its first save, then resumed twice: once to the end, once with nothing to do."""
    geometry, total = 10, 60
    flags = quick_flags(tiny_room, geometry, 1_000_000)
    always = ["--vis=tensorboard", "--machine.device-type=cpu", f"--output-dir={tmp_path}"]
    places = ["--experiment-name=room", "--timestamp=run", "--steps-per-save=25"]
    models = tmp_path / "room" / METHOD / "run" / "nerfstudio_models"
    with subprocess.Popen(
        [NS_TRAIN, METHOD, *flags, *always, *places],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:  # it logs every ten steps, and would go on for a million
            said.append(line)
            if any(models.glob("step-*.ckpt")):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, "".join(said)
    saved = read_checkpoint(find_checkpoint(models))
    assert saved["step"] >= 25
    total = saved["step"] + 20

    resume = [*quick_flags(tiny_room, geometry, total), f"--load-dir={models}"]
    ns_train(METHOD, tmp_path, *resume)
    path = find_checkpoint(models)
    state = read_checkpoint(path)
    assert state["step"] == total - 1
    assert int(state["pipeline"]["_model.head_steps"]) == total - geometry, "no step twice, none left out"
    assert state["schedulers"]["head"]["last_epoch"] == total

    written = path.stat().st_mtime_ns
    capsys.readouterr()
    ns_train(METHOD, tmp_path, *resume)
    assert "Nothing to train" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == written and visible(models) == [path.name]


def test_bad_input_ends_ns_train_with_one_sentence(quick_flags, tiny_room: Path, tmp_path: Path):
    """A real ns-train whose viewer already runs when it finds the checkpoint damaged."""
    path = tmp_path / "step-000000003.ckpt"
    path.write_bytes(b"PK\x03\x04 half a checkpoint")
    done = subprocess.run(
        [NS_TRAIN, METHOD, *quick_flags(tiny_room, 4, 8), f"--output-dir={tmp_path}", f"--load-checkpoint={path}"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len([line for line in lines if line.startswith("error: ")]) == 1, done.stderr
    assert str(path) in next(line for line in lines if line.startswith("error: "))
    assert "Traceback" not in done.stdout + done.stderr


# Determinism ---------------------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_runs(ns_train, quick_flags, tiny_room: Path, tmp_path: Path):
    from nerfseg_plugins.cli.eval import evaluate_run
    from nerfseg_plugins.scene.run import load_run

    flags = quick_flags(tiny_room, 5, 10)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # as users run it: sums must not depend on which thread is first
    try:
        configs = [ns_train(METHOD, tmp_path, *flags, name=name) for name in ("first", "second")]
        configs.append(ns_train(METHOD, tmp_path, *flags, "--machine.seed=7", name="other"))
        first, second, other = (
            read_checkpoint(find_checkpoint(config.parent / "nerfstudio_models"))["pipeline"] for config in configs
        )
    finally:
        torch.set_num_threads(threads)
    metrics = [evaluate_run(load_run(config), "val").metrics for config in configs[:2]]
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert {**metrics[0], "seconds": 0} == {**metrics[1], "seconds": 0} and metrics[0]["psnr"] > 0
    for part in ("_model.field.mlp_base", "_model.head.mlp", "_model.proposal_networks"):
        assert any(not torch.equal(value, other[key]) for key, value in first.items() if key.startswith(part))
