"""Quality and speed of pose estimation: `python benchmarks/pose.py`, tables on the terminal, JSON beside the runs.

    python benchmarks/pose.py --only lego fern

Real data are read from NERFSEG_DATA (by default ../shared/data). Runs and pictures are kept in the output folder, and
parts that have been trained are not trained again. `summary` prints all that is there as one table.
"""

import os
import platform
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig  # noqa: E402

from nerfseg_plugins.cli.pose_selfsup import PoseSelfsup  # noqa: E402
from nerfseg_plugins.cli.views import with_progress  # noqa: E402
from nerfseg_plugins.dataparsers.llff import LLFFDataParserConfig  # noqa: E402
from nerfseg_plugins.files import read_json, write_json  # noqa: E402
from nerfseg_plugins.inerf.config import PRESETS, PoseConfig  # noqa: E402
from nerfseg_plugins.inerf.of_run import estimator_of_run  # noqa: E402
from nerfseg_plugins.inerf.protocol import (  # noqa: E402
    Disturbance,
    Protocol,
    disturbed,
    draw_starts,
    held_out_queries,
    report,
    trials,
)
from nerfseg_plugins.method_configs.instance_nerf import instance_nerf_tiny  # noqa: E402
from nerfseg_plugins.scene.run import load_run  # noqa: E402
from nerfseg_plugins.scene.train import run_quietly, train_run  # noqa: E402

Part = Literal["lego", "fern", "truth", "basin", "global", "exposure", "occluder", "selfsup", "summary"]
PARTS: tuple[Part, ...] = (
    "lego",
    "fern",
    "truth",
    "basin",
    "global",
    "exposure",
    "occluder",
    "selfsup",
    "summary",
)
DATA = Path(os.environ.get("NERFSEG_DATA", "../shared/data")).resolve()
SCENES: dict[str, Protocol] = {"lego": "synthetic", "fern": "forward"}
GREEN_CAST = 0.15


@dataclass
class Benchmark:
    """Measure pose estimation."""

    only: tuple[Part, ...] = field(default_factory=lambda: PARTS)
    """Parts to run."""
    output_path: Path = Path("benchmarks/results/pose")
    """Folder for JSON files, runs and pictures."""
    presets: tuple[str, ...] = ("classic", "adam", "lm", "best")
    """What the parts lego and fern compare."""
    views: int = 5
    """Held-out views of each scene."""
    starts: int = 5
    """Starts of each view."""

    def main(self) -> None:
        """Run the parts and print their figures."""
        folder = self.output_path.resolve()
        for part in self.only:
            if part == "summary":
                print_summary(folder)
                continue
            print(f"=== {part}", flush=True)
            MEASURES[part](self, folder, part)


def scene_run(folder: Path, scene: str) -> Path:
    """config.yml of the tiny scene; trained if it is not there yet."""
    config: Any = deepcopy(instance_nerf_tiny.config)
    config.data = DATA / scene
    config.output_dir, config.experiment_name, config.timestamp = folder / "runs", scene, "run"
    config.max_num_iterations = config.pipeline.model.geometry_steps
    model = config.pipeline.model
    if scene == "lego":
        # Without a background of any one colour, the network cannot paint the scene with it.
        config.pipeline.datamanager.dataparser = BlenderDataParserConfig(alpha_color=None)
        model.bounds, model.background_color = "box", "random"
    else:
        config.pipeline.datamanager.dataparser = LLFFDataParserConfig(eval_interval=4)
        model.max_res, model.log2_hashmap_size, model.num_nerf_samples_per_ray = 1024, 18, 16
        model.proposal_net_args_list[0].update(max_res=256, log2_hashmap_size=15)
    run_quietly(config)
    return train_run(config)


def measure(
    benchmark: Benchmark,
    folder: Path,
    scene: str,
    name: str,
    preset: PoseConfig,
    protocol: Protocol,
    disturbance: Disturbance | None = None,
) -> None:
    """Run one protocol with one preset, print its figures and keep them in `name`.json."""
    run = load_run(scene_run(folder, scene), test_mode="test")
    queries = held_out_queries(run, benchmark.views)
    if disturbance is not None:
        queries = [disturbed(query, disturbance, seed) for seed, query in enumerate(queries)]
    starts = draw_starts(queries, protocol, benchmark.starts, seed=0)
    estimator = estimator_of_run(run, preset)
    estimator.prepare()
    done = list(with_progress(trials(estimator, queries, starts), benchmark.views * benchmark.starts, name))
    result = {
        **report(done, run.transform[1]),
        "preset": repr(preset),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "trials": [trial.record() for trial in done],
    }
    write_json(folder / f"{name}.json", result)
    print_result(name, result)


def print_result(name: str, result: dict[str, Any]) -> None:
    """One line of figures."""
    figures = {
        "<5 deg": ("rotation_rate", "{:.0%}"),
        "<0.05": ("translation_rate", "{:.0%}"),
        "both": ("joint_rate", "{:.0%}"),
        "deg": ("rotation_median", "{:.3f}"),
        "units": ("translation_median", "{:.4f}"),
        "s": ("seconds_median", "{:.2f}"),
        "converged": ("converged_rate", "{:.0%}"),
        "precision": ("converged_precision", "{:.0%}"),
    }
    text = ", ".join(
        f"{title} {form.format(result[key]) if result[key] is not None else '-'}"
        for title, (key, form) in figures.items()
    )
    print(f"{name:24s} {text}", flush=True)


def print_summary(folder: Path) -> None:
    """All that has been measured."""
    for path in sorted(folder.glob("*.json")):
        print_result(path.stem, read_json(path))


def measure_scene(benchmark: Benchmark, folder: Path, scene: str) -> None:
    """The paper's protocol with all presets."""
    for name in benchmark.presets:
        measure(benchmark, folder, scene, f"{scene}-{name}", PRESETS[name], SCENES[scene])


def measure_truth(benchmark: Benchmark, folder: Path, part: str) -> None:
    """Starts at the truth must stay there."""
    once = replace(benchmark, starts=1)
    for scene in SCENES:
        for name in ("lm", "best"):
            measure(once, folder, scene, f"{part}-{scene}-{name}", PRESETS[name], "truth")


def measure_basin(benchmark: Benchmark, folder: Path, part: str) -> None:
    """Levenberg-Marquardt against Adam, both coarse to fine, from starts near the truth."""
    for scene in SCENES:
        for name in ("lm", "adam"):
            measure(replace(benchmark, starts=1), folder, scene, f"{part}-{scene}-{name}", PRESETS[name], "small")


def measure_global(benchmark: Benchmark, folder: Path, part: str) -> None:
    """Nothing to start from."""
    for init in ("match", "global"):
        preset = replace(PRESETS["best"], init=init)
        measure(benchmark, folder, "lego", f"{part}-lego-{init}", preset, "global")


def measure_exposure(benchmark: Benchmark, folder: Path, part: str) -> None:
    """Photos of 0.6 of the light and a green cast."""
    change = Disturbance(exposure=0.6, green_cast=GREEN_CAST)
    for scene, protocol in SCENES.items():
        measure(benchmark, folder, scene, f"{part}-{scene}-best", PRESETS["best"], protocol, change)


def measure_occluder(benchmark: Benchmark, folder: Path, part: str) -> None:
    """Photos a fifth of which is covered."""
    change = Disturbance(occluder=0.2)
    for scene, protocol in SCENES.items():
        measure(benchmark, folder, scene, f"{part}-{scene}-best", PRESETS["best"], protocol, change)


def measure_selfsup(benchmark: Benchmark, folder: Path, part: str) -> None:
    """A quarter of fern's poses given, the others found."""
    PoseSelfsup(load_config=scene_run(folder, "fern"), output_path=folder / "selfsup").main()


MEASURES: dict[str, Callable[[Benchmark, Path, str], None]] = {
    "lego": measure_scene,
    "fern": measure_scene,
    "truth": measure_truth,
    "basin": measure_basin,
    "global": measure_global,
    "exposure": measure_exposure,
    "occluder": measure_occluder,
    "selfsup": measure_selfsup,
}

if __name__ == "__main__":
    tyro.cli(Benchmark).main()
