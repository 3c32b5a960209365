"""Pictures of an estimate: what the scene looks like from where a camera is thought to be, laid over the photo."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.inerf.lens import lens_of, make_camera, rescaled
from nerfseg_plugins.inerf.output.report import overlay
from nerfseg_plugins.inerf.photos import reduce_mask, reduce_photo, reduced_size
from nerfseg_plugins.inerf.poses import world_rays
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.result import Estimate
from nerfseg_plugins.inerf.scene import Scene

TITLES = ("photo", "rendering", "overlay", "difference")
"""Of the panels of a comparison."""
_CHUNK = 1 << 13
"""Rays rendered at once."""


def reduced(query: Query, max_side: int) -> Query:
    """A query whose photo has no side above `max_side` pixels; its camera sees the same."""
    height, width = query.image.shape[:2]
    size = reduced_size(width, height, max_side)
    if size == (width, height):
        return query
    camera = make_camera(rescaled(lens_of(query.camera), *size)).to(query.camera.device)
    return replace(query, image=reduce_photo(query.image, *size), mask=reduce_mask(query.mask, *size), camera=camera)


@torch.no_grad()
def rendering(scene: Scene, query: Query, c2w: Tensor) -> Tensor:
    """What a query's camera sees of a scene.

    Args:
        scene: what is rendered; the first three channels are colours.
        query: whose lens and size.
        c2w: (3, 4), scene frame.

    Returns:
        (H, W, 3) on the CPU.
    """
    height, width = query.image.shape[:2]
    directions = query.directions.reshape(-1, 3)
    pose = c2w.to(directions)[None]
    colors = []
    for part in directions.split(_CHUNK):
        origins, turned = world_rays(pose, part)
        colors.append(scene.render(origins[0], turned[0]).values[:, :3].cpu())
    return torch.cat(colors).view(height, width, 3)


def exposed(picture: Tensor, exposure: Tensor) -> Tensor:
    """A rendering (H, W, 3) as bright and tinted as the photo: gain and bias (2, 3), clipped to [0, 1]."""
    return (picture * exposure[0] + exposure[1]).clamp(0, 1)


def comparison(photo: Tensor, picture: Tensor) -> list[np.ndarray]:
    """The panels of `TITLES`, (H, W, 3) uint8, of a photo and a rendering (H, W, 3) in [0, 1]."""
    photo = photo.cpu()
    panels = [photo, picture, torch.from_numpy(overlay(photo, picture)) / 255, (photo - picture).abs()]
    return [to_bytes(panel) for panel in panels]


def way_there(scene: Scene, query: Query, estimate: Estimate, count: int) -> list[np.ndarray]:
    """The photo shining through renderings on the way to the estimate.

    Args:
        scene: what is rendered; a coarse copy is good enough for a moving picture.
        query: photo and lens, at the size of the frames.
        estimate: whose trajectory is shown.
        count: frames at most; steps are passed over evenly.

    Returns:
        Frames (H, W, 3) uint8, the first step first.
    """
    steps = estimate.trajectory
    shown = np.unique(np.linspace(0, len(steps) - 1, min(count, len(steps))).round().astype(int)).tolist()
    return [overlay(query.image.cpu(), rendering(scene, query, steps[index].c2w).clamp(0, 1)) for index in shown]


def to_bytes(picture: Tensor) -> np.ndarray:
    """Colours (H, W, 3) in [0, 1] as uint8."""
    return (picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
