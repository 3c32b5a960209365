"""Where along rays the networks are asked, and how their answers make a pixel (arXiv 2012.02190, appendix B.1).

Everything here is a function of its arguments: random numbers are drawn by the caller, see `draw` and `fixed`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass
class SamplingConfig:
    """How many samples a ray has."""

    num_coarse: int = 64
    """Samples that are spread evenly, one at random in each of as many parts of the ray."""
    num_importance: int = 16
    """Samples where the coarse ones have weight."""
    num_depth: int = 16
    """Samples around the depth that the coarse ones expect."""
    depth_std: float = 0.01
    """Standard deviation of the samples around the expected depth, scene units."""
    merge_coarse: bool = True
    """Whether the fine network is asked at the coarse samples, too; without them it is asked less often, and
    `weight_floor` has to show it the empty parts of rays."""
    weight_floor: float = 1e-5
    """Weight that each coarse sample has at least when samples are drawn by weight."""


class Draws(NamedTuple):
    """The numbers that decide where R rays are sampled."""

    coarse: Tensor
    """(R, num_coarse) in [0, 1]: place within each part of the ray."""
    importance: Tensor
    """(R, num_importance) in [0, 1]: quantiles of the weights."""
    depth: Tensor
    """(R, num_depth) standard normal."""


def draw(num_rays: int, config: SamplingConfig, device: torch.device) -> Draws:
    """Random numbers of torch's generator, as in training; one quantile in each of as many equal parts."""
    count = config.num_importance
    return Draws(
        torch.rand(num_rays, config.num_coarse, device=device),
        (torch.arange(count, device=device) + torch.rand(num_rays, count, device=device)) / max(count, 1),
        torch.randn(num_rays, config.num_depth, device=device),
    )


def fixed(num_rays: int, config: SamplingConfig, device: torch.device) -> Draws:
    """The middles of what `draw` draws from: the same for every ray, so that renderings do not flicker."""

    def middles(count: int) -> Tensor:
        return ((torch.arange(count, device=device) + 0.5) / max(count, 1)).expand(num_rays, count)

    halves = torch.full((num_rays, config.num_coarse), 0.5, device=device)
    return Draws(halves, middles(config.num_importance), torch.special.ndtri(middles(config.num_depth)))


def stratified(near: Tensor, far: Tensor, places: Tensor) -> Tensor:
    """One sample in each of S equal parts of the rays.

    Args:
        near: (R, 1) distances at which rays begin.
        far: (R, 1) and end.
        places: (R, S) in [0, 1], within each part.

    Returns:
        (R, S) distances, ascending.
    """
    count = places.shape[-1]
    return near + (far - near) * (torch.arange(count, device=places.device) + places) / count


def importance(weights: Tensor, near: Tensor, far: Tensor, quantiles: Tensor, floor: float = 1e-5) -> Tensor:
    """Samples whose density over a part of the ray is that part's weight.

    Args:
        weights: (R, S) of S equal parts of the rays; detached here.
        near: (R, 1) distances at which rays begin.
        far: (R, 1) and end.
        quantiles: (R, K) in [0, 1].
        floor: added to the weights.

    Returns:
        (R, K) distances, in the order of the quantiles; even along rays without weights.
    """
    parts = weights.detach() + floor
    share = parts / parts.sum(dim=-1, keepdim=True)
    ends = share.cumsum(dim=-1)
    part = torch.searchsorted(ends, quantiles.contiguous(), right=True).clamp_max(weights.shape[-1] - 1)
    inside = 1 - (ends.gather(-1, part) - quantiles) / share.gather(-1, part)
    return near + (far - near) * (part + inside.clamp(0, 1)) / weights.shape[-1]


def around_depth(depth: Tensor, near: Tensor, far: Tensor, normals: Tensor, std: float) -> Tensor:
    """Samples around distances (R, 1): (R, K) for normals (R, K), within the rays; detached from the distances."""
    return torch.minimum(torch.maximum(depth.detach() + std * normals, near), far)


def merge(*samples: Tensor) -> Tensor:
    """All samples (R, S_i) of rays, ascending: (R, sum of S_i)."""
    return torch.cat(samples, dim=-1).sort(dim=-1).values


def weights_of(density: Tensor, distances: Tensor, far: Tensor) -> Tensor:
    """How much of a pixel each sample is (NeRF, arXiv 2003.08934, equation 3).

    Args:
        density: (R, S), per scene unit.
        distances: (R, S) ascending; a sample answers for the ray up to the next one, the last one up to the end.
        far: (R, 1) distances at which rays end.

    Returns:
        (R, S), summing to at most 1.
    """
    lengths = torch.cat([distances[:, 1:], far], dim=-1) - distances
    depth = density * lengths
    passed = torch.cat([torch.zeros_like(depth[:, :1]), depth[:, :-1].cumsum(dim=-1)], dim=-1)
    return torch.exp(-passed) * -torch.expm1(-depth)


def expected_depth(weights: Tensor, distances: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Mean distance (R, 1) of what rays meet, within them; `near` where they meet nothing."""
    total = weights.sum(dim=-1, keepdim=True)
    mean = (weights * distances).sum(dim=-1, keepdim=True) / (total + 1e-8)
    return torch.minimum(torch.maximum(mean, near), far)
