"""What pixelnerf, gnt and gsn reach on scenes that they were never trained on.

    python benchmarks/image_based.py                      # everything
    python benchmarks/image_based.py --only chairs pose   # some of it

Objects and rooms are procedural and made first; `fern` and `dtu_scan37` are looked for in NERFSEG_DATA (default
../shared/data). Every part writes RESULTS/<part>.json, what it trained and pictures; a part that was interrupted
continues.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from nerfseg_plugins import compat

compat.apply()
sys.path.insert(0, str(Path(__file__).parent))

import image_based_poses  # noqa: E402
import image_based_processes  # noqa: E402
import image_based_scenes as scenes  # noqa: E402
import image_based_segments as segments  # noqa: E402
import image_based_speed as speed  # noqa: E402

from nerfseg_plugins.cli.objects import Objects  # noqa: E402
from nerfseg_plugins.cli.scenes import SceneOptions  # noqa: E402
from nerfseg_plugins.evaluation.image import psnr  # noqa: E402
from nerfseg_plugins.files import read_json, write_json  # noqa: E402
from nerfseg_plugins.method_configs.gsn import gnt_tiny, gsn_tiny  # noqa: E402
from nerfseg_plugins.method_configs.pixelnerf import pixelnerf_tiny  # noqa: E402
from nerfseg_plugins.scene.train import run_quietly, train_run  # noqa: E402

Part = Literal["chairs", "pose", "rooms", "features", "dtu", "processes", "sizes", "speed", "summary"]
PARTS: tuple[Part, ...] = ("chairs", "pose", "rooms", "features", "dtu", "processes", "sizes", "speed", "summary")
DATA = Path(os.environ.get("NERFSEG_DATA", "../shared/data")).resolve()
SOURCES = {"one": (8,), "two": (8, 33)}
"""Source views of every chair, by number; chosen before any was looked at."""


@dataclass
class Benchmark:
    """Measure image-based methods."""

    only: tuple[Part, ...] = field(default_factory=lambda: PARTS)
    """Parts to run."""
    output_path: Path = Path("benchmarks/results/image_based")
    """Folder for JSON files, data and runs."""
    split: Literal["val", "test"] = "test"
    """Chairs and rooms that are measured; settings were chosen on `val`."""

    def main(self) -> None:
        """Run the parts and print their figures."""
        folder = self.output_path.resolve()
        for part in self.only:
            if part == "summary":
                print_summary(folder)
                continue
            print(f"=== {part}", flush=True)
            result = MEASURES[part](folder, self.split)
            result |= {
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "split": self.split,
            }
            write_json(folder / f"{part}.json", result)
            print_figures(part, result)


# Runs ----------------------------------------------------------------------------------------------------------------


def train(folder: Path, method: Any, data: Path, processes: int = 1, **options: Any) -> tuple[Path, float, float]:
    """config.yml of the trained run, and the minutes of wall clock and of CPU that it took; found again if it is there.

    Args:
        folder: of the results.
        method: its specification.
        data: scenes to train on.
        processes: that share the scenes of a step.
        options: of the datamanager, and `pretrained`.
    """
    config: Any = deepcopy(method.config)
    config.data = data
    config.output_dir, config.experiment_name, config.timestamp = folder / "runs", "image-based", "run"
    if "pretrained" in options:
        config.pipeline.pretrained = options.pop("pretrained")
    for name, value in options.items():
        assert hasattr(config.pipeline.datamanager, name)
        setattr(config.pipeline.datamanager, name, value)
    config.machine.num_devices = processes
    config.pipeline.datamanager.scenes_per_batch //= processes
    run_quietly(config)
    begin, cpu = time.perf_counter(), cpu_seconds()
    path = train_run(config)
    minutes, cpu = (time.perf_counter() - begin) / 60, (cpu_seconds() - cpu) / 60
    noted = path.parent / "minutes.json"
    if not noted.is_file() or minutes > 1:  # a finished run is found again at once
        before = read_json(noted) if noted.is_file() else {"wall": 0.0, "cpu": 0.0}
        write_json(noted, {"wall": before["wall"] + minutes, "cpu": before["cpu"] + cpu})
    found = read_json(noted)
    return path, found["wall"], found["cpu"]


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


# Chairs --------------------------------------------------------------------------------------------------------------


def pixelnerf_run(folder: Path) -> tuple[Path, float, float]:
    """The run on 32 chairs, one process for each of two cores."""
    return train(folder, pixelnerf_tiny, scenes.chairs(folder), processes=2)


def measure_chairs(folder: Path, split: str) -> dict[str, Any]:
    """Chairs that were never seen, from one view and from two."""
    data = scenes.chairs(folder)
    config, wall, cpu = pixelnerf_run(folder)
    found: dict[str, Any] = {"minutes": wall, "cpu_minutes": cpu}
    for name, views in SOURCES.items():
        options = SceneOptions(data=data, split=split, views=views)  # type: ignore[arg-type]
        output = folder / f"chairs-{split}-{name}"
        Objects(load_config=config, scenes=options, output_path=output, overwrite=True).main()
        metrics = read_json(output / "metrics.json")
        found |= {f"{name}_psnr": metrics["psnr"], f"{name}_ssim": metrics["ssim"]}
        found[f"{name}_each"] = {key: one["psnr"] for key, one in metrics["objects"].items()}
    mean, nearest = chair_baselines(data, split, SOURCES["one"])
    found |= {
        "mean_image_psnr": mean,
        "nearest_psnr": nearest,
        "above_mean_image": found["one_psnr"] - mean,
        "above_nearest": found["one_psnr"] - nearest,
        "second_view": found["two_psnr"] - found["one_psnr"],
    }
    return found


def chair_baselines(data: Path, split: str, sources: Sequence[int]) -> tuple[float, float]:
    """PSNR of the training category's mean image, and of the nearest source view, over all other views of a split."""
    training = [photos for _, photos, _ in scenes.objects(data, "train")]
    mean = torch.stack([photos.mean(0) for photos in training]).mean(0)
    means, nearest = [], []
    for _, photos, c2w in scenes.objects(data, split):
        for index in set(range(len(photos))) - set(sources):
            apart = (c2w[list(sources), :, 3] - c2w[index, :, 3]).norm(dim=-1)
            means.append(psnr(mean, photos[index]))
            nearest.append(psnr(photos[sources[int(apart.argmin())]], photos[index]))
    return float(np.mean(means)), float(np.mean(nearest))


def measure_pose(folder: Path, split: str) -> dict[str, Any]:
    """Where photos of unseen chairs were taken, from one other photo of each."""
    config, _, _ = pixelnerf_run(folder)
    return image_based_poses.category_poses(
        config, scenes.chairs(folder), split, SOURCES["one"], folder / f"pose-{split}"
    )


# Rooms ---------------------------------------------------------------------------------------------------------------


def gnt_run(folder: Path) -> tuple[Path, float, float]:
    """The run on twelve rooms."""
    return train(folder, gnt_tiny, scenes.rooms(folder, "train"))


def measure_rooms(folder: Path, split: str) -> dict[str, Any]:
    """Rooms that were never seen, and a real scene."""
    config, wall, cpu = gnt_run(folder)
    found: dict[str, Any] = {"minutes": wall, "cpu_minutes": cpu}
    wanted = {room.name: room for room in sorted(scenes.rooms(folder, split).iterdir())}
    if split == "test":
        wanted["fern"] = scenes.small_fern(DATA, folder)
    for name, data in wanted.items():
        found[name] = scenes.measure_views(config, data, name, folder / "pictures")
    return found


def measure_features(folder: Path, split: str) -> dict[str, Any]:
    """The second stage on the twelve rooms, and strokes in rooms that it never saw."""
    backbone, _, _ = gnt_run(folder)
    data = scenes.described_rooms(folder, "train")
    config, wall, cpu = train(folder, gsn_tiny, data, pretrained=backbone, features="labels")
    found = {
        room.name: segments.measure_segments(config, room, room.name, folder / "pictures")
        for room in sorted(scenes.described_rooms(folder, split).iterdir())
    }
    return {"minutes": wall, "cpu_minutes": cpu, **segments.summary(found), **found}


# The rest ------------------------------------------------------------------------------------------------------------


def measure_dtu(folder: Path, split: str) -> dict[str, Any]:
    """Cameras of `dvr-data`, by the hull that all masks carve."""
    return scenes.hull_of_dtu(DATA / "dtu_scan37")


def measure_processes(folder: Path, split: str) -> dict[str, Any]:
    """Two processes against one, and an odd number of scenes."""
    data = scenes.chairs(folder)
    return image_based_processes.compare_processes(data, folder / "processes")


def measure_sizes(folder: Path, split: str) -> dict[str, Any]:
    """Parameters of the networks."""
    return dict(speed.sizes())


def measure_speed(folder: Path, split: str) -> dict[str, Any]:
    """Time by source views, memory by chunk."""
    return {
        method: {**speed.time_by_views(method), **speed.memory(method)} for method in ("pixelnerf-tiny", "gnt-tiny")
    }


MEASURES: dict[Part, Callable[[Path, str], dict[str, Any]]] = {
    "chairs": measure_chairs,
    "pose": measure_pose,
    "rooms": measure_rooms,
    "features": measure_features,
    "dtu": measure_dtu,
    "processes": measure_processes,
    "sizes": measure_sizes,
    "speed": measure_speed,
}


def print_summary(folder: Path) -> None:
    """Print the figures of all parts that there are."""
    for part in PARTS:
        if (folder / f"{part}.json").is_file():
            print(f"=== {part}")
            print_figures(part, read_json(folder / f"{part}.json"))


def print_figures(part: str, result: dict[str, Any], indent: int = 2) -> None:
    """Print figures, nested ones indented."""
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{' ' * indent}{name}")
            print_figures(part, value, indent + 2)
        else:
            shown = f"{value:.4f}" if isinstance(value, float) else value
            print(f"{' ' * indent}{name:24} {shown}")


if __name__ == "__main__":
    tyro.cli(Benchmark).main()
