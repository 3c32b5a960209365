"""A hierarchy for others to read: the tree of its segments as JSON, its points as PLY.

Ids are those of the masks: at each granularity 1 is the largest segment, and 0 is none.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement

from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.scene.colors import BACKGROUND_COLOR
from nerfseg_plugins.ultrametric.dendrogram import Cut, Dendrogram

ToData = Callable[[np.ndarray], np.ndarray]
"""Points (N, 3) from the scene's frame to the data's."""


def describe_tree(
    dendrogram: Dendrogram, granularities: Sequence[float], cuts: Sequence[Cut], min_size: int, to_data: ToData
) -> dict[str, Any]:
    """The tree of all segments at some granularities.

    Args:
        dendrogram: of the scene.
        granularities: ascending.
        cuts: of these granularities, with the same smallest size.
        min_size: that size.
        to_data: where bounding boxes are told.

    Returns:
        JSON: `granularities`, `min_size`, `num_points`, `num_segments` of each granularity, and `nodes`, larger ones
        first, each with
        `id` (the same at whatever granularities are asked for), `parent` (the smallest larger node in the list that
        holds it, or null), `size` in points, `from` and `to`: the granularities between which it is a segment (`to`
        null: it joins nothing), `ids`: its id at each of the granularities, null where it is none, `color`, `box`
        [[x, y, z], [x, y, z]] in the frame and unit of the data, and `center`, the mean of its points.
    """
    nodes = dendrogram.nodes
    found: dict[int, dict[str, Any]] = {}
    for level in reversed(range(len(cuts))):
        colors = nodes.colors(cuts[level].nodes).tolist()
        for label, node in enumerate(cuts[level].nodes.tolist()):
            if node not in found:
                parent = None
                if level + 1 < len(cuts):
                    # A segment that is kept stays within one that is kept as the granularity grows.
                    coarser = cuts[level + 1]
                    parent = int(coarser.nodes[coarser.labels[dendrogram.members(node)[0]]])
                found[node] = _described(dendrogram, node, parent, colors[label], len(cuts), to_data)
            found[node]["ids"][level] = label + 1
    return {
        "granularities": list(granularities),
        "min_size": min_size,
        "num_points": len(dendrogram),
        "num_segments": [len(cut) for cut in cuts],
        "nodes": sorted(found.values(), key=lambda entry: (-entry["size"], entry["id"])),
    }


def _described(
    dendrogram: Dendrogram, node: int, parent: int | None, color: list[int], num_levels: int, to_data: ToData
) -> dict[str, Any]:
    nodes = dendrogram.nodes
    points = to_data(dendrogram.points[dendrogram.members(node)])
    above = int(nodes.parent[node])
    return {
        "id": node,
        "parent": parent,
        "size": len(points),
        "from": float(nodes.height[node]),
        "to": float(nodes.height[above]) if above >= 0 else None,
        "ids": [None] * num_levels,
        "color": color,
        "box": [points.min(axis=0).tolist(), points.max(axis=0).tolist()],
        "center": points.mean(axis=0, dtype=np.float64).tolist(),
    }


def cut_colors(dendrogram: Dendrogram, cut: Cut) -> np.ndarray:
    """Colours by id, uint8 (S + 1, 3): first that of none, then those of the cut's segments."""
    return np.concatenate([np.array([BACKGROUND_COLOR], np.uint8), dendrogram.nodes.colors(cut.nodes)])


def write_points(
    path: Path,
    dendrogram: Dendrogram,
    granularities: Sequence[float],
    cuts: Sequence[Cut],
    shown: int,
    to_data: ToData,
) -> None:
    """Write the points as binary little-endian PLY, whole or not at all.

    The element `vertex` has float x, y, z in the frame and unit of the data; uchar red, green, blue of the cut `shown`;
    and int `id_0`, `id_1`, ... at each granularity, which comments in the header name.

    Args:
        path: the file.
        dendrogram: of the scene.
        granularities, cuts: what to tell of each point.
        shown: index of the cut whose colours the points have.
        to_data: from the scene's frame.
    """
    kinds = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    kinds += [(f"id_{level}", "<i4") for level in range(len(cuts))]
    rows = np.empty(len(dendrogram), dtype=kinds)
    rows["x"], rows["y"], rows["z"] = to_data(dendrogram.points).T
    rows["red"], rows["green"], rows["blue"] = cut_colors(dendrogram, cuts[shown])[cuts[shown].labels + 1].T
    for level, cut in enumerate(cuts):
        rows[f"id_{level}"] = cut.labels + 1
    notes = [f"id_{level} granularity {granularity:g}" for level, granularity in enumerate(granularities)]
    with atomic_path(path) as temporary:
        data = PlyData([PlyElement.describe(rows, "vertex")], byte_order="<", comments=notes)
        data.write(str(temporary))
