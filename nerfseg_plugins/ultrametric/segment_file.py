"""A picked segment for others to read: the points of the scene as PLY, labelled, and what is known of it as JSON."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path, write_json
from nerfseg_plugins.ultrametric.dendrogram import Dendrogram
from nerfseg_plugins.ultrametric.picking import Pick, lifetime
from nerfseg_plugins.ultrametric.points_view import point_colors
from nerfseg_plugins.ultrametric.tree_export import ToData

SEGMENTS = "segments"
"""Folder in a run's."""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def save_segment(
    folder: Path, name: str, dendrogram: Dendrogram, pick: Pick, granularity: float, min_size: int, to_data: ToData
) -> tuple[Path, Path]:
    """Write FOLDER/NAME.ply and FOLDER/NAME.json, each whole or not at all.

    The element `vertex` of the PLY is all points of the dendrogram: float x, y, z in the frame and unit of the data;
    uchar red, green, blue, the segment's colour within it and a dark grey elsewhere; int `label`, 1 within it and 0
    elsewhere. The JSON holds `node`, `size` in points, `num_points` of the scene, `from` and `to` (the granularities
    between which it is a segment; `to` null: it joins nothing), `path` (the nodes from the one that was clicked on to
    this one), `granularity` and `min_size` as they were, `color`, `box` [[x, y, z], [x, y, z]] and `center`.

    Args:
        folder: made if it is not there.
        name: of the files, without an ending.
        dendrogram: of the scene.
        pick: the segment.
        granularity, min_size: as they were when it was saved.
        to_data: from the scene's frame.

    Returns:
        The two files.

    Raises:
        InputError: the name is none for a file, or a file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a segment; take letters, digits, '-', '_' and '.'")
    inside = np.zeros(len(dendrogram), np.int32)
    inside[dendrogram.members(pick.node)] = 1
    points = to_data(dendrogram.points)
    color = dendrogram.nodes.colors(np.array([pick.node]))
    ply, described = folder / f"{name}.ply", folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_points(ply, points, point_colors(color, inside - 1, inside == 1), inside)
        write_json(described, _described(dendrogram, pick, points[inside == 1], granularity, min_size, color[0]))
    except OSError as error:
        raise InputError(f"{ply} could not be written ({error}); free space, or copy the run elsewhere") from error
    return ply, described


def _described(
    dendrogram: Dendrogram, pick: Pick, points: np.ndarray, granularity: float, min_size: int, color: np.ndarray
) -> dict[str, Any]:
    life = lifetime(dendrogram, pick.node, min_size)
    return {
        "node": pick.node,
        "size": len(points),
        "num_points": len(dendrogram),
        "from": life.start,
        "to": life.end,
        "path": list(pick.path),
        "granularity": granularity,
        "min_size": min_size,
        "color": color.tolist(),
        "box": [points.min(axis=0).tolist(), points.max(axis=0).tolist()],
        "center": points.mean(axis=0, dtype=np.float64).tolist(),
    }


def _write_points(path: Path, points: np.ndarray, colors: np.ndarray, labels: np.ndarray) -> None:
    kinds = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")] + [("label", "<i4")]
    rows = np.empty(len(points), dtype=kinds)
    rows["x"], rows["y"], rows["z"] = points.T
    rows["red"], rows["green"], rows["blue"] = colors.T
    rows["label"] = labels
    with atomic_path(path) as temporary:
        PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(temporary))
