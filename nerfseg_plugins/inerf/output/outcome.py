"""What a finished pose run leaves in its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nerfseg_plugins.evaluation.poses import pose_report
from nerfseg_plugins.files import write_json
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.output.pictures import exposed, reduced, rendering, way_there
from nerfseg_plugins.inerf.output.report import Entry, RunInfo, convergence_plot, overlay, write_poses
from nerfseg_plugins.scene.run import Run
from nerfseg_plugins.scene.video import write_moving

_FRAMES, _HOLD = 16, 8
"""Frames of an overlay on the way to the estimate, and of the estimate itself at the end."""
_SIDE = 128
"""Longer side of an overlay, pixels: rendering its frames must not take longer than finding the pose."""


def write_outcome(
    folder: Path, entries: Sequence[Entry], run: Run, estimator: Estimator, kind: Literal["mp4", "gif", "none"]
) -> None:
    """Write poses.json, metrics.json, convergence.png, and overlays/ with a moving picture of every photo.

    Args:
        folder: where to.
        entries: photos and their estimates.
        run: the scene's.
        estimator: of the scene; renders the overlays.
        kind: of the overlays.
    """
    write_poses(folder / "poses.json", entries, RunInfo.of(run))
    write_json(folder / "metrics.json", figures(entries, run.transform[1]))
    if any(estimate.trajectory for _, estimate in entries):
        convergence_plot(folder / "convergence.png", entries)
    if kind == "none":
        return
    (folder / "overlays").mkdir(exist_ok=True)
    coarse = estimator.levels[-1] if estimator.levels else estimator.scene
    for query, estimate in entries:
        if not estimate.c2w.isfinite().all():
            continue
        small = reduced(query, _SIDE)
        final = overlay(
            small.image.cpu(), exposed(rendering(estimator.scene, small, estimate.c2w), estimate.exposure.cpu())
        )
        frames = way_there(coarse, small, estimate, _FRAMES)
        write_moving(folder / "overlays" / f"{query.name}.{kind}", [*frames, *[final] * _HOLD], fps=10)


def figures(entries: Sequence[Entry], scale: float) -> dict[str, Any]:
    """Counts and rates; where true poses are known, those of `evaluation.poses.pose_report` under `errors`.

    Args:
        entries: photos and their estimates.
        scale: scene units per data unit.
    """
    seconds = [estimate.seconds for _, estimate in entries]
    converged = sum(estimate.converged for _, estimate in entries)
    found: dict[str, Any] = {
        "photos": len(entries),
        "converged": converged,
        "converged_rate": converged / len(entries),
        "not_converged": [query.name for query, estimate in entries if not estimate.converged],
        "seconds": sum(seconds),
        "seconds_median": float(np.median(seconds)),
    }
    if known := [(query.truth, estimate) for query, estimate in entries if query.truth is not None]:
        truths = np.stack([truth.cpu().numpy() for truth, _ in known])
        poses = np.stack([estimate.c2w.numpy() for _, estimate in known])
        flags = np.array([estimate.converged for _, estimate in known])
        found["errors"] = pose_report(poses, truths, flags, scale)
    return found
