"""The cameras of a film: every frame is searched from where the last ones lead."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Optional

import torch
from torch import Tensor

from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.output.store import attempt
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.result import Estimate

FINE_LEVELS = 2
"""Coarse copies, the finest ones, that a frame is tracked through: it is off by the change of motion alone."""


@dataclass(frozen=True)
class Tracked:
    """One frame."""

    query: Query
    estimate: Estimate
    how: Literal["tracked", "searched"]
    """From the last frames, or over the whole scene."""


class Tracker:
    """Follows a camera from frame to frame.

    Args:
        search: finds the first frame, and those after which the camera is lost; has a way to begin without a start.
        rays: compared in a step while tracking.
    """

    def __init__(self, search: Estimator, rays: int) -> None:
        self._search = search
        config = replace(search.config, init="start", solver="lm", rays=rays)
        self._follow = Estimator(search.scene, config, search.levels[-FINE_LEVELS:], search.cameras)

    def track(self, frames: Iterable[Query]) -> Iterator[Tracked]:
        """Estimate frames in their order.

        A frame is searched over the whole scene when the estimate from the last frames does not converge; a frame that
        is lost for all that leaves the prediction where it was.

        Args:
            frames: of one camera.

        Yields:
            One result per frame; its `seconds` are those of all that was tried.
        """
        known: list[Tensor] = []
        for query in frames:
            tracked = self._step(query, predicted(known))
            known = [*known, tracked.estimate.c2w][-2:] if tracked.estimate.converged else known[-1:]
            yield tracked

    def _step(self, query: Query, start: Optional[Tensor]) -> Tracked:
        if start is None:
            return Tracked(query, attempt(self._search, query), "searched")
        followed = attempt(self._follow, query, start)
        if followed.converged:
            return Tracked(query, followed, "tracked")
        found = attempt(self._search, query, start)
        found.seconds += followed.seconds
        if found.converged or not followed.c2w.isfinite().all():
            return Tracked(query, found, "searched")
        followed.seconds = found.seconds
        return Tracked(query, followed, "tracked")


def predicted(known: list[Tensor]) -> Optional[Tensor]:
    """Where a camera will be that moves on as it did.

    Args:
        known: its last poses (3, 4), the newest last; up to two.

    Returns:
        (3, 4): the last motion, made once more in the camera's own frame; the last pose if there is no other; None
        without any.
    """
    if len(known) < 2:
        return known[-1] if known else None
    before, last = (_homogeneous(pose) for pose in known[-2:])
    return (last @ torch.linalg.inv(before) @ last)[:3].to(known[-1])


def light(tracked: Tracked) -> Tracked:
    """A result without its photo and trajectory: a film has many."""
    query = replace(tracked.query, image=tracked.query.image[:0], mask=tracked.query.mask[:0], features=None)
    estimate = replace(tracked.estimate, trajectory=tracked.estimate.trajectory[-1:])
    return replace(tracked, query=query, estimate=estimate)


def _homogeneous(pose: Tensor) -> Tensor:
    bottom = pose.new_tensor([[0.0, 0.0, 0.0, 1.0]])
    return torch.cat([pose, bottom]).double()
