"""The losses of the ultrametric field (arXiv 2405.19678, section 3.2, and the original implementation).

Each is zero where it has nothing to say, and can be backpropagated then too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(positive: Tensor, negatives: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross entropy of telling which is the positive among itself and its negatives.

    Args:
        positive: (P,) how alike anchors are to their positives.
        negatives: (P, R) how alike they are to their negatives.
        temperature: similarities are divided by it.

    Returns:
        Scalar, the mean over groups.
    """
    logits = torch.cat([positive[:, None], negatives], dim=1) / temperature
    labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, labels, reduction="sum") / max(len(logits), 1)


def norm_loss(rendered: Tensor) -> Tensor:
    """Composited features should have length 1: mean of (|f| - 1)^2.

    Args:
        rendered: (N, C) before they are normalised.

    Returns:
        Scalar.
    """
    # A feature of zero has no direction to grow in; its length alone must not give an infinite gradient.
    length = rendered.square().sum(dim=-1).clamp_min(1e-12).sqrt()
    return (length - 1).square().sum() / max(len(rendered), 1)


def depth_smoothness(depth: Tensor, accumulation: Tensor, margin: float = 0.1, min_accumulation: float = 0.9) -> Tensor:
    """Depth along short runs of pixels should bend evenly: its third difference, relative to the depth's cube.

    mean of max(0, |d0 - 3 d1 + 3 d2 - d3| / (max d + 0.01)^3 - margin), the denominator without gradient.

    Args:
        depth: (Q, 4) of neighbouring pixels in a row or column, scene units.
        accumulation: (Q, 4) opacities; only runs that are opaque throughout count.
        margin: what is not punished.
        min_accumulation: what counts as opaque.

    Returns:
        Scalar.
    """
    opaque = (accumulation > min_accumulation).all(dim=-1)
    depth = depth[opaque]
    third = (depth * depth.new_tensor([1.0, -3.0, 3.0, -1.0])).sum(dim=-1).abs()
    scale = (depth.detach().amax(dim=-1) + 0.01) ** 3
    return (third / scale - margin).clamp_min(0).sum() / max(len(depth), 1)
