"""Time of the ultrametric of a training step, and of the hierarchy of a scene; `hierarchy.py` calls it.

    python benchmarks/hierarchy_speed.py

A step: 4096 pixels of one image, their graph of 10 neighbours, 6400 positive and 6400 negative pairs. What it is held
against is the original formulation: one tree for the positive pairs and another for the negative ones, and a lowest
common ancestor for one pair after the other. Where Higra is installed (`pip install higra`), which the original
implementation builds its trees with, that is measured as well, and the values are compared with its own.

All times are CPU time of one thread, medians, taken in turns: so they stay the same beside other programs.
"""

import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.ultrametric.dendrogram import build_dendrogram
from nerfseg_plugins.ultrametric.graph import mask_barriers, similarities
from nerfseg_plugins.ultrametric.groups import GroupConfig, Groups, build_groups
from nerfseg_plugins.ultrametric.neighbors import neighbor_graph
from nerfseg_plugins.ultrametric.sampler import sample_pixels
from nerfseg_plugins.ultrametric.tree import spanning_tree
from nerfseg_plugins.ultrametric.tree_export import cut_colors

RESULTS = Path(__file__).parent / "results" / "hierarchy"
SIDE, PIXELS, NEIGHBORS, CHANNELS, GROUPS = 200, 4096, 10, 128, 6400
BARRIER = 10.0
POINTS, POINT_CHANNELS, SMALLEST = 200_000, 128, 20
TARGET_STEP, TARGET_FACTOR, TARGET_BUILD, TARGET_CUT = 0.025, 5.0, 3.0, 0.020


@dataclass(frozen=True)
class Batch:
    """One image's part in a training step."""

    directions: np.ndarray
    """(N, 3) unit rays."""
    inside: np.ndarray
    """(M, N) bool which masks hold which pixels."""
    features: Tensor
    """(N, C) unit."""
    groups: Groups


# A step --------------------------------------------------------------------------------------------------------------


def nested_squares(side: int, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares that each hold four others, down to a size: masks (M, side, side) bool and parents (M,)."""
    masks: list[np.ndarray] = []
    parents: list[int] = []
    waiting = [(0, 0, side // 2, -1), (0, side // 2, side // 2, -1), (side // 2, 0, side // 2, -1)]
    while waiting:
        top, left, size, parent = waiting.pop(0)
        mask = np.zeros((side, side), bool)
        mask[top + 1 : top + size - 1, left + 1 : left + size - 1] = True
        half = size // 2
        if half >= smallest:
            corners = [(top, left), (top, left + half), (top + half, left), (top + half, left + half)]
            waiting += [(*corner, half, len(masks)) for corner in corners]
        masks.append(mask)
        parents.append(parent)
    return np.array(masks), np.array(parents, np.int32)


def made_up_batch(seed: int = 0) -> Batch:
    """Pixels of nested squares; the smallest have a feature of their own, with noise."""
    rng = np.random.default_rng(seed)
    masks, parent = nested_squares(SIDE, 12)
    pixels = sample_pixels((SIDE, SIDE), PIXELS, rng)
    inside = masks.reshape(len(masks), -1)[:, pixels]
    centred = np.stack([pixels % SIDE - SIDE / 2, pixels // SIDE - SIDE / 2, np.full(PIXELS, 1.1 * SIDE)], axis=1)
    config = GroupConfig(max_groups=GROUPS)
    groups = build_groups(inside, parent, np.full(len(parent), -1), config, rng)
    assert len(groups) == GROUPS
    innermost = np.where(inside.any(axis=0), len(masks) - 1 - inside[::-1].argmax(axis=0), len(masks))
    looks = rng.normal(size=(len(masks) + 1, CHANNELS)) + 2 * rng.normal(size=CHANNELS)
    noisy = looks[innermost] + 0.5 * rng.normal(size=(PIXELS, CHANNELS))
    features = normalize(torch.tensor(noisy, dtype=torch.float32), dim=-1)
    return Batch(centred / np.linalg.norm(centred, axis=1, keepdims=True), inside, features, groups)


def cosines(features: Tensor, edges: np.ndarray) -> np.ndarray:
    """(E,) between the ends of edges."""
    return (features[edges[:, 0]] * features[edges[:, 1]]).sum(dim=-1).double().numpy()


class PlainTree:
    """The original formulation in plain Python: a binary tree of merges, and a walk up it for each pair."""

    def __init__(self, num_leaves: int, edges: np.ndarray, weights: np.ndarray) -> None:
        self.num_leaves = num_leaves
        self.parent = [-1] * num_leaves
        self.edge_of: list[int] = []
        top = list(range(num_leaves))  # inner node of the cluster of a representative
        leader = list(range(num_leaves))
        order = np.argsort(weights, kind="stable")
        for edge, (a, b) in zip(order.tolist(), edges[order].tolist(), strict=True):
            while leader[a] != a:
                leader[a] = a = leader[leader[a]]
            while leader[b] != b:
                leader[b] = b = leader[leader[b]]
            if a != b:
                self.parent[top[a]] = self.parent[top[b]] = len(self.parent)
                leader[a] = b
                top[b] = len(self.parent)
                self.parent.append(-1)
                self.edge_of.append(edge)

    def deciding_edge(self, first: int, second: int) -> int:
        """Of two leaves that are joined and not the same: nodes come in the order of their weight."""
        while first != second:
            if first < second:
                first = self.parent[first]
            else:
                second = self.parent[second]
        return self.edge_of[first - self.num_leaves]


def plain_edges(groups: Groups, edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(P (1 + R),) the edge that decides each of `Groups.pairs`, -1 of a pixel and itself; in plain Python."""
    found = []
    for pairs in pair_sets(groups):
        tree = PlainTree(PIXELS, edges, weights)
        found += [-1 if a == b else tree.deciding_edge(a, b) for a, b in pairs.tolist()]
    return np.array(found)


def higra_edges(groups: Groups, edges: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same with Higra's trees; pairs are the rows of a tensor, as in the original implementation."""
    import higra  # type: ignore[import-not-found]

    found = []
    for pairs in pair_sets(groups):
        graph = higra.UndirectedGraph(PIXELS)
        graph.add_edges(edges[:, 0], edges[:, 1])
        tree, _ = higra.bpt_canonical(graph, weights)
        chosen = higra.get_attribute(tree, "mst_edge_map")
        for a, b in torch.as_tensor(pairs):
            ancestor = tree.lowest_common_ancestor(int(a), int(b))
            found.append(-1 if a == b else chosen[ancestor - PIXELS])
    return np.array(found)


def pair_sets(groups: Groups) -> list[np.ndarray]:
    """The pairs (P, 2) of the positives, and those of the negatives."""
    pairs = groups.pairs()
    return [pairs[: len(groups)], pairs[len(groups) :]]


def dense_graph(directions: np.ndarray) -> Tensor:
    """The original's neighbours (N, 10): the best of all N x N."""
    rays = torch.tensor(directions, dtype=torch.float32)
    distance = (rays[:, None] - rays[None]).square().sum(dim=-1)
    return distance.topk(11, largest=False).indices[:, 1:]


def median_times(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            taken[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure_step(repeats: int = 15) -> dict:
    """Times of a step's parts, seconds, and how far the values are from the original formulation's."""
    batch = made_up_batch()
    edges = neighbor_graph(batch.directions, NEIGHBORS)
    barrier = mask_barriers(batch.inside, edges)
    pairs = batch.groups.pairs()
    raw = cosines(batch.features, edges)
    weights = 1 - raw + BARRIER * barrier
    tree = spanning_tree(PIXELS, edges, weights)

    def queries() -> None:
        for name in ("_maxima", "places"):  # nothing is left from before
            vars(tree).pop(name, None)
        tree.bottlenecks(pairs[:, 0], pairs[:, 1])

    times = median_times(
        {
            "neighbours": lambda: neighbor_graph(batch.directions, NEIGHBORS),
            "tree": lambda: spanning_tree(PIXELS, edges, weights),
            "queries": queries,
            "outlines": lambda: mask_barriers(batch.inside, edges),
            "similarities": lambda: similarities(batch.features, edges, barrier, pairs, "reference"),
        },
        repeats,
    )
    others = {"plain": plain_edges} | ({"higra": higra_edges} if find_spec("higra") is not None else {})
    own = similarities(batch.features, edges, barrier, pairs, "reference").numpy()
    off = {}
    for name, other in others.items():
        deciding = other(batch.groups, edges, weights)
        off[name] = float(np.abs(np.where(deciding < 0, 1.0, raw[deciding]) - own).max())
        times |= median_times({name: lambda other=other: other(batch.groups, edges, weights)}, repeats)
    times |= median_times({"dense neighbours": lambda: dense_graph(batch.directions)}, 1)
    return {"edges": len(edges), "pairs": len(pairs), "masks": len(batch.inside), "seconds": times, "difference": off}


# A scene -------------------------------------------------------------------------------------------------------------


def made_up_points(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) of a sphere and features (N, C) of patches on it, that vary a little and smoothly, as fields do.

    Points come in the order of the cells of a grid, as those of a scene do.
    """
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(POINTS, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = points[np.lexsort(np.floor(points / 0.01).T[::-1])]
    centres, looks, waves, along = (
        rng.normal(size=size).astype(np.float32)
        for size in ((40, 3), (40, POINT_CHANNELS), (3, 32), (32, POINT_CHANNELS))
    )
    patch = (points @ centres.T).argmax(axis=1)
    return points, looks[patch] + 0.05 * np.sin(10 * points @ waves) @ along


def peak_of(work: Callable[[], object]) -> float:
    """MiB that a piece of work allocates at its peak."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def measure_scene() -> dict:
    """Seconds that the hierarchy of many points takes, and a new granularity of it, by itself or by a number."""
    points, features = made_up_points()
    found: dict[str, float] = {"points": POINTS}
    for linkage in ("average", "single"):
        start = time.process_time()
        dendrogram = build_dendrogram(points, features, linkage=linkage)
        dendrogram.nodes.colors(np.arange(1))
        found[linkage] = time.process_time() - start
    times = []
    for level in np.linspace(0.0, 2.0, 50):
        start = time.process_time()
        cut = dendrogram.cut(float(level), SMALLEST)
        _ = cut_colors(dendrogram, cut)[cut.labels + 1]
        times.append(time.process_time() - start)
    start = time.process_time()
    dendrogram.granularity_for(20, SMALLEST)
    number = time.process_time() - start
    for linkage in ("average", "single"):
        found[f"{linkage} MiB"] = peak_of(lambda linkage=linkage: build_dendrogram(points, features, linkage=linkage))
    return {**found, "cut": statistics.median(times), "slowest": max(times), "number": number}


# The report ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    measured: str
    target: str
    reached: bool


def rows(step: dict, scene: dict) -> Iterator[Row]:
    """What was measured beside what was wanted."""
    seconds = step["seconds"]
    parts = [seconds[part] for part in ("neighbours", "tree", "queries")]
    total = sum(parts)
    yield Row(
        "loss graph: neighbours + tree + queries",
        f"{1e3 * total:.1f} ms ({' + '.join(f'{1e3 * part:.1f}' for part in parts)})",
        "<= 25 ms",
        total <= TARGET_STEP,
    )
    without = total - seconds["neighbours"]
    for name, difference in step["difference"].items():
        factor = seconds[name] / without
        yield Row(
            f"tree + queries against {name}: two trees, one pair after the other",
            f"{1e3 * without:.1f} against {1e3 * seconds[name]:.1f} ms: {factor:.1f} x",
            ">= 5 x",
            factor >= TARGET_FACTOR,
        )
        yield Row(f"largest difference of values from {name}", f"{difference:.1e}", "<= 1e-6", difference <= 1e-6)
    yield Row(
        "neighbours against the best of all N x N",
        f"{1e3 * seconds['neighbours']:.1f} against {1e3 * seconds['dense neighbours']:.0f} ms",
        "",
        True,
    )
    for linkage, steps in (("single", "graph + spanning tree"), ("average", "graph + average linkage")):
        yield Row(
            f"{scene['points']} points: {steps} + dendrogram",
            f"{scene[linkage]:.2f} s",
            "<= 3 s" if linkage == "single" else "",
            linkage != "single" or scene[linkage] <= TARGET_BUILD,
        )
    for linkage in ("single", "average"):
        square = scene["points"] ** 2 * 4 / 2**20
        yield Row(
            f"memory of that with {linkage} linkage",
            f"{scene[f'{linkage} MiB']:.0f} MiB",
            "no N x N array",
            scene[f"{linkage} MiB"] < square / 100,
        )
    yield Row(
        "a new granularity: segments of 20 and more points, and the colours of all points",
        f"{1e3 * scene['cut']:.1f} ms (slowest of 50: {1e3 * scene['slowest']:.1f})",
        "<= 20 ms",
        scene["cut"] <= TARGET_CUT,
    )
    yield Row("the granularity with 20 segments", f"{1e3 * scene['number']:.1f} ms", "", True)


def measure() -> dict:
    """Measure all on one thread, print a table and write it as JSON."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step, scene = measure_step(), measure_scene()
    finally:
        torch.set_num_threads(threads)
    found = {"machine": platform.machine(), "step": step, "scene": scene}
    found["rows"] = [asdict(row) for row in rows(step, scene)]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "speed.json").write_text(json.dumps(found, indent=2) + "\n")
    print("| what | measured | target | reached |\n|---|---|---|---|")
    for row in rows(step, scene):
        print(f"| {row.what} | {row.measured} | {row.target} | {'yes' if row.reached else 'no'} |")
    return found


if __name__ == "__main__":
    measure()
