"""What the commands that walk over the rendered views of a run share."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional, TypeVar

from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.scene.run import Run, View

Split = Literal["train", "val"]
Item = TypeVar("Item")


def why_no_ids(run: "Run") -> Optional[str]:
    """One sentence on why the run has no instances to show; None when it has."""
    model: Any = run.pipeline.model
    if not hasattr(model, "predict_ids"):
        return f"{run.config.method_name} does not segment; train a method that does, such as instance-nerf"
    if not getattr(model, "head_trained", True):
        return f"the run has reached step {run.step} and its head is not trained yet; train on with --load-dir"
    return model.why_no_ids() if hasattr(model, "why_no_ids") else None


def rendered(
    run: "Run", split: Split, text: str, names: Optional[Sequence[str]] = None, stride: int = 1
) -> "Iterator[View]":
    """Render the views of a split under a progress bar.

    Args:
        run: the loaded run.
        split: which of its datasets.
        text: shown beside the bar.
        names: outputs to keep, all when None.
        stride: only every n-th pixel of every n-th row.
    """
    from nerfseg_plugins.scene.run import render_views

    views = render_views(run, split=split, names=names, stride=stride)
    return with_progress(views, len(run.dataset(split)), text)


def with_progress(items: Iterable[Item], total: int, text: str) -> Iterator[Item]:
    """Pass items on under a bar that tells how many are done and how long the rest will take (on standard error)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *times, console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=text)


def output_names(images: Sequence[Path], suffix: str) -> list[Path]:
    """File names for what is derived from images: their paths below the folder that they share, with another suffix.

    Raises:
        InputError: two images would get the same name.
    """
    if not images:
        return []
    root = Path(os.path.commonpath([path.parent for path in images]))
    names = [path.relative_to(root).with_suffix(suffix) for path in images]
    owners: dict[Path, Path] = {}
    for image, name in zip(images, names, strict=True):
        if owners.setdefault(name, image) != image:
            raise InputError(f"{owners[name]} and {image} would both be written as {name}; rename one of the images")
    return names
