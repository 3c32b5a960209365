"""Whether an estimate may be trusted.

A wrong pose has a low cost as often as not: much of a photo is flat, and a fitted exposure hides the rest. What a
local minimum cannot imitate is structure. So rendering and photo are correlated over rays drawn where the rendering has
gradients (where the photo has them, a rough occluder would draw them all), without the three tenths that agree least.
Two more conditions say that the search has come to rest, and that the photo holds enough to fix all six numbers.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nerfseg_plugins.inerf.average import Averaged
from nerfseg_plugins.inerf.config import PoseConfig
from nerfseg_plugins.inerf.levenberg import linearise, normal_equations
from nerfseg_plugins.inerf.pixels import PhotoRays
from nerfseg_plugins.inerf.poses import world_rays
from nerfseg_plugins.inerf.samplers import PixelSampler, SamplerConfig
from nerfseg_plugins.inerf.scene import Scene

_PREVIEW = 64
"""Rays along the longer side of the rendering that tells where there is structure."""


@dataclass(frozen=True)
class Verdict:
    """What is known of an estimate without the truth."""

    converged: bool
    """Whether the pose may be trusted."""
    reason: str
    """One sentence: why it may, or why not."""
    score: float
    """Correlation of rendering and photo; larger is better."""
    residual: float
    """RMS of the colour residual over the rays that agree."""
    covariance: Tensor
    """(6, 6) of the twist about the camera, scene units and radians."""
    exposure: Tensor
    """(2, 3) gain and bias."""


def judge(
    scene: Scene,
    preview: Scene,
    photo: PhotoRays,
    c2w: Tensor,
    depth: float,
    config: PoseConfig,
    generator: torch.Generator,
) -> Verdict:
    """Judge a pose by rays that its search has not seen.

    Args:
        scene: the scene itself.
        preview: its finest copy, or itself: tells where it has structure.
        photo: the photo.
        c2w: (3, 4) estimate, scene frame.
        depth: distance of what the camera sees, scene units.
        config: how rendering and photo are compared, and what is demanded.
        generator: of the draw.
    """
    limits = config.verdict
    rays = photo.rays(config.rays, 0.0, generator, sampler=_structure(preview, photo, c2w))
    values, jacobian = linearise(scene, rays, c2w[None], c2w[None, :, 3])
    compared = config.photometric.compare(values, rays.target)
    size = compared.residuals[0].square().mean(dim=-1).sqrt()
    agreeing = size.argsort()[: math.ceil((1 - limits.ignored) * len(size))]
    seen, photographed = (config.photometric.compared(part[agreeing]) for part in (values[0], rays.target))
    score = correlation(seen, photographed)
    residual = float(size[agreeing].square().mean().sqrt())
    normal, gradient = (part[0] for part in normal_equations(compared, jacobian))
    finite = bool(torch.isfinite(normal).all() and torch.isfinite(gradient).all()) and math.isfinite(score)
    inverse = torch.linalg.pinv(normal, hermitian=True) if finite else torch.full_like(normal, torch.nan)
    # Of three channels of one ray, errors are alike: a ray counts as one observation.
    covariance = residual**2 * inverse / len(size)
    step = inverse @ gradient
    left = max(math.degrees(float(step[3:].norm())), math.degrees(float(step[:3].norm()) / max(depth, 1e-6)))
    spread = covariance.diagonal().clamp_min(0).sqrt()
    unsure = max(math.degrees(float(spread[3:].max())), math.degrees(float(spread[:3].max()) / max(depth, 1e-6)))
    condition = float(torch.linalg.cond(normal)) if finite else math.inf

    if not finite:
        reason = "the rendering is not finite at the pose that the search ended at"
    elif score < limits.correlation:
        reason = f"rendering and photo do not look alike (correlation {score:.3f}, {limits.correlation} is needed)"
    elif left > limits.step:
        reason = f"the search has not come to rest (the next step would be {left:.2f} degrees); allow more iterations"
    elif unsure > limits.uncertainty or not condition < 1e12:
        reason = f"the photo does not fix the pose (it is uncertain by {unsure:.2f} degrees)"
    else:
        text = f"rendering and photo agree (correlation {score:.3f}, residual {residual:.3f})"
        return Verdict(True, text, score, residual, covariance, compared.exposure[0])
    return Verdict(False, reason, score if finite else -1.0, residual, covariance, compared.exposure[0])


def with_scatter(verdict: Verdict, mean: Averaged, limit: float) -> Verdict:
    """The verdict on a mean of poses: within `limit` degrees of it those must lie, and they tell how sure it is."""
    if mean.scatter <= limit:
        return replace(verdict, covariance=mean.covariance)
    reason = f"the photo allows poses that are {mean.scatter:.1f} degrees from their mean ({limit:g} are allowed)"
    return replace(verdict, converged=False, reason=reason, covariance=mean.covariance)


@torch.no_grad()
def _structure(preview: Scene, photo: PhotoRays, c2w: Tensor) -> PixelSampler:
    """Draws pixels of a photo where the scene, seen from a pose (3, 4), has gradients."""
    height, width = photo.query.image.shape[:2]
    step = max(1, max(height, width) // _PREVIEW)
    directions = photo.query.directions[step // 2 :: step, step // 2 :: step]
    values = preview.render(*world_rays(c2w, directions.reshape(-1, 3))).values[:, :3]
    small = values.view(*directions.shape[:2], 3).permute(2, 0, 1)[None].nan_to_num(0.0)
    whole = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    return PixelSampler(whole, photo.query.mask, SamplerConfig("gradient", uniform_share=0.1))


def correlation(rendered: Tensor, target: Tensor) -> float:
    """Normalised correlation of values (R, C), the mean of each channel taken out; 0 where one side is constant."""
    first, second = rendered - rendered.mean(dim=0), target - target.mean(dim=0)
    norm = float(first.norm() * second.norm())
    return float((first * second).sum()) / norm if norm > 1e-9 else 0.0
