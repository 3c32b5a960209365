"""The network of points, by hand."""

import math

import torch

from nerfseg_plugins.pixelnerf.mlp import MlpConfig, PointMlp, encode_coordinates


def fill(layer: torch.nn.Linear, weight: list[list[float]], bias: list[float]) -> None:
    layer.weight.data = torch.tensor(weight)
    layer.bias.data = torch.tensor(bias)


def miniature() -> PointMlp:
    """Width 2, two blocks, views averaged before the second; one input, one feature, one answer."""
    mlp = PointMlp(1, 1, MlpConfig(width=2, num_blocks=2, pool_before=1), dim_out=1)
    fill(mlp.lin_in, [[1.0], [-1.0]], [0.0, 1.0])
    fill(mlp.lin_z[0], [[2.0], [0.0]], [0.0, 0.5])
    fill(mlp.blocks[0].fc_0, [[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0])
    fill(mlp.blocks[0].fc_1, [[1.0, 0.0], [0.0, 2.0]], [0.0, 1.0])
    fill(mlp.blocks[1].fc_0, [[1.0, 0.0], [0.0, 1.0]], [-1.0, 0.0])
    fill(mlp.blocks[1].fc_1, [[0.5, 0.0], [0.0, 1.0]], [0.0, 0.0])
    fill(mlp.lin_out, [[1.0, 10.0]], [0.25])
    return mlp


def test_a_miniature_by_hand():
    mlp = miniature()
    # View 1, x = 3, z = -1: in (3, -2), + (-2, 0.5) = (1, -1.5); relu (1, 0); fc_0 (1, 1); fc_1 (1, 3); sum (2, 1.5).
    # View 2, x = -1, z = 2: in (-1, 2), + (4, .5) = (3, 2.5); relu same; fc_0 (5.5, .5), fc_1 (5.5, 2), sum (8.5, 4.5).
    # Mean (5.25, 3); fc_0 (4.25, 3); fc_1 (2.125, 3); sum (7.375, 6); out 7.375 + 60 + 0.25.
    inputs = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)
    features = torch.tensor([-1.0, 2.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(mlp(inputs, features), torch.tensor([[[67.625]]]))
    # The first view alone: mean (2, 1.5); fc_0 (1, 1.5); fc_1 (0.5, 1.5); sum (2.5, 3); out 2.5 + 30 + 0.25.
    torch.testing.assert_close(mlp(inputs[:, :1], features[:, :1]), torch.tensor([[[32.75]]]))


def test_the_order_of_views_does_not_matter():
    torch.manual_seed(0)
    mlp = PointMlp(6, 5, MlpConfig(width=8, num_blocks=3, pool_before=2))
    for block in mlp.blocks:
        torch.nn.init.normal_(block.fc_1.weight)
    inputs, features = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4, 5)
    found = mlp(inputs, features)
    torch.testing.assert_close(mlp(inputs[:, [2, 0, 1]], features[:, [2, 0, 1]]), found)
    assert not torch.allclose(mlp(inputs, features[:, [2, 0, 1]]), found)


def test_blocks_begin_as_the_identity():
    torch.manual_seed(0)
    mlp = PointMlp(4, 3, MlpConfig(width=8, num_blocks=2, pool_before=1))
    inputs, features = torch.randn(1, 1, 5, 4), torch.randn(1, 1, 5, 3)
    plain = mlp.lin_out(torch.relu(mlp.lin_in(inputs) + mlp.lin_z[0](features)))[:, 0]
    torch.testing.assert_close(mlp(inputs, features), plain)
    assert all(not block.fc_1.weight.any() for block in mlp.blocks)


def test_views_are_averaged_after_the_last_block_at_the_latest():
    mlp = PointMlp(4, 3, MlpConfig(width=8, num_blocks=2, pool_before=5))
    assert len(mlp.lin_z) == 2
    assert mlp(torch.randn(1, 3, 5, 4), torch.randn(1, 3, 5, 3)).shape == (1, 5, 4)


def test_coordinates_are_encoded_frequency_by_frequency():
    found = encode_coordinates(torch.tensor([0.2, -1.0]), num_frequencies=2, factor=1.5)
    sin, cos = math.sin, math.cos
    expected = [0.2, -1.0, sin(0.3), sin(-1.5), cos(0.3), cos(-1.5), sin(0.6), sin(-3.0), cos(0.6), cos(-3.0)]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert encode_coordinates(torch.zeros(7, 3), 6, 1.5).shape == (7, 39)


def test_the_last_layer_may_begin_small():
    torch.manual_seed(0)
    plain = PointMlp(4, 3, MlpConfig(width=8))
    torch.manual_seed(0)
    small = PointMlp(4, 3, MlpConfig(width=8, out_scale=0.1))
    torch.testing.assert_close(small.lin_out.weight, 0.1 * plain.lin_out.weight)
    assert torch.equal(small.lin_in.weight, plain.lin_in.weight)
