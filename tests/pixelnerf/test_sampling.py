"""Samples along rays against plain references."""

import math

import pytest
import torch
from scipy.stats import norm

from nerfseg_plugins.pixelnerf import sampling
from nerfseg_plugins.pixelnerf.sampling import SamplingConfig


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_one_sample_lies_in_each_part():
    places = torch.tensor([[0.0, 0.5, 1.0, 0.25], [0.5, 0.5, 0.5, 0.5]])
    found = sampling.stratified(column(1.0, 0.0), column(3.0, 8.0), places)
    # Parts of half a unit from 1, and of two units from 0.
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.75, 2.5, 2.625], [1.0, 3.0, 5.0, 7.0]]))


def plain_importance(weights: list[float], near: float, far: float, quantile: float, floor: float) -> float:
    """The inverse of the piecewise linear distribution, part by part."""
    parts = [weight + floor for weight in weights]
    total, before = sum(parts), 0.0
    for index, part in enumerate(parts):
        if quantile * total <= before + part:
            return near + (far - near) * (index + (quantile * total - before) / part) / len(parts)
        before += part
    return far


@pytest.mark.parametrize("floor", [1e-5, 0.01])
def test_importance_inverts_the_distribution_of_weights(floor: float):
    torch.manual_seed(0)
    weights, quantiles = torch.rand(5, 7) ** 4, torch.rand(5, 9)
    weights[3] = 0
    near, far = torch.rand(5, 1), 2 + torch.rand(5, 1)
    found = sampling.importance(weights, near, far, quantiles, floor)
    for ray in range(5):
        for sample in range(9):
            bounds = near[ray].item(), far[ray].item()
            wanted = plain_importance(weights[ray].tolist(), *bounds, quantiles[ray, sample].item(), floor)
            assert found[ray, sample].item() == pytest.approx(wanted, abs=1e-4)
    # Without weights samples are even.
    torch.testing.assert_close(found[3:4], near[3:4] + (far - near)[3:4] * quantiles[3:4], rtol=1e-4, atol=1e-5)


def test_importance_stays_on_the_ray():
    ends = torch.tensor([[0.0, 1.0, 1.0]])
    found = sampling.importance(torch.tensor([[0.0, 1.0, 0.0]]), column(2.0), column(5.0), ends)
    assert ((found >= 2) & (found <= 5)).all()
    assert not sampling.importance(torch.rand(1, 3, requires_grad=True), column(0.0), column(1.0), ends).requires_grad


def test_depth_samples_spread_around_the_depth_within_the_ray():
    depth = torch.tensor([[2.0], [1.005]], requires_grad=True)
    normals = torch.tensor([[-1.0, 2.0], [-1.0, 0.0]])
    found = sampling.around_depth(depth, column(1, 1), column(3, 3), normals, 0.01)
    torch.testing.assert_close(found, torch.tensor([[1.99, 2.02], [1.0, 1.005]]))
    assert not found.requires_grad


def test_merged_samples_ascend():
    found = sampling.merge(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.5]]), torch.tensor([[0.5, 9.0]]))
    assert found.tolist() == [[0.5, 1.0, 2.5, 3.0, 9.0]]


def plain_weights(density: list[float], distances: list[float], far: float) -> list[float]:
    """Alpha compositing, sample by sample."""
    through, found = 1.0, []
    for index, value in enumerate(density):
        end = distances[index + 1] if index + 1 < len(distances) else far
        alpha = 1 - math.exp(-value * (end - distances[index]))
        found.append(through * alpha)
        through *= 1 - alpha
    return found


def test_weights_are_those_of_alpha_compositing():
    density = torch.tensor([[0.0, 2.0, 5.0], [1.0, 0.0, 300.0], [0.0, 0.0, 0.0]])
    distances = torch.tensor([[1.0, 1.5, 1.6], [1.0, 1.0, 2.0], [1.0, 2.0, 2.5]])
    found = sampling.weights_of(density, distances, column(3, 3, 3))
    for ray in range(3):
        wanted = plain_weights(density[ray].tolist(), distances[ray].tolist(), 3.0)
        torch.testing.assert_close(found[ray], torch.tensor(wanted))


def test_expected_depth_is_the_mean_of_what_is_met():
    weights = torch.tensor([[0.2, 0.6], [0.0, 0.0]])
    distances = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    found = sampling.expected_depth(weights, distances, column(0.5, 0.5), column(4, 4))
    torch.testing.assert_close(found, column(1.75, 0.5))  # (0.2 + 1.2) / 0.8; nothing is met along the other


def test_fixed_draws_are_the_middles_of_random_ones():
    config = SamplingConfig(num_coarse=3, num_importance=4, num_depth=5)
    draws = sampling.fixed(2, config, torch.device("cpu"))
    assert draws.coarse.tolist() == [[0.5] * 3] * 2
    torch.testing.assert_close(draws.importance[1], torch.tensor([0.125, 0.375, 0.625, 0.875]))
    wanted = torch.tensor(norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9]), dtype=torch.float32)
    torch.testing.assert_close(draws.depth[0], wanted, atol=1e-6, rtol=1e-5)


def test_random_draws_follow_torchs_seed_and_their_distribution():
    config = SamplingConfig(num_coarse=4, num_importance=8, num_depth=2)
    torch.manual_seed(3)
    first = sampling.draw(2000, config, torch.device("cpu"))
    torch.manual_seed(3)
    second = sampling.draw(2000, config, torch.device("cpu"))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    parts = (first.importance * 8).floor()
    assert torch.equal(parts, torch.arange(8.0).expand(2000, 8))  # one in each eighth
    assert first.coarse.mean().item() == pytest.approx(0.5, abs=0.02)
    assert first.depth.std().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("config", [SamplingConfig(4, 0, 3), SamplingConfig(4, 3, 0)])
def test_kinds_of_samples_can_be_left_out(config: SamplingConfig):
    for make in (sampling.draw, sampling.fixed):
        draws = make(2, config, torch.device("cpu"))
        weights, near, far = torch.rand(2, 4), column(1, 1), column(2, 2)
        assert sampling.importance(weights, near, far, draws.importance).shape == (2, config.num_importance)
        assert draws.depth.shape == (2, config.num_depth)
