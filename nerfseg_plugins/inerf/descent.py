"""The way down: hypotheses go from coarse copies of a scene to the scene itself, fewer at every stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

import torch
from torch import Tensor

from nerfseg_plugins.inerf import hypotheses
from nerfseg_plugins.inerf.adam import adam, pose_cost
from nerfseg_plugins.inerf.config import PoseConfig
from nerfseg_plugins.inerf.levenberg import Rays, Visit, levenberg
from nerfseg_plugins.inerf.pixels import PhotoRays
from nerfseg_plugins.inerf.poses import world_rays
from nerfseg_plugins.inerf.prior import Prior
from nerfseg_plugins.inerf.pyramid import PyramidLevel
from nerfseg_plugins.inerf.residuals import Photometric
from nerfseg_plugins.inerf.result import Step
from nerfseg_plugins.inerf.scene import Scene


@dataclass(frozen=True)
class Stage:
    """One stage of a descent."""

    name: str
    """Shown in the trajectory."""
    scene: Scene
    """What is rendered."""
    rays: int
    """Rays of each hypothesis."""
    iterations: int
    """Steps of Levenberg-Marquardt; 0 only compares."""
    keep: int = 1
    """Hypotheses that go on."""
    resample: int = 0
    """Jittered copies of each that goes on."""
    tolerance: float = 1.0
    """Factor on the residual from which a ray is an outlier: far from the solution most rays are off."""


class Tracks:
    """Hypotheses on their way, each with the steps it has made."""

    def __init__(self, c2w: Tensor, begin: float) -> None:
        self.c2w = c2w
        self.steps: list[list[Step]] = [[] for _ in range(len(c2w))]
        self._begin = begin

    def follow(self, phase: str, history: Sequence[Visit]) -> None:
        """Go where a solver went."""
        for poses, costs, clock in history:
            for steps, pose, cost in zip(self.steps, poses, costs.tolist(), strict=True):
                steps.append(Step(phase, clock - self._begin, cost, pose.cpu()))
        self.c2w = history[-1].c2w

    def select(self, rows: Tensor) -> None:
        """Go on with some of them; a row may come more than once."""
        self.c2w = self.c2w[rows]
        self.steps = [list(self.steps[row]) for row in rows.tolist()]


class Descent:
    """Moves the hypotheses of one photo.

    Args:
        photo: its rays.
        config: how to compare and to step.
        generator: of every draw.
    """

    prior: Optional[Prior] = None
    """What is known of the pose beforehand; Levenberg-Marquardt and comparisons count it."""

    def __init__(self, photo: PhotoRays, config: PoseConfig, generator: torch.Generator) -> None:
        self._photo = photo
        self._config = config
        self._generator = generator

    def levenberg(self, tracks: Tracks, stages: Sequence[Stage]) -> None:
        """Go down stage by stage; one hypothesis is left, the best first where a stage keeps more."""
        for stage in stages:
            photometric = self._photometric(stage.tolerance)
            depth = self.depth(stage.scene, tracks.c2w)
            rays = self.rays(stage.scene, stage.rays, tracks.c2w, depth)
            if stage.iterations:
                settings = replace(self._config.lm, iterations=stage.iterations)
                pivot = self._config.pivot
                found = levenberg(stage.scene, rays, tracks.c2w, photometric, settings, pivot, depth, self.prior)
                tracks.follow(stage.name, found.history)
                costs = found.cost
            else:
                costs = self.costs(stage.scene, rays, tracks.c2w)
            if len(tracks.c2w) > 1:
                near = 0.03 * float(depth.median())
                rows = hypotheses.distinct_best(tracks.c2w, costs, stage.keep, 0.05, near)
                if len(rows):
                    tracks.select(rows)
            if stage.resample:
                self._resample(tracks, stage)

    def adam(self, tracks: Tracks, stages: Sequence[tuple[Stage, float]]) -> None:
        """Adam with fresh rays in every step, over stages that each take a share of the steps."""
        config = self._config
        depth = self.depth(stages[-1][0].scene, tracks.c2w)
        bounds = torch.tensor([share for _, share in stages]).cumsum(0) * config.adam.steps

        def view(step: int) -> tuple[Scene, Rays]:
            stage = stages[min(int((step >= bounds).sum()), len(stages) - 1)][0]
            return stage.scene, self.rays(stage.scene, stage.rays, tracks.c2w, depth)

        history = adam(view, tracks.c2w, self._photometric(1.0), config.adam, config.pivot, depth, self._generator)
        tracks.follow("adam", history)

    @torch.no_grad()
    def costs(self, scene: Scene, rays: Rays, poses: Tensor) -> Tensor:
        """Costs (B,) of poses (B, 3, 4)."""
        costs = pose_cost(scene, rays, poses, self._config.photometric)
        return costs if self.prior is None else costs + self.prior.cost(poses)

    @torch.no_grad()
    def depth(self, scene: Scene, poses: Tensor) -> Tensor:
        """(B,) distance of what is seen, scene units: the median over rays that meet something."""
        rays = self._photo.rays(32, 0.0, self._generator)
        origins, directions = world_rays(poses, rays.directions)
        found = scene.render(origins.reshape(-1, 3), directions.reshape(-1, 3))
        depth = torch.where(found.opacity > 0.5, found.depth, torch.nan).view(len(poses), -1)
        seen = depth.nanmedian(dim=-1).values
        # A camera that sees nothing turns about the middle of the scene.
        return torch.where(seen.isfinite(), seen, poses[..., 3].norm(dim=-1).clamp_min(1e-3))

    def _photometric(self, tolerance: float) -> Photometric:
        photometric = self._config.photometric
        return replace(photometric, scale=photometric.scale * tolerance)

    def rays(self, scene: Scene, count: int, poses: Tensor, depth: Tensor) -> Rays:
        """Rays of the photo, as blurred as the scene's copy is."""
        blur = 0.0
        coarse = isinstance(scene, PyramidLevel)
        if coarse:
            points = poses[..., 3] - poses[..., 2] * depth[:, None]
            # A cell is a box filter, whose standard deviation is 0.29 of its side; interpolation adds to it.
            blur = 0.35 * self._photo.focal * float((scene.cell_size_at(points) / depth).median())
        return self._photo.rays(count, blur, self._generator, features=not coarse)

    def _resample(self, tracks: Tracks, stage: Stage) -> None:
        """Look around what was kept."""
        count = len(tracks.c2w)
        depth = self.depth(stage.scene, tracks.c2w)
        pivot = tracks.c2w[..., 3] - tracks.c2w[..., 2] * depth[:, None]
        copies = [tracks.c2w]
        for _ in range(stage.resample):
            copies.append(hypotheses.jittered(tracks.c2w, 0.35, 0.1 * float(depth.median()), pivot, self._generator))
        tracks.select(torch.arange(count).repeat(stage.resample + 1))
        tracks.c2w = torch.cat(copies)
