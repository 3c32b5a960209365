"""What an estimation found."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Step:
    """One iteration of one hypothesis: of the one that won, in the trajectory of an `Estimate`."""

    phase: str
    """The part of the estimation that took the step, such as "adam" or "lm"."""
    seconds: float
    """Since the estimation of this photo began."""
    loss: float
    """What the phase minimises; phases may minimise different things."""
    c2w: Tensor
    """(3, 4) pose after the step, scene frame."""


@dataclass
class Estimate:
    """The camera found for one photo."""

    c2w: Tensor
    """(3, 4), scene frame, OpenGL axes."""
    converged: bool
    """Whether the pose may be trusted."""
    reason: str
    """One sentence: why it converged, or why not."""
    residual: float
    """RMS of the colour residual in [0, 1] after exposure, over the pixels that agree."""
    covariance: Tensor
    """(6, 6) of the twist (v in scene units, omega in radians; pivot at the camera, world axes), from the normal
    matrix."""
    trajectory: list[Step]
    """From the start to the estimate."""
    hypotheses: Tensor
    """(N, 3, 4) starts that were tried, scene frame."""
    exposure: Tensor
    """(2, 3) gain and bias per channel, rendering -> photo."""
    seconds: float
    """Wall-clock time of the whole estimation."""
