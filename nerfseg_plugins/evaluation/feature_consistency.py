"""Whether features say the same of a place in every view that sees it.

Places are those of the data's own depth, so that a method is not asked whether it agrees with its own geometry.
Features that say the same of everything agree as well, so what they say of different places is reported next to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.correspondence import Correspondence, ViewCamera, correspond

NEIGHBOURS = 4
"""Views, the nearest by where they stand, that each is compared with."""


@dataclass(frozen=True)
class FeatureView:
    """One view."""

    features: np.ndarray
    """(H, W, C) of the pixels, of any length; all zero where there are none."""
    depth: np.ndarray
    """(H, W) true z-depth, 0 where nothing is; in the units of the camera's frame."""
    camera: ViewCamera


class Consistency(NamedTuple):
    """How alike features of the same and of different places are, mean cosines."""

    same: float
    """Of one place in two views."""
    other: float
    """Of two places, drawn from the same pixels."""
    pairs: int
    """Pairs of pixels that see the same place."""

    @property
    def contrast(self) -> float:
        """By how much features of one place are more alike than those of any two."""
        return self.same - self.other


def feature_consistency(views: Sequence[FeatureView], neighbours: int = NEIGHBOURS, seed: int = 0) -> Consistency:
    """Compare each view with those that stand nearest.

    Args:
        views: of one scene.
        neighbours: views that each is compared with; a pair that has each other is compared once.
        seed: of the different places.

    Raises:
        InputError: features are not those of the pixels, or no place is seen twice.
    """
    for view in views:
        if view.features.shape[:2] != view.depth.shape:
            raise InputError(
                f"features of {view.features.shape[1]}x{view.features.shape[0]} pixels cannot be compared by depth of "
                f"{view.depth.shape[1]}x{view.depth.shape[0]}; bring them to the size of the depth"
            )
    rng = np.random.default_rng(seed)
    same, other, count = 0.0, 0.0, 0
    for first, second in neighbouring([view.camera for view in views], neighbours):
        a, b = views[first], views[second]
        pairs = correspond(a.depth, a.camera, b.depth, b.camera)
        mixed = Correspondence(pairs.pixels_a, rng.permutation(pairs.pixels_b))
        same += float(cosines(a.features, b.features, pairs).sum())
        other += float(cosines(a.features, b.features, mixed).sum())
        count += len(pairs.pixels_a)
    if not count:
        raise InputError("no two views see the same place, so their features cannot be compared; take more views")
    return Consistency(same / count, other / count, count)


def cosines(first: np.ndarray, second: np.ndarray, pairs: Correspondence) -> np.ndarray:
    """Cosines (P,) float64 of the features of pairs of pixels; 0 where either has none.

    Args:
        first: (H, W, C) of one view.
        second: (H', W', C) of another.
        pairs: P pairs of their pixels.
    """
    a = first.reshape(-1, first.shape[-1])[pairs.pixels_a].astype(np.float64)
    b = second.reshape(-1, second.shape[-1])[pairs.pixels_b].astype(np.float64)
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide(np.einsum("ij,ij->i", a, b), length, out=np.zeros(len(a)), where=length > 0)


def neighbouring(cameras: Sequence[ViewCamera], neighbours: int) -> list[tuple[int, int]]:
    """Pairs of views, each once, of which one is among the nearest of the other; in ascending order."""
    places = np.stack([camera.c2w[:3, 3] for camera in cameras]) if cameras else np.zeros((0, 3))
    found = set()
    for index, place in enumerate(places):
        apart = np.linalg.norm(places - place, axis=1)
        apart[index] = np.inf
        found |= {(min(index, other), max(index, other)) for other in np.argsort(apart, kind="stable")[:neighbours]}
    return sorted((int(a), int(b)) for a, b in found if a != b)
