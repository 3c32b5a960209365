"""Saved dendrograms, bound to the weights that they were made from, and runs that are shown with one."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.scene.config_file import read_config, write_config
from nerfseg_plugins.ultrametric.dendrogram import MAX_GRANULARITY, Dendrogram
from nerfseg_plugins.ultrametric.tree import SpanningTree

FORMAT = "nerfseg-hierarchy-1"
_MEND = "make it again with nerfseg hierarchy --load-config RUN/config.yml"


def save_hierarchy(path: Path, dendrogram: Dendrogram, made_from: str, settings: str = "") -> None:
    """Write a dendrogram as npz, whole or not at all.

    Args:
        path: .npz.
        dendrogram: of the scene.
        made_from: `fingerprint` of the model.
        settings: how it was made, for those who look for one that was made so.

    Raises:
        InputError: the name does not end in .npz, or the file cannot be written.
    """
    if path.suffix != ".npz":
        raise InputError(f"{path} must end in .npz")
    tree = dendrogram.tree
    arrays = {"points": dendrogram.points, "features": dendrogram.features}
    arrays |= {name: getattr(tree, name) for name in ("order", "heights", "edges", "ranks")}
    about = {name: np.array(text) for name, text in (("format", FORMAT), ("made_from", made_from))}
    try:
        with atomic_path(path) as temporary:
            np.savez(temporary, settings=np.array(settings), **about, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error}); free space, or copy the run to a place of your own"
        ) from error


def load_hierarchy(path: Path, made_from: str, settings: str | None = None) -> Dendrogram:
    """Read what `save_hierarchy` wrote.

    Args:
        path: .npz.
        made_from: `fingerprint` of the model that it is for.
        settings: how it should have been made; None for any way.

    Raises:
        InputError: the file is missing, damaged, no such file, of other weights, or made in another way.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        found = {name: str(arrays.pop(name)) for name in ("format", "made_from", "settings")}
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}, expected {FORMAT!r}")
        points, features = arrays.pop("points"), arrays.pop("features")
        dendrogram = Dendrogram(points, features, SpanningTree(**arrays))
        _check(dendrogram)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; it was moved or deleted: put it back, or {_MEND}") from error
    except (OSError, KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no readable hierarchy ({error}); {_MEND}") from error
    if found["made_from"] != made_from:
        raise InputError(f"{path} was made from other weights than this run now has, as after more training; {_MEND}")
    if settings is not None and found["settings"] != settings:
        raise InputError(f"{path} was made with other settings ({found['settings']}); {_MEND}")
    return dendrogram


def _check(dendrogram: Dendrogram) -> None:
    """Refuse arrays that are no tree over the points."""
    count, tree = len(dendrogram.points), dendrogram.tree
    shapes = {
        "points": (dendrogram.points, np.float32, (count, 3)),
        "features": (dendrogram.features, np.float16, (count, *dendrogram.features.shape[1:2])),
        "order": (tree.order, np.int64, (count,)),
        "heights": (tree.heights, np.float64, (count - 1,)),
        "edges": (tree.edges, np.int64, (count - 1,)),
        "ranks": (tree.ranks, np.int64, (count - 1,)),
    }
    for name, (array, kind, shape) in shapes.items():
        if array.dtype != kind or array.shape != shape or (name == "features" and array.ndim != 2):
            raise ValueError(f"{name} has type {array.dtype} and shape {array.shape}")
    for name, array in (("order", tree.order), ("ranks", tree.ranks)):
        if (np.bincount(array.clip(0), minlength=len(array)) != 1).any() or (len(array) and array.min() < 0):
            raise ValueError(f"{name} does not hold each number once")
    in_order = np.empty(count - 1)
    in_order[tree.ranks] = tree.heights
    joined = np.isfinite(in_order)
    if np.isnan(in_order).any() or (in_order[1:] < in_order[:-1]).any():
        raise ValueError("heights and ranks contradict each other")
    if joined.any() and (in_order[0] < 0 or in_order[joined][-1] > MAX_GRANULARITY):
        raise ValueError(f"heights are not within 0 and {MAX_GRANULARITY:g}")


def write_run_with_hierarchy(run: Path, hierarchy: Path, granularity: float, min_size: int) -> Path:
    """Write RUN/hierarchy.yml: the run's configuration with a dendrogram, for every command that takes a --load-config.

    Args:
        run: its config.yml.
        hierarchy: what `save_hierarchy` wrote.
        granularity, min_size: what is shown first.

    Returns:
        RUN/hierarchy.yml.

    Raises:
        InputError: no such run, no such file, or a run of another method.
    """
    config = read_config(run)
    model: Any = config.pipeline.model
    if not hasattr(model, "hierarchy"):
        raise InputError(f"{run} is a run of {config.method_name!r}, which has no hierarchy; train ultrametric")
    if not Path(hierarchy).is_file():
        raise InputError(f"{hierarchy} does not exist; {_MEND}")
    model.hierarchy, model.granularity, model.min_size = Path(hierarchy).resolve(), granularity, min_size
    path = run.parent / "hierarchy.yml"
    write_config(path, config)
    return path
