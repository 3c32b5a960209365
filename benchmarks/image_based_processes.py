"""Two training processes against one on an equal batch; `image_based.py` calls it.

    python benchmarks/image_based_processes.py --data CHAIRS

Both are trained by `ns-train`, on the CPU with gloo, for as many steps and on as many scenes a step in all. Scenes and
rays are drawn by chance, and not the same by two processes as by one: so losses agree as those of two seeds do. That
the step itself is equal where the draws are is tested in tests/image_based/test_processes.py.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from nerfseg_plugins.files import read_json, write_json

TARGET = 0.05
"""Difference of the losses, relative to that of one process."""


@dataclass
class Processes:
    """Compare two processes with one."""

    data: Path
    """Scenes to train on."""
    output_path: Path = Path("benchmarks/results/image_based/processes")
    """Folder for runs and result.json."""
    method: str = "pixelnerf-tiny"
    """Method that is trained."""
    dataparser: str = "srn-data"
    """Parser of the data."""
    steps: int = 100
    """Steps of training."""
    scenes: int = 16
    """Scenes of a step in all processes together; even."""
    last: int = 20
    """Steps at the end over which losses are averaged."""
    seeds: tuple[int, ...] = (42, 43, 44)
    """Runs of each kind are repeated with these, and their losses averaged."""
    flags: tuple[str, ...] = field(default_factory=tuple)
    """Further flags for ns-train."""

    def main(self) -> None:
        """Run and print."""
        result = compare_processes(
            self.data,
            self.output_path,
            method=self.method,
            dataparser=self.dataparser,
            steps=self.steps,
            scenes=self.scenes,
            last=self.last,
            seeds=self.seeds,
            flags=self.flags,
        )
        for name, value in result.items():
            print(f"{name:12} {value}")


def compare_processes(
    data: Path,
    folder: Path,
    *,
    method: str = "pixelnerf-tiny",
    dataparser: str = "srn-data",
    steps: int = 100,
    scenes: int = 16,
    last: int = 20,
    seeds: Sequence[int] = (42, 43, 44),
    flags: Sequence[str] = (),
) -> dict[str, Any]:
    """Train with one process and with two on equal batches; runs that are there already are not repeated.

    Args:
        data: scenes to train on.
        folder: for the runs and result.json.
        method: name of an image-based method.
        dataparser: name of the data's parser.
        steps: of each run.
        scenes: of a step, in all processes together; even.
        last: steps at the end of which losses are averaged.
        seeds: runs of each kind.
        flags: for ns-train, besides.

    Returns:
        one, two: losses at the end, means over seeds; difference: relative to `one`; first: the loss at the first step;
        seconds_one, seconds_two: of all runs, the start of the processes included; odd: the loss at the end of two
        processes on three scenes, and one of a single scene; reached.
    """
    shared = _Runs(Path(folder).resolve(), Path(data).resolve(), method, dataparser, steps, scenes, tuple(flags))
    runs = {count: [shared.train(f"{count}-{seed}", count, seed) for seed in seeds] for count in (1, 2)}
    losses = {count: [float(np.mean(losses_of(run)[-last:])) for run in found] for count, found in runs.items()}
    seconds = {count: sum(read_json(run / "seconds.json")["seconds"] for run in found) for count, found in runs.items()}
    names = scenes_of(Path(data), dataparser)
    odd = {
        count: float(np.mean(losses_of(shared.train(f"2-of-{count}-scenes", 2, seeds[0], names[:count]))[-last:]))
        for count in (3, 1)
    }
    one, two = float(np.mean(losses[1])), float(np.mean(losses[2]))
    result = {
        "one": one,
        "two": two,
        "difference": abs(two - one) / one,
        "first": float(np.mean([losses_of(run)[0] for found in runs.values() for run in found])),
        "each_one": losses[1],
        "each_two": losses[2],
        "seconds_one": seconds[1],
        "seconds_two": seconds[2],
        "odd": odd,
        "steps": steps,
        "scenes": scenes,
        "reached": abs(two - one) / one <= TARGET,
    }
    write_json(shared.folder / "result.json", result)
    return result


@dataclass(frozen=True)
class _Runs:
    """What the compared runs have in common."""

    folder: Path
    data: Path
    method: str
    dataparser: str
    steps: int
    scenes: int
    flags: tuple[str, ...]

    def train(self, name: str, processes: int, seed: int, only: Sequence[str] = ()) -> Path:
        """The folder of a run, which is trained if it is not there."""
        run = self.folder / "processes" / self.method / name
        if (run / "seconds.json").is_file():
            return run
        options = [
            *(["--pipeline.datamanager.only", *only] if only else []),
            *("--output-dir", str(self.folder), "--experiment-name", "processes", "--timestamp", name),
            *("--data", str(self.data), "--max-num-iterations", str(self.steps)),
            *("--machine.num-devices", str(processes), "--machine.seed", str(seed)),
            *("--pipeline.datamanager.scenes-per-batch", str(self.scenes // processes)),
        ]
        write_json(run / "seconds.json", {"seconds": _train(self.method, [*options, *self.flags, self.dataparser])})
        return run


def scenes_of(data: Path, dataparser: str) -> list[str]:
    """Names of the scenes to train on."""
    from nerfseg_plugins.image_based.options import parser_named
    from nerfseg_plugins.image_based.sources import Catalog, Source

    source = Source(replace(parser_named(dataparser, "--dataparser"), data=data))
    return [scene.name for _, found in Catalog([source]).training() for scene in found]


def losses_of(run: Path) -> list[float]:
    """The loss of every step of a run, means over its processes, from its TensorBoard log."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})  # all steps, not a sample of them
    events.Reload()
    by_step = {event.step: event.value for event in events.Scalars("Train Loss")}
    return [by_step[step] for step in sorted(by_step)]


def _train(method: str, options: Sequence[str]) -> float:
    """Seconds of an `ns-train` without evaluation, on the CPU, that writes the loss of every step down."""
    never = str(10**9)
    always = [
        *("--vis", "tensorboard", "--logging.steps-per-log", "1", "--machine.device-type", "cpu"),
        *("--steps-per-eval-batch", never, "--steps-per-eval-image", never, "--steps-per-eval-all-images", never),
        *("--viewer.quit-on-train-completion", "True"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore::FutureWarning"}
    begin = time.perf_counter()
    command = [str(Path(sys.executable).parent / "ns-train"), method, *always, *options]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


if __name__ == "__main__":
    tyro.cli(Processes, description=__doc__).main()
