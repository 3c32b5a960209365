"""What `instance-nerf` reaches: quality on rooms and on a phone capture, time per step, determinism.

    python benchmarks/instances.py                       # everything
    python benchmarks/instances.py --only room-a noisy   # some of it; `noisy` needs the run of `room-a`

Every part writes RESULTS/<part>.json and what it trained; a part that was interrupted continues. Needs the data of
NERFSEG_DATA (default ../shared/data) for room-a, noisy and fox.
"""

import os
import platform
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.cli.demo import Demo, write_contact_sheet  # noqa: E402
from nerfseg_plugins.cli.eval import evaluate_run  # noqa: E402
from nerfseg_plugins.cli.masks import Masks  # noqa: E402
from nerfseg_plugins.cli.match import Match  # noqa: E402
from nerfseg_plugins.cli.room import Room  # noqa: E402
from nerfseg_plugins.evaluation.panoptic import ContingencyTable, panoptic_quality, view_panoptic_quality  # noqa: E402
from nerfseg_plugins.files import read_json, write_json  # noqa: E402
from nerfseg_plugins.method_configs.instance_nerf import instance_nerf_tiny  # noqa: E402
from nerfseg_plugins.scene.run import load_run  # noqa: E402
from nerfseg_plugins.scene.train import run_quietly, train_run  # noqa: E402
from nerfseg_plugins.segments.masks import find_mask, read_ids  # noqa: E402

Part = Literal["demo", "room-a", "noisy", "fox", "views", "stages", "determinism"]
PARTS: tuple[Part, ...] = ("demo", "room-a", "noisy", "fox", "views", "stages", "determinism")
DATA = Path(os.environ.get("NERFSEG_DATA", "../shared/data")).resolve()


@dataclass
class Benchmark:
    """Measure instance-nerf."""

    only: tuple[Part, ...] = field(default_factory=lambda: PARTS)
    """Parts to run."""
    output_path: Path = Path("benchmarks/results/instances")
    """Folder for JSON files, runs and pictures."""

    def main(self) -> None:
        """Run the parts and print their figures."""
        for part in self.only:
            print(f"=== {part}", flush=True)
            result = MEASURES[part](self.output_path.resolve() / part)
            result |= {
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "torch": torch.__version__,
            }
            write_json(self.output_path / f"{part}.json", result)
            for name, value in result.items():
                print(f"{name:28s} {value:.4f}" if isinstance(value, float) else f"{name:28s} {value}")


def tiny(folder: Path, data: Path, name: str, **masks: Any) -> Any:
    """A quiet `instance-nerf-tiny` configuration whose run lies in `folder`."""
    config: Any = deepcopy(instance_nerf_tiny.config)
    config.data = data
    config.output_dir, config.experiment_name, config.timestamp = folder, name, "run"
    for option, value in masks.items():
        setattr(config.pipeline.datamanager.dataparser, option, value)
    run_quietly(config)
    return config


def trained(config: Any) -> tuple[Path, float]:
    """Train a run; its config.yml and the seconds it took in this call."""
    start = time.perf_counter()
    return train_run(config), time.perf_counter() - start


def chosen(metrics: dict[str, Any]) -> dict[str, Any]:
    """The figures of a report that are there."""
    return {name: value for name, value in metrics.items() if value is not None}


def measure_demo(folder: Path) -> dict[str, Any]:
    """`nerfseg demo`, from nothing."""
    start = time.perf_counter()
    Demo(output_path=folder).main()
    return {**chosen(read_json(folder / "metrics.json")), "seconds": time.perf_counter() - start}


def measure_room_a(folder: Path) -> dict[str, Any]:
    """Exact masks of a path-traced room, held-out views."""
    config_path, seconds = trained(tiny(folder, DATA / "room_a", "room_a"))
    run = load_run(config_path)
    metrics = evaluate_run(run, "val", folder / "pictures").metrics
    write_contact_sheet(run, folder / "contact_sheet.png")
    return {**chosen(metrics), "training_seconds": seconds}


def measure_noisy(folder: Path) -> dict[str, Any]:
    """Masks of a simulated 2D network, matched through the geometry that `room-a` trained; no 3D masks."""
    data = DATA / "room_a"
    geometry = next((folder.parent / "room-a").glob("room_a/*/run/config.yml"))
    start = time.perf_counter()
    Match(load_config=geometry, segments=data / "masks_noisy", output_path=folder / "matched", overwrite=True).main()
    match_seconds = time.perf_counter() - start
    config = tiny(folder, data, "noisy", masks=folder / "matched")
    config.pipeline.pretrained = geometry
    config_path, seconds = trained(config)
    run = load_run(config_path)
    metrics = evaluate_run(run, "val", folder / "pictures").metrics
    write_contact_sheet(run, folder / "contact_sheet.png")
    names = [Path(path).stem for path in run.dataset("val").image_filenames]
    everything = sorted(path.stem for path in (data / "masks").glob("*.png"))
    matched = agreement(folder / "matched", data / "masks", [n for n in everything if find_mask(folder / "matched", n)])
    return {
        **chosen(metrics),
        "input_pq_view_val": agreement(data / "masks_noisy", data / "masks", names)["pq_view"],
        "input_pq_view_all": agreement(data / "masks_noisy", data / "masks", everything)["pq_view"],
        "input_pq_scene_all": agreement(data / "masks_noisy", data / "masks", everything)["pq"],
        "matched_pq_scene": matched["pq"],
        "matched_pq_view": matched["pq_view"],
        "match_seconds": match_seconds,
        "training_seconds": seconds,
    }


def agreement(predicted: Path, truth: Path, stems: list[str]) -> dict[str, float]:
    """PQ of a folder of masks against another: one id space over all views, and view by view."""
    tables = []
    for stem in stems:
        table = ContingencyTable()
        first, second = find_mask(truth, stem), find_mask(predicted, stem)
        assert first is not None and second is not None
        table.add(read_ids(first), read_ids(second))
        tables.append(table)
    scene = ContingencyTable()
    for table in tables:
        scene.add_table(table)
    # PQ is None where there is nothing to find.
    return {"pq": panoptic_quality(scene).pq or 0.0, "pq_view": view_panoptic_quality(tables).pq or 0.0}


def measure_fox(folder: Path) -> dict[str, Any]:
    """A phone capture without labels: classical masks, geometry, match, instance field, pictures."""
    data = DATA / "fox"
    start = time.perf_counter()
    Masks(data=data, source="classical", output_path=folder / "classical").main()
    config = tiny(folder, data, "geometry")
    config.max_num_iterations = config.pipeline.model.geometry_steps
    geometry, _ = trained(config)
    Match(load_config=geometry, segments=folder / "classical", output_path=folder / "matched", overwrite=True).main()
    config = tiny(folder, data, "fox", masks=folder / "matched")
    config.pipeline.pretrained = geometry
    config_path, _ = trained(config)
    run = load_run(config_path)
    model: Any = run.pipeline.model
    metrics = evaluate_run(run, "val", folder / "pictures").metrics
    write_contact_sheet(run, folder / "contact_sheet.png")
    return {**chosen(metrics), "seconds": time.perf_counter() - start, "instances": len(model.colors) - 1}


def step_times(configs: list[Any], stages: list[int], rounds: int = 6, steps: int = 10) -> list[float]:
    """Median CPU seconds of a training step of several trainers, taken in turns, each at a step of its own stage."""
    trainers = []
    for config in configs:
        config.set_timestamp()
        config.pipeline.datamanager.data = config.data  # as ns-train does
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        trainers.append(trainer)
    from nerfstudio.engine.callbacks import TrainingCallbackLocation as Location

    times: list[list[float]] = [[] for _ in trainers]
    for _ in range(rounds):
        for trainer, first, found in zip(trainers, stages, times, strict=True):
            trainer.pipeline.train()
            start = time.process_time()
            for step in range(first, first + steps):
                for callback in trainer.callbacks:
                    callback.run_callback_at_location(step, Location.BEFORE_TRAIN_ITERATION)
                trainer.train_iteration(step)
                for callback in trainer.callbacks:
                    callback.run_callback_at_location(step, Location.AFTER_TRAIN_ITERATION)
            found.append((time.process_time() - start) / steps)
    return [float(np.median(found[1:])) for found in times]


def measure_views(folder: Path) -> dict[str, Any]:
    """Time per step with 60 and with 120 views of one room."""
    configs = []
    for views in (60, 120):
        if not (folder / f"room{views}").is_dir():
            Room(output_path=folder / f"room{views}", views=views, val_views=4).main()
        configs.append(tiny(folder / "runs", folder / f"room{views}", f"room{views}"))
    after = configs[0].pipeline.model.geometry_steps + 10
    few, many = step_times(configs, [1000, 1000])
    head_few, head_many = step_times(configs, [after, after])
    return {
        "geometry_step_60": few,
        "geometry_step_120": many,
        "geometry_ratio": many / few,
        "head_step_60": head_few,
        "head_step_120": head_many,
        "head_ratio": head_many / head_few,
    }


def measure_stages(folder: Path) -> dict[str, Any]:
    """A head step against a geometry step at the same number of rays."""
    if not (folder / "room").is_dir():
        Room(output_path=folder / "room", views=20, val_views=4).main()
    geometry, head = (tiny(folder / "runs", folder / "room", name) for name in ("geometry", "head"))
    head.pipeline.datamanager.head_num_rays_per_batch = geometry.pipeline.datamanager.train_num_rays_per_batch
    first, second = step_times([geometry, head], [1000, head.pipeline.model.geometry_steps + 10], rounds=10)
    return {"geometry_step": first, "head_step": second, "ratio": second / first}


def measure_determinism(folder: Path) -> dict[str, Any]:
    """Two runs of one seed on the CPU, and one of another."""
    if not (folder / "room").is_dir():
        Room(output_path=folder / "room", views=12, val_views=3, width=80, height=60).main()
    found = []
    for name, seed in (("first", 1), ("second", 1), ("other", 2)):
        config = tiny(folder / "runs", folder / "room", name)
        config.machine.seed = seed
        config.max_num_iterations, config.pipeline.model.geometry_steps = 150, 100
        metrics = evaluate_run(load_run(trained(config)[0]), "val").metrics
        found.append({name: value for name, value in chosen(metrics).items() if name != "seconds"})
    return {"equal": found[0] == found[1], "other_seed_differs": found[0] != found[2], "psnr": found[0]["psnr"]}


MEASURES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "demo": measure_demo,
    "room-a": measure_room_a,
    "noisy": measure_noisy,
    "fox": measure_fox,
    "views": measure_views,
    "stages": measure_stages,
    "determinism": measure_determinism,
}

if __name__ == "__main__":
    tyro.cli(Benchmark).main()
