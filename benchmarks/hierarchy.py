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
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from nerfseg_plugins.cli.eval_hierarchy import GRANULARITIES, HierarchyEvaluation  # noqa: E402
from nerfseg_plugins.cli.masks import Masks  # noqa: E402
from nerfseg_plugins.cli.views import Split, with_progress  # noqa: E402
from nerfseg_plugins.evaluation.image import psnr  # noqa: E402
from nerfseg_plugins.files import atomic_path, read_json, write_json  # noqa: E402
from nerfseg_plugins.method_configs.ultrametric import ultrametric_tiny  # noqa: E402
from nerfseg_plugins.scene.run import Run, View, load_run, render_views  # noqa: E402
from nerfseg_plugins.scene.train import run_quietly, train_run  # noqa: E402
from nerfseg_plugins.segments.hierarchy import read_hierarchy  # noqa: E402
from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, Linkage, build_dendrogram  # noqa: E402
from nerfseg_plugins.ultrametric.hierarchy_config import HierarchyConfig  # noqa: E402
from nerfseg_plugins.ultrametric.kept import kept_hierarchy  # noqa: E402
from nerfseg_plugins.ultrametric.labelling import PixelLinks  # noqa: E402
from nerfseg_plugins.ultrametric.model import seen_places  # noqa: E402
from nerfseg_plugins.ultrametric.parsing import ParsedPicture  # noqa: E402
from nerfseg_plugins.ultrametric.surface import features_of  # noqa: E402

Part = Literal["object-a", "euclidean", "reference", "per-frame", "room-a", "fox", "speed", "summary"]
PARTS: tuple[Part, ...] = ("object-a", "euclidean", "reference", "per-frame", "room-a", "fox", "speed", "summary")
DATA = Path(os.environ.get("NERFSEG_DATA", "../shared/data")).resolve()
RELEASED_GRANULARITIES = tuple(round(0.01 * step, 2) for step in range(1, 51))
"""Of the original implementation, where single linkage has joined everything at the last."""
MIN_SIZE = 30
"""Points of a segment below which it is dissolved."""


@dataclass
class Benchmark:
    """Measure ultrametric."""

    only: tuple[Part, ...] = field(default_factory=lambda: PARTS)
    """Parts to run."""
    output_path: Path = Path("benchmarks/results/hierarchy")
    """Folder for JSON files and runs."""
    split: Split = "val"
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


def surface(config: Path) -> tuple[Run, np.ndarray, float]:
    """A run, the points of its surface (N, 3), and the seconds that its hierarchy took.

    The hierarchy is left beside the run, as `nerfseg hierarchy` does; where it is, it took no time again.
    """
    run = load_run(config, test_mode="val")

    def bar(views: Iterator[Any], total: int) -> Iterator[Any]:
        return with_progress(views, total, "surfaces of train views")

    begin = time.perf_counter()
    dendrogram = kept_hierarchy(
        run.pipeline.model, run.dataset("train").cameras, HierarchyConfig(), run.folder, print, bar
    )
    seconds = time.perf_counter() - begin
    noted = run.folder / "hierarchy_seconds.json"
    if not noted.is_file():
        write_json(noted, {"seconds": seconds})
    return run, dendrogram.points, read_json(noted)["seconds"]


def pictures(run: Run, split: Split, folder: Path) -> Iterator[View]:
    """What the views of a split show; kept in a folder, since all that is trained on one geometry shows the same."""
    dataset = run.dataset(split)
    for index in with_progress(range(len(dataset)), len(dataset), f"{split} views"):
        path = folder / f"{split}_{index}.npz"
        if not path.is_file():
            view = next(render_views(run, split, names=("rgb", "depth", "accumulation"), indices=[index]))
            with atomic_path(path) as temporary:
                arrays = {name: value.numpy() for name, value in view.outputs.items()}
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
        with np.load(path, allow_pickle=False) as stored:
            outputs = {name: torch.from_numpy(stored[name]) for name in stored.files}
        camera = dataset.cameras[index : index + 1]
        yield View(index, Path(dataset.image_filenames[index]), camera, dataset[index], outputs)


Segmentation = Callable[[View], Iterable[np.ndarray]]
"""Label maps (H, W) of a view, fine to coarse."""


def compared(run: Run, split: Split, views: Path, ways: dict[str, Segmentation]) -> dict[str, Any]:
    """Figures of several ways to segment the views of a split, and of the rendering itself."""
    current: list[View] = []

    def maps_of(way: Segmentation) -> Callable[..., Iterable[np.ndarray]]:
        return lambda *_: way(current[0])

    evaluations = {name: HierarchyEvaluation(run, split, label_maps=maps_of(way)) for name, way in ways.items()}
    psnrs = []
    model: Any = run.pipeline.model
    for view in pictures(run, split, views):
        current[:] = [view]
        psnrs.append(psnr(view.outputs["rgb"], model.renderer_rgb.blend_background(view.batch["image"])))
        for evaluation in evaluations.values():
            evaluation.add(view)
    figures = {
        name: {key: value for key, value in evaluation.metrics().items() if value is not None}
        for name, evaluation in evaluations.items()
    }
    return {"psnr": float(np.mean(psnrs)), **figures}


def by_linkage(run: Run, points: np.ndarray) -> dict[str, Segmentation]:
    """The segments of both linkages, of points with the features that this run has there."""
    features = features_of(run.pipeline.model, points)

    def way(dendrogram: Dendrogram, granularities: Sequence[float]) -> Segmentation:
        cuts = [dendrogram.cut(granularity, MIN_SIZE) for granularity in granularities]
        return lambda view: map(PixelLinks.of(seen_places(view.camera, view.outputs), dendrogram).labels, cuts)

    linkages: dict[Linkage, Sequence[float]] = {"average": GRANULARITIES, "single": RELEASED_GRANULARITIES}
    return {
        linkage: way(build_dendrogram(points, features, linkage=linkage), granularities)
        for linkage, granularities in linkages.items()
    }


# Parts ---------------------------------------------------------------------------------------------------------------


def object_a(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Path-traced object of nested parts, masks as SAM makes them."""
    config, minutes = train(folder, "object-a", DATA / "object_a")
    run, points, seconds = surface(config)
    found = compared(run, benchmark.split, folder / "views" / "object-a", by_linkage(run, points))
    return {"minutes": minutes, "hierarchy_seconds": seconds, **found}


def variant(name: str, **options: Any) -> Callable[[Benchmark, Path], dict[str, Any]]:
    """The same geometry with features that are trained in another way, at the same points."""

    def measure(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
        geometry, _ = train(folder, "object-a", DATA / "object_a")
        _, points, _ = surface(geometry)
        config, minutes = train(folder, name, DATA / "object_a", pretrained=geometry, **options)
        run = load_run(config, test_mode="val")
        found = compared(run, benchmark.split, folder / "views" / "object-a", by_linkage(run, points))
        return {"minutes_of_features": minutes, **found}

    return measure


def per_frame(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Each view on its own: components of its rendered features (the original's inference in 2D), and its 2D masks.

    The masks of held-out views are seen by no training; they are as good as 2D masks are, and know nothing of 3D.
    """
    config, _ = train(folder, "object-a", DATA / "object_a")
    run = load_run(config, test_mode="val")
    files = run.dataset(benchmark.split).metadata["hierarchy_filenames"]

    def components(view: View) -> Iterator[np.ndarray]:
        shown = next(render_views(run, benchmark.split, names=("features",), indices=[view.index]))
        seen = view.outputs["accumulation"][..., 0].numpy() > 0.5
        picture = ParsedPicture.of(shown.outputs["features"].numpy(), seen)
        return (picture.labels(tau, min_size=20) for tau in RELEASED_GRANULARITIES)

    hierarchies = [read_hierarchy(path) for path in files]
    most = max(map(len, hierarchies))

    def masks(view: View) -> Iterator[np.ndarray]:
        # Smallest first, as granularity has it; all views need as many.
        own = hierarchies[view.index].masks()[::-1]
        return (np.where(own[i], 0, -1) if i < len(own) else np.full(own.shape[1:], -1) for i in range(most))

    ways: dict[str, Segmentation] = {"components": components, "masks": masks}
    found = compared(run, benchmark.split, folder / "views" / "object-a", ways)
    # The n-th smallest masks of two views have nothing to do with one another.
    found["masks"] = {key: value for key, value in found["masks"].items() if not key.startswith("vc")}
    return found


def room_a(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """A furnished room, its exact ids of parts, objects and groups made into masks as SAM makes them."""
    data = DATA / "room_a"
    segments = folder / "segments" / "room-a"
    Masks(data=data, source="labels", output_path=segments).main()
    config, minutes = train(folder, "room-a", data, masks=str(segments), pretrained=benchmark.room_geometry)
    run, points, seconds = surface(config)
    found = compared(run, benchmark.split, folder / "views" / "room-a", by_linkage(run, points))
    return {"minutes": minutes, "hierarchy_seconds": seconds, **found}


def fox(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """A phone capture with masks without weights, for people to look at."""
    data = DATA / "fox"
    segments = folder / "segments" / "fox"
    Masks(data=data, source="classical", output_path=segments).main()
    config, minutes = train(folder, "fox", data, masks=str(segments), pretrained=benchmark.fox_geometry)
    _, _, seconds = surface(config)
    return {"minutes": minutes, "hierarchy_seconds": seconds}


def speed(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Loss graph of a batch, and dendrogram of 200 000 points."""
    return hierarchy_speed.measure()


MEASURES: dict[str, Callable[[Benchmark, Path], dict[str, Any]]] = {
    "object-a": object_a,
    "euclidean": variant("euclidean", ultrametric_weight=0.0),
    "reference": variant("reference", ultrametric_mode="reference"),
    "per-frame": per_frame,
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
