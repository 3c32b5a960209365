"""Loading Segment Anything (arXiv 2304.02643): the whole network for masks, its image encoder alone for features."""

from pathlib import Path
from typing import Any, NamedTuple, Optional

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.weights import check_device, load_into, need_checkpoint, state_of

WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Width of the image encoder -> name of the variant."""
ENCODER = "image_encoder"
PUBLISHED = "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth"


class LoadedSam(NamedTuple):
    """A network with its weights."""

    network: Any
    """In evaluation mode, on its device: the whole of SAM, or its image encoder."""
    variant: str
    """vit_b, vit_l or vit_h."""
    checkpoint: str
    """SHA-256 of the file."""


def load_sam(checkpoint: Optional[Path], device: str, encoder_alone: bool = False) -> LoadedSam:
    """Load SAM from a local checkpoint; the variant is told from its weights.

    Args:
        checkpoint: sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth.
        device: torch device.
        encoder_alone: whether the image encoder suffices; its file may then hold nothing else.

    Raises:
        InputError: segment-anything is not installed, or the checkpoint is missing, damaged or of another network.
    """
    try:
        from segment_anything import sam_model_registry  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "the source sam needs segment-anything; install it with: pip install segment-anything"
        ) from error
    path, digest = need_checkpoint(checkpoint, "sam", f"a checkpoint of SAM, such as {PUBLISHED}")
    state = state_of(path, "SAM", f"{ENCODER}." if encoder_alone else None)
    position = state.get("pos_embed" if encoder_alone else f"{ENCODER}.pos_embed")
    variant = WIDTHS.get(position.shape[-1]) if position is not None else None
    if variant is None:
        raise InputError(f"{path} is no checkpoint of SAM's vit_b, vit_l or vit_h; download one of these")
    network = sam_model_registry[variant](checkpoint=None)
    network = network.image_encoder if encoder_alone else network
    load_into(network, state, path, f"SAM's {variant}")
    return LoadedSam(network.to(check_device(device)).eval(), variant, digest)
