"""Self-supervision as in iNeRF (arXiv 2012.05877, section 4.3).

A scene trained on a part of the views finds the poses of the others, and is trained again on all whose poses it is sure
of.
"""

import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Optional

import numpy as np
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils import writer

from nerfseg_plugins.dataparsers.subset import SubsetDataParserConfig
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import write_json
from nerfseg_plugins.inerf.output.report import Entry
from nerfseg_plugins.scene.train import run_quietly, train_run


def choose(count: int, fraction: float, seed: int) -> list[int]:
    """The views whose poses are given, at random.

    Args:
        count: training views.
        fraction: share of them that is chosen, rounded, at least two.
        seed: of the draw.

    Returns:
        Ascending indices.

    Raises:
        InputError: the fraction chooses fewer than two views, or leaves none to find poses for.
    """
    chosen = round(fraction * count) if 0 < fraction < 1 else 0
    if not 2 <= chosen < count:
        raise InputError(
            f"--label-fraction is {fraction}: of {count} training views it must choose two or more, and not all"
        )
    return sorted(np.random.default_rng(seed).permutation(count)[:chosen].tolist())


def accepted(entries: Sequence[Entry]) -> list[Entry]:
    """Those whose poses may be trusted."""
    return [(query, estimate) for query, estimate in entries if estimate.converged]


def write_views(path: Path, labelled: Sequence[Path], found: Sequence[Entry] = ()) -> None:
    """Write the file from which `SubsetDataParserConfig` takes its views.

    Args:
        path: JSON file.
        labelled: images of the views that keep their poses.
        found: views with estimated poses.
    """
    frames: list[dict[str, Any]] = [{"file_path": os.path.abspath(image)} for image in labelled]
    for query, estimate in found:
        matrix = [*estimate.c2w.double().tolist(), [0.0, 0.0, 0.0, 1.0]]
        frames.append({"file_path": os.path.abspath(query.path), "scene_transform_matrix": matrix})
    write_json(path, {"frames": frames})


def part_config(whole: TrainerConfig, views: Path, folder: Path, name: str, steps: Optional[int]) -> TrainerConfig:
    """A training like another, on some of its views.

    Args:
        whole: the configuration of a run on all views.
        views: what `write_views` wrote.
        folder: of all such runs.
        name: of this one.
        steps: instead of as many as the other run had.

    Raises:
        InputError: the other run is itself made of parts: of its views, or of another run's geometry.
    """
    config: Any = deepcopy(whole)
    manager = config.pipeline.datamanager
    parser = manager.dataparser
    if getattr(config.pipeline, "pretrained", None) is not None:
        raise InputError(
            "the run took its geometry, which has seen all views, from another; pass that run, "
            f"{config.pipeline.pretrained}"
        )
    if isinstance(parser, SubsetDataParserConfig):
        raise InputError("the run was trained on a part of its views; pass the run whose views they are a part of")
    parser.data = Path(os.path.abspath(manager.data or parser.data))
    manager.data = config.data = parser.data
    manager.dataparser = SubsetDataParserConfig(data=parser.data, whole=parser, views=Path(os.path.abspath(views)))
    config.output_dir, config.experiment_name, config.timestamp = Path(os.path.abspath(folder)), "selfsup", name
    config.load_dir = config.load_step = config.load_config = config.load_checkpoint = None
    if steps is not None:
        config.max_num_iterations = steps
    run_quietly(config)
    return config


def train_apart(config: TrainerConfig) -> Path:
    """Train, or train on, a run after others in one process; returns its config.yml.

    nerfstudio keeps its loggers in variables of a module, so that a second run would write into the log of the first.
    """
    for kept in (writer.EVENT_WRITERS, writer.EVENT_STORAGE, writer.GLOBAL_BUFFER):
        kept.clear()
    return train_run(config)
