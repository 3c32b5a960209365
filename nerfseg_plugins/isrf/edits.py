"""What is done to parts of a scene: kept alone, removed, recoloured or moved, where rays are cast and nowhere else.

Edits act on density and colour after activation, so weights stay as they were trained and every edit can be undone.
Everything is said of content, which is what the field holds at a point before anything moves: content is shown where it
lies in some kept object (if any is kept) and in no removed one, whatever the order of the edits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.scene.head_model import ShownField

Action = Literal["none", "keep", "remove", "recolor", "move"]

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Shares of red, green and blue in the luminance (ITU-R BT.709)."""
RIGID = 1e-4
"""How far the columns of a rotation may be from orthonormal."""

DensityFn = Callable[[Tensor], Tensor]
"""Positions (..., 3), scene frame -> density (..., 1) per scene unit."""
ContentFn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Positions (N, 3) and view directions (N, 3) -> density (N, 1), geometry's features (N, G), colours (N, 3)."""


@dataclass(frozen=True, eq=False)
class Edit:
    """A part of the scene and what is done to it.

    Raises:
        InputError: the action, colour, strength or transform is none.
    """

    name: str
    """What people call the part."""
    voxels: VoxelSet
    """Where it is, before anything moves."""
    action: Action = "none"
    """Keep it (and what else is kept) alone, remove it, recolour it, move it, or only know where it is."""
    color: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """The new colour, red, green and blue in [0, 1]."""
    strength: float = 1.0
    """Share of the new colour in the mixture with the old one, in [0, 1]."""
    luminance: float = 1.0
    """Luminance, in (0, 1], at which the new colour is shown as it is: the part's mean keeps its light and shade around
    the new colour, 1 makes no part brighter than it was."""
    transform: Tensor = field(default_factory=lambda: torch.eye(4, dtype=torch.float64))
    """(4, 4) rotation and translation in the scene frame, from the old place to the new."""

    def __post_init__(self) -> None:
        where = f"edit {self.name!r}"
        if self.action not in get_args(Action):
            raise InputError(f"{where}: {self.action!r} is no action; take one of {', '.join(get_args(Action))}")
        if len(self.color) != 3 or not all(0 <= value <= 1 for value in self.color):
            raise InputError(f"{where}: {self.color} is no colour; give red, green and blue between 0 and 1")
        if not 0 <= self.strength <= 1:
            raise InputError(f"{where}: a strength of {self.strength} means nothing; give one between 0 and 1")
        if not 0 < self.luminance <= 1:
            raise InputError(f"{where}: a luminance of {self.luminance} means nothing; give one above 0 and at most 1")
        transform = torch.as_tensor(self.transform).detach().to("cpu", torch.float64)
        object.__setattr__(self, "transform", transform)
        if not is_rigid(transform):
            raise InputError(
                f"{where}: its transform is no rotation with a translation; give a (4, 4) rigid matrix of the scene "
                "frame"
            )

    def source_of(self, positions: Tensor) -> Tensor:
        """Where what is moved to positions (..., 3) comes from: (..., 3), scene frame."""
        return _apply(self._back(positions), positions)

    def turned_back(self, directions: Tensor) -> Tensor:
        """View directions (..., 3) as what is moved sees them: (..., 3)."""
        matrix = self._back(directions)
        return _apply(torch.cat([matrix[:, :3], torch.zeros_like(matrix[:, 3:])], dim=1), directions)

    def _back(self, like: Tensor) -> Tensor:
        """(3, 4) inverse of the transform."""
        rotation, translation = self.transform[:3, :3], self.transform[:3, 3:]
        return torch.cat([rotation.T, -rotation.T @ translation], dim=1).to(like)


def is_rigid(transform: Tensor) -> bool:
    """Whether a (4, 4) matrix is a rotation with a translation."""
    if tuple(transform.shape) != (4, 4) or not torch.isfinite(transform).all():
        return False
    rotation = transform[:3, :3]
    orthonormal = bool((rotation.T @ rotation - torch.eye(3).to(rotation)).abs().max() <= RIGID)
    last = bool((transform[3] - torch.tensor([0, 0, 0, 1]).to(transform)).abs().max() <= 1e-6)
    return orthonormal and last and float(torch.linalg.det(rotation)) > 0


def mean_luminance(colors: Tensor) -> float:
    """Mean luminance of colours (N, 3) in [0, 1], for `Edit.luminance`; never 0."""
    mean = float(_luminance(colors.float()).mean()) if len(colors) else 1.0
    return min(max(mean, 0.02), 1.0)


def hides_the_rest(edits: Sequence[Edit]) -> bool:
    """Whether something is kept, so that nothing else is shown."""
    return any(edit.action == "keep" for edit in edits)


def acts(edits: Sequence[Edit]) -> bool:
    """Whether some edit changes what is shown."""
    return any(edit.action != "none" for edit in edits)


def labels_at(sets: Sequence[VoxelSet], points: Tensor) -> Tensor:
    """Which of some sets of voxels points lie in.

    Args:
        sets: E sets; what lies in several belongs to the last.
        points: (..., 3), scene frame.

    Returns:
        (...) long: 1..E, 0 where it is none.
    """
    labels = torch.zeros_like(points[..., 0], dtype=torch.long)
    for number, voxels in enumerate(sets, start=1):
        labels.masked_fill_(voxels.contains(points), number)
    return labels


# Content -------------------------------------------------------------------------------------------------------------


def is_shown(edits: Sequence[Edit], points: Tensor) -> Tensor:
    """Whether content at points (..., 3) is shown anywhere: (...) bool."""
    kept = torch.full_like(points[..., 0], not hides_the_rest(edits), dtype=torch.bool)
    removed = torch.zeros_like(kept)
    for edit in edits:
        if edit.action == "keep":
            kept |= edit.voxels.contains(points)
        elif edit.action == "remove":
            removed |= edit.voxels.contains(points)
    return kept & ~removed


def mover_of(edits: Sequence[Edit], points: Tensor) -> Tensor:
    """(...) long: place in `edits` of the edit that moves content at points (..., 3) away, the last one that does.

    -1 where it stays.
    """
    mover = torch.full_like(points[..., 0], -1, dtype=torch.long)
    for place, edit in enumerate(edits):
        if edit.action == "move":
            mover.masked_fill_(edit.voxels.contains(points), place)
    return mover


def recolored(edits: Sequence[Edit], points: Tensor, colors: Tensor) -> Tensor:
    """Colours (..., 3) of content at points (..., 3), with light and shade as before."""
    for edit in edits:
        if edit.action == "recolor":
            shade = _luminance(colors)[..., None] / edit.luminance
            painted = (shade * colors.new_tensor(edit.color)).clamp(0, 1)
            mixed = torch.lerp(colors, painted, edit.strength)
            colors = torch.where(edit.voxels.contains(points)[..., None], mixed, colors)
    return colors


def _arrivals(edits: Sequence[Edit], positions: Tensor) -> list[tuple[Edit, Tensor, Tensor]]:
    """Of each move that brings something to positions (..., 3): the edit, where (...) bool, and from where (N, 3)."""
    found = []
    for place, edit in enumerate(edits):
        if edit.action != "move":
            continue
        source = edit.source_of(positions)
        arrives = edit.voxels.contains(source)
        if arrives.any():
            chosen = source[arrives]
            mine = (mover_of(edits, chosen) == place) & is_shown(edits, chosen)
            arrives = arrives.masked_scatter(arrives, mine)
            if mine.any():
                found.append((edit, arrives, chosen[mine]))
    return found


# What is shown -------------------------------------------------------------------------------------------------------


def edited_density(density_fn: DensityFn, edits: Sequence[Edit]) -> DensityFn:
    """A density as it is after edits; the proposals need it, or no samples would lie where something has moved to."""

    def density(positions: Tensor) -> Tensor:
        gone = ~is_shown(edits, positions) | (mover_of(edits, positions) >= 0)
        values = density_fn(positions).masked_fill(gone[..., None], 0.0)
        for _, arrives, source in _arrivals(edits, positions):
            values = values.index_put((arrives,), values[arrives] + density_fn(source))
        return values

    return density if acts(edits) else density_fn


def edited_field(
    shown: ShownField, directions: Tensor, edits: Sequence[Edit], content_fn: ContentFn, empty: Tensor
) -> ShownField:
    """The field at samples as it is after edits.

    Where moved content meets other content, densities add up and colours mix by density.

    Args:
        shown: the field as it was trained, at samples (R, S).
        directions: (R, S, 3) view directions of unit length.
        edits: what is done.
        content_fn: asks the trained field elsewhere.
        empty: (3,) colour of samples whose content is gone; it shows only where a ray's last sample is its background.
    """
    if not acts(edits):
        return shown
    positions = shown.positions
    gone = ~is_shown(edits, positions) | (mover_of(edits, positions) >= 0)
    density = shown.density.masked_fill(gone[..., None], 0.0)
    colors = torch.where(gone[..., None], empty.to(shown.colors), recolored(edits, positions, shown.colors))
    geo, places = shown.geo, positions
    for edit, arrives, source in _arrivals(edits, positions):
        more, its_geo, its_colors = content_fn(source, edit.turned_back(directions[arrives]))
        before = density[arrives]
        share = more / (before + more).clamp_min(torch.finfo(more.dtype).tiny)
        mixed = torch.lerp(colors[arrives], recolored(edits, source, its_colors), share)
        prevails = share > 0.5
        colors = colors.index_put((arrives,), mixed)
        geo = geo.index_put((arrives,), torch.where(prevails, its_geo, geo[arrives]))
        places = places.index_put((arrives,), torch.where(prevails, source, places[arrives]))
        density = density.index_put((arrives,), before + more)
    return ShownField(density, geo, colors, places)


def _luminance(colors: Tensor) -> Tensor:
    """(...) of colours (..., 3)."""
    return (colors * colors.new_tensor(LUMINANCE)).sum(dim=-1)


def _apply(matrix: Tensor, vectors: Tensor) -> Tensor:
    """A (3, 4) matrix on (..., 3), in full precision also where a GPU multiplies matrices with less."""
    return (vectors[..., None, :] * matrix[:, :3]).sum(dim=-1) + matrix[:, 3]
