"""What a click can do: pick the segment that a ray meets, then what that is a part of, and back.

All functions are pure; the viewer's panel only calls them, so all that it does can be done without a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import torch
from nerfstudio.cameras.rays import RayBundle

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.ultrametric.dendrogram import MAX_GRANULARITY, Cut, Dendrogram
from nerfseg_plugins.ultrametric.labelling import PixelLinks
from nerfseg_plugins.ultrametric.nodes import Nodes

MIN_OPACITY = 0.5
"""A ray that absorbs less meets nothing."""


@dataclass(frozen=True)
class Pick:
    """A picked node of a dendrogram, and the way to it."""

    point: int
    """Of the dendrogram, near the click: says which part of a node is meant on the way down."""
    path: tuple[int, ...]
    """Nodes: the one that was picked first, and what it was left for, each within the next."""

    @property
    def node(self) -> int:
        """What is picked now."""
        return self.path[-1]


@dataclass(frozen=True)
class Lifetime:
    """At which granularities a node is a segment, not counting what fewer points than the smallest size add to it."""

    start: float
    """From this granularity on it is whole."""
    end: Optional[float]
    """At this one it becomes a part of a larger segment; None where that never happens."""


@torch.no_grad()
def place_under(model: Any, origin: Sequence[float], direction: Sequence[float]) -> np.ndarray:
    """Where a ray meets the scene.

    Args:
        model: any model with the outputs `depth` and `accumulation`, in evaluation mode.
        origin: (3,) start of the ray, scene frame.
        direction: (3,) its direction, scene frame, of any length.

    Returns:
        (3,) float32, scene frame.

    Raises:
        InputError: the ray is not finite or has no direction, or it meets nothing.
    """
    ray = torch.tensor([[*origin], [*direction]], dtype=torch.float32)
    if ray.shape != (2, 3) or not torch.isfinite(ray).all() or not ray[1].any():
        raise InputError(f"a ray from {tuple(origin)} towards {tuple(direction)} cannot be cast; give finite vectors")
    ray[1] /= ray[1].norm()
    bundle = RayBundle(
        origins=ray[:1],
        directions=ray[1:],
        pixel_area=torch.full((1, 1), 1e-6),
        camera_indices=torch.zeros((1, 1), dtype=torch.long),
        metadata={"directions_norm": torch.ones((1, 1))},
    ).to(model.device)
    outputs = model.get_outputs_for_camera_ray_bundle(bundle.reshape((1, 1)))
    if float(outputs["accumulation"]) < MIN_OPACITY:
        raise InputError("the click lies on empty space; click on a thing")
    return (ray[0] + float(outputs["depth"]) * ray[1]).numpy()


def clicked(dendrogram: Dendrogram, cut: Cut, pick: Optional[Pick], place: np.ndarray, min_size: int) -> Pick:
    """What is picked after a click: a segment, or, where that is picked already, what it is a part of.

    Args:
        dendrogram: of the scene.
        cut: the segments as they are shown.
        pick: what was picked before.
        place: (3,) what was clicked on, scene frame.
        min_size: that of the cut.

    Raises:
        InputError: nothing is known of the place, or what was picked is part of nothing larger.
    """
    links = PixelLinks.of(np.asarray(place, np.float32)[None], dendrogram)
    label = int(links.labels(cut)[0])
    if label < 0:
        raise InputError("no segment is near the place that was clicked on; click elsewhere, or lower the minimum size")
    if pick is not None and _holds(dendrogram, pick.node, links.points[0]).any():
        return wider(dendrogram, pick, min_size)
    node = int(cut.nodes[label])
    inside = _holds(dendrogram, node, links.points[0])
    # The segment may have been taken from a point further away.
    point = links.points[0, np.argmax(inside)] if inside.any() else dendrogram.nodes.main[node]
    return Pick(int(point), (node,))


def wider(dendrogram: Dendrogram, pick: Pick, min_size: int) -> Pick:
    """The next larger segment, by at least so many points, that holds what is picked.

    Raises:
        InputError: there is none.
    """
    above = dendrogram.nodes.grown(pick.node, min_size)
    if above < 0:
        raise InputError("what is picked is part of nothing larger")
    return Pick(pick.point, (*pick.path, above))


def narrower(dendrogram: Dendrogram, pick: Pick, min_size: int) -> Pick:
    """Back to what was picked before; from what was picked first, to its part around the click.

    Raises:
        InputError: it has no parts of so many points.
    """
    if len(pick.path) > 1:
        return Pick(pick.point, pick.path[:-1])
    nodes = dendrogram.nodes
    way = _way_up(nodes, pick.point, pick.node)
    joins = np.flatnonzero(nodes.lighter[way] >= max(min_size, 1))
    if not len(joins):
        raise InputError("what is picked has no parts; lower the minimum size to see smaller ones")
    return Pick(pick.point, (int(way[joins[-1] - 1]),))


def lifetime(dendrogram: Dendrogram, node: int, min_size: int) -> Lifetime:
    """The granularities at which a node is a segment; see `Lifetime`."""
    nodes = dendrogram.nodes
    way = _way_up(nodes, int(nodes.main[node]), node)
    joins = np.flatnonzero(nodes.lighter[way] >= max(min_size, 1))
    # The last join of two segments made it, or else that which let it reach the size of one.
    made = joins[-1] if len(joins) else min(int(np.searchsorted(nodes.size[way], min_size)), len(way) - 1)
    above = nodes.grown(node, min_size)
    return Lifetime(float(nodes.height[way[made]]), float(nodes.height[above]) if above >= 0 else None)


def describe(dendrogram: Dendrogram, pick: Optional[Pick], min_size: int) -> str:
    """One line on what is picked, for people."""
    if pick is None:
        return "Nothing is picked"
    size, life = int(dendrogram.nodes.size[pick.node]), lifetime(dendrogram, pick.node, min_size)
    until = f"to {life.end:.3f}" if life.end is not None else f"on (to {MAX_GRANULARITY:g})"
    levels = len(pick.path) - 1
    above = f", {levels} {'level' if levels == 1 else 'levels'} above what was clicked on" if levels else ""
    share = 100 * size / len(dendrogram)
    return f"Picked: {size:,} points ({share:.1f} %), a segment from granularity {life.start:.3f} {until}{above}"


def _holds(dendrogram: Dendrogram, node: int, points: np.ndarray) -> np.ndarray:
    """(K,) bool which of the points (K,) belong to a node."""
    place = dendrogram.tree.places[points]
    return (dendrogram.nodes.start[node] <= place) & (place < dendrogram.nodes.stop[node])


def _way_up(nodes: Nodes, leaf: int, node: int) -> np.ndarray:
    """(L,) the nodes from a leaf up to one that holds it, both included."""
    way = [leaf]
    while way[-1] != node:
        way.append(int(nodes.parent[way[-1]]))
    return np.array(way)
