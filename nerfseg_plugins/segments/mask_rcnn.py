"""Segments of torchvision's Mask R-CNN, trained on COCO.

It knows 80 kinds of things and nothing of walls. Pixels without a detection are background, as they are to it; `match`
gives such background less weight than a segment, since a missed thing looks the same.
"""

from typing import Any, NamedTuple, Optional

import numpy as np
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import sha256_file
from nerfseg_plugins.segments.classes import nyu40_class
from nerfseg_plugins.segments.masks import Segments
from nerfseg_plugins.segments.sources import SourceOptions, flatten_masks
from nerfseg_plugins.weights import check_device, load_weights

ARCHITECTURES = ("maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2")
MASK_THRESHOLD = 0.5
MIN_PIXELS = 16
"""Smaller segments are specks."""


class Things(NamedTuple):
    """Detected things, best first."""

    masks: np.ndarray
    """(N, H, W) bool; they may overlap."""
    scores: np.ndarray
    """(N,)."""
    categories: tuple[str, ...]
    """COCO's names, N of them."""


class MaskRcnnSource:
    """torchvision's Mask R-CNN; the variant is read off the checkpoint."""

    name = "mask-rcnn"

    def __init__(self, options: SourceOptions) -> None:
        """Load the network.

        Raises:
            InputError: the checkpoint is missing, damaged or of another network, or there is none and no network to
                fetch torchvision's own.
        """
        self.device = check_device(options.device)
        self.min_score = options.min_score
        self.parameters: dict[str, Any] = {"min_score": options.min_score}
        self.checkpoint: Optional[str]
        if options.checkpoint is None:
            self.model, network = "maskrcnn_resnet50_fpn_v2", _published()
            self.checkpoint = None
            self.parameters["weights"] = "COCO_V1"
        else:
            if not options.checkpoint.is_file():
                raise InputError(
                    f"{options.checkpoint} is no file; give --checkpoint a state dict of torchvision's Mask R-CNN"
                )
            state = load_weights(options.checkpoint, "torchvision's Mask R-CNN")
            self.model, network = _from_state(state, options)
            self.checkpoint = sha256_file(options.checkpoint)
        self._categories = _categories()
        self._network = network.to(self.device).eval()

    def __call__(self, rgb: np.ndarray) -> Segments:
        """Segment an image (H, W, 3) uint8: 0 where nothing is detected, overlaps go to the higher score."""
        found = self.things(rgb)
        ids, order = flatten_masks(found.masks, found.scores, outside=0)
        return Segments(
            ids,
            np.arange(1, len(order) + 1, dtype=np.int32),
            np.array([nyu40_class(found.categories[index]) for index in order], np.int32),
            found.scores[order].astype(np.float32),
        )

    def things(self, rgb: np.ndarray) -> Things:
        """All things that are detected in an image (H, W, 3) uint8 with `min_score` or more, best first."""
        image = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            found = self._network([image])[0]
        scores = found["scores"].cpu().numpy()
        masks = found["masks"][:, 0].cpu().numpy() >= MASK_THRESHOLD
        keep = np.flatnonzero((scores >= self.min_score) & (masks.sum(axis=(1, 2)) >= MIN_PIXELS))
        return Things(
            masks[keep], scores[keep], tuple(self._categories[label] for label in found["labels"].cpu().numpy()[keep])
        )

    def check_category(self, category: str) -> None:
        """Refuse a kind of thing that the network does not know.

        Raises:
            InputError: names some that it does.
        """
        if category not in self._categories:
            raise InputError(f"{category!r} is no category of COCO; give one such as car, truck, bus or chair")


def _categories() -> list[str]:
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights

    return list(MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1.meta["categories"])


def _published() -> torch.nn.Module:
    """torchvision's own weights, from its cache or the network."""
    from torchvision.models import detection

    try:
        return detection.maskrcnn_resnet50_fpn_v2(weights=detection.MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1)
    except OSError as error:  # URLError is one
        raise InputError(
            f"torchvision's Mask R-CNN weights cannot be fetched ({error}); give --checkpoint a local copy of them"
        ) from error


def _from_state(state: dict[str, Any], options: SourceOptions) -> tuple[str, torch.nn.Module]:
    """The architecture that the keys speak of, with these weights, all of them."""
    from torchvision.models import detection

    # Version 2 has batch norm in its pyramid's convolutions.
    name = (
        ARCHITECTURES[1] if any(key.startswith("backbone.fpn.inner_blocks.0.1") for key in state) else ARCHITECTURES[0]
    )
    head = state.get("roi_heads.box_predictor.cls_score.weight")
    num_classes = len(_categories())
    if head is None or head.shape[0] != num_classes:
        found = "no box predictor" if head is None else f"{head.shape[0]} classes"
        raise InputError(
            f"{options.checkpoint} has {found}; give a state dict of {' or '.join(ARCHITECTURES)} for COCO's "
            f"{num_classes} classes"
        )
    network = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=num_classes)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{options.checkpoint} does not fit {name} ({reason}); save its whole state dict") from error
    return name, network
