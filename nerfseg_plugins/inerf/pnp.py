"""The pose of a camera from directions to known points, most of which may be wrong (perspective-n-point).

A pose is found by RANSAC, then refined by Gauss-Newton on the angles between directions, so that neither the lens nor
the distance from the image's middle matters. Where the agreeing points do not determine a pose, none is given.
"""

from dataclasses import dataclass
from typing import NamedTuple, Optional, Union

import numpy as np
import torch
from numpy.typing import NDArray

from nerfseg_plugins.inerf.se3 import exp_so3

MAX_ANGLE = 80.0
"""Degrees from the optical axis beyond which directions are left out: they have no place on a flat image."""
_FLAT = 0.2
"""Points are tried as a plane if their extent across it is less than this share of the lesser extent along it."""
_RIVAL = 0.8
"""A second pose is as good as the first if this share of the keypoints agrees with it."""
_NO_DISTORTION = np.zeros(4)
_GL_TO_CV = np.diag([1.0, -1.0, -1.0])

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PnPConfig:
    """A camera's pose from directions to known points."""

    min_inliers: int = 12
    """Fewer keypoints that agree make no pose."""
    max_error: float = 3.0
    """Distance in pixels (of the image's middle) up to which a keypoint agrees with a pose."""
    iterations: int = 3000
    """Minimal sets of points that are tried at most."""
    min_spread: float = 6.0
    """Smallest standard deviation of the agreeing keypoints across the photo, pixels in the narrowest direction."""
    max_uncertainty: float = 0.03
    """Largest standard deviation of the camera's position, as a share of its distance to the points."""


class Sightings(NamedTuple):
    """Which scene point a keypoint of the photo may show; several for one keypoint, and many wrong."""

    directions: Array
    """(M, 3) unit, camera frame (OpenGL axes)."""
    points: Array
    """(M, 3) scene frame."""
    keypoints: NDArray[np.int64]
    """(M,) which keypoint."""

    def at(self, rows: NDArray) -> "Sightings":
        """Some of them: indices or bool (M,)."""
        return Sightings(self.directions[rows], self.points[rows], self.keypoints[rows])

    @property
    def distinct(self) -> int:
        """How many keypoints they belong to."""
        return len(np.unique(self.keypoints))


class Pose(NamedTuple):
    """A pose and what speaks for it."""

    c2w: Array
    """(3, 4) scene frame, OpenGL axes."""
    inliers: NDArray[np.bool_]
    """(M,) which sightings agree."""
    rms: float
    """Of the agreeing sightings' angles to the points, in pixels of the image's middle."""
    covariance: Array
    """(6, 6) of the twist (v in scene units, omega in radians; pivot at the camera, world axes)."""


def solve_pnp(sightings: Sightings, pixel: float, config: PnPConfig, seed: int = 0) -> Union[Pose, str]:
    """Find a pose that many sightings agree with.

    Args:
        sightings: M of them, in any order.
        pixel: angle of a pixel in the middle of the photo, radians.
        config: when a pose is one.
        seed: of the order in which sets are drawn. OpenCV's RANSAC begins with the same random state at every call
            (`cv2.setRNGSeed` does not reach it), so the sightings are shuffled instead.

    Returns:
        The pose, or why there is none, a clause about "the photo".
    """
    ahead = np.isfinite(sightings.directions).all(axis=1) & np.isfinite(sightings.points).all(axis=1)
    ahead &= sightings.directions[:, 2] < -np.cos(np.radians(MAX_ANGLE))
    least = max(config.min_inliers, 6)
    seen = sightings.at(ahead)
    if seen.distinct < least:
        return f"only {seen.distinct} keypoints of the photo match the scene, of the {least} needed"
    start = _ransac(seen, pixel, config, seed)
    if start is None:
        return f"no pose agrees with the {seen.distinct} keypoints of the photo that match the scene"
    pose = refine_pose(start, seen, pixel, config.max_error)
    agreeing = seen.at(pose.inliers)
    if not np.isfinite(pose.c2w).all() or agreeing.distinct < least:
        return (
            f"only {agreeing.distinct} of the {seen.distinct} keypoints of the photo that match the scene agree on a "
            f"pose, of the {least} needed"
        )
    reason = _undetermined(agreeing, pose, pixel, config)
    if reason is not None:
        return reason
    inliers = np.zeros(len(ahead), dtype=bool)
    inliers[ahead] = pose.inliers
    return pose._replace(inliers=inliers)


def refine_pose(c2w: Array, sightings: Sightings, pixel: float, max_error: float) -> Pose:
    """Gauss-Newton on the angles of the sightings that agree, the nearer the more they count (Cauchy's weights).

    Args:
        c2w: (3, 4) start.
        sightings: M of them.
        pixel: angle of a pixel, radians.
        max_error: what agrees, pixels.
    """
    normal, rms = np.zeros((6, 6)), np.inf
    inliers = np.zeros(len(sightings.points), dtype=bool)
    for _ in range(20):
        residuals, jacobian = _linearise(c2w, sightings)
        errors = np.linalg.norm(residuals, axis=1) / pixel
        inliers = errors < max_error
        if inliers.sum() < 3:
            return Pose(c2w, inliers, np.inf, np.full((6, 6), np.inf))
        weights = 1 / (1 + errors[inliers] ** 2)
        weighted = jacobian[inliers] * weights[:, None, None]
        normal = np.einsum("mri,mrj->ij", weighted, jacobian[inliers])
        gradient = np.einsum("mri,mr->i", weighted, residuals[inliers])
        rms = float(np.sqrt(np.mean(errors[inliers] ** 2)))
        step = -np.linalg.lstsq(normal, gradient, rcond=1e-12)[0]
        c2w = np.concatenate([_turn(step[3:]) @ c2w[:, :3], c2w[:, 3:] + step[:3, None]], axis=1)
        if np.abs(step[3:]).max() < 1e-8:
            break
    # Several sightings of one keypoint err alike: they count as one.
    repeats = inliers.sum() / sightings.at(inliers).distinct
    variance = (pixel * max(rms, 0.1)) ** 2 / 2 * repeats
    return Pose(c2w, inliers, rms, variance * np.linalg.pinv(normal, rcond=1e-15, hermitian=True))


def angular_errors(c2w: Array, sightings: Sightings) -> Array:
    """(M,) lengths of the differences between unit directions seen and unit directions to the points: small angles."""
    return np.linalg.norm(_linearise(c2w, sightings)[0], axis=1)


def _linearise(c2w: Array, sightings: Sightings) -> tuple[Array, Array]:
    """Residuals (M, 3), unit direction to the point less the one seen, and their derivatives (M, 3, 6).

    With y = X - c in world axes and u = R^T y / |y|, a twist (v, omega) about the camera changes y by -v and, the
    camera turning by omega, by -omega x y.
    """
    arms = sightings.points - c2w[:, 3]
    lengths = np.maximum(np.linalg.norm(arms, axis=1), 1e-12)
    units = arms / lengths[:, None]
    across = np.eye(3) - units[:, :, None] * units[:, None, :]
    by_position = -across / lengths[:, None, None]
    jacobian = np.concatenate([by_position, _skew(units)], axis=2)
    to_camera = c2w[:, :3].T
    return units @ to_camera.T - sightings.directions, np.einsum("ij,mjk->mik", to_camera, jacobian)


def _ransac(sightings: Sightings, pixel: float, config: PnPConfig, seed: int) -> Optional[Array]:
    """(3, 4) c2w with most support, from minimal sets (AP3P; Ke and Roumeliotis 2017).

    The pose of all that agree is SQPnP's (Terzakis and Lourakis 2020): RANSAC's own last step, EPnP, fails on planes.
    """
    import cv2

    order = np.random.default_rng(seed).permutation(len(sightings.points))
    shuffled = sightings.at(order)
    agreeing = cv2.solvePnPRansac(
        np.ascontiguousarray(shuffled.points),
        _flat_image(shuffled.directions),
        np.eye(3),
        _NO_DISTORTION,
        iterationsCount=config.iterations,
        reprojectionError=config.max_error * pixel,
        confidence=0.9999,
        flags=cv2.SOLVEPNP_AP3P,
    )[3]
    if agreeing is None or len(agreeing) < 4:
        return None
    rows = shuffled.at(np.asarray(agreeing)[:, 0])
    found, rotation, translation = cv2.solvePnP(
        np.ascontiguousarray(rows.points),
        _flat_image(rows.directions),
        np.eye(3),
        _NO_DISTORTION,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    return _c2w(rotation, translation) if found else None


def _undetermined(agreeing: Sightings, pose: Pose, pixel: float, config: PnPConfig) -> Optional[str]:
    """Why the agreeing sightings determine no pose, if they do not."""
    deviations = _deviations(agreeing.directions) / pixel
    if deviations[0] < 3 * config.min_spread:
        return f"the {agreeing.distinct} keypoints of the photo that agree on a pose lie in one small spot of it"
    if deviations[1] < config.min_spread:
        return f"the {agreeing.distinct} keypoints of the photo that agree on a pose lie on one line"
    rival = _mirrored(agreeing, pose, pixel, config)
    if rival is not None:
        return (
            f"the {agreeing.distinct} keypoints of the photo that agree on a pose lie on a plane, and agree with "
            f"another pose {rival:.0f} degrees away as well"
        )
    distance = float(np.median(np.linalg.norm(agreeing.points - pose.c2w[:, 3], axis=1)))
    open_share = float(np.sqrt(np.trace(pose.covariance[:3, :3]))) / distance
    if not open_share <= config.max_uncertainty:
        return (
            f"the {agreeing.distinct} keypoints of the photo that agree on a pose leave the camera's position open by "
            f"{open_share:.1%} of its distance"
        )
    return None


def _deviations(directions: Array) -> Array:
    """Standard deviations (2,) of directions (M, 3) across their mean, radians, the larger one first."""
    mean = directions.mean(axis=0)
    mean /= np.linalg.norm(mean)
    # What differs along the mean is how a line bends over the sphere.
    across = directions - (directions @ mean)[:, None] * mean
    return np.linalg.svd(across - across.mean(axis=0), compute_uv=False)[:2] / np.sqrt(len(directions))


def _mirrored(agreeing: Sightings, pose: Pose, pixel: float, config: PnPConfig) -> Optional[float]:
    """Degrees to a second pose that explains points on a plane as well, if there is one.

    A small or distant plane looks the same when its slant is mirrored; IPPE (Collins and Bartoli 2014) gives both
    poses. Points that are but nearly on a plane are moved onto it for that, and the rival is refined on them as they
    are.
    """
    import cv2

    centre = agreeing.points.mean(axis=0)
    _, extents, axes = np.linalg.svd(agreeing.points - centre, full_matrices=False)
    if extents[2] > _FLAT * extents[1]:
        return None
    across = (agreeing.points - centre) @ axes[2]
    count, rotations, translations, _ = cv2.solvePnPGeneric(
        np.ascontiguousarray(agreeing.points - across[:, None] * axes[2]),
        _flat_image(agreeing.directions),
        np.eye(3),
        _NO_DISTORTION,
        flags=cv2.SOLVEPNP_IPPE,
    )
    for rotation, translation in zip(rotations[:count], translations[:count], strict=True):
        rival = refine_pose(_c2w(rotation, translation), agreeing, pixel, config.max_error)
        angle = _angle(rival.c2w, pose.c2w)
        support = agreeing.at(rival.inliers).distinct
        if angle > 2.0 and support >= _RIVAL * agreeing.distinct:
            return angle
    return None


def _flat_image(directions: Array) -> Array:
    """(M, 2) places on OpenCV's flat image at distance 1 of directions (M, 3), OpenGL axes."""
    return np.ascontiguousarray(directions[:, :2] / -directions[:, 2:] * [1.0, -1.0])


def _c2w(rotation: np.ndarray, translation: np.ndarray) -> Array:
    """(3, 4) camera-to-world, OpenGL axes, from OpenCV's world-to-camera rotation vector and translation."""
    turned = _turn(rotation.reshape(3)).T
    position = -turned @ translation.reshape(3, 1)
    return np.concatenate([turned @ _GL_TO_CV, position], axis=1)


def _turn(vector: np.ndarray) -> Array:
    return exp_so3(torch.tensor(vector, dtype=torch.float64)).numpy()


def _skew(vectors: Array) -> Array:
    """(M, 3, 3) with skew(a) @ b = a x b."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _angle(first: Array, second: Array) -> float:
    """Degrees between two poses' rotations; good enough for telling one from another."""
    cosine = (np.trace(first[:, :3].T @ second[:, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
