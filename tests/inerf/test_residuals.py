"""Losses and their weights, exposure and chroma against what they are by hand."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from nerfseg_plugins.inerf.residuals import Loss, Photometric

GAIN, BIAS = torch.tensor([0.6, 0.75, 0.6]), torch.tensor([0.02, 0.08, 0.0])
"""Darker, with a green cast."""
LOSSES = get_args(Loss)


def colors(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # The RMS over channels of (0.3, 0, 0) is s = 0.3 / sqrt(3) = 0.1732; the photo's mean there is 0.4.
        ("l2", 0.5 * 0.03),
        ("l1", 0.03**0.5),
        ("huber", 0.1 * (0.03**0.5 - 0.05)),
        ("cauchy", 0.5 * 0.01 * np.log(1 + 3)),
        ("mape", 0.03**0.5 / 0.41),
    ],
)
def test_costs_by_hand(loss: Loss, expected: float):
    target = torch.tensor([[0.5, 0.4, 0.3]], dtype=torch.float64)
    rendered = target + torch.tensor([0.3, 0.0, 0.0])
    compared = Photometric(loss, scale=0.1).compare(rendered[None], target)
    assert float(compared.cost) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(compared.residuals[0, 0], torch.tensor([0.3, 0, 0]).double(), atol=1e-7, rtol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_costs_are_means_over_rays_and_hypotheses_are_apart(loss: Loss):
    rendered, target = colors(3, 50), colors(50, seed=1)
    compared = Photometric(loss).compare(rendered, target)
    assert compared.cost.shape == (3,) and compared.weights.shape == (3, 50, 1)
    each = [Photometric(loss).compare(rendered[1:2, ray : ray + 1], target[ray : ray + 1]).cost for ray in range(50)]
    torch.testing.assert_close(compared.cost[1], torch.cat(each).mean())
    torch.testing.assert_close(rendered - target, compared.residuals)


@pytest.mark.parametrize("channels", ["rgb", "chroma"])
@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_the_slope_of_the_cost(loss: Loss, channels):
    """Iteratively reweighted least squares: the cost's derivative is weight times residual, over the channels' mean.

    Residuals lie on both sides of the scale, and above the 0.01 below which l1 and mape are rounded off.
    """
    photometric = Photometric(loss, scale=0.1, channels=channels)
    rendered, target = colors(1, 60).double(), colors(60, seed=1).double()
    rendered[:, ::2] = target[::2] + 0.2 * (rendered[:, ::2] - 0.5)
    clear = photometric.compare(rendered, target).residuals[0].square().mean(-1).sqrt() > 0.012
    rendered, target = rendered[:, clear], target[clear]
    compared = photometric.compare(rendered, target)
    assert 10 < int((compared.residuals.square().mean(-1).sqrt() < 0.1).sum()) < len(target) - 5
    along = colors(len(target), seed=2).double() - 0.5
    step = 1e-6
    ahead, behind = (photometric.compare(rendered + sign * step * along, target) for sign in (1, -1))
    slope = (ahead.cost - behind.cost) / (2 * step)
    change = (ahead.residuals - behind.residuals) / (2 * step)
    weighted = (compared.weights * compared.residuals * change).mean(dim=(1, 2))
    torch.testing.assert_close(weighted, slope, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(compared.project(along[None, ..., None])[..., 0], change, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_rendering_costs_nothing_and_has_finite_weights(loss: Loss):
    target = torch.cat([colors(20), torch.zeros(3, 3)])
    compared = Photometric(loss, exposure=True).compare(target.expand(2, 23, 3), target)
    assert bool(compared.weights.isfinite().all()) and bool((compared.weights > 0).all())
    assert float(compared.cost.max()) < 2e-4  # mape of a rounding error on black
    torch.testing.assert_close(compared.exposure[:, 0], torch.ones(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(compared.exposure[:, 1], torch.zeros(2, 3), atol=1e-5, rtol=0)


def test_mape_is_relative_to_the_photo():
    """A tenth of the light, a tenth of the residual: the same cost, but for the 0.01 that keeps black apart."""
    target = colors(40, low=0.4, high=0.9)
    rendered = target[None] * 1.2
    bright, dim = (Photometric("mape").compare(f * rendered, f * target).cost.item() for f in (1.0, 0.1))
    assert dim == pytest.approx(bright, rel=0.2) and bright == pytest.approx(0.2, rel=0.1)
    bright, dim = (Photometric("l1").compare(f * rendered, f * target).cost.item() for f in (1.0, 0.1))
    assert dim == pytest.approx(0.1 * bright, rel=1e-4)


@pytest.mark.parametrize("loss", ["cauchy", "huber", "l1"])
def test_outliers_count_less(loss: Loss):
    target = torch.full((10, 3), 0.5)
    rendered = target.repeat(1, 1, 1)
    rendered[:, :5] += 0.02
    rendered[:, 5:] += 0.4
    weights = Photometric(loss, scale=0.1).compare(rendered, target).weights[0, :, 0]
    assert float(weights[:5].min()) > 3 * float(weights[5:].max())


def test_chroma_does_not_see_brightness():
    target = colors(30)
    photometric = Photometric("l2", channels="chroma")
    brighter = photometric.compare(target[None] + 0.3, target)
    assert brighter.residuals.shape == (1, 30, 2)
    assert float(brighter.residuals.abs().max()) < 1e-5
    greener = photometric.compare(target[None] + torch.tensor([0.0, 0.3, 0.0]), target)
    # U and V of green, by ITU-R BT.601.
    torch.testing.assert_close(greener.residuals[0, 0], 0.3 * torch.tensor([-0.28886, -0.51499]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_known_exposure_is_found(loss: Loss):
    rendered = torch.stack([colors(500), colors(500)[:, [1, 2, 0]]])
    target = rendered[0] * GAIN + BIAS
    compared = Photometric(loss, exposure=True).compare(rendered, target)
    torch.testing.assert_close(compared.exposure[0], torch.stack([GAIN, BIAS]), atol=0.01, rtol=0)
    assert float(compared.residuals[0].abs().max()) < 0.005
    assert float(compared.cost[1]) > 10 * float(compared.cost[0]), "no exposure makes another picture fit"
    torch.testing.assert_close(Photometric(loss).compare(rendered, target).exposure[:, 0], torch.ones(2, 3))


def test_a_known_exposure_is_found_in_spite_of_outliers():
    rendered = colors(1, 500)
    target = rendered[0] * GAIN + BIAS
    target[::5] = 1.0  # something bright stands before a fifth of the photo
    robust, plain = (
        Photometric(loss, exposure=True).compare(rendered, target).exposure[0] for loss in ("cauchy", "l2")
    )
    truth = torch.stack([GAIN, BIAS])
    assert float((robust - truth).abs().max()) < 0.05
    assert float((plain - truth).abs().max()) > 0.1


def test_a_constant_channel_keeps_its_exposure():
    rendered = colors(1, 200)
    rendered[..., 1] = 0.5
    same = Photometric("l2", exposure=True).compare(rendered, rendered[0]).exposure[0]
    torch.testing.assert_close(same, torch.tensor([[1.0, 1, 1], [0, 0, 0]]), atol=1e-4, rtol=0)
    target = rendered[0].clone()
    target[:, 1] = 0.3
    found = Photometric("l2", exposure=True).compare(rendered, target).exposure[0, :, 1]
    # Nothing tells a gain, so it stays 1, and 0.5 + b = 0.3.
    torch.testing.assert_close(found, torch.tensor([1.0, -0.2]), atol=1e-3, rtol=0)


def basis_of(rendered: Tensor) -> Tensor:
    """(B, R, C, 2) how values change with gain and bias."""
    return torch.stack([rendered, torch.ones_like(rendered)], dim=-1)


@pytest.mark.parametrize("loss", ["l2", "cauchy"])
def test_projection_takes_the_exposure_out_and_nothing_else(loss: Loss):
    rendered, target = colors(2, 80).double(), (colors(80, seed=1) * GAIN).double()
    compared = Photometric(loss, exposure=True).compare(rendered, target)
    basis = basis_of(rendered)
    jacobian = torch.randn(2, 80, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    projected = compared.project(jacobian)
    weighted = projected * compared.weights[..., None]
    inner = torch.einsum("brck,brci->bcki", weighted, basis)
    assert float(inner.abs().max()) < 1e-4 * float(compared.weights.sum(1).min())
    # What was taken out is a mixture of gain and bias alone.
    taken = jacobian * compared.exposure[:, None, 0, :, None] - projected
    for hypothesis in range(2):
        for channel in range(3):
            a, b = basis[hypothesis, :, channel].numpy(), taken[hypothesis, :, channel].numpy()
            np.testing.assert_allclose(a @ np.linalg.lstsq(a, b, rcond=None)[0], b, atol=1e-6)
    # Changes of gain and bias vanish, changes that are orthogonal to them stay.
    assert float(compared.project(basis).abs().max()) < 1e-4
    untouched = projected / compared.exposure[:, None, 0, :, None]
    torch.testing.assert_close(compared.project(untouched), projected, atol=1e-4, rtol=0)


def test_without_exposure_derivatives_are_as_they_are():
    rendered = colors(2, 10)
    jacobian = torch.randn(2, 10, 3, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Photometric("cauchy").compare(rendered, rendered[0]).project(jacobian), jacobian)
