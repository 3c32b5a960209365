"""Segments of Mask2Former, trained on COCO panoptic, through transformers and from a local folder.

The folder holds config.json, preprocessor_config.json and the weights, as `save_pretrained` writes them. Walls, floors
and other structure become background (0), pixels of no segment (void) are unlabelled (-1), the rest are segments.
"""

from pathlib import Path
from typing import Any, Optional

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.classes import is_structure, nyu40_class
from nerfseg_plugins.segments.masks import UNLABELLED, Segments
from nerfseg_plugins.segments.sources import SourceOptions
from nerfseg_plugins.weights import check_device, need_checkpoint


class Mask2FormerSource:
    """Mask2FormerForUniversalSegmentation of transformers."""

    name = "mask2former"

    def __init__(self, options: SourceOptions) -> None:
        """Load the network; nothing is fetched.

        Raises:
            InputError: transformers is not installed, or the folder is missing or holds something else.
        """
        try:
            import transformers  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(
                "the source mask2former needs transformers; install it with: pip install transformers"
            ) from error
        what = "a folder with config.json, preprocessor_config.json and weights of Mask2Former (COCO panoptic)"
        path, digest = need_checkpoint(options.checkpoint, "mask2former", what)
        if not path.is_dir():
            raise InputError(f"{path} is a file; give --checkpoint {what}")
        self.device = check_device(options.device)
        self._processor, network = _load(transformers, path)
        self._network = network.to(self.device).eval()
        self._names = {int(key): str(value) for key, value in network.config.id2label.items()}
        self.model = f"mask2former-{getattr(network.config.backbone_config, 'model_type', 'custom')}"
        self.checkpoint: Optional[str] = digest
        self.min_score = options.min_score
        self.parameters: dict[str, Any] = {"min_score": options.min_score}

    def __call__(self, rgb: np.ndarray) -> Segments:
        """Segment an image (H, W, 3) uint8."""
        import torch

        inputs = self._processor(images=rgb, return_tensors="pt").to(self.device)
        with torch.no_grad():
            outputs = self._network(**inputs)
        panoptic = self._processor.post_process_panoptic_segmentation(
            outputs, threshold=self.min_score, target_sizes=[rgb.shape[:2]]
        )[0]
        return relabel_panoptic(
            panoptic["segmentation"].cpu().numpy().astype(np.int64), panoptic["segments_info"], self._names
        )


def relabel_panoptic(panoptic: np.ndarray, rows: list[dict[str, Any]], names: dict[int, str]) -> Segments:
    """Segments from a panoptic prediction.

    Args:
        panoptic: (H, W) segment ids; ids that no row describes are void.
        rows: `{"id", "label_id", "score"}` of each segment.
        names: label id -> COCO category.

    Returns:
        0 for structure, -1 for void, 1.. for the other segments in the order of the rows.
    """
    ids = np.full(panoptic.shape, UNLABELLED, np.int32)
    classes, scores = [], []
    for row in rows:
        own = panoptic == row["id"]
        category = names.get(int(row["label_id"]), "")
        if is_structure(category):
            ids[own] = 0
        elif own.any():
            classes.append(nyu40_class(category))
            scores.append(float(row.get("score", 1.0)))
            ids[own] = len(classes)
    return Segments(
        ids,
        np.arange(1, len(classes) + 1, dtype=np.int32),
        np.array(classes, np.int32),
        np.array(scores, np.float32),
    )


def _load(transformers: Any, path: Path) -> tuple[Any, Any]:
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(path, local_files_only=True)
        network = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is no folder of Mask2Former ({reason}); save it there with save_pretrained"
        ) from error
    return processor, network
