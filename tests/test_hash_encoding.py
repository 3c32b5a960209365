"""The fast torch hash encoding against nerfstudio's own."""

import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.field_components.encodings import HashEncoding  # noqa: E402

reference = HashEncoding.pytorch_fwd.__wrapped__  # type: ignore[attr-defined]


@pytest.mark.parametrize("features", [1, 2, 4])
@pytest.mark.parametrize("shape", [(50, 3), (4, 5, 3), (1, 3)])
def test_equals_nerfstudio(features: int, shape: tuple[int, ...]) -> None:
    """Values, and gradients of table and positions, with collisions at the fine levels."""
    torch.manual_seed(0)
    grid = HashEncoding(4, 4, 64, log2_hashmap_size=9, features_per_level=features, implementation="torch")
    grid.hash_table.data.normal_()
    positions = torch.rand(shape)
    found = []
    for encode in (reference, compat.hash_encode):
        leaf = positions.clone().requires_grad_()
        values = encode(grid, leaf)
        table, place = torch.autograd.grad(values.square().sum(), [grid.hash_table, leaf])
        found.append((values, table, place))
    for expected, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-4)


def test_on_grid_points() -> None:
    """On a vertex of a level, where nerfstudio's two corners coincide, the value is the table's entry."""
    grid = HashEncoding(1, 4, 4, log2_hashmap_size=12, features_per_level=2, implementation="torch")
    grid.hash_table.data.normal_()
    vertices = torch.tensor([[0.0, 0.0, 0.0], [0.25, 0.5, 0.75], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(compat.hash_encode(grid, vertices), reference(grid, vertices))


def test_nerfstudio_uses_it() -> None:
    """The patch is in place."""
    grid = HashEncoding(2, 4, 8, log2_hashmap_size=8, implementation="torch")
    positions = torch.rand(7, 3)
    assert torch.equal(grid(positions), compat.hash_encode(grid, positions))
