"""Adam on camera poses: iNeRF's way (arXiv 2012.05877), with its schedule.

Two parameterisations. The twist is plain: six numbers, moved about a pivot. The screw is that of the widespread port:
axis, moment and angle (w, v, theta), seven numbers near zero and about the world's origin; at its start every
derivative is multiplied by a number near zero, so that it stands still at first. It is here to be compared with.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nerfseg_plugins.inerf.levenberg import Rays, Visit
from nerfseg_plugins.inerf.poses import Pivot, moved, pivot_points, world_rays
from nerfseg_plugins.inerf.residuals import Photometric
from nerfseg_plugins.inerf.scene import Scene
from nerfseg_plugins.inerf.se3 import skew


@dataclass(frozen=True)
class AdamConfig:
    """Adam with exponential decay."""

    steps: int = 300
    """Steps in all."""
    rate: float = 0.01
    """Learning rate of the first step, scene units and radians alike."""
    decay: float = 0.8
    """Factor on the rate every 100 steps."""
    parameters: Literal["twist", "screw"] = "twist"
    """Six numbers about the pivot, or the seven of the original ports."""


class PoseParameters(torch.nn.Module):
    """Poses as parameters of an optimiser.

    Args:
        c2w: (B, 3, 4) starts.
        pivot: (B, 3) about which twists turn; the screw turns about the origin.
        parameters: see `AdamConfig`.
        generator: of the screw's tiny random start.
    """

    def __init__(
        self, c2w: Tensor, pivot: Tensor, parameters: Literal["twist", "screw"], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.register_buffer("start", c2w.clone())
        self.register_buffer("pivot", pivot.clone())
        if parameters == "screw":
            tiny = torch.randn(len(c2w), 7, generator=generator) * 1e-6
        else:
            tiny = torch.zeros(len(c2w), 6)
        self.values = torch.nn.Parameter(tiny.to(c2w))

    def forward(self) -> Tensor:
        """The poses (B, 3, 4)."""
        start, pivot = self.get_buffer("start"), self.get_buffer("pivot")
        return screwed(start, self.values) if self.values.shape[-1] == 7 else moved(start, self.values, pivot)


def screwed(c2w: Tensor, screw: Tensor) -> Tensor:
    """Poses (B, 3, 4) after screws (B, 7), (w, v, theta), about the origin; w is taken as it is, of any length."""
    w, v, theta = screw[:, :3], screw[:, 3:6], screw[:, 6, None, None]
    eye, generator = torch.eye(3, device=c2w.device, dtype=c2w.dtype), skew(w)
    square = generator @ generator
    rotation = eye + theta.sin() * generator + (1 - theta.cos()) * square
    lever = eye * theta + (1 - theta.cos()) * generator + (theta - theta.sin()) * square
    position = rotation @ c2w[..., 3:] + lever @ v[..., None]
    return torch.cat([rotation @ c2w[..., :3], position], dim=-1)


def adam(
    views: Callable[[int], tuple[Scene, Rays]],
    c2w: Tensor,
    photometric: Photometric,
    config: AdamConfig,
    pivot: Pivot,
    depth: Tensor,
    generator: torch.Generator,
) -> list[Visit]:
    """Move B poses downhill.

    Args:
        views: step -> what is rendered and which R rays are compared.
        c2w: (B, 3, 4) starts.
        photometric: how rendering and photo are compared.
        config: steps and rates.
        pivot: what twists turn about.
        depth: (B,) distance of the scene point before each camera.
        generator: of random numbers.

    Returns:
        Poses and costs before each step, and the last poses with the last costs.
    """
    poses = PoseParameters(c2w, pivot_points(c2w, pivot, depth), config.parameters, generator)
    optimizer = torch.optim.Adam(poses.parameters(), lr=config.rate, betas=(0.9, 0.999))
    history = []
    cost = c2w.new_zeros(len(c2w))
    for step in range(config.steps):
        scene, rays = views(step)
        optimizer.param_groups[0]["lr"] = config.rate * config.decay ** (step / 100)
        current = poses()
        cost = pose_cost(scene, rays, current, photometric)
        optimizer.zero_grad()
        cost.sum().backward()
        history.append(Visit(current.detach(), cost.detach(), time.perf_counter()))
        optimizer.step()
    return [*history, Visit(poses().detach(), cost.detach(), time.perf_counter())]


def pose_cost(scene: Scene, rays: Rays, c2w: Tensor, photometric: Photometric) -> Tensor:
    """Costs (B,) of poses (B, 3, 4), differentiable."""
    origins, directions = world_rays(c2w, rays.directions)
    values = scene.render(origins.reshape(-1, 3), directions.reshape(-1, 3)).values
    return photometric.compare(values.view(len(c2w), len(rays.directions), -1), rays.target).cost
