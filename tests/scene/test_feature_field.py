"""The head's field: where positions land in the grid, and what it gives there."""

import pytest
import torch
from nerfstudio.field_components.spatial_distortions import SceneContraction

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.scene.feature_field import FeatureField, grid_positions  # noqa: E402

BOX = torch.tensor([[-1.0, -2.0, 0.0], [3.0, 2.0, 1.0]])


def small_field(**options) -> FeatureField:
    torch.manual_seed(0)
    sizes = {"num_levels": 2, "max_res": 32, "log2_hashmap_size": 8, "hidden_dim": 8, "implementation": "torch"}
    return FeatureField(BOX, out_dim=5, **{**sizes, **options})


def test_positions_in_a_bounded_scene():
    positions = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.25], [-1.5, 0.0, 0.5], [3.0, 0.0, 0.5]])
    unit, inside = grid_positions(positions, BOX, None)
    assert inside.tolist() == [True, True, False, False]  # a wall of the box counts as outside
    torch.testing.assert_close(unit, torch.tensor([[0.5, 0.5, 0.5], [0.25, 0.75, 0.25], [0, 0, 0], [0, 0, 0]]))


def test_positions_in_contracted_space():
    """Mip-NeRF 360's contraction by hand: inside the unit cube as it is, beyond (2 - 1/|x|) x/|x|, then to [0, 1]."""
    positions = torch.tensor([[0.5, -0.5, 0.0], [4.0, 0.0, 0.0], [0.0, -1e6, 0.0], [2.0, 1.0, 0.0]])
    unit, inside = grid_positions(positions, BOX, SceneContraction(order=float("inf")))
    assert inside.all(), "contracted space has no outside"
    expected = torch.tensor([[0.5, -0.5, 0], [1.75, 0, 0], [0, -2, 0], [1.5, 0.75, 0]]) / 4 + 0.5
    torch.testing.assert_close(unit, expected, atol=1e-6, rtol=0)


def test_values_keep_the_shape_and_vanish_outside():
    field = small_field()
    positions = torch.rand(3, 4, 3) * (BOX[1] - BOX[0]) + BOX[0]
    positions[1, 2] = torch.tensor([0.0, 0.0, 1.5])
    values = field(positions)
    assert values.shape == (3, 4, 5) and values.dtype == torch.float32
    assert torch.equal(values[1, 2], torch.zeros(5))
    assert (values.abs().sum(-1) > 0).sum() == 11
    torch.testing.assert_close(field(positions[0, 0]), values[0, 0])  # a single point, too


def test_geometry_features_are_heard():
    field = small_field(geo_features=3)
    positions, geo = torch.rand(6, 3), torch.rand(6, 3)
    assert not torch.allclose(field(positions, geo), field(positions, geo + 1))
    with pytest.raises(ValueError, match="pass geo"):
        field(positions)


def test_a_gradient_reaches_grid_and_network():
    field = small_field()
    field(torch.rand(100, 3)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in field.parameters())


def test_the_box_is_not_part_of_the_state():
    assert not [key for key in small_field().state_dict() if "aabb" in key]
