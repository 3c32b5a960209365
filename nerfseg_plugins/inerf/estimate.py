"""The camera of a photo: where to start, the way down, the verdict."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Optional, Union

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf import hypotheses
from nerfseg_plugins.inerf.average import Averaged, average
from nerfseg_plugins.inerf.config import PoseConfig
from nerfseg_plugins.inerf.descent import Descent, Stage, Tracks
from nerfseg_plugins.inerf.matching import Match, References, match
from nerfseg_plugins.inerf.object_grid import ObjectGrid
from nerfseg_plugins.inerf.pixels import PhotoRays
from nerfseg_plugins.inerf.poses import pivot_points, world_rays
from nerfseg_plugins.inerf.prior import Prior
from nerfseg_plugins.inerf.pyramid import PyramidLevel
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.result import Estimate
from nerfseg_plugins.inerf.scene import Scene
from nerfseg_plugins.inerf.se3 import orthonormal
from nerfseg_plugins.inerf.verdict import Verdict, judge, with_scatter

Level = Union[PyramidLevel, ObjectGrid]
Attempt = tuple[Tensor, list[Stage]]
"""Starts (B, 3, 4), and the stages that suit how far off they may be."""


class Estimator:
    """Finds cameras in one scene; what a scene costs once (coarse copies, references) is kept.

    Args:
        scene: the scene itself.
        config: how to search.
        levels: its coarse copies, coarsest first; none where it has none.
        cameras: (N, 3, 4) training cameras, scene frame, near which hypotheses are tried.
        references: makes the views that features are matched to; called when they are first needed.
    """

    def __init__(
        self,
        scene: Scene,
        config: PoseConfig,
        levels: Sequence[Level],
        cameras: Tensor,
        references: Optional[Callable[[], References]] = None,
    ) -> None:
        self.scene = scene
        self.config = config
        self.levels = list(levels) if config.coarse else []
        self.cameras = cameras
        self._make_references = references
        self._references: Optional[References] = None

    def prepare(self) -> None:
        """Do now what the first estimate would do: find the features of the views to match with."""
        if self.config.init in ("auto", "match"):
            self.references()

    def estimate(self, query: Query, start: Optional[Tensor] = None) -> Estimate:
        """Find the camera of a photo.

        Args:
            query: the photo.
            start: (3, 4) pose to start from, scene frame; `query.start` by default.

        Returns:
            The best estimate; `converged` says whether it may be trusted.

        Raises:
            InputError: there is nowhere to start from.
        """
        if self.config.solver == "mean" and self.config.init not in ("start", "around"):
            raise InputError(f"the mean is taken over poses around a given one, so init cannot be {self.config.init!r}")
        begin = time.perf_counter()
        start = query.start if start is None else start
        generator = torch.Generator().manual_seed(self.config.seed)
        self._check_features(query)
        photo = PhotoRays(query, self.config.sampler)
        descent = Descent(photo, self.config, generator)
        found: list[tuple[Verdict, Tracks]] = []
        tried: list[Tensor] = []
        failures: list[str] = []
        for poses, stages in self.attempts(photo, start, generator, failures):
            tried.append(poses)
            descent.prior = self._prior(descent, start) if self.config.init in ("start", "around") else None
            tracks, mean = Tracks(poses, begin), None
            if self.config.solver == "lm":
                descent.levenberg(tracks, stages)
            elif self.config.solver == "mean":
                mean = self._mean(query, poses[0], descent, generator)
                tried[-1] = mean.poses
                tracks.select(torch.tensor([0]))
                tracks.follow("mean", mean.history)
            else:
                descent.adam(tracks, self._adam_stages())
            preview = self.levels[-1] if self.levels else self.scene
            depth = float(descent.depth(preview, tracks.c2w[:1]))
            verdict = judge(self.scene, preview, photo, tracks.c2w[0], depth, self.config, generator)
            found.append((verdict if mean is None else with_scatter(verdict, mean, self.config.average.limit), tracks))
            if found[-1][0].converged:
                break
        if not found:
            raise InputError(f"{query.path}: {'; '.join(failures)}")
        verdict, tracks = max(found, key=lambda pair: pair[0].score)
        return Estimate(
            c2w=orthonormal(tracks.c2w[0]).cpu(),
            converged=verdict.converged,
            reason=verdict.reason,
            residual=verdict.residual,
            covariance=verdict.covariance.cpu(),
            trajectory=tracks.steps[0],
            hypotheses=torch.cat(tried).cpu(),
            exposure=verdict.exposure.cpu(),
            seconds=time.perf_counter() - begin,
        )

    @torch.no_grad()
    def _check_features(self, query: Query) -> None:
        """Refuse a photo whose feature map is not what the scene renders."""
        name, known = self.config.features, query.features
        if name is None and known is None:
            return
        if name is None or known is None:
            what = (
                "a feature map, but no output of the run is named" if name is None else f"no feature map for {name!r}"
            )
            raise InputError(f"{query.path} has {what}; features need both")
        ray = query.directions[:1, 0]
        channels = self.scene.render(torch.zeros_like(ray), ray).values.shape[-1] - 3
        if channels != known.shape[-1]:
            raise InputError(
                f"the feature map of {query.path} has {known.shape[-1]} channels, and {name!r} of the run {channels}; "
                "give maps of what the run renders"
            )

    # Starts ----------------------------------------------------------------------------------------------------------

    def attempts(
        self, photo: PhotoRays, start: Optional[Tensor], generator: torch.Generator, failures: list[str]
    ) -> Iterator[Attempt]:
        """Attempts, the cheapest first; why there is none of a kind goes to `failures`."""
        init, device = self.config.init, photo.query.image.device
        if init in ("auto", "match"):
            found = match(photo.query, self.references(), self.config.matching, self.config.seed)
            if isinstance(found, Match):
                yield found.c2w[None].to(device), self._from_near()
            else:
                failures.append(found.reason)
        if start is not None and init in ("auto", "start"):
            start = start[None].to(device)
            if self._sees_something(photo, start, generator):
                yield start, self._from_one()
            else:
                failures.append(
                    "the pose to start from sees nothing of the scene: it lies outside of it and looks past it; check "
                    "its frame and units"
                )
        elif start is not None and init == "around":
            start = start[None].to(device)
            several = self.config.solver != "mean"  # which makes its own
            yield torch.cat([start, self._around(photo, start, generator)]) if several else start, self._from_around()
        elif init in ("start", "around"):
            failures.append("it has no pose to start from; give one, or choose another init")
        if init == "nearest":
            yield self.cameras.to(device), [self._compared(), *self._from_one()]
        if init in ("auto", "global"):
            poses = hypotheses.around(self.cameras, self.config.hypotheses, generator)
            yield poses.to(device), self._from_many()

    def _prior(self, descent: Descent, start: Optional[Tensor]) -> Optional[Prior]:
        """What the configuration says of poses that start from (3, 4)."""
        if self.config.prior is None or start is None:
            return None
        pose = start.to(self.cameras)[None]
        depth = descent.depth(self.levels[0] if self.levels else self.scene, pose)
        return Prior.around(pose[0], pivot_points(pose, self.config.pivot, depth)[0], self.config.prior)

    def _around(self, photo: PhotoRays, start: Tensor, generator: torch.Generator) -> Tensor:
        """Poses (N, 3, 4) around one (1, 3, 4): turned about the pivot, evenly from not at all to `spread`."""
        config = self.config
        depth = Descent(photo, config, generator).depth(self.levels[0] if self.levels else self.scene, start)
        pivot = pivot_points(start, config.pivot, depth)
        return hypotheses.turned(start[0], max(config.hypotheses - 1, 0), config.spread, pivot[0], generator)

    def _mean(self, query: Query, start: Tensor, descent: Descent, generator: torch.Generator) -> Averaged:
        """The mean over the poses around one (3, 4)."""
        config, scene = self.config, self.levels[-1] if self.levels else self.scene
        depth = descent.depth(scene, start[None]) if config.pivot == "scene" else 0.0
        pivot = pivot_points(start[None], config.pivot, depth)[0]
        return average(scene, query, start, pivot, config.average, config.hypotheses, config.spread, generator)

    @torch.no_grad()
    def _sees_something(self, photo: PhotoRays, start: Tensor, generator: torch.Generator) -> bool:
        """Whether any ray from a pose (1, 3, 4) meets something."""
        origins, directions = world_rays(start[0], photo.rays(256, 0.0, generator, features=False).directions)
        scene = self.levels[0] if self.levels else self.scene
        return bool((scene.render(origins, directions).opacity > 0.1).any())

    def references(self) -> References:
        """The views that features are matched to.

        Raises:
            InputError: this estimator was given none.
        """
        if self._references is None:
            if self._make_references is None:
                raise InputError("the run has no views to match features with; choose another init")
            self._references = self._make_references()
        return self._references

    # Ways down -------------------------------------------------------------------------------------------------------

    def _from_near(self) -> list[Stage]:
        """From a pose that is off by a pixel or two, as matched features leave it: the scene alone."""
        return [replace(self._last(), iterations=min(self.config.lm.iterations, 6))]

    def _from_one(self) -> list[Stage]:
        """From one pose that may be far off."""
        if not self.levels:
            return [replace(self._last(), iterations=30)]
        count = len(self.levels)
        steps = [max(8, 30 - 8 * place) for place in range(count)]
        return [
            *(
                Stage(f"level {place}", level, self.config.rays, steps[place], tolerance=2.0 ** (count - 1 - place))
                for place, level in enumerate(self.levels)
            ),
            self._last(),
        ]

    def _from_many(self) -> list[Stage]:
        """From hypotheses all over the scene: most are culled on the coarsest copy."""
        if not self.levels:
            last = self._last()
            return [replace(last, rays=128, iterations=0, keep=16), replace(last, rays=256, keep=4), last]
        coarsest = self.levels[0]
        stages = [
            Stage("search", coarsest, 128, 0, keep=24),
            Stage("search", coarsest, 128, 6, keep=6, resample=2, tolerance=4.0),
            Stage("search", coarsest, 192, 8, keep=6, tolerance=4.0),
        ]
        for place, level in enumerate(self.levels[1:], start=1):
            keep = max(1, 4 - place)
            stages.append(Stage(f"level {place}", level, min(256 * place, self.config.rays), 10, keep=keep))
        return [*stages, self._last()]

    def _from_around(self) -> list[Stage]:
        """From many hypotheses of which one is near: a few steps of the best tell which."""
        scene, rays = self.levels[0] if self.levels else self.scene, self.config.rays
        return [
            Stage("search", scene, min(192, rays), 0, keep=8),
            Stage("search", scene, min(192, rays), 4, keep=3),
            Stage("search", scene, min(384, rays), 6),
            self._last(),
        ]

    def _compared(self) -> Stage:
        scene = self.levels[0] if self.levels else self.scene
        return Stage("compare", scene, 256, 0)

    def _last(self) -> Stage:
        return Stage("scene", self.scene, self.config.rays, min(self.config.lm.iterations, 8), tolerance=0.5)

    def _adam_stages(self) -> list[tuple[Stage, float]]:
        """Stages of Adam with their shares of its steps: three fifths on the copies, if there are any."""
        share = 0.6 / max(len(self.levels), 1)
        coarse = [(Stage(f"level {i}", level, self.config.rays, 0), share) for i, level in enumerate(self.levels)]
        return [*coarse, (self._last(), 1.0)]
