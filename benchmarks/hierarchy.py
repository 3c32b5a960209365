"""What `ultrametric` reaches: segments at every granularity on objects, rooms and captures, time and memory.

    python benchmarks/hierarchy.py                           # everything
    python benchmarks/hierarchy.py --only object-a per-frame # some of it

Segments are compared with exact ids in held-out views, at fifty granularities (`nerfseg eval`). Every part writes
RESULTS/<part>.json and what it trained; a part that was interrupted continues. Needs the data of NERFSEG_DATA (default
../shared/data), but for speed.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import torch
import tyro

from nerfseg_plugins import compat

compat.apply()
sys.path.insert(0, str(Path(__file__).parent))

import hierarchy_speed  # noqa: E402

from nerfseg_plugins.cli.eval import evaluate_run  # noqa: E402
from nerfseg_plugins.cli.eval_hierarchy import GRANULARITIES, HierarchyEvaluation  # noqa: E402
from nerfseg_plugins.cli.masks import Masks  # noqa: E402
from nerfseg_plugins.cli.views import with_progress  # noqa: E402
from nerfseg_plugins.files import read_json, write_json  # noqa: E402
from nerfseg_plugins.method_configs.ultrametric import ultrametric_tiny  # noqa: E402
from nerfseg_plugins.scene.run import Run, View, load_run, render_views  # noqa: E402
from nerfseg_plugins.scene.train import run_quietly, train_run  # noqa: E402
from nerfseg_plugins.segments.hierarchy import read_hierarchy  # noqa: E402
from nerfseg_plugins.ultrametric.hierarchy_config import HierarchyConfig  # noqa: E402
from nerfseg_plugins.ultrametric.kept import kept_hierarchy  # noqa: E402
from nerfseg_plugins.ultrametric.parsing import ParsedPicture  # noqa: E402

Part = Literal["object-a", "euclidean", "reference", "per-frame", "masks", "room-a", "fox", "speed", "summary"]
PARTS: tuple[Part, ...] = (
    "object-a",
    "euclidean",
    "reference",
    "per-frame",
    "masks",
    "room-a",
    "fox",
    "speed",
    "summary",
)
DATA = Path(os.environ.get("NERFSEG_DATA", "../shared/data")).resolve()


@dataclass
class Benchmark:
    """Measure ultrametric."""

    only: tuple[Part, ...] = field(default_factory=lambda: PARTS)
    """Parts to run."""
    output_path: Path = Path("benchmarks/results/hierarchy")
    """Folder for JSON files and runs."""
    split: Literal["val", "train"] = "val"
    """Views that are measured; settings were chosen on `train`."""
    room_geometry: Optional[Path] = None
    """room-a: config.yml of a run on the same data, whose geometry is taken over instead of trained."""
    fox_geometry: Optional[Path] = None
    """The same for fox."""

    def main(self) -> None:
        """Run the parts and print their figures."""
        folder = self.output_path.resolve()
        for part in self.only:
            if part == "summary":
                print_summary(folder)
                continue
            print(f"=== {part}", flush=True)
            result = MEASURES[part](self, folder)
            result |= {
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "split": self.split,
            }
            write_json(folder / f"{part}.json", result)
            print_figures(part, result)


# Runs ----------------------------------------------------------------------------------------------------------------


def train(folder: Path, scene: str, data: Path, **options: Any) -> tuple[Path, float]:
    """config.yml of the trained scene, and the minutes that training it took; found again if it is there.

    Args:
        folder: of the results.
        scene: its name.
        data: its data.
        options: `pretrained`, `masks`, and model options.
    """
    config: Any = deepcopy(ultrametric_tiny.config)
    config.data = data
    config.output_dir, config.experiment_name, config.timestamp = folder / "runs", scene, "run"
    config.pipeline.pretrained = options.pop("pretrained", None)
    config.pipeline.datamanager.dataparser.masks = options.pop("masks", "auto")
    for name, value in options.items():
        assert hasattr(config.pipeline.model, name)
        setattr(config.pipeline.model, name, value)
    run_quietly(config)
    begin = time.perf_counter()
    path = train_run(config)
    minutes = (time.perf_counter() - begin) / 60
    noted = path.parent / "minutes.json"
    if not noted.is_file() or minutes > 1:  # a finished run is found again at once
        write_json(noted, {"minutes": minutes})
    return path, read_json(noted)["minutes"]


def with_hierarchy(config: Path) -> tuple[Run, float]:
    """A run with its dendrogram, and the seconds that making it took."""
    run = load_run(config, test_mode="val")
    model: Any = run.pipeline.model

    def bar(views: Iterator[Any], total: int) -> Iterator[Any]:
        return with_progress(views, total, "surfaces of train views")

    begin = time.perf_counter()
    cameras = run.dataset("train").cameras
    model.hierarchy = kept_hierarchy(model, cameras, HierarchyConfig(), run.folder, print, bar)
    return run, time.perf_counter() - begin


def measured(run: Run, split: str) -> dict[str, Any]:
    """The figures of `nerfseg eval`, without those that are null."""
    metrics = evaluate_run(run, split).metrics
    return {name: value for name, value in metrics.items() if value is not None}


# Parts ---------------------------------------------------------------------------------------------------------------


def object_a(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Path-traced object of nested parts, masks as SAM makes them."""
    config, minutes = train(folder, "object-a", DATA / "object_a")
    run, seconds = with_hierarchy(config)
    return {"minutes": minutes, "hierarchy_seconds": seconds, **measured(run, benchmark.split)}


def variant(name: str, **options: Any) -> Callable[[Benchmark, Path], dict[str, Any]]:
    """The same geometry with features that are trained in another way."""

    def measure(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
        geometry, _ = train(folder, "object-a", DATA / "object_a")
        config, minutes = train(folder, name, DATA / "object_a", pretrained=geometry, **options)
        run, seconds = with_hierarchy(config)
        return {"minutes": minutes, "hierarchy_seconds": seconds, **measured(run, benchmark.split)}

    return measure


def of_views(benchmark: Benchmark, folder: Path, segment: Callable[[Run, View], list[np.ndarray]]) -> dict[str, Any]:
    """Figures of label maps, fine to coarse, that are found view by view, on the trained object."""
    config, _ = train(folder, "object-a", DATA / "object_a")
    run = load_run(config, test_mode="val")
    views: list[View] = []
    evaluation = HierarchyEvaluation(run, benchmark.split, label_maps=lambda *_: segment(run, views[-1]))
    part = "train" if benchmark.split == "train" else "val"
    names = ("rgb", "features", "accumulation")
    for view in with_progress(render_views(run, part, names=names), len(run.dataset(part)), "views"):
        views[:] = [view]
        evaluation.add(view)
    return {name: value for name, value in evaluation.metrics().items() if value is not None}


def per_frame(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Components of neighbouring pixels of the rendered features: the original's inference in 2D."""

    def segment(run: Run, view: View) -> list[np.ndarray]:
        picture = ParsedPicture.of(view.outputs["features"].numpy(), view.outputs["accumulation"][..., 0].numpy() > 0.5)
        return [picture.labels(tau, min_size=20) for tau in GRANULARITIES]

    return of_views(benchmark, folder, segment)


def masks(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """The 2D masks of the views themselves, as they are; those of held-out views are seen by no training."""

    def segment(run: Run, view: View) -> list[np.ndarray]:
        part = "train" if benchmark.split == "train" else "val"
        hierarchy = read_hierarchy(run.dataset(part).metadata["hierarchy_filenames"][view.index])
        # Smallest first, as granularity has it.
        return [np.where(mask, 0, -1).astype(np.int32) for mask in hierarchy.masks()[::-1]]

    return of_views(benchmark, folder, segment)


def room_a(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """A furnished room, its exact ids of parts, objects and groups made into masks as SAM makes them."""
    data = DATA / "room_a"
    segments = folder / "segments" / "room-a"
    Masks(data=data, source="labels", output_path=segments).main()
    config, minutes = train(folder, "room-a", data, masks=str(segments), pretrained=benchmark.room_geometry)
    run, seconds = with_hierarchy(config)
    return {"minutes": minutes, "hierarchy_seconds": seconds, **measured(run, benchmark.split)}


def fox(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """A phone capture with masks without weights, for people to look at."""
    data = DATA / "fox"
    segments = folder / "segments" / "fox"
    Masks(data=data, source="classical", output_path=segments).main()
    config, minutes = train(folder, "fox", data, masks=str(segments), pretrained=benchmark.fox_geometry)
    _, seconds = with_hierarchy(config)
    return {"minutes": minutes, "hierarchy_seconds": seconds}


def speed(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Loss graph of a batch, and dendrogram of 200 000 points."""
    return hierarchy_speed.measure()


MEASURES: dict[str, Callable[[Benchmark, Path], dict[str, Any]]] = {
    "object-a": object_a,
    "euclidean": variant("euclidean", ultrametric_weight=0.0),
    "reference": variant("reference", ultrametric_mode="reference"),
    "per-frame": per_frame,
    "masks": masks,
    "room-a": room_a,
    "fox": fox,
    "speed": speed,
}


def print_figures(part: str, result: dict[str, Any]) -> None:
    """One line."""
    shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()}
    print(part, shown, flush=True)


def print_summary(folder: Path) -> None:
    """What is in the JSON files."""
    for part in PARTS:
        if (folder / f"{part}.json").is_file():
            print_figures(part, read_json(folder / f"{part}.json"))


if __name__ == "__main__":
    tyro.cli(Benchmark).main()
