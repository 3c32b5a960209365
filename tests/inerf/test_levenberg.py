"""Levenberg-Marquardt finds cameras in scenes that are known by hand, and says how sure it may be."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from nerfseg_plugins.evaluation.poses import rotation_error_degrees
from nerfseg_plugins.inerf.levenberg import LevenbergConfig, Rays, levenberg, linearise
from nerfseg_plugins.inerf.residuals import Photometric
from nerfseg_plugins.inerf.scene import Rendered, Scene

from .scenes import GreyScene, PlaneScene, SphereScene, displaced, look, photo_of, pixel_directions, pose_errors
from .test_se3 import generator

GAIN, BIAS = torch.tensor([0.6, 0.75, 0.6]), torch.tensor([0.02, 0.08, 0.0])
"""Darker, with a green cast."""
CONFIG = LevenbergConfig(iterations=20)
PIVOTS = ["camera", "origin", "scene"]


class Setting(NamedTuple):
    """A scene, a camera in it, and what it sees."""

    scene: Scene
    truth: Tensor
    rays: Rays

    @property
    def depth(self) -> Tensor:
        """(1,) distance of what is in the middle."""
        return self.scene.render(self.truth[None, :, 3], -self.truth[None, :, 2]).depth

    def starts(self, count: int, degrees: float = 8.0, distance: float = 0.1) -> Tensor:
        """(count, 3, 4) poses near the truth."""
        return torch.stack([displaced(self.truth, degrees, distance, seed) for seed in range(count)])

    def errors(self, rays: Rays, photometric: Photometric, pivot: Any = "scene") -> tuple[np.ndarray, np.ndarray]:
        """Degrees and distances (6,) of what is found from six starts."""
        found = levenberg(self.scene, rays, self.starts(6), photometric, CONFIG, pivot, self.depth.expand(6))
        return pose_errors(found.c2w, self.truth)


def plane() -> Setting:
    truth = look((0.4, -0.3, 2.0), (0.1, 0.2, 0.0), roll=15.0)
    return Setting(PlaneScene(), truth, photo_of(PlaneScene(), truth))


def sphere() -> Setting:
    truth = look((0.3, -0.2, 0.4), (-0.5, 0.4, -1.0), roll=15.0)
    return Setting(SphereScene(), truth, photo_of(SphereScene(), truth))


def test_the_scenes_themselves():
    """Two rays by hand each: where they end decides the colour, and depth is the way to there."""
    origins, directions = torch.tensor([[0.0, 0, 2], [0, 0, 2]]), torch.tensor([[0.0, 0, -1], [0.6, 0, -0.8]])
    straight, oblique = PlaneScene().render(origins, directions).depth.tolist()
    assert (straight, oblique) == (2.0, pytest.approx(2.5))
    assert PlaneScene().render(origins, -directions).opacity.tolist() == [0, 0]
    found = SphereScene(3.0).render(torch.tensor([[0.0, 0, 1], [0, 0, 1]]), torch.tensor([[0.0, 0, -1], [0, 0, 1]]))
    assert found.depth.tolist() == [4.0, 2.0]


@pytest.mark.parametrize("loss", ["l2", "l1", "huber", "cauchy", "mape"])
@pytest.mark.parametrize("pivot", PIVOTS)
@pytest.mark.parametrize("setting", [plane(), sphere()], ids=["plane", "sphere"])
def test_a_camera_is_found(setting: Setting, pivot, loss):
    degrees, distance = setting.errors(setting.rays, Photometric(loss), pivot)
    assert degrees.max() < 0.01 and distance.max() < 3e-4


@pytest.mark.parametrize("pivot", PIVOTS)
def test_a_camera_that_is_right_stays(pivot):
    setting = sphere()
    found = levenberg(setting.scene, setting.rays, setting.truth[None], Photometric(), CONFIG, pivot, setting.depth)
    degrees, distance = pose_errors(found.c2w, setting.truth)
    assert degrees.max() < 1e-3 and distance.max() < 1e-4 and len(found.history) <= 3


def test_hypotheses_do_not_hear_of_each_other():
    setting = sphere()
    starts = setting.starts(4)
    starts[2] = displaced(setting.truth, 100.0, 1.0, seed=9)  # hopeless
    config = LevenbergConfig(iterations=8, tolerance=0.0)
    together = levenberg(setting.scene, setting.rays, starts, Photometric(), config, "scene", setting.depth.expand(4))
    for index in (0, 1, 3):  # far from any minimum rounding decides the way, so not the hopeless one
        alone = levenberg(
            setting.scene, setting.rays, starts[index : index + 1], Photometric(), config, "scene", setting.depth
        )
        torch.testing.assert_close(alone.c2w[0], together.c2w[index], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.cost[0], together.cost[index], atol=1e-9, rtol=1e-3)
        torch.testing.assert_close(alone.normal[0], together.normal[index], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("loss", ["l2", "huber", "cauchy"])
@pytest.mark.parametrize("setting", [plane(), sphere()], ids=["plane", "sphere"])
def test_exposure_is_made_up_for(setting: Setting, loss):
    darker = Rays(setting.rays.directions, setting.rays.target * GAIN + BIAS)
    degrees, distance = setting.errors(darker, Photometric(loss, exposure=True))
    assert degrees.max() < 0.05 and distance.max() < 1e-3
    degrees, _ = setting.errors(darker, Photometric(loss, exposure=False))
    assert degrees.min() > 5


def test_chroma_does_not_mind_a_haze():
    setting = sphere()
    hazy = Rays(setting.rays.directions, setting.rays.target + 0.2)
    assert setting.errors(hazy, Photometric(channels="chroma"))[0].max() < 0.01
    assert setting.errors(hazy, Photometric())[0].min() > 1


@pytest.mark.parametrize("setting", [plane(), sphere()], ids=["plane", "sphere"])
def test_an_occluder_is_not_listened_to(setting: Setting):
    """A red block hides a fifth of the photo."""
    target = setting.rays.target.view(24, 32, 3).clone()
    target[3:15, 18:31] = torch.tensor([0.9, 0.2, 0.1])
    occluded = Rays(setting.rays.directions, target.view(-1, 3))
    assert setting.errors(occluded, Photometric("cauchy", scale=0.05))[0].max() < 0.5
    assert setting.errors(occluded, Photometric("l2"))[0].min() > 5


@pytest.mark.parametrize("photometric", [Photometric("l2"), Photometric("cauchy", exposure=True), Photometric("l1")])
def test_the_cost_never_rises(photometric: Photometric):
    setting = plane()
    starts = setting.starts(5, degrees=40.0, distance=0.5)
    found = levenberg(setting.scene, setting.rays, starts, photometric, CONFIG, "scene", setting.depth.expand(5))
    costs = torch.stack([cost for _, cost, _ in found.history])
    assert bool((costs[1:] <= costs[:-1]).all()) and bool((costs[-1] < costs[0]).all())
    assert torch.equal(costs[-1], found.cost) and torch.equal(found.history[-1][0], found.c2w)
    assert torch.equal(found.history[0][0], starts)
    for pose, cost in zip(found.c2w, found.cost, strict=True):
        values = photo_of(setting.scene, pose).target
        torch.testing.assert_close(photometric.compare(values[None], setting.rays.target).cost[0], cost)


def test_no_step_turns_a_camera_further_than_allowed():
    setting = plane()
    config = LevenbergConfig(iterations=12, damping=1e-6, max_rotation=0.05)
    starts = setting.starts(5, degrees=30.0, distance=0.3)
    found = levenberg(setting.scene, setting.rays, starts, Photometric("l2"), config, "camera", setting.depth.expand(5))
    poses = torch.stack([c2w for c2w, _, _ in found.history]).numpy()
    steps = rotation_error_degrees(poses[1:].reshape(-1, 3, 4), poses[:-1].reshape(-1, 3, 4))
    assert np.radians(steps).max() < 0.0501 and np.radians(steps).max() > 0.0499
    rotation = found.c2w[:, :, :3]
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)


# Derivatives, in double precision ------------------------------------------------------------------------------------


def numeric_jacobian(scene: Scene, rays: Rays, c2w: Tensor, pivot: Tensor) -> Tensor:
    """(R, C, 6) derivative of what a camera (3, 4) sees by a twist about a point (3,), by differences."""
    there, back, pose = np.eye(4), np.eye(4), np.vstack([c2w.numpy(), [0, 0, 0, 1]])
    there[:3, 3], back[:3, 3] = pivot, -pivot

    def seen(twist: np.ndarray) -> Tensor:
        return photo_of(
            scene, torch.from_numpy((there @ expm(generator(twist)) @ back @ pose)[:3]), rays.directions
        ).target

    return torch.stack([(seen(1e-5 * unit) - seen(-1e-5 * unit)) / 2e-5 for unit in np.eye(6)], dim=-1)


def in_double(setting: Setting) -> tuple[Rays, Tensor]:
    """The rays, and two poses near the truth (2, 3, 4)."""
    directions = pixel_directions(6, 8, 8.0).double()
    return photo_of(setting.scene, setting.truth.double(), directions), setting.starts(2).double()


@pytest.mark.parametrize("setting", [plane(), sphere()], ids=["plane", "sphere"])
def test_rendering_and_derivatives_of_rays(setting: Setting):
    rays, poses = in_double(setting)
    points = torch.tensor([[0.3, -1.0, 0.5], [0.0, 0.7, 0.2]], dtype=torch.float64)
    values, jacobian = linearise(setting.scene, rays, poses, points)
    for k in range(2):
        torch.testing.assert_close(values[k], photo_of(setting.scene, poses[k], rays.directions).target)
        expected = numeric_jacobian(setting.scene, rays, poses[k], points[k])
        torch.testing.assert_close(jacobian[k], expected, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("pivot", PIVOTS)
@pytest.mark.parametrize("loss", ["l2", "cauchy"])
def test_the_normal_matrix_is_about_the_camera(loss, pivot):
    """Whatever twists turned about while solving."""
    setting = sphere()
    rays, poses = in_double(setting)
    config, depth = LevenbergConfig(iterations=3), setting.depth.double().expand(2)
    found = levenberg(setting.scene, rays, poses, Photometric(loss, scale=0.1), config, pivot, depth)
    for c2w, normal in zip(found.c2w, found.normal, strict=True):
        j = numeric_jacobian(setting.scene, rays, c2w, c2w[:, 3])
        residuals = photo_of(setting.scene, c2w, rays.directions).target - rays.target
        weights = 1 / (1 + residuals.square().mean(-1) / 0.01) if loss == "cauchy" else torch.ones(len(residuals))
        expected = torch.einsum("r,rci,rcj->ij", weights.double(), j, j) / len(j)
        torch.testing.assert_close(normal, expected, atol=1e-6, rtol=1e-5)


def test_the_normal_matrix_knows_what_exposure_hides():
    """Eliminating gain and bias leaves the Schur complement of the normal matrix of all twelve unknowns."""
    setting = sphere()
    rays, poses = in_double(setting)
    found = levenberg(
        setting.scene, rays, poses[:1], Photometric("l2", exposure=True), LevenbergConfig(iterations=1), "camera"
    )
    values = photo_of(setting.scene, poses[0], rays.directions).target
    gain = torch.stack([linear_fit(values[:, c], rays.target[:, c])[0] for c in range(3)])
    j = (numeric_jacobian(setting.scene, rays, poses[0], poses[0, :, 3]) * gain[:, None]).numpy()
    columns = np.zeros((len(j), 3, 6))
    for channel in range(3):
        columns[:, channel, 2 * channel], columns[:, channel, 2 * channel + 1] = values[:, channel], 1
    full = np.concatenate([j, columns], axis=-1).reshape(-1, 12)
    matrix = full.T @ full / len(j)
    expected = matrix[:6, :6] - matrix[:6, 6:] @ np.linalg.solve(matrix[6:, 6:], matrix[6:, :6])
    np.testing.assert_allclose(found.normal[0], expected, rtol=0.05, atol=0.05 * np.abs(expected).max())


def linear_fit(x: Tensor, y: Tensor) -> Tensor:
    """Gain and bias of y by x."""
    return torch.from_numpy(np.polyfit(x.numpy(), y.numpy(), 1))


# Nothing to go by ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["l2", "l1", "huber", "cauchy", "mape"])
@pytest.mark.parametrize("pivot", PIVOTS)
def test_a_scene_of_one_colour_moves_no_camera(pivot, loss):
    setting = sphere()
    starts = setting.starts(3)
    found = levenberg(GreyScene(), setting.rays, starts, Photometric(loss), CONFIG, pivot)
    torch.testing.assert_close(found.c2w, starts)
    assert bool(found.cost.isfinite().all()) and bool(found.normal.isfinite().all())
    assert float(found.normal.abs().max()) < 1e-6


def test_a_camera_that_looks_away_stays():
    setting = plane()
    away = torch.stack([look((0.4, -0.3, 2.0), (0.4, 0.0, 4.0)), *setting.starts(1)])
    found = levenberg(setting.scene, setting.rays, away, Photometric(), CONFIG, "scene", setting.depth.expand(2))
    torch.testing.assert_close(found.c2w[0], away[0])
    assert pose_errors(found.c2w[1], setting.truth)[0] < 0.01


class BrokenScene(SphereScene):
    """Not a number for rays that begin at x > 1."""

    def render(self, origins: Tensor, directions: Tensor) -> Rendered:
        values, depth, opacity = super().render(origins, directions)
        return Rendered(values * torch.where(origins[:, :1] > 1, np.nan, 1.0), depth, opacity)


def test_a_hypothesis_that_is_not_a_number_harms_no_other():
    setting = sphere()
    starts = setting.starts(2)
    starts[0, 0, 3] = 1.2
    found = levenberg(BrokenScene(), setting.rays, starts, Photometric(), CONFIG, "scene", setting.depth.expand(2))
    torch.testing.assert_close(found.c2w[0], starts[0])
    assert not bool(found.cost[0].isfinite())
    assert pose_errors(found.c2w[1], setting.truth)[0] < 0.01
