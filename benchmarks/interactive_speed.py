"""Time and memory of a query on the voxels of a scene; `interactive.py` calls it.

    python benchmarks/interactive_speed.py          # all of it, on made-up scenes

Memory is measured in processes of their own: by how much the largest resident set grows over what is resident once
everything is imported and has run on a few voxels.
"""

import json
import math
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.features.queries import centroids  # noqa: E402
from nerfseg_plugins.features.store import FeatureMaps, origin_of, write_map  # noqa: E402
from nerfseg_plugins.isrf import dense  # noqa: E402
from nerfseg_plugins.isrf.cache import VoxelCache  # noqa: E402
from nerfseg_plugins.isrf.growing import Kernel  # noqa: E402
from nerfseg_plugins.isrf.lifting import StrokePoints  # noqa: E402
from nerfseg_plugins.isrf.selection import Selected, select, solid, voxels_at  # noqa: E402
from nerfseg_plugins.isrf.voxels import VoxelGrid  # noqa: E402
from nerfseg_plugins.manifest import Manifest, write_manifest  # noqa: E402
from nerfseg_plugins.segments.select_config import SelectConfig, WalkerConfig  # noqa: E402

MILLION = 1_000_000
MILLION_SIDE = 264
"""Voxels along a side of the made-up room that has a million on its surfaces."""
CHANNELS, LATENTS = 64, 15
SPHERES = 8
STROKE = 200
"""Voxels under a stroke."""
IMAGES, IMAGE_SIZE, STRIDE = 200, (756, 1008), 8
MIB = 1 << 20


# Scenes --------------------------------------------------------------------------------------------------------------


def made_up_cache(side: int, voxels: Optional[int] = None, seed: int = 0) -> tuple[VoxelCache, Tensor]:
    """Five walls and eight hollow spheres, two to three voxels thick, each with features of its own and noise.

    The features of a part change from bottom to top, by a squared distance of 1: a seed does not hold all of it.

    Args:
        side: voxels along a side.
        voxels: leave out those beyond so many.
        seed: of everything.

    Returns:
        the cache, and the part (N,) uint8 that each voxel belongs to: walls 0 to 4, then spheres.
    """
    rng = np.random.default_rng(seed)
    centres, radii = rng.uniform(0.25, 0.75, (SPHERES, 3)) * side, rng.uniform(0.08, 0.2, SPHERES) * side
    y, z = np.ogrid[:side, :side]
    keys, parts = [], []
    for x in range(side):  # a slab at a time, or the room would take more memory than what is measured
        part = np.full((side, side), 255, np.uint8)
        part[:, :2] = 0
        part[:2], part[-2:] = 1, 2
        if x < 2 or x >= side - 2:
            part[:] = 3 if x < 2 else 4
        for index, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
            distance = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
            part[np.abs(distance - radius) < 1.5] = 5 + index
        there = np.flatnonzero(part != 255)
        keys.append(there + x * side * side)
        parts.append(part.reshape(-1)[there])
    found, part = torch.from_numpy(np.concatenate(keys))[:voxels], torch.from_numpy(np.concatenate(parts))[:voxels]
    generator = torch.Generator().manual_seed(seed)
    looks, tops = normalize(torch.randn(2, 5 + SPHERES, CHANNELS, generator=generator), dim=-1)
    latents = torch.rand(5 + SPHERES, LATENTS, generator=generator).half()
    colors = (255 * torch.rand(5 + SPHERES, 3, generator=generator)).byte()
    features = torch.empty(len(found), CHANNELS, dtype=torch.float16)
    for rows, key, some in zip(*(each.split(1 << 13) for each in (features, found, part.int())), strict=True):
        noise = 0.05 * torch.randn(len(some), CHANNELS, generator=generator)
        height = (key % side / side)[:, None]  # at 60 degrees from bottom to top a unit vector has moved by 1
        rows[:] = normalize(looks[some] + math.sqrt(3) * height * tops[some] + noise, dim=-1)
    grid = VoxelGrid((-1.0, -1.0, -1.0), 2 / side, (side, side, side), contracted=False)
    density = torch.full((len(found),), 100.0, dtype=torch.float16)
    return VoxelCache(grid, found, features, latents[part.int()], colors[part.int()], density), part


def stroke_at(cache: VoxelCache, place: int) -> StrokePoints:
    """The voxels around one, as if a stroke lay on them."""
    coords = cache.coords
    near = (coords - coords[place]).abs().amax(dim=-1)
    chosen = near.topk(min(STROKE, len(cache)), largest=False, sorted=True).indices.sort().values
    return StrokePoints(normalize(cache.features[chosen].float(), dim=-1), cache.grid.to_scene(centres(cache, chosen)))


def centres(cache: VoxelCache, chosen: Tensor) -> Tensor:
    """Centres (M, 3) of some voxels, grid space."""
    return cache.grid.centres(cache.grid.coords_of(cache.keys[chosen]))


# Time ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """What a call took."""

    result: Any
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all cores."""

    @classmethod
    def of(cls, call: Callable[[], Any], repeats: int = 1) -> "Timed":
        """The median of some calls."""
        walls, cpus, result = [], [], None
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), time.process_time()
            result = call()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        return cls(result, statistics.median(walls), statistics.median(cpus))


def query_speed(
    cache: VoxelCache, queries: int = 5, repeats: int = 5, seed: int = 0, tau: float = 0.1
) -> dict[str, Any]:
    """One query, K-means to convergence, on the voxels of a surface and on the dense grid, in turns.

    Args:
        cache: the voxels of a scene; the grid is built densely, with 256 bytes a cell for 64 channels, and once more.
        queries: so many objects are asked for, each by a positive stroke somewhere and a negative one elsewhere.
        repeats: calls of the fast formulation, for a median.
        seed: of where the strokes are.
        tau: of the seeds; less than usual, so that much is left to grow.

    Returns:
        Medians over the queries. `seconds` are of `select` with method "bilateral", and of the dense formulation of the
        same; `equal` says whether all seeds and all grown regions are; `walker_seconds` are of the other method.
    """
    rng = np.random.default_rng(seed)
    config = SelectConfig(method="bilateral", connected=False, tau=tau)
    grid = dense.DenseGrid.of_cache(cache)
    print(f"{len(cache)} voxels on a grid of {' x '.join(map(str, cache.grid.shape))}", flush=True)
    rows: list[dict[str, float]] = []
    for _ in range(queries):
        positive, negative = (stroke_at(cache, int(place)) for place in rng.choice(len(cache), 2, replace=False))
        fast = Timed.of(lambda p=positive, n=negative: select(cache, p, n, config), repeats)
        slow = Timed.of(lambda p=positive, n=negative: dense_query(grid, cache, p, n, config))
        walker = Timed.of(lambda p=positive, n=negative: select(cache, p, n, SelectConfig()), repeats)
        seed_cells, grown = slow.result
        same = _same(cache, fast.result.seed, seed_cells) and _same(cache, fast.result.mask, grown.selected)
        rows.append(
            {
                "seconds": fast.wall,
                "cpu_seconds": fast.cpu,
                "dense_seconds": slow.wall,
                "dense_cpu_seconds": slow.cpu,
                "times_faster": slow.wall / fast.wall,
                "times_faster_cpu": slow.cpu / fast.cpu,
                "walker_seconds": walker.wall,
                "walker_cpu_seconds": walker.cpu,
                "equal": same,
                "seeded": int(fast.result.seed.sum()),
                "grown": int(fast.result.mask.sum()),
                "steps": grown.steps,
            }
        )
        print("  " + ", ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    medians = {name: float(statistics.median(row[name] for row in rows)) for name in rows[0] if name != "equal"}
    slowest = max(row["seconds"] for row in rows)
    return {**medians, "slowest_seconds": slowest, "equal": all(row["equal"] for row in rows), "voxels": len(cache)}


def dense_query(
    grid: dense.DenseGrid, cache: VoxelCache, positive: StrokePoints, negative: StrokePoints, config: SelectConfig
) -> tuple[Tensor, Any]:
    """`select` with method "bilateral" and without `connected`, on the dense grid: seed (X, Y, Z), and grown region."""
    towards, away = (
        dense.squared_distance(grid, centroids(stroke.features, config.clusters, config.random_seed))
        for stroke in (positive, negative)
    )
    nearer = (towards < away) & grid.occupied
    on, off = voxels_at(cache, positive.points), voxels_at(cache, negative.points)
    allowed = nearer.clone()
    allowed[tuple(cache.coords[off[~torch.isin(off, on)]].long().unbind(dim=-1))] = False
    seed = nearer & (towards < config.tau)
    return seed, dense.grow(grid, seed, Kernel(config.sigma_d, config.sigma_f, config.sigma_c), allowed)


def _same(cache: VoxelCache, mask: Tensor, cells: Tensor) -> bool:
    """Whether voxels (N,) and cells (X, Y, Z) say the same."""
    return torch.equal(dense.gather(cache, cells), mask) and int(cells.sum()) == int(mask.sum())


# Memory --------------------------------------------------------------------------------------------------------------


def memory_of_million() -> dict[str, Any]:
    """Peak growth of the resident set, MiB, by a cache of a million voxels that is read, one query and its solid.

    Returns:
        for each query of `MEMORY`, and of the cache's tensors themselves.
    """
    with tempfile.TemporaryDirectory() as temporary:
        write_scene(Path(temporary) / "large", MILLION_SIDE, MILLION)
        write_scene(Path(temporary) / "small", 32, None)
        return {f"million_{key}": value for what in MEMORY for key, value in _measured(what, temporary).items()}


def write_scene(folder: Path, side: int, voxels: Optional[int]) -> None:
    """A made-up cache, a stroke on one of its spheres and one on a wall, as files."""
    cache, part = made_up_cache(side, voxels)
    cache.save(folder / "voxels.npz", "made-up")
    for name, place in (("positive", (part == 6).nonzero()[0, 0]), ("negative", (part == 0).nonzero()[-1, 0])):
        stroke = stroke_at(cache, int(place))
        np.savez(folder / f"{name}.npz", features=stroke.features.numpy(), points=stroke.points.numpy())


def feature_memory() -> dict[str, Any]:
    """Growth of the resident set, MiB, by the features of 200 images at 1008x756, 64 channels for each 8x8 pixels."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder, image = root / "features" / "made-up", root / "0.png"
        Image.new("RGB", (IMAGE_SIZE[1], IMAGE_SIZE[0])).save(image)
        write_manifest(folder, Manifest("made-up", "noise", None, IMAGE_SIZE, "-"))
        shape = (IMAGE_SIZE[0] // STRIDE, IMAGE_SIZE[1] // STRIDE, CHANNELS)
        write_map(folder / "0.npz", np.random.default_rng(0).normal(size=shape), image, IMAGE_SIZE, origin_of(folder))
        for index in range(1, IMAGES):
            shutil.copy(image, root / f"{index}.png")
            shutil.copy(folder / "0.npz", folder / f"{index}.npz")
        return {f"features_{key}": value for key, value in _measured("features", str(root)).items()}


def _measured(*arguments: str) -> dict[str, Any]:
    """What a process of its own prints as its last line."""
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    print("  " + ", ".join(f"{name} {value:.4g}" for name, value in result.items()), flush=True)
    return result


def _resident(what: str = "VmRSS") -> float:
    """MiB that are resident ("VmRSS"), or were at most since `_forget_peak` ("VmHWM")."""
    if platform.system() != "Linux":
        raise RuntimeError("memory is measured on Linux only")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def _forget_peak() -> float:
    """Start to measure the peak anew; MiB that are resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _resident()


MEMORY = {
    "bilateral": SelectConfig(method="bilateral"),
    "walker": SelectConfig(method="walker"),
    "walker_everywhere": SelectConfig(method="walker", walker=WalkerConfig(margin=100.0)),
    "everything": SelectConfig(method="bilateral", connected=False, tau=4.0),
}
"""Settings of the queries whose memory is measured. The first two are for one object; then the walk goes over all
voxels; the last selects all of them, without a negative stroke."""


def _measure_query(what: str, folder: Path) -> dict[str, Any]:
    baseline = _forget_peak()
    cache = VoxelCache.load(folder / "voxels.npz", "made-up")
    positive, negative = (_read_stroke(folder / f"{name}.npz") for name in ("positive", "negative"))
    found: Selected = select(cache, positive, None if what == "everything" else negative, MEMORY[what])
    volume = solid(cache, found.mask)
    return {
        f"{what}_mib": _resident("VmHWM") - baseline,
        f"{what}_cache_mib": cache.num_bytes / MIB,
        f"{what}_selected": int(found.mask.sum()),
        f"{what}_solid_voxels": len(volume),
    }


def _read_stroke(path: Path) -> StrokePoints:
    with np.load(path) as stored:
        return StrokePoints(torch.from_numpy(stored["features"]), torch.from_numpy(stored["points"]))


def _measure_features(root: Path) -> dict[str, Any]:
    baseline = _forget_peak()
    images = [root / f"{index}.png" for index in range(IMAGES)]
    maps = FeatureMaps.load(root / "features" / "made-up", images, "nerfseg features")
    generator = torch.Generator().manual_seed(0)
    ranges = torch.tensor([IMAGES, *IMAGE_SIZE])
    maps.sample((torch.rand(4096, 3, generator=generator) * ranges).long())
    return {"mib": _resident("VmHWM") - baseline, "held_mib": maps.num_bytes / MIB}


def main() -> None:
    """Measure one thing in this process, or all of it."""
    arguments = sys.argv[1:]
    if not arguments:
        print(json.dumps({**query_speed(made_up_cache(128)[0]), **memory_of_million(), **feature_memory()}, indent=2))
    elif arguments[0] == "features":
        print(json.dumps(_measure_features(Path(arguments[1]))))
    else:
        folder = Path(arguments[1])
        _measure_query(arguments[0], folder / "small")  # what is loaded and kept by the first call does not count
        print(json.dumps(_measure_query(arguments[0], folder / "large")))


if __name__ == "__main__":
    main()
