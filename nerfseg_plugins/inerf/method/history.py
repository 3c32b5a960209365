"""What happened to the hypotheses of several photos, step by step, to be told and shown again."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfseg_plugins.inerf.result import Step


class Past(NamedTuple):
    """One hypothesis at some step."""

    c2w: Tensor
    """(3, 4), scene frame; where it was culled, the last pose it had."""
    culled: int
    """Steps since it was culled; 0 while it lives."""


class History:
    """Poses and costs of Q photos with H hypotheses each; all on the CPU."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.seconds: list[float] = []
        self.poses: list[Tensor] = []
        """(Q, H, 3, 4) before each step."""
        self.costs: list[Tensor] = []
        """(Q, H); infinite where a hypothesis was culled, or never was."""

    def __len__(self) -> int:
        return len(self.phases)

    def add(self, phase: str, seconds: float, poses: Tensor, costs: Tensor) -> None:
        """One more step."""
        self.phases.append(phase)
        self.seconds.append(seconds)
        self.poses.append(poses)
        self.costs.append(costs)

    def steps(self, photo: int, slot: int) -> list[Step]:
        """The way of one hypothesis."""
        parts = zip(self.phases, self.seconds, self.costs, self.poses, strict=True)
        return [
            Step(phase, seconds, float(costs[photo, slot]), poses[photo, slot])
            for phase, seconds, costs, poses in parts
            if costs[photo, slot].isfinite()
        ]

    def at(self, photo: int, step: int) -> dict[int, Past]:
        """The hypotheses of a photo at a step, by slot; those that were culled until then are among them."""
        lived = torch.stack([costs[photo] for costs in self.costs[: step + 1]]).isfinite()
        found = {}
        for slot in lived.any(dim=0).nonzero()[:, 0].tolist():
            last = int(lived[:, slot].nonzero()[-1])
            found[slot] = Past(self.poses[last][photo, slot], step - last)
        return found

    def leader(self, photo: int, step: int) -> int:
        """The slot that cost least in a step."""
        return int(self.costs[step][photo].argmin())

    def state(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        empty = torch.zeros(0)
        poses = torch.stack(self.poses) if self.poses else empty
        costs = torch.stack(self.costs) if self.costs else empty
        return {"phases": list(self.phases), "seconds": list(self.seconds), "poses": poses, "costs": costs}

    @classmethod
    def of(cls, state: dict[str, Any]) -> "History":
        """From what `state` told."""
        found = cls()
        found.phases, found.seconds = list(state["phases"]), list(state["seconds"])
        found.poses, found.costs = list(state["poses"]), list(state["costs"])
        return found
