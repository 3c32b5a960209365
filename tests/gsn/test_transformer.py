"""GNT's trunk: what its tokens depend on."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.gsn.sampling import PointsSeen
from nerfseg_plugins.gsn.semantic import SemanticHead
from nerfseg_plugins.gsn.transformer import RayTrunk, encode_position, masked_maximum, masked_moments

R, S, V, D, C = 3, 5, 4, 6, 8


def trunk(**options: Any) -> RayTrunk:
    torch.manual_seed(0)
    return RayTrunk(**{"width": 16, "depth": 3, "features": D, "dropout": 0.0, **options})


def inputs() -> tuple[PointsSeen, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    mask = torch.rand(R, S, V, generator=generator) < 0.6
    mask[0, 0] = False
    seen = PointsSeen(draw(R, S, V, 3 + D), draw(R, S, V, C), draw(R, S, V, 4), mask)
    return seen, draw(R, S, 3), normalize(draw(R, 3), dim=-1)


def test_encoding_by_hand():
    found = encode_position(torch.tensor([0.5, 0.0, 1.0]))
    assert found.shape == (63,)
    x = [0.5, 0.0, 1.0]
    expected = [*x, *(math.sin(v) for v in x), *(math.cos(v) for v in x), *(math.sin(2 * v) for v in x)]
    assert torch.allclose(found[:12], torch.tensor(expected))
    assert torch.allclose(found[-3:], torch.tensor([math.cos(512 * v) for v in x]), atol=1e-4)


def test_largest_of_the_views_that_see():
    values = torch.tensor([[[[-3.0, 1.0], [-5.0, 2.0], [0.0, 9.0]]]])
    mask = torch.tensor([[[True, True, False]]])
    assert masked_maximum(values, mask).tolist() == [[[-3, 2]]]
    assert masked_maximum(values, mask & False).tolist() == [[[0, 0]]]
    assert masked_maximum(values, mask, zeros_count=True).tolist() == [[[0, 9]]]


def test_moments_of_the_views_that_see():
    values = torch.tensor([[[[1.0, 4.0], [3.0, 4.0], [77.0, -9.0]]]])
    mask = torch.tensor([[[True, True, False]]])
    assert masked_moments(values, mask).tolist() == [[[2, 4, 1, 0]]]
    assert masked_moments(values, mask & False).tolist() == [[[0, 0, 0, 0]]]


@pytest.mark.parametrize("color", ["latent", "blend"])
@pytest.mark.parametrize("direction", ["last", "blocks"])
def test_tokens_know_of_the_direction_only_in_the_original(direction: str, color: str):
    network = trunk(direction=direction, color=color)
    seen, points, directions = inputs()
    one, two = network(seen, points, directions), network(seen, points, -directions)
    assert torch.equal(one.tokens, two.tokens) == (direction == "last")
    assert torch.equal(one.views, two.views)
    assert (one.rgb - two.rgb).abs().max() > 1e-4


@pytest.mark.parametrize("options", [{}, {"color": "blend"}, {"query": "moments"}])
def test_order_and_unseen_views_do_not_matter(options: dict[str, Any]):
    network = trunk(**options)
    seen, points, directions = inputs()
    found = network(seen, points, directions)
    order = torch.tensor([3, 1, 0, 2])
    moved = PointsSeen(seen.colors[:, :, order], None, seen.ray_diff[:, :, order], seen.mask[:, :, order])
    assert torch.allclose(network(moved, points, directions).rgb, found.rgb, atol=1e-5)
    other = seen._replace(colors=torch.where(seen.mask[..., None], seen.colors, torch.tensor(37.0)))
    assert torch.allclose(network(other, points, directions).rgb, found.rgb, atol=1e-6)
    # Such a view might as well not be there.
    blind = seen._replace(mask=seen.mask & torch.tensor([True, True, False, True]))
    fewer = PointsSeen(*(None if part is None else part[:, :, [0, 1, 3]] for part in blind))
    assert torch.allclose(network(fewer, points, directions).rgb, network(blind, points, directions).rgb, atol=1e-6)


def test_nothing_seen_at_all_is_finite():
    for options in ({}, {"color": "blend", "query": "moments"}):
        network = trunk(**options)
        seen, points, directions = inputs()
        found = network(seen._replace(mask=seen.mask & False), points, directions)
        found.rgb.square().sum().backward()
        assert torch.isfinite(found.rgb).all()
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("color", ["latent", "blend"])
def test_attention_sums_to_one(color: str):
    found = trunk(color=color)(*inputs())
    assert found.attention.shape == (R, S)
    assert torch.allclose(found.attention.sum(-1), torch.ones(R), atol=1e-5)


def test_blended_colours_by_hand():
    network = trunk(color="blend")
    assert network.blend is not None
    for layer in (network.rgb_fc, network.blend.of_views, network.blend.of_points):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    seen, points, directions = inputs()
    found = network(seen, points, directions)
    # Without preferences: the mean over points of the mean over the views that see each of them.
    count = seen.mask.sum(-1, keepdim=True).clamp_min(1)
    means = (seen.colors[..., :3] * seen.mask[..., None]).sum(2) / count
    assert torch.allclose(found.rgb, means.mean(1), atol=1e-6)


def test_features_that_are_blended_begin_as_those_of_the_views():
    torch.manual_seed(0)
    seen, points, directions = inputs()
    found = trunk(color="blend")(seen, points, directions)
    head = SemanticHead(16, C, dropout=0.0, blend=True)
    expected = torch.zeros(R, C)
    assert found.per_view is not None and seen.features is not None
    for r in range(R):
        for s in range(S):
            for v in range(V):
                expected[r] += (found.attention[r, s] * found.per_view[r, s, v]).detach() * seen.features[r, s, v]
    assert torch.allclose(head(found, seen), expected, atol=1e-5)


@pytest.mark.parametrize("head_width", [None, 16])
def test_features_do_not_depend_on_the_direction_or_on_unseen_views(head_width):
    torch.manual_seed(0)
    network, head = trunk(), SemanticHead(16, C, dropout=0.0, head_width=head_width)
    seen, points, directions = inputs()
    found = head(network(seen, points, directions), seen)
    assert found.shape == (R, C)
    assert torch.equal(head(network(seen, points, -directions), seen), found)
    assert seen.features is not None
    other = seen._replace(features=torch.where(seen.mask[..., None], seen.features, torch.tensor(-5.0)))
    assert torch.equal(head(network(seen, points, directions), other), found)
    changed = seen._replace(features=-seen.features)
    assert not torch.allclose(head(network(seen, points, directions), changed), found, atol=1e-3)
