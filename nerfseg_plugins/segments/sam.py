"""Segments of Segment Anything's automatic mask generator: all its masks, and a partition made of them.

SAM gives masks of things, their parts and their groups on top of each other. In the partition small masks lie on top,
so that a cushion is not lost in its sofa; what no mask covers is unlabelled. Classes are unknown, scores are SAM's
predicted IoU.
"""

from typing import Any, Optional

import cv2
import numpy as np

from nerfseg_plugins.sam import load_sam
from nerfseg_plugins.segments.hierarchy import MaskHierarchy, nearest
from nerfseg_plugins.segments.masks import Segments
from nerfseg_plugins.segments.sources import SourceOptions, flatten_masks


class SamSource:
    """segment-anything with a local checkpoint (sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth)."""

    name = "sam"

    def __init__(self, options: SourceOptions) -> None:
        """Load the network.

        Raises:
            InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another network.
        """
        loaded = load_sam(options.checkpoint, options.device)
        from segment_anything import SamAutomaticMaskGenerator  # pyright: ignore[reportMissingImports]

        self.model = loaded.variant
        self.checkpoint: Optional[str] = loaded.checkpoint
        thresholds: dict[str, Any] = {
            "pred_iou_thresh": options.pred_iou_thresh,
            "stability_score_thresh": options.stability_score_thresh,
            "box_nms_thresh": options.box_nms_thresh,
        }
        self.parameters: dict[str, Any] = {
            "points_per_side": options.points_per_side,
            **thresholds,
            "resize_factor": options.resize_factor,
            "overlapping": True,
        }
        self._resize_factor = options.resize_factor
        self._generator = SamAutomaticMaskGenerator(
            loaded.network, points_per_side=options.points_per_side, **thresholds
        )

    def __call__(self, rgb: np.ndarray) -> Segments:
        """Segment an image (H, W, 3) uint8: -1 where SAM sees nothing."""
        return flatten_sam(self._generate(rgb), rgb.shape[:2])

    def levels(self, rgb: np.ndarray) -> tuple[Segments, MaskHierarchy]:
        """The partition of an image (H, W, 3) uint8, and all its masks."""
        found = self._generate(rgb)
        iou, stability = (
            np.array([one[key] for one in found], np.float32) for key in ("predicted_iou", "stability_score")
        )
        return flatten_sam(found, rgb.shape[:2]), MaskHierarchy.of_masks(_stack(found, rgb.shape[:2]), iou, stability)

    def _generate(self, rgb: np.ndarray) -> list[dict[str, Any]]:
        """SAM's annotations; masks have the image's size, whatever size SAM has seen."""
        size = (rgb.shape[0], rgb.shape[1])
        small = [max(round(side * self._resize_factor), 1) for side in size]
        if (small[0], small[1]) == size:
            return self._generator.generate(np.ascontiguousarray(rgb))
        found = self._generator.generate(cv2.resize(rgb, (small[1], small[0]), interpolation=cv2.INTER_AREA))
        rows, columns = (nearest(old, new) for old, new in zip(small, size, strict=True))
        return [{**one, "segmentation": one["segmentation"][rows][:, columns]} for one in found]


def flatten_sam(found: list[dict[str, Any]], size: tuple[int, ...]) -> Segments:
    """A partition from SAM's masks: the smaller one is seen.

    Args:
        found: SAM's annotations, each with `segmentation` (H, W) bool and `predicted_iou`.
        size: (H, W) of the image.
    """
    masks = _stack(found, size)
    ids, order = flatten_masks(masks, -masks.sum(axis=(1, 2)).astype(np.float64))
    scores = np.array([found[index]["predicted_iou"] for index in order], np.float32)
    return Segments(ids, np.arange(1, len(order) + 1, dtype=np.int32), np.zeros(len(order), np.int32), scores)


def _stack(found: list[dict[str, Any]], size: tuple[int, ...]) -> np.ndarray:
    """(M, H, W) bool."""
    return np.stack([one["segmentation"] for one in found]).astype(bool) if found else np.zeros((0, *size), bool)
