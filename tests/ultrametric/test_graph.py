"""How alike pixels are along their best path, against the plain formulation and by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.ultrametric.graph import Mode, mask_barriers, similarities
from nerfseg_plugins.ultrametric.neighbors import neighbor_graph

from .plain import plain_similarities


def directions(size: int, rng: np.random.Generator, count: int) -> np.ndarray:
    """Rays through some pixels of a square picture."""
    pixels = rng.choice(size**2, count, replace=False)
    found = np.stack([pixels % size - size / 2, pixels // size - size / 2, np.full(count, size)], axis=1)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def unit(*rows: list[float]) -> Tensor:
    return normalize(torch.tensor(rows, dtype=torch.float64), dim=-1).requires_grad_()


def on_circle(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=-1).requires_grad_()


def cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def scene(seed: int, count: int = 150) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray]:
    """Features, edges, barriers and pairs of a made-up picture with overlapping masks."""
    rng = np.random.default_rng(seed)
    rays = directions(40, rng, count)
    edges = neighbor_graph(rays, 4)
    inside = np.abs(rays[None, :, :2] - rng.uniform(-0.4, 0.4, (6, 1, 2))).max(axis=-1) < 0.2
    features = normalize(torch.tensor(rng.normal(size=(count, 8))), dim=-1).requires_grad_()
    return features, edges, mask_barriers(inside, edges), rng.integers(0, count, (400, 2))


# The graph -----------------------------------------------------------------------------------------------------------


def test_pixels_are_joined_with_their_nearest() -> None:
    rays = directions(60, np.random.default_rng(0), 500)
    edges = neighbor_graph(rays, 10)
    distance = np.linalg.norm(rays[:, None] - rays[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    tenth = np.sort(distance, axis=1)[:, 9]
    wanted = distance <= np.maximum(tenth[:, None], tenth[None]) + 1e-12  # with those at equal distance
    surely = distance < np.maximum(tenth[:, None], tenth[None]) - 1e-12
    joined = np.zeros_like(wanted)
    joined[edges[:, 0], edges[:, 1]] = joined[edges[:, 1], edges[:, 0]] = True
    assert (joined <= wanted).all() and (surely <= joined).all()
    assert (edges[:, 0] < edges[:, 1]).all() and len({*map(tuple, edges)}) == len(edges)
    assert np.bincount(edges.reshape(-1)).min() >= 10


def test_pixels_in_one_place_are_joined_and_none_with_itself() -> None:
    edges = neighbor_graph(np.tile([[0.0, 0.0, 1.0]], (30, 1)), 5)
    assert (edges[:, 0] < edges[:, 1]).all() and len(edges)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_few_pixels(count: int) -> None:
    edges = neighbor_graph(directions(10, np.random.default_rng(0), count), 10)
    assert edges.shape == (count * (count - 1) // 2, 2) and edges.dtype == np.int64


def test_barriers_lie_where_a_mask_holds_one_end() -> None:
    inside = np.zeros((11, 4), bool)
    inside[0, :3] = inside[10, 1:3] = True
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    assert mask_barriers(inside, edges).tolist() == [True, False, True, True]
    assert mask_barriers(inside[:0], edges).tolist() == [False] * 4


# Similarities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reference", "consistent"])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_pair_by_pair(mode: Mode, seed: int) -> None:
    features, edges, barrier, pairs = scene(seed)
    found = similarities(features, edges, barrier, pairs, mode, 0.3)
    plain = plain_similarities(features, edges, barrier, pairs, mode, 0.3)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-12)
    weights = torch.linspace(-1, 2, len(pairs), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((found * weights).sum(), features)
    (expected,) = torch.autograd.grad((plain * weights).sum(), features)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert gradient.abs().sum() > 0


def all_similarities(features: Tensor, edges: np.ndarray, barrier: np.ndarray, mode: Mode, weight: float) -> Tensor:
    count = len(features)
    first, second = np.divmod(np.arange(count**2), count)
    return similarities(features, edges, barrier, np.stack([first, second], axis=1), mode, weight).view(count, count)


@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_strong_triangle_inequality_holds(weight: float, dtype: torch.dtype) -> None:
    features, edges, barrier, _ = scene(5, count=60)
    found = all_similarities(features.to(dtype), edges, barrier, "consistent", weight).detach()
    through = torch.minimum(found[:, :, None], found[None]).amax(dim=1)  # the best of all b in between
    assert (found >= through - 1e-6).all()
    assert (found == found.T).all()


def test_the_reference_breaks_it_at_outlines() -> None:
    features, edges, barrier, _ = scene(5, count=60)
    found = all_similarities(features, edges, barrier, "reference", 0.0).detach()
    through = torch.minimum(found[:, :, None], found[None]).amax(dim=1)
    assert (found < through - 0.1).any()
    free = all_similarities(features, edges, np.zeros_like(barrier), "reference", 0.0).detach()
    assert (free >= torch.minimum(free[:, :, None], free[None]).amax(dim=1) - 1e-6).all()


def test_a_path_is_as_good_as_its_worst_edge_by_hand() -> None:
    features = on_circle(0, 10, 30, 80)
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    none, pairs = np.zeros(4, bool), np.array([[0, 2], [0, 3], [1, 1], [2, 3]])
    found = similarities(features, edges, none, pairs, "consistent", 0.5)
    assert found.tolist() == pytest.approx([cos(20), cos(50), 1.0, cos(50)])
    (gradient,) = torch.autograd.grad(found[0], features)
    assert (gradient.abs().sum(dim=1) > 0).tolist() == [False, True, True, False]  # the edge that decides, no other


def test_outlines_are_avoided_and_in_the_reference_not_counted_by_hand() -> None:
    features = on_circle(0, 5, 60)
    edges, barrier = np.array([[0, 1], [0, 2], [1, 2]]), np.array([True, False, False])
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    # Around the outline by way of 2, whose worse edge spans 60 degrees.
    assert similarities(features, edges, barrier, pairs, "reference").tolist() == pytest.approx(
        [cos(60), cos(60), cos(55)]
    )
    # 1 - cos 5 + 0.1 is lighter than 1 - cos 55: straight across. What 2 is joined by is then the edge from 1.
    assert similarities(features, edges, barrier, pairs, "consistent", 0.1).tolist() == pytest.approx(
        [cos(5) - 0.1, cos(55), cos(55)]
    )


def test_pixels_that_nothing_joins_are_opposite_without_a_gradient() -> None:
    features = unit([1.0, 0.2], [1.0, 0.1], [1.0, 0.3])
    found = similarities(features, np.array([[0, 1]]), np.array([False]), np.array([[0, 2], [2, 2]]))
    assert found.tolist() == [-1.0, 1.0]
    found.sum().backward()
    assert features.grad is not None and (features.grad == 0).all()


def test_equal_features_are_joined() -> None:
    features = unit(*[[1.0, 2.0, 2.0]] * 20)
    rays = directions(10, np.random.default_rng(0), 20)
    edges = neighbor_graph(rays, 19)
    pairs = np.array([[0, 19], [3, 3], [5, 7]])
    found = similarities(features, edges, np.zeros(len(edges), bool), pairs)
    assert found.tolist() == pytest.approx([1.0, 1.0, 1.0])
    found.sum().backward()
    assert features.grad is not None and torch.isfinite(features.grad).all()


@pytest.mark.parametrize("edges", [np.zeros((0, 2), int), np.array([[0, 1]])])
def test_no_pairs_and_no_edges_still_hang_on_the_features(edges: np.ndarray) -> None:
    features = unit([1.0, 0.0], [0.0, 1.0])
    barrier = np.zeros(len(edges), bool)
    for pairs in (np.zeros((0, 2), np.int64), np.array([[0, 0]])):
        found = similarities(features, edges, barrier, pairs)
        assert found.shape == (len(pairs),)
        found.sum().backward()
        assert features.grad is not None and (features.grad == 0).all()


def test_half_precision_features() -> None:
    features, edges, barrier, pairs = scene(1)
    found = similarities(features.half(), edges, barrier, pairs, "consistent", 0.1)
    expected = similarities(features, edges, barrier, pairs, "consistent", 0.1)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-3)
