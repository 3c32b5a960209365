"""What is known of a pose beforehand."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfseg_plugins.inerf.levenberg import LevenbergConfig, Rays, levenberg
from nerfseg_plugins.inerf.poses import moved
from nerfseg_plugins.inerf.prior import Prior, PriorConfig
from nerfseg_plugins.inerf.residuals import Photometric
from nerfseg_plugins.inerf.scene import Rendered

from .scenes import look, pose_errors

START, PIVOT = look((0.2, -0.1, 2.0), (0.0, 0.0, 0.0)), torch.tensor([0.1, 0.3, 0.0])


def turn(x: float, y: float, z: float) -> torch.Tensor:
    return torch.tensor([0, 0, 0, *(math.radians(angle) for angle in (x, y, z))])[None].float()


def test_deviations_by_hand():
    prior = Prior.around(START, PIVOT, PriorConfig(degrees=10.0, distance=0.1, weight=2.0))
    turned = moved(START[None], turn(0, 20, 0), PIVOT[None])
    both = turned.clone()
    both[0, :, 3] += torch.tensor([0.3, 0.0, -0.1])
    there = torch.cat([START[None], turned, both])
    expected = torch.zeros(3, 6)
    expected[1:, 4] = math.radians(20)
    expected[2, :3] = torch.tensor([0.3, 0.0, -0.1])
    torch.testing.assert_close(prior.deviation(there), expected, atol=1e-5, rtol=0)
    # Two deviations of the turn: half of 2 times 2 squared; of the shift: three and one.
    assert prior.cost(there).tolist() == pytest.approx([0.0, 4.0, 4.0 + 10.0], abs=1e-3)


class Blank:
    """A scene that says nothing of where the camera is."""

    def render(self, origins: torch.Tensor, directions: torch.Tensor) -> Rendered:
        values = 0.5 + 0 * (origins + directions)
        return Rendered(values, values[:, 0], values[:, 0])


@pytest.mark.parametrize("pivot", ["camera", "origin", "scene"])
def test_where_the_photo_says_nothing_the_start_is_the_answer(pivot):
    """Newton's steps for the prior alone, whatever twists turn about."""
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    rays = Rays(directions, torch.full((20, 3), 0.5))
    vector = Rotation.from_euler("xyz", [20, -10, 15], degrees=True).as_rotvec()
    away = moved(
        START[None], torch.cat([torch.tensor([0.2, 0.1, -0.1]), torch.from_numpy(vector).float()])[None], PIVOT
    )
    prior = Prior.around(START, PIVOT, PriorConfig(20.0, 0.1))
    config, depth = LevenbergConfig(iterations=20), torch.tensor([2.0])
    found = levenberg(Blank(), rays, away, Photometric(loss="l2"), config, pivot, depth, prior)
    degrees, distance = pose_errors(found.c2w[0], START)
    assert degrees[0] < 0.05 and distance[0] < 1e-3
    costs = [float(visit.cost[0]) for visit in found.history]
    assert costs == sorted(costs, reverse=True) and costs[0] == pytest.approx(float(prior.cost(away)[0]), rel=1e-4)
    free = levenberg(Blank(), rays, away, Photometric(loss="l2"), config, pivot, depth)
    torch.testing.assert_close(free.c2w, away)
