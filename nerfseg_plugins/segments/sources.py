"""Where 2D segments come from: the protocol of a source, and its construction by name.

A source looks at one RGB image and says which pixels belong together. Sources that need an optional package or a
checkpoint say so when they are made, not at the hundredth image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional, Protocol, runtime_checkable

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.hierarchy import MaskHierarchy
from nerfseg_plugins.segments.masks import UNLABELLED, Segments

SourceName = Literal["classical", "sam", "mask-rcnn", "mask2former"]


class SegmentSource(Protocol):
    """One way of segmenting an image."""

    name: str
    """As in `nerfseg masks --source`."""
    model: str
    """Algorithm or network with its variant, for the manifest."""
    checkpoint: Optional[str]
    """SHA-256 of the weights, None where there are none."""
    parameters: dict[str, Any]
    """Everything else that changes the result, plain JSON values."""

    def __call__(self, rgb: np.ndarray) -> Segments:
        """Segment one image.

        Args:
            rgb: (H, W, 3) uint8.

        Returns:
            Ids 1.. of segments, 0 background, -1 pixels of which nothing is known; class ids are NYU40's, 0 unknown.
        """
        ...


@runtime_checkable
class HierarchySource(Protocol):
    """A source that sees things, their parts and their groups at once."""

    def levels(self, rgb: np.ndarray) -> tuple[Segments, MaskHierarchy]:
        """(H, W, 3) uint8 -> what calling it gives, and all masks, which may lie in each other."""
        ...


@dataclass(frozen=True)
class SourceOptions:
    """What the sources can be told; each uses what concerns it."""

    checkpoint: Optional[Path] = None
    """Weights: a file (sam, mask-rcnn) or a folder (mask2former); mask-rcnn may fetch torchvision's own without it."""
    device: str = "cpu"
    """Torch device of the networks."""
    min_score: float = 0.5
    """Detections below are left out (mask-rcnn, mask2former)."""
    granularity: float = 0.5
    """Classical: regions that differ less are merged; higher gives fewer and larger segments."""
    points_per_side: int = 32
    """SAM: prompts along each side of the image."""
    pred_iou_thresh: float = 0.88
    """SAM: masks of which it thinks less are left out."""
    stability_score_thresh: float = 0.95
    """SAM: masks that depend more on the threshold of its logits are left out."""
    box_nms_thresh: float = 0.7
    """SAM: of two masks whose boxes have a larger IoU only the better one stays."""
    resize_factor: float = 1.0
    """SAM: the image's sides are multiplied by this before SAM sees it; masks come back at the image's size."""


def make_source(name: SourceName, options: SourceOptions = SourceOptions()) -> SegmentSource:
    """Build a source; loads its network.

    Raises:
        InputError: the name is unknown, its package is not installed, or its checkpoint cannot be used.
    """
    if name == "classical":
        from nerfseg_plugins.segments.classical import ClassicalSource

        return ClassicalSource(granularity=options.granularity)
    if name == "sam":
        from nerfseg_plugins.segments.sam import SamSource

        return SamSource(options)
    if name == "mask-rcnn":
        from nerfseg_plugins.segments.mask_rcnn import MaskRcnnSource

        return MaskRcnnSource(options)
    if name == "mask2former":
        from nerfseg_plugins.segments.mask2former import Mask2FormerSource

        return Mask2FormerSource(options)
    raise InputError(f"{name!r} is no segment source; use classical, sam, mask-rcnn or mask2former")


def flatten_masks(masks: np.ndarray, priority: np.ndarray, outside: int = UNLABELLED) -> tuple[np.ndarray, np.ndarray]:
    """A partition from overlapping masks.

    Args:
        masks: (N, H, W) bool.
        priority: (N,) where masks overlap the highest one is seen; equal ones in their order.
        outside: id of pixels that no mask covers.

    Returns:
        (H, W) int32 ids, 1.. in falling priority without gaps, and the (S,) int64 masks that they stand for; masks that
        others hide wholly are left out.
    """
    ids = np.zeros(masks.shape[1:], np.int32)
    order = np.argsort(-priority, kind="stable")
    for place in range(len(order) - 1, -1, -1):  # from the bottom to the top
        ids[masks[order[place]]] = place + 1
    seen = np.unique(ids[ids > 0])
    renumbered = np.zeros(len(order) + 1, np.int32)
    renumbered[0] = outside
    renumbered[seen] = np.arange(1, len(seen) + 1)
    return renumbered[ids], order[seen - 1]
