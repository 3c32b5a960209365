"""Many starts at once: where to put them, which to keep, and where to look again.

Culling and resampling follow parallel inversion (Lin et al., arXiv 2210.10108).
"""

import math

import torch
from torch import Tensor

from nerfseg_plugins.inerf.poses import moved
from nerfseg_plugins.inerf.se3 import log_so3


def around(cameras: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Starts spread over the places that a scene was photographed from.

    Each is a training camera, moved by up to 15 degrees and by a tenth of the cameras' extent; every second one is
    rolled about its axis by a quarter turn or half a turn, since people turn their cameras.

    Args:
        cameras: (N, 3, 4) training cameras, scene frame.
        count: how many.
        generator: of the draw.

    Returns:
        (count, 3, 4).
    """
    device = cameras.device
    cameras = cameras.cpu()
    rounds = -(-count // len(cameras))
    order = torch.cat([torch.randperm(len(cameras), generator=generator) for _ in range(rounds)])[:count]
    poses = cameras[order]
    extent = (cameras[:, :, 3] - cameras[:, :, 3].mean(dim=0)).norm(dim=-1).mean()
    poses = jittered(poses, math.radians(15), 0.1 * float(extent), poses[..., 3], generator)
    turns = torch.randint(1, 4, (count,), generator=generator) * (torch.arange(count) % 2)
    roll = torch.zeros(count, 6)
    roll[:, 3:] = poses[..., 2] * (turns * math.pi / 2)[:, None]
    return moved(poses, roll, poses[..., 3]).to(device)


def jittered(poses: Tensor, max_angle: float, max_distance: float, pivot: Tensor, generator: torch.Generator) -> Tensor:
    """Poses (B, 3, 4) moved at random: about pivots (B, 3) by up to `max_angle` radians, and along each axis by up to
    `max_distance`."""
    axis = torch.randn(len(poses), 3, generator=generator)
    angle = (2 * torch.rand(len(poses), 1, generator=generator) - 1) * max_angle
    shift = (2 * torch.rand(len(poses), 3, generator=generator) - 1) * max_distance
    turn = torch.cat([torch.zeros_like(shift), axis / axis.norm(dim=-1, keepdim=True) * angle], dim=-1)
    turned = moved(poses, turn.to(poses), pivot)
    return torch.cat([turned[..., :3], turned[..., 3:] + shift[..., None].to(poses)], dim=-1)


def turned(pose: Tensor, count: int, degrees: float, pivot: Tensor, generator: torch.Generator) -> Tensor:
    """Poses around one, turned about a point: axes that cover the sphere evenly, angles that cover the ball of turns.

    Args:
        pose: (3, 4).
        count: how many.
        degrees: the largest turn.
        pivot: (3,).
        generator: draws how the pattern lies.

    Returns:
        (count, 3, 4).
    """
    index = torch.arange(count) + 0.5
    height, round_ = 1 - 2 * index / max(count, 1), math.pi * (1 + 5**0.5) * index  # Fibonacci's spiral
    flat = (1 - height.square()).clamp_min(0).sqrt()
    axis = torch.stack([flat * round_.cos(), flat * round_.sin(), height], dim=-1)
    frame, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    # Of each shell of the ball a part that grows with its area: the cube root of an even spread, in shuffled order.
    share = index[torch.randperm(count, generator=generator)] / max(count, 1)
    angle = math.radians(degrees) * share[:, None] ** (1 / 3)
    turn = torch.cat([torch.zeros(count, 3), (axis @ frame.T) * angle], dim=-1)
    return moved(pose.expand(count, 3, 4), turn.to(pose), pivot.expand(count, 3))


def distinct_best(poses: Tensor, costs: Tensor, keep: int, angle: float, distance: float) -> Tensor:
    """The cheapest poses that differ from each other.

    Args:
        poses: (B, 3, 4).
        costs: (B,); one that is no number is never kept.
        keep: at most so many.
        angle: poses nearer than this, radians, and
        distance: nearer than this, scene units, are one.

    Returns:
        (K,) long, the cheapest first; K is 0 only if no cost is a number.
    """
    kept: list[int] = []
    for row in costs.nan_to_num(torch.inf).argsort(stable=True).tolist():
        if not math.isfinite(costs[row]) or len(kept) == keep:
            break
        others = poses[kept]
        turn = log_so3(others[..., :3].transpose(-1, -2) @ poses[row, :, :3]).norm(dim=-1)
        far = (others[..., 3] - poses[row, :, 3]).norm(dim=-1)
        if not bool(((turn < angle) & (far < distance)).any()):
            kept.append(row)
    return torch.tensor(kept, dtype=torch.long, device=poses.device)


def perturbed(c2w: Tensor, max_degrees: float, max_distance: float, generator: torch.Generator) -> Tensor:
    """A start of the benchmark protocol of iNeRF (section 4): turned about the world's origin by an angle drawn from
    [-max_degrees, max_degrees] about a random axis, then moved along each axis by up to `max_distance`.

    Args:
        c2w: (3, 4) true pose.
        max_degrees: largest turn.
        max_distance: largest shift, scene units.
        generator: of the draw.

    Returns:
        (3, 4).
    """
    origin = torch.zeros(1, 3)
    return jittered(c2w[None].cpu(), math.radians(max_degrees), max_distance, origin, generator)[0].to(c2w)
