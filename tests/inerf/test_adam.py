"""Adam on poses: both parameterisations, the paper's schedule, and a camera that is found."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from nerfseg_plugins.inerf.adam import AdamConfig, PoseParameters, adam, screwed
from nerfseg_plugins.inerf.residuals import Photometric

from .scenes import PlaneScene, displaced, look, photo_of, pose_errors

TRUTH = look((0.4, -0.3, 2.0), (0.1, 0.2, 0.0), roll=15.0)


def run(parameters, steps: int, c2w: torch.Tensor, rate: float = 0.01):
    scene = PlaneScene()
    rays = photo_of(scene, TRUTH)
    generator = torch.Generator().manual_seed(0)
    config = AdamConfig(steps=steps, rate=rate, parameters=parameters)
    depth = torch.full((len(c2w),), 2.0)
    return adam(lambda step: (scene, rays), c2w, Photometric("l2"), config, "scene", depth, generator)


def test_screws_are_matrix_exponentials():
    """Of a unit axis, theta times the generator of (w, v), on the left of the pose (Lynch and Park, equation 3.88)."""
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(2, 3))
    w /= np.linalg.norm(w)
    for theta in (0.0, 1e-3, 0.7, 3.0):
        generator = np.zeros((4, 4))
        generator[:3, :3], generator[:3, 3] = np.cross(np.eye(3), w), v
        pose = np.vstack([TRUTH.double().numpy(), [0, 0, 0, 1]])
        expected = expm(theta * generator) @ pose
        screw = torch.tensor([[*w, *v, theta]])
        np.testing.assert_allclose(screwed(TRUTH[None].double(), screw)[0], expected[:3], atol=1e-9)


@pytest.mark.parametrize("parameters", ["twist", "screw"])
def test_a_camera_is_found(parameters):
    starts = torch.stack([displaced(TRUTH, 5.0, 0.05, seed) for seed in range(3)])
    degrees, distances = pose_errors(run(parameters, 300, starts)[-1].c2w, TRUTH)
    assert degrees.max() < 0.5 and distances.max() < 0.02


def test_the_screw_stands_still_at_first():
    """Its derivatives are products with numbers near zero: after 5 steps the twist is five times as far."""
    start = displaced(TRUTH, 5.0, 0.05, 0)[None]
    gone = {kind: pose_errors(run(kind, 5, start)[-1].c2w, start[0])[0][0] for kind in ("twist", "screw")}
    assert gone["twist"] > 5 * gone["screw"]


def test_the_first_step_has_the_rate_and_later_ones_decay():
    """Adam's first step moves every number by the rate, whatever its derivative."""
    start = displaced(TRUTH, 5.0, 0.05, 0)[None]
    first, second = run("twist", 1, start)
    turned, _ = pose_errors(second.c2w, first.c2w[0])
    assert turned[0] == pytest.approx(np.degrees(0.01 * np.sqrt(3)), rel=1e-3)
    history = run("twist", 2, start, rate=1e-9)  # so small that the derivatives stay as they are
    assert len(history) == 3


def test_a_start_that_is_right_stays():
    degrees, distances = pose_errors(run("twist", 50, TRUTH[None])[-1].c2w, TRUTH)
    assert degrees[0] < 1e-3 and distances[0] < 1e-5


def test_parameters_begin_at_the_start():
    start = torch.stack([TRUTH, displaced(TRUTH, 20.0, 0.5, 1)])
    for kind in ("twist", "screw"):
        poses = PoseParameters(start, torch.zeros(2, 3), kind, torch.Generator().manual_seed(0))
        torch.testing.assert_close(poses(), start, atol=1e-5, rtol=0)
