"""What a step learns from: rays of some scenes, their colours, and the source views to render them from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Optional

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from nerfseg_plugins.image_based.choice import Nearness, PoolRule, check_count
from nerfseg_plugins.image_based.jitter import Jitter
from nerfseg_plugins.image_based.reshape import ReshapeRule, reshape_rays
from nerfseg_plugins.image_based.scene import Scene
from nerfseg_plugins.image_based.views import SourceViews

Target = Literal["view", "scene"]


@dataclass(frozen=True)
class DrawRule:
    """How the rays of a scene and their source views are drawn in a step."""

    target: Target
    """"view": all rays are of one view, "scene": of any."""
    rays: int
    """Rays of a scene."""
    counts: tuple[int, ...]
    """Numbers of source views, of which one is drawn a step; without `pool`."""
    pool: Optional[PoolRule]
    """Source views are drawn from those near the target view; None: from all at random."""
    choose_by: Nearness
    """What is near."""
    rays_by_views: bool
    """Whether the more source views there are, the fewer rays are drawn."""
    views_per_scene: Optional[int]
    """With "scene": from so many views at most the rays of a step are."""
    jitter: float
    """Strength of the colour jitter."""
    swap_channels: bool = False
    """Whether red, green and blue change places by chance."""
    gamma: float = 0.0
    """Strength of the change of each channel's exponent."""
    reshape: ReshapeRule = field(default_factory=ReshapeRule)
    """How scenes are mirrored and stretched."""


@dataclass(frozen=True)
class Drawn:
    """What was drawn of one scene."""

    scene: Scene
    sources: list[int]
    """Numbers of its source views."""
    views: np.ndarray
    """(R,) number of the view of each ray."""
    rows: np.ndarray
    """(R,) of each ray's pixel."""
    columns: np.ndarray
    """(R,)"""


def draw_batch(
    scenes: Sequence[Scene],
    rule: DrawRule,
    rng: np.random.Generator,
    in_boxes: bool,
    common: Optional[np.random.Generator] = None,
) -> tuple[RayBundle, dict[str, Any]]:
    """A training batch, on the CPU.

    Args:
        scenes: B, one after another in the batch.
        rule: how to draw.
        rng: draws.
        in_boxes: whether rays go only through the boxes around the objects.
        common: draws that are the same in all processes; None: `rng` draws these too.

    Returns:
        B * R rays with bounds, and {"image": (B * R, 3), "views": SourceViews of B scenes, "scenes": their names,
        "features": (B * R, C) where the scenes have any}. Source images have the size of the first view of
        the first scene.

    Raises:
        InputError: a scene has too few views, or an image or its features cannot be read.
    """
    # Processes wait for the one that has most to do, so all have as many source views.
    count = None if rule.pool is not None else int((common or rng).choice(rule.counts))
    chosen = [_choose(scene, rule, rng, count) for scene in scenes]
    # As many of each scene; which are left out is by chance, for their order is.
    number = min(len(sources) for sources, _ in chosen)
    rays = rule.rays
    if rule.rays_by_views:
        usual = rule.pool.num_views if rule.pool is not None else max(rule.counts)
        rays = max(1, round(rays * usual / number))
    drawn = []
    for scene, (sources, target) in zip(scenes, chosen, strict=True):
        views = _views_of_rays(scene, rule, rng, rays, target)
        drawn.append(Drawn(scene, sources[:number], views, *scene.draw_pixels(views, rng, in_boxes)))
    batch = batch_of(drawn)
    taken = [entry.scene.take(entry.sources, scenes[0].size(0)) for entry in drawn]
    if rule.jitter > 0 or rule.swap_channels or rule.gamma > 0:
        jitters = [Jitter.draw(rng, rule.jitter, rule.swap_channels, rule.gamma) for _ in drawn]
        taken = [
            replace(views, images=jitter.apply(views.images, 2)) for views, jitter in zip(taken, jitters, strict=True)
        ]
        parts = batch["image"].split(rays)
        batch["image"] = torch.cat([jitter.apply(part) for jitter, part in zip(jitters, parts, strict=True)])
    bundle = rays_of(drawn)
    if rule.reshape.changes:
        changes = [rule.reshape.draw(rng) for _ in drawn]
        bundle = reshape_rays(bundle, changes)
        taken = [change.views(views) for change, views in zip(changes, taken, strict=True)]
    batch["views"] = SourceViews.together(_same_cells(taken))
    return bundle, batch


def batch_of(drawn: Sequence[Drawn]) -> dict[str, Any]:
    """Colours, and features where there are any, of the rays of some scenes, scene by scene."""
    batch: dict[str, Any] = {
        "image": torch.cat([entry.scene.colors(entry.views, entry.rows, entry.columns) for entry in drawn]),
        "scenes": [entry.scene.name for entry in drawn],
    }
    if all(entry.scene.features is not None for entry in drawn):
        batch["features"] = torch.cat(
            [
                entry.scene.features.sample(entry.views, entry.rows, entry.columns, entry.scene.sizes)
                for entry in drawn
                if entry.scene.features is not None
            ]
        )
    return batch


def rays_of(drawn: Sequence[Drawn]) -> RayBundle:
    """Rays through the centres of pixels, scene by scene, with the bounds of their scenes; directions are unit."""
    cameras = [entry.scene.cameras for entry in drawn]
    rows = [torch.from_numpy(entry.views) for entry in drawn]

    def of_rays(values: Sequence[Tensor]) -> Tensor:
        return torch.cat([value[row] for value, row in zip(values, rows, strict=True)])

    distortion = None
    if any(camera.distortion_params is not None for camera in cameras):
        distortion = of_rays(
            [
                camera.fx.new_zeros(len(camera), 6) if camera.distortion_params is None else camera.distortion_params
                for camera in cameras
            ]
        )
    focal, center = of_rays([entry.scene.focal for entry in drawn]), of_rays([entry.scene.center for entry in drawn])
    each = Cameras(
        of_rays([entry.scene.c2w for entry in drawn]),
        focal[:, :1],
        focal[:, 1:],
        center[:, :1],
        center[:, 1:],
        of_rays([camera.width for camera in cameras]),
        of_rays([camera.height for camera in cameras]),
        distortion_params=distortion,
        camera_type=of_rays([camera.camera_type for camera in cameras]),
    )
    pixels = np.concatenate([np.stack([entry.rows, entry.columns], axis=1) for entry in drawn])
    coords = torch.from_numpy(pixels).float() + 0.5
    bundle = each.generate_rays(torch.arange(len(pixels))[:, None], coords=coords)
    bundle.nears = torch.cat([torch.full((len(entry.views), 1), entry.scene.bounds.near) for entry in drawn])
    bundle.fars = torch.cat([torch.full((len(entry.views), 1), entry.scene.bounds.far) for entry in drawn])
    bundle.camera_indices = torch.cat(rows)[:, None]
    return bundle


def _choose(
    scene: Scene, rule: DrawRule, rng: np.random.Generator, count: Optional[int]
) -> tuple[list[int], Optional[int]]:
    """Source views of a scene, and the view to learn from, if it is one."""
    target = int(rng.integers(len(scene))) if rule.target == "view" else None
    if rule.pool is not None:
        assert target is not None
        return rule.pool.draw(target, scene.c2w, rule.choose_by, rng, scene.name), target
    assert count is not None
    others = np.array([index for index in range(len(scene)) if index != target])
    check_count(len(others), count, scene.name)
    return rng.choice(others, count, replace=False).tolist(), target


def _views_of_rays(
    scene: Scene, rule: DrawRule, rng: np.random.Generator, rays: int, target: Optional[int]
) -> np.ndarray:
    """(R,) the view of each ray."""
    if target is not None:
        return np.full(rays, target)
    if rule.views_per_scene is None or rule.views_per_scene >= len(scene):
        return rng.integers(len(scene), size=rays)
    return rng.choice(rng.choice(len(scene), rule.views_per_scene, replace=False), size=rays)


def _same_cells(taken: list[SourceViews]) -> list[SourceViews]:
    """Scenes whose feature maps have as many cells as those of the first."""
    first = taken[0].features
    if first is None:
        return taken
    same = [taken[0]]
    for views in taken[1:]:
        features = views.features
        assert features is not None
        if features.shape[-2:] != first.shape[-2:]:
            flat = torch.nn.functional.interpolate(
                features[0], first.shape[-2:], mode="bilinear", align_corners=False, antialias=True
            )
            views = replace(views, features=flat[None])
        same.append(views)
    return same
