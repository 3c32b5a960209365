"""Where starts are put, and which are kept."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfseg_plugins.inerf.hypotheses import around, distinct_best, jittered, perturbed, turned

from .scenes import displaced, look, pose_errors


def cameras(count: int = 5) -> torch.Tensor:
    angles = np.linspace(0, 5, count)
    return torch.stack([look((3 * math.cos(a), 1.0, 3 * math.sin(a)), (0.0, 0.0, 0.0)) for a in angles])


def test_perturbed_turns_about_the_origin_and_then_shifts():
    """Without the shift, the camera keeps its distance from the origin and where in its view the origin lies."""
    truth = cameras(1)[0]
    for seed in range(20):
        turned = perturbed(truth, 40.0, 0.0, torch.Generator().manual_seed(seed))
        degrees, _ = pose_errors(turned, truth)
        assert degrees[0] <= 40.001
        torch.testing.assert_close(turned[:, :3].T @ turned[:, 3], truth[:, :3].T @ truth[:, 3], atol=1e-5, rtol=0)
        both = perturbed(truth, 40.0, 0.2, torch.Generator().manual_seed(seed))
        shift = both[:, 3] - turned[:, 3]
        torch.testing.assert_close(both[:, :3], turned[:, :3])
        assert float(shift.abs().max()) <= 0.2 and float(shift.norm()) > 0


def test_angles_are_spread_evenly_on_both_sides():
    """Of a uniform angle in [-40, 40] degrees, half of the turns are above 20."""
    turns = [
        pose_errors(perturbed(cameras(1)[0], 40.0, 0.0, torch.Generator().manual_seed(s)), cameras(1)[0])[0][0]
        for s in range(400)
    ]
    assert 0.43 < np.mean(np.array(turns) > 20) < 0.57


def test_around_covers_all_cameras_and_rolls_every_second():
    known = cameras(5)
    found = around(known, 20, torch.Generator().manual_seed(0))
    assert found.shape == (20, 3, 4)
    assert torch.equal(found, around(known, 20, torch.Generator().manual_seed(0)))
    nearest = (found[:, None, :, 3] - known[None, :, :, 3]).norm(dim=-1).argmin(dim=1)
    assert sorted(nearest.tolist()) == sorted([*range(5)] * 4)
    rolls = []
    for pose, camera in zip(found, known[nearest], strict=True):
        rolls.append(abs(Rotation.from_matrix((camera[:, :3].T @ pose[:, :3]).double()).as_euler("zxy", True)[0]))
    assert all(roll < 20 for roll in rolls[::2]) and all(roll > 70 for roll in rolls[1::2])


def test_jitter_keeps_its_bounds_and_its_pivot():
    poses, pivot = cameras(5), torch.zeros(5, 3)
    moved = jittered(poses, 0.2, 0.0, pivot, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved[..., 3].norm(dim=-1), poses[..., 3].norm(dim=-1))
    angles = [pose_errors(one, other)[0][0] for one, other in zip(moved, poses, strict=True)]
    assert 0 < max(angles) <= math.degrees(0.2) + 1e-3


def test_the_cheapest_that_differ_are_kept():
    base = cameras(1)[0]
    near, far, turned = displaced(base, 0.5, 0.001, 0), displaced(base, 0.0, 1.0, 1), displaced(base, 30.0, 0.0, 2)
    poses = torch.stack([base, near, far, turned, base])
    costs = torch.tensor([0.2, 0.1, 0.4, 0.3, float("nan")])
    assert distinct_best(poses, costs, 5, 0.05, 0.1).tolist() == [1, 3, 2]
    assert distinct_best(poses, costs, 2, 0.05, 0.1).tolist() == [1, 3]
    assert distinct_best(poses, torch.full((5,), torch.nan), 2, 0.05, 0.1).tolist() == []


def test_turns_fill_the_ball_evenly():
    pose, pivot = look((1.0, 2.0, 0.5), (0.2, 0.1, 0.0)), torch.tensor([0.1, 0.0, -0.2])
    found = turned(pose, 400, 30.0, pivot, torch.Generator().manual_seed(0))
    turns = found[:, :, :3] @ pose[:, :3].T
    vectors = Rotation.from_matrix(turns.double().numpy()).as_rotvec()
    angles = np.degrees(np.linalg.norm(vectors, axis=1))
    assert angles.max() <= 30 + 1e-3 and angles.max() > 29
    # Half the radius is an eighth of the volume.
    assert (angles < 15).mean() == pytest.approx(1 / 8, abs=0.01)
    axes = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(axes.mean(axis=0)).max() < 0.01
    np.testing.assert_allclose(axes.T @ axes / len(axes), np.eye(3) / 3, atol=0.01)
    # All keep the pivot where it is in their picture.
    local = torch.einsum("nji,nj->ni", found[:, :, :3], pivot - found[:, :, 3])
    torch.testing.assert_close(local, local[:1].expand_as(local), atol=1e-5, rtol=0)
    assert turned(pose, 0, 30.0, pivot, torch.Generator()).shape == (0, 3, 4)
