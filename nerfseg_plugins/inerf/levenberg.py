"""Levenberg-Marquardt on camera poses, for a batch of hypotheses at once.

Rays are independent of each other, so one vector-Jacobian product per channel gives the derivative of every ray's
colour by its own origin and direction: three backward passes make the full Jacobian, whatever kernels the model runs
on. The rest is a 6x6 system per hypothesis, with robust weights (iteratively reweighted least squares) and with the
exposure eliminated (variable projection: Golub and Pereyra 1973, in Kaufman's simplification).
"""

import time
from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from nerfseg_plugins.inerf.poses import Pivot, moved, pivot_points, twist_jacobian, world_rays
from nerfseg_plugins.inerf.prior import Prior
from nerfseg_plugins.inerf.residuals import Comparison, Photometric
from nerfseg_plugins.inerf.scene import Scene
from nerfseg_plugins.inerf.se3 import skew


@dataclass(frozen=True)
class LevenbergConfig:
    """Levenberg-Marquardt."""

    iterations: int = 15
    """Steps at most."""
    damping: float = 1e-2
    """Damping of the first step, as a share of the normal matrix's diagonal."""
    max_rotation: float = 0.35
    """Largest turn of one step, radians."""
    tolerance: float = 1e-4
    """A step shorter than this (radians, or parts of the distance to the scene) ends the iteration."""


@dataclass(frozen=True)
class Rays:
    """The pixels of a photo that are compared."""

    directions: Tensor
    """(R, 3) unit directions, camera frame."""
    target: Tensor
    """(R, C) what the photo shows there."""


class Linearised(NamedTuple):
    """Rendered values and their derivatives at B poses."""

    values: Tensor
    """(B, R, C)."""
    jacobian: Tensor
    """(B, R, C, 6) by the twist."""


class Visit(NamedTuple):
    """Where B hypotheses were after an iteration."""

    c2w: Tensor
    """(B, 3, 4)."""
    cost: Tensor
    """(B,)."""
    clock: float
    """`time.perf_counter()` then."""


class Solution(NamedTuple):
    """Where B hypotheses ended."""

    c2w: Tensor
    """(B, 3, 4)."""
    cost: Tensor
    """(B,) mean robust cost."""
    normal: Tensor
    """(B, 6, 6) mean over rays of J^T W J at these poses, for twists about the camera."""
    history: list[Visit]
    """Each iteration; the best so far of each hypothesis."""


def linearise(scene: Scene, rays: Rays, c2w: Tensor, pivot: Tensor) -> Linearised:
    """Render and differentiate.

    Args:
        scene: what is rendered.
        rays: R of them.
        c2w: (B, 3, 4).
        pivot: (B, 3) about which twists turn.
    """
    count, channels = len(c2w), rays.target.shape[-1]
    origins, directions = (part.reshape(-1, 3).detach().requires_grad_() for part in world_rays(c2w, rays.directions))
    values = scene.render(origins, directions).values
    by_origin, by_direction = [], []
    for channel in range(channels):
        last = channel == channels - 1
        found = torch.autograd.grad(values[:, channel].sum(), (origins, directions), retain_graph=not last)
        by_origin.append(found[0])
        by_direction.append(found[1])
    pivots = pivot.repeat_interleave(len(rays.directions), dim=0)
    jacobian = twist_jacobian(
        origins.detach(), directions.detach(), pivots, torch.stack(by_origin, 1), torch.stack(by_direction, 1)
    )
    return Linearised(values.detach().view(count, -1, channels), jacobian.view(count, -1, channels, 6))


def levenberg(
    scene: Scene,
    rays: Rays,
    c2w: Tensor,
    photometric: Photometric,
    config: LevenbergConfig,
    pivot: Pivot = "scene",
    depth: Optional[Tensor] = None,
    prior: Optional[Prior] = None,
) -> Solution:
    """Move B poses downhill.

    Args:
        scene: what is rendered.
        rays: what is compared.
        c2w: (B, 3, 4) starts.
        photometric: how rendering and photo are compared.
        config: steps and damping.
        pivot: what twists turn about.
        depth: (B,) distance of the scene point before each camera.
        prior: what is known of the poses beforehand.
    """
    depth = c2w.new_ones(len(c2w)) if depth is None else depth
    damping = c2w.new_full((len(c2w),), config.damping)
    trial, best, history = c2w, None, []
    for _ in range(config.iterations):
        points = pivot_points(trial, pivot, depth)
        values, jacobian = linearise(scene, rays, trial, points)
        compared = photometric.compare(values, rays.target)
        state = _State(trial, points, compared.cost, *normal_equations(compared, jacobian))
        state = state if prior is None else _with_prior(state, prior)
        if best is None:
            best = state
        else:
            better = state.cost < best.cost
            best = best.where(better, state)
            damping = torch.where(better, damping / 4, damping * 6).clamp(1e-6, 1e6)
        history.append(Visit(best.c2w, best.cost, time.perf_counter()))
        step = _step(best, damping, config)
        size = torch.maximum(step[:, 3:].norm(dim=-1), step[:, :3].norm(dim=-1) / depth.clamp_min(1e-6))
        if bool((size < config.tolerance).all()):
            break
        trial = moved(best.c2w, step, best.pivot)
    assert best is not None
    return Solution(best.c2w, best.cost, _about_camera(best), history)


class _State(NamedTuple):
    c2w: Tensor
    pivot: Tensor
    cost: Tensor
    normal: Tensor
    gradient: Tensor

    def where(self, better: Tensor, other: "_State") -> "_State":
        """The other state for the hypotheses that got better."""
        chosen = [
            torch.where(better.view(-1, *[1] * (mine.dim() - 1)), theirs, mine)
            for mine, theirs in zip(self, other, strict=True)
        ]
        return _State(*chosen)


def _with_prior(state: _State, prior: Prior) -> _State:
    """A state with the prior's part; twists about another point than the prior's shift that point as well."""
    lever = torch.eye(6, device=state.c2w.device, dtype=state.c2w.dtype).repeat(len(state.c2w), 1, 1)
    lever[:, :3, 3:] = skew(state.pivot - prior.pivot)  # omega x (p_prior - p)
    weighted = lever.transpose(-1, -2) * prior.precision
    deviation = prior.deviation(state.c2w)
    return state._replace(
        cost=state.cost + prior.cost(state.c2w),
        normal=state.normal + weighted @ lever,
        gradient=state.gradient + (weighted @ deviation[..., None])[..., 0],
    )


def normal_equations(compared: Comparison, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """J^T W J (B, 6, 6) and J^T W r (B, 6), per ray."""
    j = compared.project(jacobian)
    weighted = j * compared.weights[..., None]
    count = j.shape[1]
    normal = torch.einsum("brci,brcj->bij", weighted, j) / count
    return normal, torch.einsum("brci,brc->bi", weighted, compared.residuals) / count


def _about_camera(state: _State) -> Tensor:
    """The normal matrix for twists about the camera c instead of the pivot p: v_p = v_c + (c - p) x omega."""
    change = torch.eye(6, device=state.c2w.device, dtype=state.c2w.dtype).repeat(len(state.c2w), 1, 1)
    change[:, :3, 3:] = skew(state.c2w[..., 3] - state.pivot)
    return change.transpose(-1, -2) @ state.normal @ change


def _step(state: _State, damping: Tensor, config: LevenbergConfig) -> Tensor:
    """Damped steps (B, 6), no longer than a camera may turn at once."""
    diagonal = state.normal.diagonal(dim1=-2, dim2=-1)
    floor = 1e-6 * diagonal.amax(dim=-1, keepdim=True) + 1e-12  # a direction that no ray feels
    damped = state.normal + torch.diag_embed(damping[:, None] * diagonal + floor)
    step = -torch.linalg.solve(damped, state.gradient)
    turn = step[:, 3:].norm(dim=-1, keepdim=True)
    return step * (config.max_rotation / turn.clamp_min(1e-9)).clamp_max(1)
