"""Time, memory and size of image-based methods, on random weights and made-up views; called by `image_based.py`."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.cameras.cameras import Cameras  # noqa: E402
from nerfstudio.data.scene_box import SceneBox  # noqa: E402

from nerfseg_plugins.image_based.model import ImageBasedModel  # noqa: E402
from nerfseg_plugins.image_based.rendering import ViewsInMemory, pinhole_cameras, render_cameras  # noqa: E402
from nerfseg_plugins.image_based.views import SourceViews  # noqa: E402
from nerfseg_plugins.method_configs import gsn as gsn_methods  # noqa: E402
from nerfseg_plugins.method_configs import pixelnerf as pixelnerf_methods  # noqa: E402

METHODS: dict[str, Any] = {
    "pixelnerf": pixelnerf_methods.pixelnerf,
    "pixelnerf-tiny": pixelnerf_methods.pixelnerf_tiny,
    "gnt": gsn_methods.gnt,
    "gnt-tiny": gsn_methods.gnt_tiny,
}
VIEWS = (1, 2, 4, 8, 16)
CHUNKS = (512, 8192, 32768)
SIDE = 64
REPEATS = 5


def build(method: str) -> ImageBasedModel:
    """A model with random weights that renders from all views of its scene, as many rays at once as by default."""
    torch.manual_seed(0)
    config = METHODS[method].config.pipeline.model
    box = SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]))
    model = config.setup(scene_box=box, num_train_data=0, metadata={}).eval()
    model.config.num_source_views = None
    return model


def scene_of(count: int) -> ViewsInMemory:
    """Coloured noise, seen from places in a row."""
    generator = torch.Generator().manual_seed(1)
    c2w = torch.eye(4)[None, None, :3].repeat(1, count, 1, 1)
    c2w[0, :, 0, 3] = torch.linspace(-0.2, 0.2, count) if count > 1 else 0.0
    views = SourceViews(
        images=torch.rand(1, count, 3, SIDE, SIDE, generator=generator),
        c2w=c2w,
        focal=torch.full((1, count, 2), 1.2 * SIDE),
        center=torch.full((1, count, 2), SIDE / 2),
        near=torch.tensor([1.0]),
        far=torch.tensor([3.0]),
    )
    return ViewsInMemory("noise", views)


def target() -> Cameras:
    """A camera among the views."""
    pose = torch.eye(4)[None, :3].clone()
    half = torch.tensor(SIDE / 2)
    return pinhole_cameras(pose, torch.tensor(1.2 * SIDE), torch.tensor(1.2 * SIDE), half, half, SIDE, SIDE)


def time_by_views(method: str) -> dict[str, Any]:
    """Milliseconds of CPU time for 1000 rays by the number of source views, and how well a line fits them.

    Numbers of views take turns, and the fastest turn counts, since the machine is shared.
    """
    model, best = build(method), dict.fromkeys(VIEWS, np.inf)
    for turn in range(REPEATS):
        for count in VIEWS:
            model.open_scene(scene_of(count))
            model.sources(list(range(count)))  # encoding is once a scene and not timed
            begin = time.process_time()
            list(render_cameras(model, target()))
            if turn:
                best[count] = min(best[count], (time.process_time() - begin) * 1e6 / SIDE**2)
    x, y = np.array(VIEWS, float), np.array([best[count] for count in VIEWS])
    slope, intercept = np.polyfit(x, y, 1)
    unexplained = ((y - (slope * x + intercept)) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return {
        "ms_per_1000_rays": {str(count): float(best[count]) for count in VIEWS},
        "ms_per_view": float(slope),
        "ms_without_views": float(intercept),
        "r_squared": float(1 - unexplained),
        "chunk": model.config.eval_num_rays_per_chunk,
    }


def memory(method: str) -> dict[str, dict[str, float]]:
    """MiB that rendering adds to a process's peak, by chunk with 8 views, and by views with one chunk."""
    middle = CHUNKS[1]
    by_chunk = {str(chunk): _added(method, chunk, 8) for chunk in CHUNKS}
    by_views = {str(count): by_chunk[str(middle)] if count == 8 else _added(method, middle, count) for count in VIEWS}
    return {"mib_by_chunk": by_chunk, f"mib_by_views_at_{middle}": by_views}


def _added(method: str, chunk: int, views: int) -> float:
    """MiB, measured in a process of its own."""
    words = [sys.executable, str(Path(__file__)), "--method", method, "--chunk", str(chunk), "--views", str(views)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def sizes() -> dict[str, dict[str, int]]:
    """Parameters and tensors of the methods' networks, by their outermost modules."""
    found = {}
    for method in METHODS:
        model = build(method)
        parts: dict[str, int] = {}
        for name, value in model.named_parameters():
            if name != "device_indicator_param":
                part = name.split(".")[0]
                parts[part] = parts.get(part, 0) + value.numel()
        found[method] = {**parts, "total": sum(parts.values())}
    return found


@dataclass
class Peak:
    """Print the MiB that rendering a picture adds to this process's peak."""

    method: str
    chunk: int
    views: int

    def main(self) -> None:
        """Render a small picture first, which brings libraries and thread pools into memory."""
        model = build(self.method)
        model.open_scene(scene_of(self.views))
        warm = target()
        warm.rescale_output_resolution(1 / 8)
        list(render_cameras(model, warm, chunk=64))
        before = _peak()
        list(render_cameras(model, target(), chunk=self.chunk))
        print(_peak() - before)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    tyro.cli(Peak).main()
