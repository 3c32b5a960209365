"""What is like a query, in colours."""

from typing import Optional

import torch
from nerfstudio.utils.colormaps import apply_float_colormap
from torch import Tensor
from torch.nn.functional import normalize

GREY = 0.5
"""Of what has no colour."""


def likeness_colors(features: Tensor, query: Optional[Tensor], met: Tensor) -> Tensor:
    """Colours (R, 3) of the cosine to the nearest of a query, blue to red.

    Args:
        features: (R, C) of unit length.
        query: (K, C) of any length; None or K = 0 makes all grey.
        met: (R, 1) bool, the rays that meet something; the others are grey.
    """
    grey = features.new_full((len(features), 3), GREY)
    if query is None or not len(query):
        return grey
    cosine = (features.detach() @ normalize(query.to(features), dim=-1).T).amax(dim=-1, keepdim=True)
    return torch.where(met, apply_float_colormap(cosine.clamp(0, 1), "turbo").to(grey), grey)
