"""Segments of Segment Anything's automatic mask generator, flattened to a partition.

SAM gives masks of things, their parts and their groups on top of each other. Small masks lie on top, so that a cushion
is not lost in its sofa; what no mask covers is unlabelled. Classes are unknown, scores are SAM's predicted IoU.
"""

from typing import Any, Optional

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import Segments
from nerfseg_plugins.segments.sources import SourceOptions, flatten_masks
from nerfseg_plugins.weights import check_device, load_weights, need_checkpoint

WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Width of the image encoder -> name of the variant."""


class SamSource:
    """segment-anything with a local checkpoint (sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth)."""

    name = "sam"

    def __init__(self, options: SourceOptions) -> None:
        """Load the network.

        Raises:
            InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another network.
        """
        try:
            from segment_anything import SamAutomaticMaskGenerator, sam_model_registry  # pyright: ignore
        except ImportError as error:
            raise InputError(
                "the source sam needs segment-anything; install it with: pip install segment-anything"
            ) from error
        path, digest = need_checkpoint(options.checkpoint, "sam", "a checkpoint of SAM such as sam_vit_b_01ec64.pth")
        state = load_weights(path, "SAM")
        position = state.get("image_encoder.pos_embed")
        self.model = WIDTHS.get(position.shape[-1], "") if position is not None else ""
        if not self.model:
            raise InputError(f"{path} is no checkpoint of SAM's vit_b, vit_l or vit_h; download one of these")
        network = sam_model_registry[self.model](checkpoint=None)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"{path} does not fit SAM's {self.model}; download it again") from error
        self.checkpoint: Optional[str] = digest
        self.parameters: dict[str, Any] = {"points_per_side": options.points_per_side}
        self._generator = SamAutomaticMaskGenerator(
            network.to(check_device(options.device)).eval(), points_per_side=options.points_per_side
        )

    def __call__(self, rgb: np.ndarray) -> Segments:
        """Segment an image (H, W, 3) uint8: -1 where SAM sees nothing."""
        return flatten_sam(self._generator.generate(np.ascontiguousarray(rgb)), rgb.shape[:2])


def flatten_sam(found: list[dict[str, Any]], size: tuple[int, ...]) -> Segments:
    """A partition from SAM's masks: the smaller one is seen.

    Args:
        found: SAM's annotations, each with `segmentation` (H, W) bool and `predicted_iou`.
        size: (H, W) of the image.
    """
    masks = np.stack([one["segmentation"] for one in found]) if found else np.zeros((0, *size), bool)
    ids, order = flatten_masks(masks.astype(bool), -masks.sum(axis=(1, 2)).astype(np.float64))
    scores = np.array([found[index]["predicted_iou"] for index in order], np.float32)
    return Segments(ids, np.arange(1, len(order) + 1, dtype=np.int32), np.zeros(len(order), np.int32), scores)
