"""How the dendrogram of a scene is made. Nothing heavy is imported here, for the command line's help."""

from dataclasses import dataclass
from typing import Literal

from nerfseg_plugins.errors import InputError


@dataclass
class SurfaceConfig:
    """Which points stand for a scene's surface."""

    downscale: float = 1.0
    """Resolution, as a part of the training views', of the depth pictures that the points come from, at most."""
    max_rays: int = 1_000_000
    """These pictures are made smaller until all of them together have no more pixels."""
    voxel: float = 0.002
    """Edge of the cells that keep one point each, as a part of the longest side of the scene box."""
    max_points: int = 200_000
    """Cells are made larger until there are no more points."""
    min_opacity: float = 0.9
    """A ray that absorbs less sees no surface."""
    edge_threshold: float = 0.05
    """Pixels where inverse depth bends by a larger part of itself are left out: two surfaces mix there."""


@dataclass
class HierarchyConfig(SurfaceConfig):
    """Of which points a dendrogram is made, and how they are joined."""

    neighbors: int = 16
    """Nearest points that each point may be joined with."""
    linkage: Literal["average", "single"] = "average"
    """How alike two segments are: average, all of one with all of the other; single, where they are most alike, as in
    the original implementation."""

    def check(self) -> None:
        """Refuse numbers that are none.

        Raises:
            InputError: names the flag.
        """
        for name, good, range_ in (
            ("downscale", 0 < self.downscale <= 1, "above 0 and at most 1"),
            ("max_rays", self.max_rays >= 1, "1 or more"),
            ("voxel", 0 < self.voxel < 1, "between 0 and 1"),
            ("max_points", self.max_points >= 1, "1 or more"),
            ("min_opacity", 0 < self.min_opacity <= 1, "above 0 and at most 1"),
            ("edge_threshold", self.edge_threshold > 0, "above 0"),
            ("neighbors", self.neighbors >= 1, "1 or more"),
        ):
            if not good:
                raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name):g}; it must be {range_}")
