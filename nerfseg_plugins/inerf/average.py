"""The mean of all poses that a photo allows, where the rendering is only roughly what was photographed.

A network's idea of an object that it knows from one photo differs from the object more than a turn by some degrees
changes it: the best of all poses makes up for what is wrong. So poses around the start are weighted by how likely the
photo is from them, and by how near to the start they are, and their mean is taken. What is compared is the structure of
small pictures (SSIM, Wang et al. 2004), for colours and thin parts are what such networks are wrong about. The camera
only turns about the pivot: how far off the object is, six free numbers would be used to hide its shape.

The mean is taken by importance sampling in rounds (population Monte Carlo, Cappe et al. 2004), each weighted by the
density that all rounds together were drawn from (Owen and Zhou 2000).
"""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nerfseg_plugins.inerf.hypotheses import turned
from nerfseg_plugins.inerf.levenberg import Visit
from nerfseg_plugins.inerf.poses import moved, world_rays
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.scene import Scene
from nerfseg_plugins.inerf.se3 import log_so3, skew

_C1, _C2 = 0.01**2, 0.03**2
"""SSIM's constants for colours in [0, 1]."""


@dataclass(frozen=True)
class AverageConfig:
    """The mean over the poses around a start."""

    degrees: float = 10.0
    """How far off starts are: standard deviation of the turn about each axis. Turns by up to 30 degrees about any axis,
    each as frequent, have 10."""
    temperature: float = 0.007
    """Loss of mean structural similarity by which a pose becomes less likely by a factor of e."""
    side: int = 32
    """Pixels of the longer side of the pictures that are compared."""
    window: float = 1.25
    """Standard deviation of the window within which structure is compared, those pixels."""
    refined: int = 250
    """Poses of each round after the first, which has as many as there are hypotheses."""
    kernels: tuple[float, ...] = (4.0, 2.5)
    """Degrees about each axis by which poses of the later rounds differ from likely ones of those before."""
    heats: tuple[float, ...] = (4.0, 2.0)
    """Factors on the temperature by which these are chosen."""
    limit: float = 6.0
    """Largest scatter of the poses that a photo allows, degrees, for a mean that is reported as converged."""


class Averaged(NamedTuple):
    """The mean."""

    c2w: Tensor
    """(3, 4)."""
    covariance: Tensor
    """(6, 6) of the twist about the camera; of rank 3, since the distance is taken as known."""
    scatter: float
    """Root mean square angle between the mean and the poses that the photo allows, degrees."""
    poses: Tensor
    """(N, 3, 4) all that were tried, the start first."""
    history: list[Visit]
    """The start and the mean after each round, with the expected loss of similarity."""


class Picture:
    """A photo at a small size, with its rays.

    Args:
        query: the photo.
        config: which size, and how it is compared.
    """

    def __init__(self, query: Query, config: AverageConfig) -> None:
        height, width = query.image.shape[:2]
        factor = min(1.0, config.side / max(height, width))
        size = max(1, round(height * factor)), max(1, round(width * factor))

        def smaller(values: Tensor) -> Tensor:
            """(C, h, w) means of what each new pixel covers."""
            return F.adaptive_avg_pool2d(values.permute(2, 0, 1)[None], size)[0]

        mask = query.mask[..., None].to(query.image)
        self._mask = smaller(mask)
        self._image = smaller(query.image * mask) / self._mask.clamp_min(1e-6)
        self._directions = F.normalize(smaller(query.directions).flatten(1).T, dim=-1)
        self._window = config.window
        self._share = self._blurred(self._mask).clamp_min(1e-6)

    @torch.no_grad()
    def dissimilarity(self, scene: Scene, poses: Tensor, chunk: int = 16) -> Tensor:
        """1 - SSIM (B,) of the photo and renderings from poses (B, 3, 4), the mean over pixels that may be used."""
        found = []
        for some in poses.split(chunk):
            origins, directions = world_rays(some, self._directions)
            values = scene.render(origins.reshape(-1, 3), directions.reshape(-1, 3)).values[:, :3]
            rendered = values.view(len(some), *self._image.shape[1:], 3).movedim(-1, 1)
            found.append(self._compare(rendered))
        return torch.cat(found)

    def _compare(self, rendered: Tensor) -> Tensor:
        first, second = rendered, self._image[None]
        a, b = self._mean(first), self._mean(second)
        variances = self._mean(first.square()) - a.square() + self._mean(second.square()) - b.square()
        covariance = self._mean(first * second) - a * b
        similarity = (2 * a * b + _C1) * (2 * covariance + _C2) / ((a.square() + b.square() + _C1) * (variances + _C2))
        return 1 - (similarity.mean(dim=1) * self._mask).sum(dim=(-2, -1)) / self._mask.sum()

    def _mean(self, values: Tensor) -> Tensor:
        """Of each pixel's window (B, C, h, w), over pixels that may be used."""
        return self._blurred(values * self._mask) / self._share

    def _blurred(self, values: Tensor) -> Tensor:
        """A Gaussian over (..., h, w), the border continued."""
        reach = math.ceil(3 * self._window)
        offsets = torch.arange(-reach, reach + 1, device=values.device) / self._window
        kernel = torch.exp(-offsets.square() / 2)
        kernel = kernel / kernel.sum()
        planes = F.pad(values.reshape(-1, 1, *values.shape[-2:]), (reach,) * 4, mode="replicate")
        planes = F.conv2d(F.conv2d(planes, kernel[None, None, :, None]), kernel[None, None, None])
        return planes.view(values.shape)


def average(
    scene: Scene,
    query: Query,
    start: Tensor,
    pivot: Tensor,
    config: AverageConfig,
    count: int,
    spread: float,
    generator: torch.Generator,
) -> Averaged:
    """The mean of the poses that a photo allows.

    Args:
        scene: what is rendered.
        query: the photo.
        start: (3, 4) pose near the true one, scene frame.
        pivot: (3,) about which the camera is turned.
        config: how.
        count: poses of the first round.
        spread: the largest turn of these, degrees.
        generator: of every draw.
    """
    picture = Picture(query, config)
    first = turned(start, max(count - 1, 0), spread, pivot, generator)
    rounds = _Rounds(len(first), math.radians(spread))
    poses = torch.cat([start[None], first])
    losses = picture.dissimilarity(scene, poses)
    history = [Visit(start[None], losses[:1], time.perf_counter())]

    def shares(heat: float) -> tuple[Tensor, Tensor]:
        turns = _turns(poses, start)
        prior = (turns / math.radians(config.degrees)).square().sum(dim=-1) / 2
        return turns, torch.softmax(-losses / (heat * config.temperature) - prior - rounds.log_density(turns), dim=0)

    for kernel, heat in zip(config.kernels, config.heats, strict=True):
        turns, weights = shares(heat)
        chosen = torch.multinomial(weights.cpu(), config.refined, replacement=True, generator=generator)
        centres, width = turns[chosen.to(turns.device)], math.radians(kernel)
        noise = torch.randn(len(centres), 3, generator=generator).to(centres)
        new = _posed(start, centres + width * noise, pivot)
        rounds.add(centres, width)
        poses, losses = torch.cat([poses, new]), torch.cat([losses, picture.dissimilarity(scene, new)])
        turns, weights = shares(1.0)
        mean = (weights[:, None] * turns).sum(dim=0, keepdim=True)
        history.append(Visit(_posed(start, mean, pivot), (weights * losses).sum()[None], time.perf_counter()))

    turns, weights = shares(1.0)
    mean = (weights[:, None] * turns).sum(dim=0)
    c2w = _posed(start, mean[None], pivot)[0]
    apart = _turns(poses, c2w)
    covariance = (weights[:, None] * apart).T @ apart
    # A turn omega about the pivot p moves the camera c by omega x (c - p).
    lever = torch.cat([-skew(c2w[:, 3] - pivot), torch.eye(3).to(c2w)])
    scatter = math.degrees(float(covariance.trace().clamp_min(0).sqrt()))
    return Averaged(c2w, lever @ covariance @ lever.T, scatter, poses, history)


class _Rounds:
    """The density that poses were drawn from, as turns in radians.

    Args:
        count: poses that cover the ball of turns evenly.
        radius: of that ball.
    """

    def __init__(self, count: int, radius: float) -> None:
        self._count, self._radius = max(count, 1), radius
        self._later: list[tuple[Tensor, float]] = []

    def add(self, centres: Tensor, width: float) -> None:
        """A round of one Gaussian draw around each of some turns (N, 3)."""
        self._later.append((centres, width))

    def log_density(self, turns: Tensor) -> Tensor:
        """(B,) of turns (B, 3), but for a constant factor."""
        inside = turns.norm(dim=-1) <= self._radius * (1 + 1e-3)
        found = self._count / (4 / 3 * math.pi * self._radius**3) * inside
        for centres, width in self._later:
            square = torch.cdist(turns, centres).square()
            found = found + torch.exp(-square / (2 * width**2)).sum(dim=1) / (2 * math.pi * width**2) ** 1.5
        return found.clamp_min(1e-30).log()


def _turns(poses: Tensor, start: Tensor) -> Tensor:
    """Rotation vectors (B, 3) from a pose (3, 4) to poses (B, 3, 4), world axes."""
    return log_so3(poses[..., :3] @ start[:, :3].T)


def _posed(start: Tensor, turns: Tensor, pivot: Tensor) -> Tensor:
    """Poses (B, 3, 4) after turns (B, 3) of one about a point."""
    twist = torch.cat([torch.zeros_like(turns), turns], dim=-1)
    return moved(start.expand(len(turns), 3, 4), twist, pivot.expand(len(turns), 3))
