"""Which views become sources."""

import math

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.choice import PoolRule, choose_views, other_views


def poses(*places: tuple[float, float]) -> torch.Tensor:
    """Cameras at (x, 0, 0) that are turned about y by an angle in degrees."""
    found = torch.zeros(len(places), 3, 4)
    for pose, (x, degrees) in zip(found, places, strict=True):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        pose[:, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        pose[0, 3] = x
    return found


VIEWS = poses((0, 90), (3, 0), (1, 30), (-1, 10))


def test_nearest_first():
    target = poses((0.2, 12))[0]
    assert choose_views(target, VIEWS, 4, "center") == [0, 2, 3, 1]
    assert choose_views(target, VIEWS, 4, "angle") == [3, 1, 2, 0]
    assert choose_views(target, VIEWS, 2, "center") == [0, 2]


def test_equally_near_ones_come_in_order():
    assert choose_views(poses((0, 0))[0], poses((1, 0), (-1, 0), (1, 5)), 3) == [0, 1, 2]


def test_more_views_than_there_are():
    with pytest.raises(InputError, match=r"fern has 4 source views, but 5 are asked for"):
        choose_views(VIEWS[0], VIEWS, 5, scene="fern")


def test_training_draws_from_the_pool():
    line = poses(*[(x, 0) for x in range(41)])
    rule = PoolRule(num_views=4, spread=1, factor_odds=(0.0, 1.0), largest_pool=6, target_odds=0.0)
    rng = np.random.default_rng(0)
    drawn = [rule.draw(20, line, "center", rng, "line") for _ in range(300)]
    assert {len(views) for views in drawn} == {3, 4, 5}
    assert all(len(set(views)) == len(views) for views in drawn)
    # Twice four views would be the pool; six are its largest size.
    assert set().union(*drawn) == {17, 18, 19, 21, 22, 23}


def test_the_target_is_rarely_its_own_source():
    line = poses(*[(x, 0) for x in range(9)])
    rule = PoolRule(num_views=3, spread=0, target_odds=0.25)
    rng = np.random.default_rng(1)
    share = np.mean([4 in rule.draw(4, line, "center", rng, "line") for _ in range(2000)])
    assert abs(share - 0.25) < 0.04  # four standard deviations
    with pytest.raises(InputError, match="line has 2 source views, but 3"):
        rule.draw(0, line[:3], "center", rng, "line")


def test_what_is_no_source_is_a_target():
    assert other_views(5, [3, 0]) == [1, 2, 4]
