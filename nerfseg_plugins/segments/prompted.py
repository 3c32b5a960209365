"""One mask where somebody points: Segment Anything (arXiv 2304.02643) with a point or a box."""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.sam import load_sam
from nerfseg_plugins.segments.sources import SourceOptions


class PromptedSam:
    """segment-anything with a local checkpoint, asked for one thing at a time.

    Raises:
        InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another network.
    """

    def __init__(self, options: SourceOptions) -> None:
        loaded = load_sam(options.checkpoint, options.device)
        from segment_anything import SamPredictor  # pyright: ignore[reportMissingImports]

        self._predictor = SamPredictor(loaded.network)

    def __call__(
        self, rgb: np.ndarray, point: Optional[Sequence[float]] = None, box: Optional[Sequence[float]] = None
    ) -> np.ndarray:
        """The mask of what is at a point, or fills a box.

        Of a point SAM gives three masks (a part, a thing, a group); the one of which it thinks most is taken. A box
        says how large the thing is, so there is one.

        Args:
            rgb: (H, W, 3) uint8.
            point: x and y, pixels; the middle of the image where neither is given.
            box: left, top, right, bottom, pixels.

        Returns:
            (H, W) bool.

        Raises:
            InputError: the point or the box does not lie in the image.
        """
        height, width = rgb.shape[:2]
        if point is None and box is None:
            point = (width / 2, height / 2)
        if point is not None and not (0 <= point[0] < width and 0 <= point[1] < height):
            raise InputError(
                f"the point ({point[0]:g}, {point[1]:g}) lies outside the image of {width}x{height} pixels"
            )
        if box is not None and not (0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height):
            numbers = ", ".join(f"{value:g}" for value in box)
            raise InputError(
                f"the box ({numbers}) is no left, top, right, bottom within the image of {width}x{height} pixels"
            )
        self._predictor.set_image(np.ascontiguousarray(rgb))
        masks, scores, _ = self._predictor.predict(
            point_coords=None if point is None else np.array([point], np.float32),
            point_labels=None if point is None else np.ones(1, np.int32),
            box=None if box is None else np.array(box, np.float32),
            multimask_output=box is None,
        )
        return np.asarray(masks[int(np.argmax(scores))], bool)
