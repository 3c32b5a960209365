"""How segments are matched: settings alone, so that the command line reads them without importing what uses them."""

from dataclasses import dataclass
from typing import Literal, Optional


@dataclass(frozen=True)
class MatchConfig:
    """How segments are matched across views."""

    labels: Literal["vote", "fill", "segments"] = "vote"
    """What is written: vote = each pixel takes its voxel's instance where the views agree, else its segment's; fill =
    segments keep their outlines, only dubious or unlabelled pixels take their voxel's; segments = no filling."""
    resolution: int = 96
    """Voxels along the longest side of the scene."""
    consensus: float = 0.6
    """Part of the views seeing both that must put two segments into one before they are joined."""
    containment: float = 0.7
    """Part of a segment's visible voxels that must lie in one segment of another view to count as put into it."""
    min_voxels: int = 8
    """Voxels of a segment that a view must see to have a say, and that a segment must have to be clustered."""
    min_views: int = 3
    """Instances seen in fewer views are dropped, except in scenes with fewer views than that."""
    max_split: float = 0.5
    """A segment that more than this part of the views spread over several of theirs is a merged one and has no vote."""
    min_purity: float = 0.5
    """Part of a segment's voxels that must belong to its instance."""
    sure_purity: float = 0.8
    """Below this purity a segment is dubious: its pixels take their voxels' instances, or none with labels segments."""
    background_weight: float = 0.6
    """Vote of a view that sees background at a voxel; below 1, since a network's background may be a missed thing."""
    sure_votes: float = 4.0
    """Votes that a voxel needs before it overrules a segment."""
    sure_share: float = 0.6
    """Part of a voxel's votes that its instance needs before it overrules a segment."""
    background: Literal["auto", "given", "planes"] = "auto"
    """given = only id 0 is background; planes = what lies on the large planes that bound the scene (floor, walls) or
    beyond it is background too; auto = planes where the segments mark no background at all, else given."""
    background_share: float = 0.6
    """With planes, an instance is background when this part of its voxels lies on them or beyond the scene."""
    plane_tolerance: float = 1.5
    """With planes, voxels so many voxel sides from a plane lie on it."""
    join: Optional[float] = None
    """Instances that meet another one along this part of their rim are joined to it; 0 joins none. Unset: 0.6 where the
    segments mark no background at all and background is not given, since they are pieces rather than things; else 0."""
    max_bend: float = 0.05
    """Pixels where the disparity bends more than this, relative to itself, lie on a depth edge and do not vote."""
    min_accumulation: float = 0.5
    """Pixels with less opacity do not vote."""
    max_segments: int = 6000
    """Segments that are clustered; of larger sets evenly spaced views are clustered and the others join by votes."""


@dataclass(frozen=True)
class AssignConfig:
    """How segments are compared with projected 3D masks."""

    mode: Literal["one-to-one", "many-to-one"] = "one-to-one"
    """one-to-one = the assignment of a view that maximises the sum of IoU; many-to-one = each segment takes its best
    instance, class ignored, as the original implementation does."""
    min_iou: float = 0.05
    """Segments whose instance overlaps less are unlabelled."""
    other_class_weight: float = 0.5
    """With one-to-one, factor on the IoU of a segment and an instance whose known classes differ; 1 ignores classes."""
    reach: float = 1.0
    """Voxels around the rendered surface in which an instance is looked for."""


DEFAULT_MATCH = MatchConfig()
DEFAULT_ASSIGN = AssignConfig()
