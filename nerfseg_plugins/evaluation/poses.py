"""How far estimated camera poses are from the true ones.

Poses are camera-to-world (N, 3, 4). All is computed in float64. A pose that is not finite has no error; `pose_report`
counts it as a failure and never drops it.
"""

from typing import Literal, Optional, Union

import numpy as np

PoseMetrics = dict[str, Union[float, int, None]]


def rotation_error_degrees(estimates: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Geodesic distance on SO(3), the angle of R_estimate^T R_truth.

    The arccosine of the trace loses half of the digits near 0 and 180 degrees; the arctangent of sine (the length of
    the skew part) and cosine keeps them.

    Args:
        estimates: (N, 3, 3 or 4).
        truths: (N, 3, 3 or 4).

    Returns:
        (N,) degrees in [0, 180]; NaN where a pose is not finite.
    """
    between = np.swapaxes(_rotation(estimates), -1, -2) @ _rotation(truths)
    skew = np.stack(
        [
            between[..., 2, 1] - between[..., 1, 2],
            between[..., 0, 2] - between[..., 2, 0],
            between[..., 1, 0] - between[..., 0, 1],
        ],
        axis=-1,
    )
    return np.degrees(np.arctan2(np.linalg.norm(skew, axis=-1), np.trace(between, axis1=-2, axis2=-1) - 1))


def translation_error(estimates: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Euclidean distance of the camera centres, (N,), in the poses' unit; arguments (N, 3, 4)."""
    return np.linalg.norm(_position(estimates) - _position(truths), axis=-1)


def direction_error_degrees(estimates: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Angle between the translation vectors, for relative poses whose scale is unknown.

    Args:
        estimates: (N, 3, 4).
        truths: (N, 3, 4).

    Returns:
        (N,) degrees in [0, 180]; NaN where a translation is zero, which has no direction, or a pose is not finite.
    """
    first, second = _position(estimates), _position(truths)
    angles = np.arctan2(np.linalg.norm(np.cross(first, second), axis=-1), np.sum(first * second, axis=-1))
    nowhere = ~first.any(axis=-1) | ~second.any(axis=-1)
    return np.where(nowhere, np.nan, np.degrees(angles))


def pose_report(
    estimates: np.ndarray,
    truths: np.ndarray,
    converged: np.ndarray,
    scale: float,
    max_rotation: float = 5.0,
    max_translation: float = 0.05,
    unit: Literal["scene", "data"] = "scene",
) -> PoseMetrics:
    """The figures of a set of trials.

    A pose that is not finite is infinitely wrong: it fails, and pushes medians up. Figures that are infinite or that
    nothing supports (a mean of no trials, the precision of a flag that was never raised) are None.

    Args:
        estimates: (N, 3, 4) scene frame.
        truths: (N, 3, 4) scene frame.
        converged: (N,) bool, what the estimator said of itself.
        scale: scene units per data unit.
        max_rotation: a rotation below this many degrees is right.
        max_translation: a camera closer than this is right.
        unit: the unit of `max_translation`.

    Returns:
        `count`, `not_finite` (trials); `rotation_rate`, `translation_rate`, `joint_rate` (shares of trials below the
        thresholds, and below both); `rotation_median`, `rotation_mean` (degrees); `translation_median`,
        `translation_mean` (scene units), `translation_median_data`, `translation_mean_data` (data units);
        `converged_rate`; `converged_precision` (share of the converged trials that are below both thresholds) and
        `converged_recall` (share of the trials below both that are converged).

    Raises:
        ValueError: the arrays do not belong together.
    """
    estimates, truths, converged = _trials(estimates, truths, converged)
    finite = np.isfinite(estimates).all(axis=(-2, -1)) & np.isfinite(truths).all(axis=(-2, -1))
    degrees = np.where(finite, rotation_error_degrees(estimates, truths), np.inf)
    distance = np.where(finite, translation_error(estimates, truths), np.inf)
    turned = degrees < max_rotation
    placed = (distance if unit == "scene" else distance / scale) < max_translation
    right = turned & placed
    return {
        "count": len(estimates),
        "not_finite": int((~finite).sum()),
        "rotation_rate": _mean(turned),
        "translation_rate": _mean(placed),
        "joint_rate": _mean(right),
        "rotation_median": _median(degrees),
        "rotation_mean": _mean(degrees),
        "translation_median": _median(distance),
        "translation_mean": _mean(distance),
        "translation_median_data": _median(distance / scale),
        "translation_mean_data": _mean(distance / scale),
        "converged_rate": _mean(converged),
        "converged_precision": _mean(right[converged]),
        "converged_recall": _mean(converged[right]),
    }


def _trials(
    estimates: np.ndarray, truths: np.ndarray, converged: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    estimates, truths = np.asarray(estimates, dtype=np.float64), np.asarray(truths, dtype=np.float64)
    flags = np.asarray(converged, dtype=bool)
    if estimates.ndim != 3 or estimates.shape[1:] != (3, 4) or truths.shape != estimates.shape:
        raise ValueError(f"poses must be (N, 3, 4) on both sides, not {estimates.shape} and {truths.shape}")
    if flags.shape != estimates.shape[:1]:
        raise ValueError(f"{len(estimates)} poses have flags of shape {flags.shape}")
    return estimates, truths, flags


def _rotation(c2w: np.ndarray) -> np.ndarray:
    return np.asarray(c2w, dtype=np.float64)[..., :3, :3]


def _position(c2w: np.ndarray) -> np.ndarray:
    return np.asarray(c2w, dtype=np.float64)[..., :3, 3]


def _mean(values: np.ndarray) -> Optional[float]:
    mean = float(values.mean()) if len(values) else np.inf
    return mean if np.isfinite(mean) else None


def _median(values: np.ndarray) -> Optional[float]:
    if len(values) == 0:
        return None
    # Of an even number the middle two: numpy would take inf - inf between two failures.
    low, high = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]]
    return float((low + high) / 2) if np.isfinite(high) else None
