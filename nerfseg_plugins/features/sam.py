"""The image encoder of Segment Anything (arXiv 2304.02643): 256 channels, 64 cells along the longer side."""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.network import image_batch, load_into, state_of
from nerfseg_plugins.features.sources import FeatureOptions
from nerfseg_plugins.weights import check_device, need_checkpoint

WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Width of the encoder -> name of the variant."""
PREFIX = "image_encoder."
LONG_SIDE, PATCH = 1024, 16
"""Pixels."""
MEAN = tuple(value / 255 for value in (123.675, 116.28, 103.53))
STD = tuple(value / 255 for value in (58.395, 57.12, 57.375))
PUBLISHED = "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"


class SamFeatures:
    """segment-anything's encoder with a local checkpoint of SAM (vit_b, vit_l or vit_h)."""

    name = "sam"
    channels = 256
    centre = True

    def __init__(self, options: FeatureOptions) -> None:
        """Load the encoder.

        Raises:
            InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another network.
        """
        try:
            from segment_anything import sam_model_registry  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(
                "the source sam needs segment-anything; install it with: pip install segment-anything"
            ) from error
        path, digest = need_checkpoint(options.checkpoint, "sam", f"a checkpoint of SAM, such as {PUBLISHED}")
        state = state_of(path, "SAM", PREFIX)
        position = state.get("pos_embed")
        self.model = (
            f"sam-{WIDTHS[position.shape[-1]]}" if position is not None and position.shape[-1] in WIDTHS else ""
        )
        if not self.model:
            raise InputError(f"{path} is no checkpoint of SAM's vit_b, vit_l or vit_h; download one of these")
        encoder = sam_model_registry[self.model.removeprefix("sam-")](checkpoint=None).image_encoder
        load_into(encoder, state, path, self.model)
        self.checkpoint: Optional[str] = digest
        self.parameters: dict[str, Any] = {}
        self.batch_size = options.batch_size
        self._device = check_device(options.device)
        self._encoder: Any = encoder.to(self._device).eval()

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, 256) float32."""
        return self.many([rgb])[0]

    @torch.no_grad()
    def many(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(H, W, 3) uint8 images of one size -> their (h, w, 256) float32 maps, without what only padding fills."""
        rows, columns = cells_of((images[0].shape[0], images[0].shape[1]))
        batch = image_batch(images, (rows * PATCH, columns * PATCH), MEAN, STD, self._device)
        missing = [LONG_SIDE - side for side in batch.shape[2:]]
        encoded = self._encoder(torch.nn.functional.pad(batch, (0, missing[1], 0, missing[0])))
        return list(encoded[:, :, :rows, :columns].permute(0, 2, 3, 1).contiguous().cpu().numpy())


def cells_of(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that an image of (height, width) pixels fills.

    The shorter side is rounded to whole cells, so that the image spans them exactly: its shape changes by 1 % or less.
    """
    rows, columns = (max(round(side * LONG_SIDE / max(size) / PATCH), 1) for side in size)
    return rows, columns
