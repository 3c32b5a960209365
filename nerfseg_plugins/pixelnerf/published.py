"""Weights that others have published: pixelNeRF's own checkpoints and torchvision's ResNet34."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.pixelnerf.encoder import IMAGENET_URL, PyramidEncoder
from nerfseg_plugins.weights import fetch, load_into, load_weights

if TYPE_CHECKING:
    from nerfseg_plugins.pixelnerf.field import PixelNerfField

NAME = "pixelNeRF"
_STATE = {"encoder.latent", "encoder.latent_scaling", "poses", "image_shape", "focal", "c"}
"""What the original implementation holds of the last images; some versions save it."""
_CLASSIFIER = ("encoder.model.fc.", "encoder.model.avgpool.")
"""Not built here, and without a use in older checkpoints."""


def load_published(field: "PixelNerfField", path: Path) -> None:
    """Load a checkpoint of the original implementation, all of it or nothing.

    Args:
        field: of the published sizes.
        path: `pixel_nerf_latest`, a state dict.

    Raises:
        InputError: it cannot be read, or is of other sizes.
    """
    load_into(field, from_published(load_weights(Path(path), NAME), field, path), path, NAME)


def from_published(state: dict[str, Tensor], field: "PixelNerfField", path: Path) -> dict[str, Tensor]:
    """The weights of an original checkpoint by their names here.

    Args:
        state: by the original's names: `encoder.model.*`, `mlp_coarse.*`, `mlp_fine.*`, `code.*`.
        field: what they are for.
        path: of the checkpoint, for messages.

    Raises:
        InputError: coordinates are encoded at other frequencies.
    """
    frequencies = state.get("code._freqs")
    if frequencies is not None:
        config = field.config
        ours = (config.frequency_factor * 2.0 ** torch.arange(config.num_frequencies)).repeat_interleave(2)
        if frequencies.numel() != ours.numel() or not torch.allclose(frequencies.flatten().float(), ours, rtol=1e-4):
            raise InputError(
                f"{path} encodes coordinates at {frequencies.flatten()[::2].tolist()}, this model at "
                f"{ours[::2].tolist()} radians per unit; set --pipeline.model.networks.num-frequencies and "
                "--pipeline.model.networks.frequency-factor"
            )
    return {
        key.replace("encoder.model.", "encoder.", 1): value
        for key, value in state.items()
        if key not in _STATE and not key.startswith(("code.", *_CLASSIFIER))
    }


def load_imagenet(encoder: PyramidEncoder) -> None:
    """Load torchvision's weights of a ResNet34, fetched once into torch's cache.

    Raises:
        InputError: they cannot be fetched, or the encoder is no ResNet34.
    """
    path = fetch(IMAGENET_URL, "torchvision's ResNet34")
    state = {key: value for key, value in load_weights(path, "ResNet34").items() if not key.startswith("fc.")}
    load_into(encoder, state, path, "this encoder (--pipeline.model.networks.encoder)")
