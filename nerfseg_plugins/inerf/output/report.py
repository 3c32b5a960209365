"""What an estimation leaves behind: poses.json, overlay videos and convergence plots."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np
from torch import Tensor

from nerfseg_plugins.dataparsers.frame_values import Intrinsics, image_size
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.poses import rotation_error_degrees, translation_error
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.inerf.lens import lens_of, rescaled
from nerfseg_plugins.inerf.photos import PHOTO_SUFFIXES
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.result import Estimate
from nerfseg_plugins.scene.frames import pose_to_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nerfseg_plugins.scene.run import Run

Entry = tuple[Query, Estimate]
MAX_ROTATION, MAX_TRANSLATION = 5.0, 0.05
"""Degrees and scene units below which the literature calls a pose right."""
_PHASE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's, for all eyes
_SMALLEST_ERROR = 1e-4  # a logarithmic axis has no zero


@dataclass(frozen=True)
class RunInfo:
    """What poses.json says of the run that the poses were found in."""

    transform: np.ndarray
    """(3, 4) A with x_scene = s * (A @ [x_data, 1])."""
    scale: float
    """s."""
    load_config: Path
    method: str
    step: int

    @staticmethod
    def of(run: "Run") -> "RunInfo":
        """That of a loaded run."""
        return RunInfo(*run.transform, run.folder / "config.yml", run.config.method_name or "", run.step)


def write_poses(path: Path, entries: Sequence[Entry], run_info: RunInfo) -> None:
    """Write poses.json, whole or not at all; numbers that are not finite are null.

    The file is a transforms.json of nerfstudio as well: each frame has `file_path` (relative where the photo lies below
    the file's folder), the intrinsics of the photo as it lies on disk, and `transform_matrix`, the 4x4 camera-to-world
    in the data's frame. Frames also have `name`, `scene_transform_matrix` (4x4, scene frame), `converged`, `reason`,
    `residual`, `covariance` (6x6, see `Estimate`), `exposure` (gains and biases), `seconds` and `trajectory`, a list of
    {"phase", "seconds", "loss", "transform_matrix" (4x4, scene frame)}. A photo whose pose is not finite stands under
    `failed` instead of `frames`, with a null pose. `read_queries` and `read_poses` read the file again.

    Args:
        path: JSON file to write.
        entries: photos and their estimates.
        run_info: the run; goes under `run` and carries poses into the data's frame.
    """
    records = [_record(Path(path).parent, query, estimate, run_info) for query, estimate in entries]
    models = {record["camera_model"] for record in records}
    data: dict[str, Any] = {"camera_model": models.pop()} if len(models) == 1 else {}
    data["run"] = {
        "load_config": str(run_info.load_config),
        "method": run_info.method,
        "step": run_info.step,
        "scene_from_data": {"transform": run_info.transform, "scale": run_info.scale},
    }
    data["frames"] = [record for record in records if record["transform_matrix"] is not None]
    if failed := [record for record in records if record["transform_matrix"] is None]:
        data["failed"] = failed
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_plain(data), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def overlay(photo: Union[Tensor, np.ndarray], rendering: Union[Tensor, np.ndarray], weight: float = 0.3) -> np.ndarray:
    """A photo shining through a rendering.

    Args:
        photo: (H, W, 3) in [0, 1].
        rendering: (H, W, 3); values outside [0, 1] are clipped.
        weight: share of the photo.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: the pictures differ in size.
    """
    first, second = (_picture(picture) for picture in (photo, rendering))
    if first.shape != second.shape:
        raise InputError(
            f"a photo of shape {first.shape} cannot be laid over a rendering of shape {second.shape}; render it at the "
            "photo's size"
        )
    return (weight * first.clip(0, 1) * 255 + (1 - weight) * second.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def convergence_plot(path: Path, entries: Sequence[Entry], truths: Optional[Sequence[Optional[Tensor]]] = None) -> None:
    """Plot how the loss fell, and where true poses are known how the errors did.

    Colours are phases, a line is a photo, and its end a dot where it converged and a cross where it did not.

    Args:
        path: picture to write; .png, .svg or .pdf.
        entries: photos and their estimates.
        truths: (3, 4) true poses, scene frame, one per entry, None where it is not known; unset: those of the queries.

    Raises:
        InputError: another suffix, or nothing to plot.
    """
    from matplotlib.figure import Figure

    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path} must end in .png, .svg or .pdf")
    losses = [step.loss for _, estimate in entries for step in estimate.trajectory]
    if not losses:
        raise InputError(f"{path} is not written: no estimate has a trajectory to plot")
    known = [query.truth for query, _ in entries] if truths is None else truths
    measured = [(estimate, truth) for (_, estimate), truth in zip(entries, known, strict=True) if truth is not None]
    phases = dict.fromkeys(step.phase for _, estimate in entries for step in estimate.trajectory)
    colors = {phase: _PHASE_COLORS[index % len(_PHASE_COLORS)] for index, phase in enumerate(phases)}
    width = 1.6 if len(entries) <= 6 else 0.9

    # A figure without pyplot is drawn by Agg, touches no global state and needs no closing.
    figure = Figure(figsize=(13.0, 4.2) if measured else (6.4, 4.2))
    figure.set_layout_engine("constrained", wspace=0.05)
    panels: list[Axes] = list(np.atleast_1d(figure.subplots(1, 3 if measured else 1)))
    for _, estimate in entries:
        steps = estimate.trajectory
        _draw(panels[0], [step.seconds for step in steps], [step.loss for step in steps], estimate, colors, width)
    _label(panels[0], "loss", "seconds", losses)
    _legend(panels[0], colors, {estimate.converged for _, estimate in entries})
    if measured:
        _plot_errors(panels[1], panels[2], measured, colors, width)
    figure.suptitle(entries[0][0].name if len(entries) == 1 else f"{len(entries)} photos", fontsize="medium")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _record(folder: Path, query: Query, estimate: Estimate, run_info: RunInfo) -> dict[str, Any]:
    scene = _numpy(estimate.c2w)
    data = pose_to_data(scene, run_info.transform, run_info.scale)
    covariance = _numpy(estimate.covariance)
    return {
        "file_path": _name_from(folder, query.path),
        "name": query.name,
        **_lens_values(_lens_on_disk(query)),
        "transform_matrix": _homogeneous(data),
        "scene_transform_matrix": _homogeneous(scene),
        "converged": bool(estimate.converged),
        "reason": estimate.reason,
        "residual": estimate.residual,
        "covariance": covariance if np.isfinite(covariance).all() else None,
        "exposure": estimate.exposure,
        "seconds": estimate.seconds,
        "trajectory": [
            {
                "phase": step.phase,
                "seconds": step.seconds,
                "loss": step.loss,
                "transform_matrix": _homogeneous(_numpy(step.c2w)),
            }
            for step in estimate.trajectory
        ],
    }


def _lens_on_disk(query: Query) -> Intrinsics:
    """The lens in pixels of the file, which may have been read smaller; a frame of a video counts as it was read."""
    lens = lens_of(query.camera)
    if query.path.suffix.lower() not in PHOTO_SUFFIXES:
        return lens
    return rescaled(lens, *image_size(query.path))


def _lens_values(lens: Intrinsics) -> dict[str, Any]:
    values = {"fl_x": lens.fx, "fl_y": lens.fy, "cx": lens.cx, "cy": lens.cy, "w": lens.width, "h": lens.height}
    distortion = dict(zip(("k1", "k2", "k3", "k4", "p1", "p2"), lens.distortion, strict=True))
    return {**values, **distortion, "camera_model": lens.model}


def _name_from(folder: Path, photo: Path) -> str:
    path, root = Path(os.path.abspath(photo)), Path(os.path.abspath(folder))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _homogeneous(c2w: np.ndarray) -> Optional[np.ndarray]:
    return np.vstack([c2w, [0.0, 0.0, 0.0, 1.0]]) if np.isfinite(c2w).all() else None


def _plain(value: Any) -> Any:
    """What JSON can say: lists for arrays, nine digits (more than float32 has), null for numbers that are none."""
    if isinstance(value, (Tensor, np.ndarray)):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _picture(picture: Union[Tensor, np.ndarray]) -> np.ndarray:
    return np.nan_to_num(_numpy(picture) if isinstance(picture, Tensor) else np.asarray(picture, dtype=np.float64))


def _plot_errors(
    rotation: "Axes",
    translation: "Axes",
    measured: Sequence[tuple[Estimate, Tensor]],
    colors: Mapping[str, str],
    width: float,
) -> None:
    """Both errors of all steps, with the lines below which a pose counts as right."""
    from matplotlib.ticker import MaxNLocator

    for estimate, truth in measured:
        poses = np.stack([_numpy(step.c2w) for step in estimate.trajectory] or [np.zeros((3, 4))])
        true = np.broadcast_to(_numpy(truth), poses.shape)
        for panel, errors in (
            (rotation, rotation_error_degrees(poses, true)),
            (translation, translation_error(poses, true)),
        ):
            shown = np.maximum(errors, _SMALLEST_ERROR).tolist()
            _draw(panel, range(len(shown)), shown, estimate, colors, width, joined=True)
    for panel, name, limit, text in (
        (rotation, "rotation error (degrees)", MAX_ROTATION, "5°"),
        (translation, "translation error (scene units)", MAX_TRANSLATION, "0.05"),
    ):
        _label(panel, name, "iteration", [limit])
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.axhline(limit, color="0.45", linestyle="--", linewidth=1)
        panel.annotate(text, (1.0, limit), (3, 0), panel.get_yaxis_transform(), "offset points", va="center")


def _draw(
    panel: "Axes",
    across: Sequence[float],
    values: Sequence[float],
    estimate: Estimate,
    colors: Mapping[str, str],
    width: float,
    joined: bool = False,
) -> None:
    """One photo's line, coloured by phase; the phases are `joined` where they measure the same thing."""
    steps = estimate.trajectory
    for phase, group in groupby(range(len(steps)), key=lambda index: steps[index].phase):
        indices = list(group)
        part = slice(max(indices[0] - 1, 0) if joined else indices[0], indices[-1] + 1)
        marker = "." if len(across[part]) == 1 else ""
        panel.plot(across[part], values[part], color=colors[phase], linewidth=width, marker=marker)
    if steps:
        end = len(steps) - 1
        marker = "o" if estimate.converged else "x"
        panel.plot(across[end], values[end], color="0.15", marker=marker, markersize=5, markeredgewidth=1.4, zorder=3)


def _label(panel: "Axes", name: str, across: str, values: Sequence[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0:
        panel.set_yscale("log")
    panel.set_ylabel(name)
    panel.set_xlabel(across)
    panel.grid(True, which="major", color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(panel: "Axes", colors: Mapping[str, str], ends: set[bool]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, label=phase) for phase, color in colors.items()]
    for converged, marker, label in ((True, "o", "converged"), (False, "x", "not converged")):
        if converged in ends:
            handles.append(Line2D([], [], color="0.15", marker=marker, linestyle="", markersize=5, label=label))
    panel.legend(handles=handles, frameon=False, fontsize="small", loc="upper right")
