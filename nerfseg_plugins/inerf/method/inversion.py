"""The cameras of many photos at once, a step at a time: what a trainer with a viewer needs, and `Estimator` does not.

Every photo has a few slots, each a hypothesis on its way down. All begin on the coarsest copy of the scene; at every
finer one fewer go on, and one reaches the scene itself.
"""

import time
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf import hypotheses
from nerfseg_plugins.inerf.adam import PoseParameters, pose_cost
from nerfseg_plugins.inerf.descent import Descent, Stage, Tracks
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.method.history import History
from nerfseg_plugins.inerf.output.store import digest
from nerfseg_plugins.inerf.pixels import PhotoRays
from nerfseg_plugins.inerf.poses import pivot_points
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.result import Estimate, Step
from nerfseg_plugins.inerf.scene import Scene
from nerfseg_plugins.inerf.se3 import orthonormal
from nerfseg_plugins.inerf.verdict import judge

_COARSE_SHARE = 0.6
"""Of the steps, on coarse copies of the scene."""
_FEWEST_RAYS = 128
"""Of a hypothesis, however many share the rays of a step."""
_RECENT = 5
"""Steps over which costs are averaged where hypotheses are compared: each draws other rays."""


class Leg(NamedTuple):
    """Part of the way down."""

    name: str
    scene: Scene
    end: int
    """The first step that is no longer part of it."""
    alive: int
    """Hypotheses of a photo that take part."""


def legs(estimator: Estimator, steps: int, slots: int) -> list[Leg]:
    """The way down: coarse copies for three fifths of the steps, if there are any, then the scene."""
    count = len(estimator.levels)
    if not count:
        return [Leg("scene", estimator.scene, round(0.2 * steps), slots), Leg("scene", estimator.scene, steps, 1)]
    found = []
    for place, level in enumerate(estimator.levels):
        end = round(_COARSE_SHARE * steps * (place + 1) / count)
        found.append(Leg(f"level {place}", level, end, slots if place == 0 else min(slots, max(1, 5 - place))))
    return [*found, Leg("scene", estimator.scene, steps, 1)]


class Inversion(nn.Module):
    """Poses of Q photos in one scene, H hypotheses each.

    Its state is that of a checkpoint: poses and how they came about, and what photos in which scene they belong to,
    but nothing of the scene itself.

    Args:
        estimator: of the scene.
        queries: the photos.
        slots: hypotheses of a photo that are optimised side by side.
        steps: in all.
        scene_digest: names the scene; a checkpoint with another is refused.
    """

    alive: Tensor
    depth: Tensor

    def __init__(self, estimator: Estimator, queries: list[Query], slots: int, steps: int, scene_digest: str) -> None:
        super().__init__()
        self.queries = queries
        self.estimator = estimator
        self.estimates: list[Estimate] = []
        """Once it is finished, one per photo."""
        self.history = History()
        self._config = estimator.config
        self._legs = legs(estimator, steps, slots)
        self._photos = [PhotoRays(query, self._config.sampler) for query in queries]
        self._digests = {"scene": scene_digest, "photos": [[str(query.path), digest(query)] for query in queries]}
        self._tried: list[Tensor] = []
        self._began = time.perf_counter()
        device = queries[0].image.device
        nothing = torch.eye(4, device=device)[:3].repeat(len(queries) * slots, 1, 1)
        parameters = self._config.adam.parameters
        generator = torch.Generator().manual_seed(self._config.seed)
        # Slots that stay empty are parameters too: the optimiser wants one size, also where it continues.
        self.poses = PoseParameters(nothing, nothing[..., 3], parameters, generator)
        self.register_buffer("alive", torch.zeros(len(queries), slots, dtype=torch.bool, device=device))
        self.register_buffer("depth", torch.ones(len(queries), slots, device=device))

    # Where it stands -------------------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether there are poses at all."""
        return bool(self.alive.any())

    def c2w(self) -> Tensor:
        """(Q, H, 3, 4), differentiable; slots that are not alive mean nothing."""
        return self.poses().view(*self.alive.shape, 3, 4)

    def leader(self, photo: int) -> int:
        """The slot that fits best."""
        return int(self._recent_costs(photo).masked_fill(~self.alive[photo].cpu(), torch.inf).argmin())

    @torch.no_grad()
    def best(self) -> Tensor:
        """(Q, 3, 4) the poses that fit best; after the end, the estimates."""
        if self.estimates:
            return torch.stack([estimate.c2w for estimate in self.estimates]).to(self.depth)
        poses = self.c2w()
        return torch.stack([poses[photo, self.leader(photo)] for photo in range(len(self.queries))])

    def _recent_costs(self, photo: int) -> Tensor:
        """(H,) on the CPU, infinite where nothing is known."""
        recent = [costs[photo] for costs in self.history.costs[-_RECENT:]]
        return torch.stack(recent).mean(dim=0) if recent else torch.zeros(self.alive.shape[1])

    # Beginning -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find where to start, photo by photo.

        Raises:
            InputError: there is nowhere to start from for one of them.
        """
        self._began = time.perf_counter()
        for photo in range(len(self.queries)):
            self._fill(photo, self._starts(photo))

    def _starts(self, photo: int) -> Tensor:
        """(K, 3, 4), at most as many as there are slots: what is given or matched, then the best of a wide search."""
        query, rays = self.queries[photo], self._photos[photo]
        generator = self._generator(photo, -1)
        descent = Descent(rays, self._config, generator)
        coarsest = self._legs[0].scene
        failures: list[str] = []
        single, many, tried = [], [], []
        for poses, stages in self.estimator.attempts(rays, query.start, generator, failures):
            tried.append(poses)
            if len(poses) == 1:
                single.append(poses)
                continue
            tracks = Tracks(poses, self._began)
            wide = [stage for stage in stages if stage.scene is coarsest and (stage.keep > 1 or not stage.iterations)]
            descent.levenberg(tracks, wide)
            many.append(tracks.c2w)
        if not tried:
            raise InputError(f"{query.path}: {'; '.join(failures)}")
        self._tried.append(torch.cat(tried).cpu())
        return torch.cat([*single, *many])[: self.alive.shape[1]]

    def _fill(self, photo: int, starts: Tensor) -> None:
        count, slots = len(starts), self.alive.shape[1]
        descent = Descent(self._photos[photo], self._config, self._generator(photo, -2))
        depth = descent.depth(self.estimator.scene, starts)
        first = photo * slots
        self.poses.get_buffer("start")[first : first + count] = starts
        self.poses.get_buffer("pivot")[first : first + count] = pivot_points(starts, self._config.pivot, depth)
        self.alive[photo, :count] = True
        self.depth[photo, :count] = depth

    # Steps -----------------------------------------------------------------------------------------------------------

    def forward(self, step: int) -> Tensor:
        """The costs of all hypotheses of all photos on fresh rays, summed, with their derivatives.

        Raises:
            InputError: a cost or a derivative is no number.
        """
        leg = next((leg for leg in self._legs if step < leg.end), self._legs[-1])
        self._cull(leg, step)
        self.estimates = []
        poses = self.c2w()
        total = poses.new_zeros(())
        costs = torch.full(self.alive.shape, torch.inf)
        for photo in range(len(self.queries)):
            rows = self.alive[photo].nonzero()[:, 0]
            cost, slope = self._cost(photo, leg, step, poses[photo, rows].detach(), self.depth[photo, rows])
            # The graph of every photo is let go at once: all of them together would fill the memory.
            change = poses[photo, rows] - poses[photo, rows].detach()
            total = total + cost.sum() + (slope * change).sum()
            costs[photo, rows.cpu()] = cost.cpu()
        self.history.add(leg.name, self.seconds, poses.detach().cpu(), costs)
        return total

    @property
    def seconds(self) -> float:
        """Since it began, interruptions left out."""
        return time.perf_counter() - self._began

    def _cost(self, photo: int, leg: Leg, step: int, poses: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Costs (B,) of poses (B, 3, 4), and their derivatives (B, 3, 4)."""
        config = self._config
        count = config.rays if len(poses) == 1 else max(min(_FEWEST_RAYS, config.rays), config.rays // len(poses))
        descent = Descent(self._photos[photo], config, self._generator(photo, step))
        rays = descent.rays(leg.scene, count, poses, depth)
        leaf = poses.clone().requires_grad_()
        with torch.enable_grad():
            cost = pose_cost(leg.scene, rays, leaf, config.photometric)
            (slope,) = torch.autograd.grad(cost.sum(), leaf)
        if not bool(cost.isfinite().all() and slope.isfinite().all()):
            raise InputError(
                f"{self.queries[photo].path}: at step {step} its loss is not a number: the scene's weights are "
                "damaged, or the pose ran away; check the run, or lower --optimizers.poses.optimizer.lr"
            )
        return cost.detach(), slope

    @torch.no_grad()
    def _cull(self, leg: Leg, step: int) -> None:
        """Leave as many hypotheses as a leg takes, the best that differ from each other."""
        poses = self.c2w()
        for photo in range(len(self.queries)):
            rows = self.alive[photo].nonzero()[:, 0]
            if len(rows) <= leg.alive:
                continue
            costs = self._recent_costs(photo).to(poses)[rows]
            if not self.history.costs:
                costs = self._cost(photo, leg, step, poses[photo, rows], self.depth[photo, rows])[0]
            near = 0.03 * float(self.depth[photo, rows].median())
            kept = hypotheses.distinct_best(poses[photo, rows], costs, leg.alive, 0.05, near)
            self.alive[photo] = False
            self.alive[photo, rows[kept]] = True

    def _generator(self, photo: int, step: int) -> torch.Generator:
        """Of the draws of a step: the same, wherever training was interrupted."""
        return torch.Generator().manual_seed((self._config.seed * 1009 + photo) * 1_000_003 + step + 2)

    # End -------------------------------------------------------------------------------------------------------------

    def finish(self, photo: int) -> Estimate:
        """The last steps of a photo, by Levenberg-Marquardt, and the verdict."""
        begin = time.perf_counter()
        generator = self._generator(photo, -3)
        slot = self.leader(photo)
        with torch.no_grad():
            tracks = Tracks(self.c2w()[photo, slot][None].detach(), self._began)
        descent = Descent(self._photos[photo], self._config, generator)
        scene = self.estimator.scene
        stage = Stage("polish", scene, self._config.rays, self._config.lm.iterations, tolerance=0.5)
        descent.levenberg(tracks, [stage])
        preview = self._legs[-2].scene
        depth = float(descent.depth(preview, tracks.c2w))
        verdict = judge(scene, preview, self._photos[photo], tracks.c2w[0], depth, self._config, generator)
        steps = self.history.steps(photo, slot)
        adam_seconds = steps[-1].seconds if steps else 0.0
        return Estimate(
            c2w=orthonormal(tracks.c2w[0]).cpu(),
            converged=verdict.converged,
            reason=verdict.reason,
            residual=verdict.residual,
            covariance=verdict.covariance.cpu(),
            trajectory=[*steps, *tracks.steps[0]],
            hypotheses=self._tried[photo],
            exposure=verdict.exposure.cpu(),
            seconds=adam_seconds + time.perf_counter() - begin,
        )

    def finished(self, estimates: list[Estimate]) -> None:
        """Take these for the result."""
        self.estimates = estimates

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def refusal(self, state: Any) -> Optional[str]:
        """Why a checkpoint's state is not one of these photos in this scene; None if it is."""
        if not isinstance(state, dict) or "digests" not in state:
            return "it holds no poses of photos"
        digests = state["digests"]
        if digests["scene"] != self._digests["scene"]:
            return "its poses are of another scene, or of the same run at another step"
        theirs, ours = ({key for _, key in entry["photos"]} for entry in (digests, self._digests))
        if theirs != ours or len(digests["photos"]) != len(self.queries):
            other = next((path for path, key in digests["photos"] if key not in ours), digests["photos"][0][0])
            return f"its poses are of other photos, starts or lenses ({other})"
        return None

    def get_extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds besides tensors of fixed shapes: plain values and tensors alone."""
        return {
            "digests": self._digests,
            "history": self.history.state(),
            "tried": self._tried,
            "seconds": self.seconds,
            "estimates": [_plain(estimate) for estimate in self.estimates],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.history = History.of(state["history"])
        self._tried = list(state["tried"])
        self._began = time.perf_counter() - state["seconds"]
        self.estimates = [_estimate(entry) for entry in state["estimates"]]


def _plain(estimate: Estimate) -> dict[str, Any]:
    steps = [vars(step) for step in estimate.trajectory]
    return {**vars(estimate), "trajectory": steps}


def _estimate(entry: dict[str, Any]) -> Estimate:
    return Estimate(**{**entry, "trajectory": [Step(**step) for step in entry["trajectory"]]})
