"""How strokes become an object, as a command line and a panel set it; needs no torch."""

from dataclasses import dataclass, field
from typing import Literal, Optional

Method = Literal["walker", "bilateral", "seed"]


@dataclass(frozen=True)
class WalkerConfig:
    """The random walk between the strokes; what is a sigma divides a squared difference of neighbouring voxels."""

    sigma_f: float = 0.1
    """Of unit features."""
    sigma_c: float = 0.005
    """Of colours in CIELAB, in hundreds."""
    sigma_n: float = 0.1
    """Of the directions of surfaces: what 1 - |cosine| is divided by."""
    floor: float = 0.001
    """A step between neighbours is at least so likely, beside 1 between equal ones: things are in one piece."""
    prior: float = 0.01
    """How much a voxel's own features count, beside 1 for an equal neighbour."""
    softness: float = 0.1
    """Difference of squared feature distances, to the positive and to the negative strokes, that counts as clear."""
    margin: float = 0.5
    """The walk goes as far beyond the strokes as this part of their extent; everywhere where none is negative."""


@dataclass(frozen=True)
class SelectConfig:
    """How strokes become an object."""

    method: Method = "walker"
    """walker: both strokes spread over the surfaces and meet where things differ (best where features are weak);
    bilateral: the seed grows as in ISRF; seed: the seed alone."""
    tau: float = 0.4
    """Largest squared distance, of unit features, between a voxel and the positive strokes' nearest centroid."""
    clusters: int = 11
    """Centroids of the features under the strokes of either kind."""
    connected: bool = True
    """Whether only what hangs together with a positive stroke is selected, and not its like elsewhere."""
    sigma_d: float = 5.0
    """bilateral: reach in space, in voxels."""
    sigma_f: float = 0.5
    """bilateral: reach in features, squared distance."""
    sigma_c: Optional[float] = None
    """bilateral: reach in the colour latent, squared distance; None leaves colours out."""
    random_seed: int = 0
    """Of K-means."""
    walker: WalkerConfig = field(default_factory=WalkerConfig)
    """The random walk."""
