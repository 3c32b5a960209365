"""A query by strokes as the viewer does it, and what its masks are worth; `interactive.py` calls it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.cli.views import with_progress  # noqa: E402
from nerfseg_plugins.isrf.cache import VoxelCache  # noqa: E402
from nerfseg_plugins.isrf.lifting import StrokePoints, lift_pixels  # noqa: E402
from nerfseg_plugins.isrf.marks import mark  # noqa: E402
from nerfseg_plugins.isrf.selection import select, solid  # noqa: E402
from nerfseg_plugins.isrf.solid import VoxelSet  # noqa: E402
from nerfseg_plugins.scene.run import Run  # noqa: E402
from nerfseg_plugins.segments.masks import read_ids  # noqa: E402
from nerfseg_plugins.segments.select_config import Method, SelectConfig  # noqa: E402
from nerfseg_plugins.segments.strokes import Stroke  # noqa: E402

SMALLEST = 50
"""Pixels of an object that a view must show for its mask to be compared there."""


@dataclass(frozen=True)
class View:
    """A view with its truth."""

    index: int
    """In its split."""
    ids: np.ndarray
    """(H, W) int, the true ids."""


def views_of(run: Run, split: Literal["train", "val"], mask_of: Callable[[Path], Path], every: int = 1) -> list[View]:
    """Views of a split, every so many, with their masks."""
    images = run.dataset(split).image_filenames
    return [View(index, read_ids(mask_of(Path(images[index])))) for index in range(0, len(images), every)]


@dataclass
class Canvas:
    """A scene that strokes are drawn in."""

    run: Run
    cache: VoxelCache
    method: Method
    seconds: list[float] = field(default_factory=list)
    """Of each query, from lifted strokes to the object."""

    def query(self, strokes: Sequence[Stroke]) -> Optional[Tensor]:
        """(N,) bool voxels of the object; None where nothing is selected."""
        points = [self._lifted([stroke for stroke in strokes if stroke.positive == side]) for side in (True, False)]
        assert points[0] is not None
        start = time.perf_counter()
        found = select(self.cache, points[0], points[1], SelectConfig(method=self.method))
        self.seconds.append(time.perf_counter() - start)
        return found.mask if bool(found.mask.any()) else None

    def _lifted(self, strokes: Sequence[Stroke]) -> Optional[StrokePoints]:
        cameras = self.run.dataset("train").cameras
        model = self.run.pipeline.model
        parts = [
            lift_pixels(model, cameras[stroke.view : stroke.view + 1], torch.from_numpy(stroke.pixels))
            for stroke in strokes
        ]
        return StrokePoints.cat(parts) if parts else None

    def shown(self, mask: Optional[Tensor]) -> VoxelSet:
        """The object's space."""
        empty = torch.zeros_like(self.cache.keys, dtype=torch.bool)
        return solid(self.cache, empty if mask is None else mask)


@torch.no_grad()
def masks_in(run: Run, camera: Any, parts: Sequence[VoxelSet]) -> np.ndarray:
    """(E, H, W) bool: the masks of E objects in one view, each as if it was the only one.

    The rays are sampled once for all objects; `mark` says of each what an edit of it alone shows.
    """
    model: Any = run.pipeline.model
    rays = camera.to(model.device).generate_rays(camera_indices=0, keep_shape=True)
    flat, masks = rays.flatten(), []
    for start in range(0, len(flat), model.config.eval_num_rays_per_chunk):
        samples = model.frozen_samples(flat[start : start + model.config.eval_num_rays_per_chunk])
        weights = samples.weights[..., 0]
        weights = weights * (weights.sum(dim=-1, keepdim=True) > 0.2)
        rgb = torch.zeros_like(samples.positions[:, 0])
        masks.append(torch.stack([mark(samples.positions, weights, rgb, [part]).ids > 0 for part in parts]))
    return torch.cat(masks, dim=1).view(len(parts), *rays.shape).cpu().numpy()


def compare(run: Run, split: Literal["train", "val"], views: Sequence[View], parts: dict[int, VoxelSet]) -> dict:
    """Masks of objects against the truth.

    Returns:
        `iou` and `accuracy`, means over all pairs of object and view that shows it; `iou_of_object`, over the pixels of
        all views together; `by_object`; and `covers`, which share of the other objects each mask takes.
    """
    cameras = run.dataset(split).cameras
    ious: dict[int, list[float]] = {one: [] for one in parts}
    hits: dict[int, list[float]] = {one: [] for one in parts}
    sums = {one: np.zeros(2) for one in parts}
    covered = {one: {other: np.zeros(2) for other in parts if other != one} for one in parts}
    for view in with_progress(views, len(views), "masks"):
        found = masks_in(run, cameras[view.index : view.index + 1], list(parts.values()))
        known = view.ids >= 0
        for one, mask in zip(parts, found, strict=True):
            truth = view.ids == one
            both, either = (mask & truth & known).sum(), ((mask | truth) & known).sum()
            sums[one] += both, either
            hits[one].append(float((mask == truth)[known].mean()))
            for other, pixels in covered[one].items():
                pixels += (mask & (view.ids == other)).sum(), (view.ids == other).sum()
            if truth.sum() >= SMALLEST:
                ious[one].append(float(both / either))
    return {
        "iou": float(np.mean([value for one in ious.values() for value in one])),
        "accuracy": float(np.mean([value for one in hits.values() for value in one])),
        "iou_of_object": float(np.mean([both / max(either, 1) for both, either in sums.values()])),
        "by_object": {str(one): float(np.mean(values)) for one, values in ious.items()},
        "covers": {
            str(one): {str(other): float(taken / max(seen, 1)) for other, (taken, seen) in others.items()}
            for one, others in covered.items()
        },
    }


def largest(views: Sequence[View], count: int) -> list[int]:
    """Ids of the objects that cover most pixels."""
    ids, pixels = np.unique(np.concatenate([view.ids[view.ids > 0] for view in views]), return_counts=True)
    return [int(one) for one in ids[np.argsort(-pixels)][:count]]
