"""Training in two processes against one, and what becomes of a run when one of them ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import pytest
import torch
from nerfstudio.engine.trainer import TrainerConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nerfseg_plugins import compat
from nerfseg_plugins.image_based.processes import agree, average, settings, world

from .captures import write_category

compat.apply()

HERE = Path(__file__).parent
TOO_LONG = 300.0
"""Seconds; a process imports nerfstudio in five to sixty, by what else its machine does."""


@pytest.fixture(scope="module")
def at_work():
    """The functions of ranks_at_work.py, under a name that processes can import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import ranks_at_work

        yield ranks_at_work


@pytest.fixture(scope="module")
def chairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three objects to train on, which two processes cannot share evenly, and one that is shown."""
    return write_category(tmp_path_factory.mktemp("data") / "chairs", (3, 0, 1))


@pytest.fixture(scope="module")
def one_scene(at_work, chairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Configuration of a run on one object, which two processes have to share."""
    from nerfseg_plugins.dataparsers.srn import SRNDataParserConfig

    config = at_work.trainer_config(SRNDataParserConfig(data=chairs), only=("chairs/c0",))
    config.output_dir = tmp_path_factory.mktemp("runs")
    config.experiment_name, config.timestamp, config.logging.steps_per_log = "chairs", "run", 1
    return config


@pytest.fixture(scope="module")
def both(at_work, one_scene) -> list[dict[str, Any]]:
    """What two processes found that worked together, started by nerfstudio's launcher."""
    from nerfstudio.scripts.train import launch

    launch(at_work.work, 2, config=one_scene, device_type="cpu")
    return [torch.load(one_scene.output_dir / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(at_work) -> dict[str, Any]:
    """What one process finds on all scenes of every step."""
    return at_work.fit(at_work.model_of(0), lambda step: range(at_work.SCENES))


def test_two_halves_have_the_gradient_of_the_whole(both, alone):
    for found in both:
        gradients = {name.removeprefix("module."): value for name, value in found["equal"]["gradients"].items()}
        # What no loss depends on has no gradient alone, and zeros or none together.
        assert {name for name in alone["gradients"]} == {name for name in gradients if "idle" not in name}
        for name, gradient in alone["gradients"].items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-7)
            assert gradient.abs().max() > 1e-4, "else this test shows nothing"


def test_two_processes_learn_what_one_does_on_an_equal_batch(both, alone):
    """From other random weights in rank 1, which became those of rank 0."""
    for found in both:
        assert found["equal"]["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert alone["losses"][-1] < alone["losses"][0]
    weights = [found["equal"]["weights"] for found in both]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_processes_on_other_scenes_keep_one_network(both):
    weights = [found["uneven"]["weights"] for found in both]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert both[0]["uneven"]["losses"] == both[1]["uneven"]["losses"], "means, wherever they are read"


def test_means_over_processes(both):
    for found in both:
        assert found["means"] == {"a": torch.tensor(5.0), "b": torch.tensor(2.5)}


def test_processes_with_other_settings_are_refused(both):
    assert "refused" not in both[0]
    assert both[1]["refused"] == (
        "rays is 9 in rank 1, but 8 in rank 0; start every machine with the same command and files"
    )


def test_alone_there_is_nothing_to_agree_on():
    assert world() == (0, 1)
    agree({"rays": "8"})
    assert average({"loss": 2.0}) == {"loss": 2.0}


def test_what_must_agree_between_machines():
    config = TrainerConfig(method_name="x", output_dir=Path("here"), data=Path("data"))
    config.pipeline.datamanager.data = Path("data")
    there = replace(config, output_dir=Path("there"), data=Path("other"), timestamp="later", vis="viewer")
    assert settings(config) == settings(there), "places may differ"
    found = settings(config)
    assert found["max_num_iterations"] == "1000000" and found["pipeline.model.eval_num_rays_per_chunk"] == "4096"
    assert found["optimizers.fields.optimizer._target"] == "Adam"
    assert not any("0x" in value for value in found.values()), "nothing that is another in every process"
    assert settings(replace(config, mixed_precision=True)) != found


# Whole runs ----------------------------------------------------------------------------------------------------------


class KilledRun(NamedTuple):
    """What was left of a run of which a process was killed."""

    folder: Path
    code: int
    said: str
    children: list[int]


@pytest.fixture(scope="module")
def killed(chairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledRun]:
    """`ns-train` in two processes, of which the second is killed once there is a checkpoint."""
    output = tmp_path_factory.mktemp("runs")
    command = [
        *(str(Path(sys.executable).parent / "ns-train"), "mean-color", f"--data={chairs}", f"--output-dir={output}"),
        *("--experiment-name=chairs", "--timestamp=run", "--machine.num-devices=2", "--max-num-iterations=100000"),
        *("--steps-per-save=3", "--steps-per-eval-batch=2", "--steps-per-eval-image=4", "--logging.steps-per-log=1"),
        "srn-data",
    ]
    method = {"NERFSTUDIO_METHOD_CONFIGS": "mean-color=ranks_at_work:mean_color", "PYTHONPATH": str(HERE)}
    environment = {**os.environ, **method, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    too_long = Timer(TOO_LONG, process.kill)
    too_long.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            step = re.match(r"(?:\x1b\S+ *)?(\d+) \(", line)  # the row of a step, written behind its checkpoint
            if step and int(step[1]) >= 7:
                break
        children = ranks_below(process.pid)
        os.kill(children[1], signal.SIGKILL)
        _, said = process.communicate(timeout=TOO_LONG)
    finally:
        too_long.cancel()
        process.kill()
    yield KilledRun(output / "chairs/mean-color/run", process.returncode, said, children)


def ranks_below(launcher: int) -> list[int]:
    """Training processes in the order in which they were started."""
    found = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(pid) for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in Linux's /proc")


@needs_proc
def test_a_killed_process_ends_the_command_with_a_sentence(killed: KilledRun):
    models = killed.folder / "nerfstudio_models"
    (checkpoint,) = models.iterdir()
    step = int(checkpoint.stem.removeprefix("step-"))
    assert killed.code == 1
    assert killed.said.splitlines()[-1] == (
        "error: rank 1 of 2 was killed (SIGKILL), as the system does when memory runs out; to continue after step "
        f"{step}, run the same command again with --load-dir {models} after the method's name"
    )
    assert "Traceback" not in killed.said
    assert len(killed.children) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in killed.children)


@needs_proc
def test_what_a_killed_run_left_is_whole(killed: KilledRun):
    """Of steps with and without evaluation, on scenes that cannot be shared evenly, by rank 0 alone."""
    (checkpoint,) = (killed.folder / "nerfstudio_models").iterdir()
    state = torch.load(checkpoint, weights_only=True)
    assert state["step"] >= 6 and state["step"] % 3 == 0
    assert len(list(killed.folder.glob("events.out*"))) == 1, "one process writes the log"
    (losses,) = [event for event in events_of(killed.folder).Scalars("Eval Loss") if event.step == 4]
    assert 0 < losses.value < 1


def events_of(run: Path) -> EventAccumulator:
    """What a run has written for TensorBoard."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    return events.Reload()


def test_two_processes_share_one_scene_and_continue(both, one_scene):
    """Three steps, a checkpoint, and three more from it; then one by a process alone."""
    from nerfstudio.scripts.train import main

    for rank, found in enumerate(both):
        assert found["ranks"] == [rank, 2, rank, rank]
        assert found["scenes"] == ["chairs/c0"] and found["first"] == 3
    weights = [found["trained"] for found in both]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    models = one_scene.get_checkpoint_dir()
    assert [path.name for path in models.iterdir()] == ["step-000000005.ckpt"]
    kept = torch.load(models / "step-000000005.ckpt", weights_only=True)["pipeline"]
    assert torch.equal(kept["_model.module.decoder.weight"], weights[0]["decoder.weight"])
    one_scene.load_dir, one_scene.max_num_iterations = models, 7
    main(one_scene)
    assert [path.name for path in models.iterdir()] == ["step-000000006.ckpt"]
    assert {event.step for event in events_of(one_scene.get_base_dir()).Scalars("Train Loss")} == set(range(7))
