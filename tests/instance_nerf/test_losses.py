"""The losses against hand-computed numbers and plain references."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from nerfseg_plugins.instance_nerf.losses import instance_cross_entropy, label_regularization, match_view_labels

# Cross entropy -------------------------------------------------------------------------------------------------------


def test_cross_entropy_counts_labelled_pixels_alone():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [50.0, -50.0]])
    # -log 1/2 for the first, -log 1/4 for the second, the third is unlabelled.
    loss = instance_cross_entropy(logits, torch.tensor([0, 1, -1]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_cross_entropy_with_smoothing():
    """0.2 of the target is spread over both classes: 0.9 on the right one, 0.1 on the other."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    loss = instance_cross_entropy(logits, torch.tensor([0, -1]), label_smoothing=0.2)
    assert loss.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_nothing_labelled_teaches_nothing():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = instance_cross_entropy(logits, torch.full((4,), -1))
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros(4, 3))


def test_unlabelled_pixels_take_no_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    instance_cross_entropy(logits, torch.tensor([2, -1, 0])).backward()
    assert torch.equal(logits.grad[1], torch.zeros(4)) and (logits.grad[[0, 2]] != 0).all()


# Regularisation ------------------------------------------------------------------------------------------------------


def plain_regularization(values: np.ndarray, depth: np.ndarray, bandwidth: float) -> float:
    """Loop over all pairs of neighbours, once for either direction."""
    total = 0.0
    for down, right in ((0, 1), (1, 0)):
        weighted, weights = 0.0, 0.0
        for patch in range(len(values)):
            for row in range(values.shape[1] - down):
                for column in range(values.shape[2] - right):
                    here, there = (patch, row, column), (patch, row + down, column + right)
                    weight = math.exp(-(((depth[here] - depth[there]) / bandwidth) ** 2))
                    weighted += weight * ((values[here] - values[there]) ** 2).sum()
                    weights += weight
        total += weighted / weights
    return total


@pytest.mark.parametrize("on", ["logits", "probabilities"])
@pytest.mark.parametrize("bandwidth", [0.05, 1.0])
def test_regularization_equals_a_plain_loop(on, bandwidth: float):
    rng = np.random.default_rng(0)
    logits, depth = rng.normal(size=(3, 4, 4, 5)), rng.uniform(0.3, 0.6, (3, 4, 4))
    values = logits if on == "logits" else np.exp(log_softmax(logits, axis=-1))
    found = label_regularization(torch.from_numpy(logits), torch.from_numpy(depth), bandwidth, on)
    assert found.item() == pytest.approx(plain_regularization(values, depth, bandwidth))


def test_regularization_by_hand():
    """One patch of 2 by 2, one class: [[0, 1], [0, 3]] on depths that differ by the bandwidth from row to row."""
    logits = torch.tensor([[0.0, 1.0], [0.0, 3.0]]).view(1, 2, 2, 1)
    depth = torch.tensor([[0.0, 0.0], [0.1, 0.1]]).view(1, 2, 2)
    # Down: differences 0 and 2 weighing 1/e each: mean 2. Right: differences 1 and 3 weighing 1 each: mean 5.
    assert label_regularization(logits, depth, 0.1, "logits").item() == pytest.approx(2 + 5)
    # With one row at another depth the pair across counts for less.
    depth = torch.tensor([[0.0, 0.0], [0.0, 0.1]]).view(1, 2, 2)
    e = math.exp(-1)
    assert label_regularization(logits, depth, 0.1, "logits").item() == pytest.approx(
        (0 * 1 + 4 * e) / (1 + e) + (1 * 1 + 9 * e) / (1 + e)
    )


@pytest.mark.parametrize(("bandwidth", "crosses"), [(0.02, False), (1.0, True)])
def test_a_depth_edge_stops_the_gradient_where_the_bandwidth_is_small(bandwidth: float, crosses: bool):
    """Left half near, right half far, labels differ between the halves alone."""
    logits = torch.zeros(1, 8, 8, 3)
    logits[:, :, 4:, 1] = 5.0
    logits.requires_grad_()
    depth = torch.full((1, 8, 8), 0.3)
    depth[:, :, 4:] = 0.6
    loss = label_regularization(logits, depth, bandwidth)
    loss.backward()
    across = logits.grad[:, :, 3:5].abs().max().item()
    assert (across > 1e-4) == crosses
    assert (loss.item() > 1e-4) == crosses
    smooth = torch.zeros(1, 8, 8)
    assert label_regularization(logits.detach(), smooth, bandwidth).item() > 1e-2, "without an edge it always counts"


def test_regularization_of_equal_labels_is_zero():
    logits = torch.randn(3).expand(2, 8, 8, 3)
    assert label_regularization(logits, torch.rand(2, 8, 8)).item() == 0


def test_regularization_where_no_neighbours_count():
    """All weights vanish: no division by zero."""
    depth = (torch.arange(4.0) * 100).expand(4, 4) + torch.arange(4.0)[:, None] * 1000
    logits = torch.randn(1, 4, 4, 3, requires_grad=True)
    loss = label_regularization(logits, depth[None], 0.01)
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


# Matching of per-view ids --------------------------------------------------------------------------------------------


def cost_of(logits: np.ndarray, labels: np.ndarray) -> float:
    """Cross entropy summed over the foreground pixels that kept a label."""
    kept = labels > 0
    return -log_softmax(logits, axis=-1)[np.flatnonzero(kept), labels[kept]].sum()


@pytest.mark.parametrize("seed", range(5))
def test_matching_equals_brute_force_over_permutations(seed: int):
    rng = np.random.default_rng(seed)
    slots, views, pixels = 5, 3, 60
    logits = rng.normal(size=(pixels, slots), scale=2)
    view, labels = rng.integers(0, views, pixels), rng.integers(-1, 4, pixels)
    found = match_view_labels(*(torch.from_numpy(array) for array in (logits, labels, view))).numpy()
    np.testing.assert_array_equal(found[labels <= 0], labels[labels <= 0])
    for index in range(views):
        rows = view == index
        ids = np.unique(labels[rows & (labels > 0)])
        best = min(
            cost_of(logits[rows], np.array([dict(zip(ids, chosen, strict=True)).get(i, i) for i in labels[rows]]))
            for chosen in itertools.permutations(range(1, slots), len(ids))
        )
        assert cost_of(logits[rows], found[rows]) == pytest.approx(best)
        renamed = {(int(old), int(new)) for old, new in zip(labels[rows], found[rows], strict=True) if old > 0}
        assert len(renamed) == len(ids) == len({new for _, new in renamed}), "one to one"


def test_an_id_means_something_else_in_every_view():
    logits = torch.tensor([[0.0, 9, 0], [0, 0, 9], [0, 0, 9], [0, 9, 0], [9, 0, 0]])
    labels, views = torch.tensor([1, 2, 1, 2, 0]), torch.tensor([0, 0, 1, 1, 1])
    assert match_view_labels(logits, labels, views).tolist() == [1, 2, 2, 1, 0]


def test_ids_beyond_the_slots_are_not_labels():
    """Three ids, two slots: the id that fits worst is left out."""
    logits = torch.tensor([[0.0, 9, 0], [0, 0, 9], [0, 4, 4], [9, 0, 0]])
    labels = torch.tensor([7, 30, 2, 0])
    assert match_view_labels(logits, labels, torch.zeros(4, dtype=torch.long)).tolist() == [1, 2, -1, 0]


def test_matching_without_foreground():
    labels = torch.tensor([0, -1, 0])
    assert torch.equal(match_view_labels(torch.randn(3, 4), labels, torch.zeros(3, dtype=torch.long)), labels)


def test_matching_lets_no_gradient_through_and_changes_nothing():
    logits, labels = torch.randn(4, 3, requires_grad=True), torch.tensor([1, 2, 1, 2])
    matched = match_view_labels(logits, labels, torch.tensor([0, 0, 1, 1]))
    assert not matched.requires_grad and labels.tolist() == [1, 2, 1, 2]
