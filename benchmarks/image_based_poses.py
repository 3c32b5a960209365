"""Poses of photos of objects that are known from another photo: what `image_based.py --only pose` measures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_based_scenes import objects, save_sheet
from torch import Tensor

from nerfseg_plugins.cli.image_based import DataOptions
from nerfseg_plugins.cli.open import Open
from nerfseg_plugins.cli.pose_benchmark import PoseBenchmark
from nerfseg_plugins.cli.pose_options import SearchChanges
from nerfseg_plugins.files import read_json
from nerfseg_plugins.inerf.protocol import held_out_queries
from nerfseg_plugins.scene.run import load_run

VIEWS, STARTS = 5, 1
"""Of every object."""


def category_poses(
    config: Path, data: Path, split: str, sources: Sequence[int], folder: Path, preset: Any = "category"
) -> dict[str, Any]:
    """Rotation errors of photos of objects from starts within 30 degrees, each object through a few of its views.

    Objects that were measured since the run was trained are not measured again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name, _, _ in objects(data, split)]
    trained = max(path.stat().st_mtime for path in (config.parent / "nerfstudio_models").glob("*.ckpt"))
    trials: list[dict[str, Any]] = []
    rows: list[list[Tensor]] = []
    for place, name in enumerate(names):
        short = name.rpartition("/")[2]
        print(f"{name}, object {place + 1} of {len(names)}", flush=True)
        Open(config, DataOptions(data=data), scene=name, views=tuple(sources), name=short, overwrite=True).main()
        shown, output = config.parent / f"{short}.yml", folder / f"{short}.json"
        if not (output.is_file() and output.stat().st_mtime > trained and preset in read_json(output)["trials"]):
            search = SearchChanges(seed=place)  # every object has starts of its own
            PoseBenchmark(shown, output, "category", (preset,), VIEWS, STARTS, search=search).main()
        found = read_json(output)["trials"][preset]
        trials += [{"object": name, **trial} for trial in found]
        rows += sheet_rows(shown, found)
    save_sheet(folder.parent / "pictures" / f"{folder.name}.png", rows)
    return figures(trials)


def figures(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the trials come to; a photo without a pose is off by any amount."""
    errors = np.array([np.inf if trial["rotation_error"] is None else trial["rotation_error"] for trial in trials])
    starts = np.array([trial["start_rotation_error"] for trial in trials])
    sure = np.array([trial["converged"] for trial in trials])
    return {
        "median_start": float(np.median(starts)),
        "median_error": float(np.median(errors)),
        "start_below_5_degrees": float((starts < 5).mean()),
        "below_5_degrees": float((errors < 5).mean()),
        "below_10_degrees": float((errors < 10).mean()),
        "nearer_than_start": float((errors < starts).mean()),
        "called_converged": float(sure.mean()),
        "median_error_where_converged": float(np.median(errors[sure])) if sure.any() else None,
        "median_seconds": float(np.median([trial["seconds"] for trial in trials])),
        "trials": len(trials),
    }


@torch.no_grad()
def sheet_rows(config: Path, trials: Sequence[dict[str, Any]], count: int = 2) -> list[list[Tensor]]:
    """Source view, photo, renderings from the start and from the estimate, and photo and estimate half and half.

    Args:
        config: of the opened object.
        trials: records of its views, in their order.
        count: how many of them are shown: the first of those whose starts are furthest off.
    """
    run = load_run(config)
    model: Any = run.pipeline.model
    source = torch.from_numpy(model.scene.image(0).copy()).float() / 255
    queries = {query.name: query for query in held_out_queries(run, VIEWS)}
    rows = []
    for trial in sorted(trials, key=lambda trial: -trial["start_rotation_error"])[:count]:
        query = queries[trial["view"]]
        shown = []
        for pose in (trial["start_pose"], trial["pose"]):
            query.camera.camera_to_worlds = torch.tensor(pose if pose is not None else trial["start_pose"])[None]
            shown.append(model.get_outputs_for_camera(query.camera)["rgb"])
        rows.append([source, query.image, *shown, (query.image + shown[1]) / 2])
    return rows
