"""The losses of Instance-NeRF (arXiv 2304.04395, section 3.3), as functions of tensors."""

from typing import Literal

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

UNLABELLED = -1
"""Label of a pixel that no loss counts."""


def instance_cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy over labelled pixels.

    Args:
        logits: (R, K) composited logits.
        labels: (R,) long in -1..K-1; -1 is ignored.
        label_smoothing: part of the target that is spread evenly over the classes.

    Returns:
        Scalar; zero, with a gradient of zero, when nothing is labelled.
    """
    total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction="sum", label_smoothing=label_smoothing)
    return total / (labels != UNLABELLED).sum().clamp_min(1)


def label_regularization(
    logits: Tensor,
    depth: Tensor,
    bandwidth: float = 0.02,
    on: Literal["logits", "probabilities"] = "probabilities",
) -> Tensor:
    """Neighbouring pixels of a patch should agree, except across a depth edge (equation 6 of the paper).

    sum w (dS)^2 / sum w with w = exp(-(dd / bandwidth)^2), once for horizontal and once for vertical neighbours. The
    original implementation has bandwidth 1 on depths in [0, 1], where w stays above 0.37 and no edge is respected, and
    takes the difference of raw logits, whose scale is arbitrary; both remain available.

    Args:
        logits: (P, p, p, K) patches of composited logits.
        depth: (P, p, p) depth normalised to [0, 1] between near and far.
        bandwidth: depth difference, in the same unit, at which the weight falls to 1/e.
        on: compare logits or their softmax.

    Returns:
        Scalar.
    """
    values = logits.softmax(dim=-1) if on == "probabilities" else logits
    total = values.new_zeros(())
    for axis in (1, 2):
        difference = values.diff(dim=axis).square().sum(dim=-1)
        weight = torch.exp(-(depth.diff(dim=axis) / bandwidth).square())
        total = total + (weight * difference).sum() / weight.sum().clamp_min(1e-6)
    return total


def match_view_labels(logits: Tensor, labels: Tensor, views: Tensor) -> Tensor:
    """Rename per-view ids to the slots of the field, view by view, by the linear assignment of least cross entropy.

    For masks whose ids mean nothing across views (as in Panoptic Lifting, arXiv 2212.09802, section 3.3): an id of a
    view takes the slot that gives its pixels the largest sum of log probabilities, one to one. Background (0) keeps
    slot 0.

    Args:
        logits: (R, K) composited logits.
        labels: (R,) long, per-view ids; 0 background, -1 unlabelled.
        views: (R,) long, the view of each pixel.

    Returns:
        (R,) long labels in -1..K-1; ids of a view beyond its K-1 slots become -1.
    """
    log_probability = logits.detach().log_softmax(dim=-1)[:, 1:]
    matched = torch.where(labels > 0, torch.full_like(labels, UNLABELLED), labels)
    foreground = labels > 0
    if not foreground.any():
        return matched
    keys = torch.stack([views[foreground], labels[foreground]], dim=-1)
    segments, inverse = torch.unique(keys, dim=0, return_inverse=True)
    cost = log_probability.new_zeros(len(segments), log_probability.shape[1])
    cost.index_add_(0, inverse, -log_probability[foreground])
    slots = torch.full((len(segments),), UNLABELLED, dtype=torch.long, device=labels.device)
    for view in segments[:, 0].unique():
        rows = (segments[:, 0] == view).nonzero()[:, 0]
        row, column = linear_sum_assignment(cost[rows].cpu().numpy())
        slots[rows[torch.as_tensor(row, device=rows.device)]] = torch.as_tensor(column + 1, device=slots.device)
    matched[foreground] = slots[inverse]
    return matched
