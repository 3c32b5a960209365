"""What `isrf` reaches: objects from strokes on rooms and captures, time and memory of a query.

    python benchmarks/interactive.py                       # everything
    python benchmarks/interactive.py --only room-a dtu     # some of it

Strokes are drawn by a simulated user (simulated_user.py) from true masks of training views and a fixed seed; masks are
compared in views that no stroke lies in. Every part writes RESULTS/<part>.json and what it trained; a part that was
interrupted continues. Needs the data of NERFSEG_DATA (default ../shared/data) for room-a, dtu and fox.
"""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import torch
import tyro
from PIL import Image

from nerfseg_plugins import compat

compat.apply()
sys.path.insert(0, str(Path(__file__).parent))

import interactive_speed  # noqa: E402
from interactive_query import Canvas, View, compare, largest, masks_in, views_of  # noqa: E402
from simulated_user import choose_other_view, choose_view, correction, stroke_around, stroke_on  # noqa: E402

from nerfseg_plugins.cli.features import Features  # noqa: E402
from nerfseg_plugins.cli.room import Room  # noqa: E402
from nerfseg_plugins.cli.segment import Segment  # noqa: E402
from nerfseg_plugins.cli.segment_edit import EditOptions  # noqa: E402
from nerfseg_plugins.cli.segment_strokes import StrokeOptions  # noqa: E402
from nerfseg_plugins.dataparsers.llff import LLFFDataParserConfig  # noqa: E402
from nerfseg_plugins.files import read_json, write_json  # noqa: E402
from nerfseg_plugins.isrf.cache import CacheConfig  # noqa: E402
from nerfseg_plugins.isrf.solid import VoxelSet  # noqa: E402
from nerfseg_plugins.method_configs.isrf import isrf_tiny  # noqa: E402
from nerfseg_plugins.scene.run import Run, load_run  # noqa: E402
from nerfseg_plugins.scene.train import run_quietly, train_run  # noqa: E402
from nerfseg_plugins.segments.select_config import Method  # noqa: E402

Part = Literal["room-a", "alike", "dtu", "fox", "speed", "memory", "summary"]
PARTS: tuple[Part, ...] = ("room-a", "alike", "dtu", "fox", "speed", "memory", "summary")
DATA = Path(os.environ.get("NERFSEG_DATA", "../shared/data")).resolve()
STROKES = Path(__file__).parent / "strokes"


@dataclass
class Benchmark:
    """Measure isrf."""

    only: tuple[Part, ...] = field(default_factory=lambda: PARTS)
    """Parts to run."""
    output_path: Path = Path("benchmarks/results/interactive")
    """Folder for JSON files, runs and pictures."""
    methods: tuple[Method, ...] = ("walker", "bilateral")
    """Ways to select that are compared."""
    split: Literal["val", "train"] = "val"
    """Views whose masks are compared; settings were chosen on `train`, every fifth of them."""
    seed: int = 0
    """Of the strokes."""
    objects: int = 8
    """So many objects of a room, the largest ones."""
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
                "strokes_seed": self.seed,
                "split": self.split,
            }
            write_json(folder / f"{part}.json", result)
            print_figures(part, result)


# Scenes --------------------------------------------------------------------------------------------------------------


def isrf_run(folder: Path, scene: str, data: Path, features: Path, **options: Any) -> Run:
    """The trained scene, loaded; features and run are made if they are not there yet.

    Args:
        folder: of the results.
        scene: its name.
        data: its data.
        features: folder of its feature maps.
        options: `dataparser`, `pretrained`, and model options.
    """
    config: Any = deepcopy(isrf_tiny.config)
    config.data = data
    config.output_dir, config.experiment_name, config.timestamp = folder / "runs", scene, "run"
    pipeline = config.pipeline
    pipeline.datamanager.features = str(features)
    pipeline.datamanager.dataparser = options.pop("dataparser", None) or pipeline.datamanager.dataparser
    pipeline.pretrained = options.pop("pretrained", None)
    steps = config.max_num_iterations - pipeline.model.geometry_steps
    for name, value in options.items():
        assert hasattr(pipeline.model, name)
        setattr(pipeline.model, name, value)
    config.max_num_iterations = pipeline.model.geometry_steps + steps
    run_quietly(config)
    return load_run(train_run(config), test_mode="val")


def classical_features(data: Path, folder: Path, downscale_factor: Optional[int] = None) -> Path:
    """Folder of the classical features of a scene; made or completed."""
    Features(data=data, output_path=folder, downscale_factor=downscale_factor).main()
    return folder


# Objects -------------------------------------------------------------------------------------------------------------


def strokes_and_masks(
    benchmark: Benchmark,
    run: Run,
    mask_of: Callable[[Path], Path],
    objects: Optional[Sequence[int]] = None,
    second: bool = True,
) -> dict[str, Any]:
    """The protocol: strokes on each object in one view, then in a second one that corrects what is wrong there."""
    cache = run.pipeline.model.voxel_cache(run.dataset("train").cameras, CacheConfig())  # type: ignore[operator]
    train = views_of(run, "train", mask_of)
    views = train[2::5] if benchmark.split == "train" else views_of(run, "val", mask_of)
    forward = -run.dataset("train").cameras.camera_to_worlds[:, :3, 2].numpy()
    objects = objects or largest(train, benchmark.objects)
    result: dict[str, Any] = {"voxels": len(cache)}
    for method in benchmark.methods:
        canvas = Canvas(run, cache, method)
        rounds: list[dict[int, VoxelSet]] = [{}, {}]
        for one in objects:
            masks = [view.ids == one for view in train]
            first = choose_view(masks)
            strokes = [
                stroke_on(masks[first], first, benchmark.seed),
                stroke_around(masks[first], first, benchmark.seed),
            ]
            rounds[0][one] = canvas.shown(canvas.query(strokes))
            if second:
                other = choose_other_view(masks, forward, first)
                camera = run.dataset("train").cameras[other : other + 1]
                seen = masks_in(run, camera, [rounds[0][one]])[0]
                strokes += correction(masks[other], seen, other, benchmark.seed + 1)
                rounds[1][one] = canvas.shown(canvas.query(strokes))
        result[method] = {
            "one_view": compare(run, benchmark.split, views, rounds[0]),
            "seconds_per_query": float(np.median(canvas.seconds)),
        }
        if second:
            result[method]["two_views"] = compare(run, benchmark.split, views, rounds[1])
        print(method, result[method], flush=True)
    return result


# Parts ---------------------------------------------------------------------------------------------------------------


def room_a(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """The photoreal room with classical features."""
    data = DATA / "room_a"
    features = classical_features(data, folder / "features" / "room-a")
    run = isrf_run(folder, "room-a", data, features, pretrained=benchmark.room_geometry)
    return strokes_and_masks(benchmark, run, lambda image: data / "masks" / f"{image.stem}.png")


def alike(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """A procedural room whose features know classes and parts, where two chairs look alike."""
    data = folder / "data" / "alike"
    if not (data / "transforms.json").is_file():
        Room(output_path=data, seed=ALIKE_SEED, objects=8, views=40, val_views=8, width=240, height=180).main()
    Features(data=data, source="labels").main()
    run = isrf_run(folder, "alike", data, data / "features" / "labels", geometry_steps=3000)
    result = strokes_and_masks(benchmark, run, lambda image: data / "masks" / f"{image.stem}.png")
    pairs = [(a, b) for found in twins(data).values() for a in found for b in found if a != b]
    for method in benchmark.methods:
        covers = result[method]["one_view"]["covers"]
        result[f"{method}_share_of_twin"] = max(covers[str(a)][str(b)] for a, b in pairs if str(b) in covers[str(a)])
    return result


ALIKE_SEED = 4


def twins(data: Path) -> dict[str, list[int]]:
    """Objects of equal class, by class: those that features cannot tell apart."""
    classes: dict[str, list[int]] = {}
    for one, entry in read_json(data / "hierarchy.json")["objects"].items():
        classes.setdefault(str(entry["class"]), []).append(int(one))
    return {name: found for name, found in classes.items() if len(found) > 1}


def dtu(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Real photos of bricks and tools on a table; masks of every view are compared but of the two with strokes."""
    data = DATA / "dtu_scan37"
    features = classical_features(data, folder / "features" / "dtu", downscale_factor=4)
    run = isrf_run(
        folder,
        "dtu",
        data,
        features,
        dataparser=LLFFDataParserConfig(downscale_factor=4, eval_interval=0, masks=None),
        **DTU_MODEL,
    )
    truth = [np.asarray(Image.open(path).convert("L")) > 127 for path in sorted((data / "mask_4").glob("*.png"))]
    cache = run.pipeline.model.voxel_cache(run.dataset("train").cameras, CacheConfig())  # type: ignore[operator]
    forward = -run.dataset("train").cameras.camera_to_worlds[:, :3, 2].numpy()
    first = choose_view(truth)
    other = choose_other_view(truth, forward, first)
    strokes = [
        stroke
        for view in (first, other)
        for stroke in (stroke_on(truth[view], view, benchmark.seed), stroke_around(truth[view], view, benchmark.seed))
    ]
    result: dict[str, Any] = {"voxels": len(cache), "stroke_views": [first, other]}
    views = [View(index, mask.astype(np.int32)) for index, mask in enumerate(truth) if index not in (first, other)]
    for method in benchmark.methods:
        canvas = Canvas(run, cache, method)
        found = {1: canvas.shown(canvas.query(strokes))}
        result[method] = {"two_views": compare(run, "train", views, found), "seconds_per_query": canvas.seconds[0]}
        print(method, result[method], flush=True)
    return result


DTU_MODEL: dict[str, Any] = {
    "geometry_steps": 6000,
    # White that saturates would else become a hole that the background shows through.
    "background_color": "random",
    "max_res": 768,
    "num_proposal_samples_per_ray": (64,),
    "num_nerf_samples_per_ray": 24,
    "distortion_loss_mult": 0.01,
}


def fox(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """A phone capture: the fox's masks, and the scene without it, for people to look at."""
    data = DATA / "fox"
    features = classical_features(data, folder / "features" / "fox")
    run = isrf_run(folder, "fox", data, features, pretrained=benchmark.fox_geometry)
    config = run.folder / "config.yml"
    del run
    options = StrokeOptions(strokes=[STROKES / "fox.json"])
    Segment(
        load_config=config,
        name="fox",
        marks=options,
        edit=EditOptions(action="remove"),
        masks="val",
        output_path=folder / "fox",
        overwrite=True,
    ).main()
    return dict(read_json(folder / "fox" / "segment.json"))


def speed(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """One query on 128 voxels a side, sparse and dense."""
    data = DATA / "room_a"
    features = classical_features(data, folder / "features" / "room-a")
    run = isrf_run(folder, "room-a", data, features, pretrained=benchmark.room_geometry)
    cache = run.pipeline.model.voxel_cache(  # type: ignore[operator]
        run.dataset("train").cameras, CacheConfig(resolution=128)
    )
    return interactive_speed.query_speed(cache)


def memory(benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    """Memory of a million voxels, and of the features of 200 images."""
    return {**interactive_speed.memory_of_million(), **interactive_speed.feature_memory()}


MEASURES: dict[str, Callable[[Benchmark, Path], dict[str, Any]]] = {
    "room-a": room_a,
    "alike": alike,
    "dtu": dtu,
    "fox": fox,
    "speed": speed,
    "memory": memory,
}


def print_figures(part: str, result: dict[str, Any]) -> None:
    """One line of figures for each way to select."""
    for method in ("walker", "bilateral", "seed"):
        for name in ("one_view", "two_views"):
            if found := result.get(method, {}).get(name):
                print(
                    f"{part} {method} {name}: IoU {found['iou']:.3f} (over all views {found['iou_of_object']:.3f}), "
                    f"accuracy {found['accuracy']:.4f}, {result[method]['seconds_per_query']:.1f} s a query"
                )
    plain = {name: value for name, value in result.items() if isinstance(value, (int, float, str, bool))}
    print(part, plain, flush=True)


def print_summary(folder: Path) -> None:
    """What is in the JSON files."""
    for part in PARTS:
        if (folder / f"{part}.json").is_file():
            print_figures(part, read_json(folder / f"{part}.json"))


if __name__ == "__main__":
    tyro.cli(Benchmark).main()
