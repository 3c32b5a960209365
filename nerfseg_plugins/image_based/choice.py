"""Which views of a scene serve as sources for a camera."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError

Nearness = Literal["center", "angle"]


def nearness(target: Tensor, c2w: Tensor, by: Nearness) -> Tensor:
    """How far cameras are from another one.

    Args:
        target: (3, 4) its pose, OpenGL, scene frame.
        c2w: (N, 3, 4) theirs.
        by: "center": distance of the centres, scene units; "angle": angle between the optical axes, radians.

    Returns:
        (N,), 0 for a camera at the same place.
    """
    if by == "center":
        return (c2w[:, :, 3] - target[:, 3]).norm(dim=-1)
    return torch.arccos((c2w[:, :, 2] @ target[:, 2]).clamp(-1, 1))


def choose_views(
    target: Tensor, c2w: Tensor, count: int, by: Nearness = "center", scene: str = "the scene"
) -> list[int]:
    """The nearest views, nearest first; of equally near ones those of lower number.

    Args:
        target: (3, 4) pose of the camera that is to be rendered.
        c2w: (N, 3, 4) poses of the views.
        count: how many.
        by: see `nearness`.
        scene: its name, for messages.

    Raises:
        InputError: the scene has fewer views.
    """
    check_count(len(c2w), count, scene)
    return torch.argsort(nearness(target, c2w, by), stable=True)[:count].tolist()


def check_count(there: int, wanted: int, scene: str) -> None:
    """Refuse to look for more views than there are.

    Raises:
        InputError: names the scene.
    """
    if there < wanted:
        raise InputError(
            f"{scene} has {there} source views, but {wanted} are asked for; add views, or ask for fewer with "
            "--pipeline.model.num-source-views"
        )


@dataclass(frozen=True)
class PoolRule:
    """How GNT and IBRNet draw source views in training (IBRNet, arXiv 2102.13090, and its released code).

    The nearest k * `num_views` views are the pool, of which a varying number is drawn: a network that has only seen
    the nearest views does badly where views are sparse.
    """

    num_views: int = 10
    """Source views of a step on average."""
    spread: int = 2
    """How many more or fewer may be drawn."""
    factor_odds: tuple[float, ...] = (0.2, 0.45, 0.35)
    """Probabilities of pools of 1, 2, 3 ... times as many views."""
    largest_pool: int = 20
    """Views of a pool at most."""
    target_odds: float = 0.005
    """Probability with which one of the sources is the target itself."""

    def draw(self, target: int, c2w: Tensor, by: Nearness, rng: np.random.Generator, scene: str) -> list[int]:
        """Source views for one of the views of a scene.

        Args:
            target: number of the view to be learned from.
            c2w: (N, 3, 4) poses of all views, the target's among them.
            by: see `nearness`.
            rng: draws.
            scene: its name, for messages.

        Returns:
            Distinct numbers without the target, except that rarely it takes the place of one of them.

        Raises:
            InputError: the scene has fewer other views than the rule's smallest number.
        """
        check_count(len(c2w) - 1, max(1, self.num_views - self.spread), scene)
        factor = 1 + int(rng.choice(len(self.factor_odds), p=self.factor_odds))
        order = [index for index in choose_views(c2w[target], c2w, len(c2w), by, scene) if index != target]
        pool = order[: min(factor * self.num_views, self.largest_pool)]
        wanted = self.num_views + int(rng.integers(-self.spread, self.spread + 1))
        drawn = rng.choice(pool, min(max(wanted, 1), len(pool)), replace=False).tolist()
        if rng.random() < self.target_odds:
            drawn[int(rng.integers(len(drawn)))] = target
        return drawn


def other_views(total: int, sources: Sequence[int]) -> list[int]:
    """The views that are no sources, in order."""
    taken = set(sources)
    return [index for index in range(total) if index not in taken]
