"""Telling the weights of a scene: what was made from them is of use with these weights alone."""

import hashlib

import torch
from torch import nn

FINGERPRINTED = ("field.", "proposal_networks.", "head.")
"""State keys of the weights that decide what is where."""


def fingerprint(model: nn.Module, prefixes: tuple[str, ...] = FINGERPRINTED) -> str:
    """SHA-256 over names, shapes and bytes of the weights of geometry, colour and head, wherever these lie.

    A viewer knows no path of what it shows, so what belongs to certain weights is told by the weights themselves.

    Args:
        model: the model.
        prefixes: of the state keys of these weights.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if name.startswith(prefixes):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
