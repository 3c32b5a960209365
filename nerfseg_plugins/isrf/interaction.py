"""All that a person has done in a viewer, as a value: every button is a function from one to the next.

The original implementation keeps it in the mutable state of its window, with one level of undo, and its strokes only
change colour with their polarity. Here nothing is ever lost, so undo goes back as far as memory is worth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Optional

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.edits import Edit
from nerfseg_plugins.isrf.lifting import StrokePoints

BEFORE = 0.04
"""How far before the surface strokes are shown, as a share of its distance."""

Shown = Literal["region", "positive buffer", "negative buffer", "merged"]
"""Which voxels are marked."""


@dataclass(frozen=True)
class DrawnStroke:
    """One stroke."""

    positive: bool
    """Whether it marks the object, or what the object is not."""
    points: StrokePoints
    """What it lies on."""
    origin: Optional[Tensor] = None
    """(3,) where it was drawn from, scene frame; None where that is not known."""

    def marks(self) -> Tensor:
        """(P, 3) where to show it, scene frame: a little before the surface, which would hide half of it."""
        if self.origin is None:
            return self.points.points
        return torch.lerp(self.points.points, self.origin.to(self.points.points), BEFORE)


@dataclass(frozen=True, eq=False)
class Interaction:
    """What a person has done so far. Masks are (N,) bool, of the voxels of `cache`; None where there is none yet."""

    strokes: tuple[DrawnStroke, ...] = ()
    """In the order in which they were drawn."""
    cache: Optional[VoxelCache] = None
    """What the masks are of."""
    seed: Optional[Tensor] = None
    """Where the region grew from."""
    region: Optional[Tensor] = None
    """What the person works on."""
    positive: Optional[Tensor] = None
    """The buffer of what belongs to the object."""
    negative: Optional[Tensor] = None
    """The buffer of what does not."""
    query: Optional[Tensor] = None
    """(K, C) the features that were asked for."""
    edits: tuple[Edit, ...] = ()
    """What is done to the scene."""

    # Strokes ---------------------------------------------------------------------------------------------------------

    def with_stroke(self, stroke: DrawnStroke) -> "Interaction":
        """One more stroke."""
        return replace(self, strokes=(*self.strokes, stroke))

    def without_strokes(self) -> "Interaction":
        """No strokes; what they have selected stays."""
        return replace(self, strokes=())

    def points(self, positive: bool) -> Optional[StrokePoints]:
        """What all strokes of a polarity lie on; None where there are none."""
        found = [stroke.points for stroke in self.strokes if stroke.positive == positive]
        return StrokePoints.cat(found) if found else None

    # Regions ---------------------------------------------------------------------------------------------------------

    def on(self, cache: VoxelCache) -> "Interaction":
        """The same on the voxels of a cache: masks of another cache, made for other weights, mean nothing there."""
        if cache is self.cache:
            return self
        return replace(self, cache=cache, seed=None, region=None, positive=None, negative=None)

    def with_region(
        self, region: Tensor, seed: Optional[Tensor] = None, query: Optional[Tensor] = None
    ) -> "Interaction":
        """Work on another region.

        Args:
            region: (N,) bool.
            seed: (N,) bool, where it grew from; None where it did not grow.
            query: (K, C) the features that were asked for; as before when None.
        """
        return replace(self, region=region, seed=seed, query=self.query if query is None else query)

    def buffered(self, positive: bool, add: bool) -> "Interaction":
        """Put the region into a buffer.

        Args:
            positive: which buffer.
            add: whether to keep what is in there too.

        Raises:
            InputError: there is no region.
        """
        region = self._region()
        before = self.positive if positive else self.negative
        after = region if before is None or not add else before | region
        return replace(self, positive=after) if positive else replace(self, negative=after)

    def merged(self) -> Tensor:
        """(N,) bool: what is in the positive buffer and not in the negative one.

        Raises:
            InputError: the positive buffer is empty.
        """
        if self.positive is None:
            raise InputError("the positive buffer is empty; select something and put it there first")
        return self.positive if self.negative is None else self.positive & ~self.negative

    def combined(self) -> "Interaction":
        """Work on what the buffers leave.

        Raises:
            InputError: the positive buffer is empty.
        """
        merged = self.merged()
        return replace(self, region=merged, seed=None)

    def mask(self, what: Shown) -> Optional[Tensor]:
        """(N,) bool: the voxels that are marked; None where there are none yet."""
        if what == "merged":
            return None if self.positive is None else self.merged()
        return {"region": self.region, "positive buffer": self.positive, "negative buffer": self.negative}[what]

    def colors(self) -> Tensor:
        """(M, 3) float in [0, 1]: colours of the region's voxels, as the scene was trained.

        Raises:
            InputError: there is no region, or nothing in it.
        """
        region = self._region()
        assert self.cache is not None
        if not bool(region.any()):
            raise InputError("the region is empty; draw a stroke on a thing and select it first")
        return self.cache.colors[region].float() / 255

    def _region(self) -> Tensor:
        if self.region is None:
            raise InputError("nothing is selected yet; draw a stroke on a thing and press Segment")
        return self.region

    # Edits -----------------------------------------------------------------------------------------------------------

    def with_edit(self, edit: Edit) -> "Interaction":
        """One more edit; one of the same name gives way to it."""
        return replace(self, edits=(*(other for other in self.edits if other.name != edit.name), edit))

    def with_edits(self, edits: Sequence[Edit]) -> "Interaction":
        """Other edits."""
        return replace(self, edits=tuple(edits))

    def cleared(self) -> "Interaction":
        """Nothing done; only the voxels are kept, which took long to find."""
        return Interaction(cache=self.cache)


def alpha_of(cache: VoxelCache) -> Tensor:
    """(N,) float32: how much of a ray is absorbed that crosses each voxel along its edge."""
    grid = cache.grid
    edge = grid.edge * grid.stretch(grid.centres(cache.coords))
    return 1 - torch.exp(-cache.density.float() * edge)


_ACTIONS = {"none": "labelled", "keep": "kept", "remove": "removed", "recolor": "recoloured", "move": "moved"}


def describe(state: Interaction, plain: Callable[[str], str] = str) -> str:
    """A few lines on what there is.

    Args:
        state: what was done.
        plain: makes names harmless where the lines are shown.
    """
    strokes = " and ".join(
        f"{sum(stroke.positive == positive for stroke in state.strokes)} {name}"
        for positive, name in ((True, "positive"), (False, "negative"))
    )
    rays = sum(len(stroke.points) for stroke in state.strokes)
    lines = [f"Strokes: {strokes} ({rays} points)"]
    if state.cache is not None:
        lines.append(f"Region: {_count(state.region)} of {len(state.cache):,} voxels")
        if state.positive is not None or state.negative is not None:
            lines.append(f"Buffers: positive {_count(state.positive)}, negative {_count(state.negative)}")
    if state.edits:
        lines.append("Edits: " + ", ".join(f"{plain(edit.name)} ({_ACTIONS[edit.action]})" for edit in state.edits))
    return "  \n".join(lines)


def _count(mask: Optional[Tensor]) -> str:
    return "none" if mask is None else f"{int(mask.sum()):,}"
