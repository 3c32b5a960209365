"""The losses by hand, and where they have nothing to say."""

import math

import numpy as np
import pytest
import torch

from nerfseg_plugins.ultrametric.graph import similarities
from nerfseg_plugins.ultrametric.groups import GroupConfig, build_groups
from nerfseg_plugins.ultrametric.losses import contrastive_loss, depth_smoothness, norm_loss


def test_contrast_by_hand() -> None:
    positive = torch.tensor([0.9, 0.2])
    negatives = torch.tensor([[0.8, -0.5], [0.2, 0.2]])
    first = -math.log(math.exp(9) / (math.exp(9) + math.exp(8) + math.exp(-5)))
    assert float(contrastive_loss(positive, negatives)) == pytest.approx((first + math.log(3)) / 2, rel=1e-5)
    assert float(contrastive_loss(positive, negatives, 1e6)) == pytest.approx(math.log(3), rel=1e-5)


def test_contrast_pulls_positives_and_pushes_negatives() -> None:
    positive = torch.tensor([0.5], requires_grad=True)
    negatives = torch.tensor([[0.4, 0.45]], requires_grad=True)
    contrastive_loss(positive, negatives).backward()
    assert positive.grad is not None and negatives.grad is not None
    assert positive.grad[0] < 0 < negatives.grad[0, 0] < negatives.grad[0, 1]


def test_an_image_without_masks_gives_a_loss_of_zero_with_a_gradient_of_zero() -> None:
    groups = build_groups(
        np.zeros((0, 8), bool), np.zeros(0, int), np.zeros(0, int), GroupConfig(), np.random.default_rng(0)
    )
    assert len(groups) == 0
    features = torch.nn.functional.normalize(torch.ones(8, 4), dim=-1).requires_grad_()
    found = similarities(features, np.array([[0, 1]]), np.array([False]), groups.pairs())
    loss = contrastive_loss(*groups.split(found))
    assert loss.item() == 0
    loss.backward()
    assert features.grad is not None and (features.grad == 0).all()


def test_lengths_by_hand() -> None:
    rendered = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, 0.0]], requires_grad=True)
    loss = norm_loss(rendered)
    assert loss.item() == pytest.approx((16 + 0 + 1) / 3, rel=1e-5)
    loss.backward()
    assert rendered.grad is not None and torch.isfinite(rendered.grad).all()
    assert torch.nn.functional.normalize(rendered.grad[0], dim=0).tolist() == pytest.approx([0.6, 0.8])
    assert float(norm_loss(torch.zeros(0, 4))) == 0


def test_depth_that_bends_evenly_is_smooth() -> None:
    steps = torch.arange(4.0)
    depth = torch.stack([torch.ones(4), 1 + 0.3 * steps, 1 + 0.1 * steps**2])
    assert float(depth_smoothness(depth, torch.ones(3, 4), margin=0)) == pytest.approx(0, abs=1e-5)


def test_depth_steps_by_hand() -> None:
    depth = torch.tensor([[0.5, 0.5, 0.99, 0.99], [0.5, 0.5, 0.5, 0.5], [0.0, 9.0, 0.0, 9.0]], requires_grad=True)
    opaque = torch.tensor([[0.95] * 4, [1.0] * 4, [1.0, 1.0, 0.9, 1.0]])  # the last is no more than 0.9 somewhere
    loss = depth_smoothness(depth, opaque)
    # |0.5 - 1.5 + 2.97 - 0.99| = 0.98, over (0.99 + 0.01)^3, less the margin, over the two runs that count
    assert loss.item() == pytest.approx((0.98 - 0.1) / 2, rel=1e-5)
    loss.backward()
    assert depth.grad is not None
    assert depth.grad[0].tolist() == pytest.approx([0.5, -1.5, 1.5, -0.5], rel=1e-5)  # the denominator stands still
    assert (depth.grad[1:] == 0).all()


@pytest.mark.parametrize("accumulation", [torch.zeros(2, 4), torch.zeros(0, 4)])
def test_no_opaque_run(accumulation: torch.Tensor) -> None:
    depth = torch.rand(accumulation.shape, requires_grad=True)
    loss = depth_smoothness(depth, accumulation)
    assert loss.item() == 0
    loss.backward()
    assert depth.grad is not None and (depth.grad == 0).all()
