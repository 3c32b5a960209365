"""Settings of an estimation, and the presets that name good ones."""

from dataclasses import dataclass, field
from typing import Literal, Optional

from nerfseg_plugins.inerf.adam import AdamConfig
from nerfseg_plugins.inerf.average import AverageConfig
from nerfseg_plugins.inerf.levenberg import LevenbergConfig
from nerfseg_plugins.inerf.matching import MatchingConfig
from nerfseg_plugins.inerf.object_grid import ObjectGridConfig
from nerfseg_plugins.inerf.poses import Pivot
from nerfseg_plugins.inerf.prior import PriorConfig
from nerfseg_plugins.inerf.pyramid import PyramidConfig
from nerfseg_plugins.inerf.residuals import Photometric
from nerfseg_plugins.inerf.samplers import SamplerConfig

Init = Literal["auto", "start", "around", "nearest", "match", "global"]
Solver = Literal["lm", "adam", "mean"]


@dataclass(frozen=True)
class VerdictConfig:
    """What is demanded of a pose that is reported as converged."""

    correlation: float = 0.97
    """Least correlation of rendering and photo, over the rays that agree best."""
    ignored: float = 0.3
    """Share of rays, those that agree least, that are left out: occluders have them."""
    step: float = 0.5
    """Longest step that the search may still want to make, degrees (a shift as seen from the scene)."""
    uncertainty: float = 1.0
    """Largest standard deviation of the pose, degrees (a shift as seen from the scene)."""


@dataclass(frozen=True)
class PoseConfig:
    """How the camera of a photo is found."""

    init: Init = "auto"
    """Where to start: the given pose, hypotheses around it, the training camera whose view is most alike, a pose from
    matched features, hypotheses over the whole scene; or auto: given pose, matching, hypotheses, until one is
    confirmed."""
    solver: Solver = "lm"
    """Levenberg-Marquardt, Adam as in iNeRF, or the mean over the poses around a start that the photo allows."""
    rays: int = 1024
    """Rays compared in a step."""
    hypotheses: int = 192
    """Starts of a global search, or of one around a given pose."""
    spread: float = 30.0
    """With init around: degrees by which hypotheses are turned at most, about the pivot."""
    pivot: Pivot = "scene"
    """What a pose turns about: the camera, the scene's origin, or the point that the camera looks at."""
    samples_per_ray: int = 32
    """Samples of a ray, where the model takes fewer; 0 keeps the model's."""
    features: Optional[str] = None
    """Output of the model that is compared with the photo's feature map, beside the colours or instead of them."""
    coarse: bool = True
    """Whether to begin on coarse copies of the scene, where the start may be far off."""
    photometric: Photometric = field(default_factory=lambda: Photometric(exposure=True))
    """How rendering and photo are compared."""
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    """Which pixels are compared."""
    prior: Optional[PriorConfig] = None
    """How near to a given pose the camera is likely to be; unset: that says nothing."""
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    """The coarse copies."""
    grid: ObjectGridConfig = field(default_factory=ObjectGridConfig)
    """The copy of an object that a network tells from source views."""
    lm: LevenbergConfig = field(default_factory=LevenbergConfig)
    """Levenberg-Marquardt's settings."""
    adam: AdamConfig = field(default_factory=AdamConfig)
    """Adam's settings."""
    average: AverageConfig = field(default_factory=AverageConfig)
    """The mean's settings."""
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    """Feature matching's settings."""
    verdict: VerdictConfig = field(default_factory=VerdictConfig)
    """What is demanded of a pose that is reported as converged."""
    seed: int = 0
    """Of every random draw."""


PRESETS: dict[str, PoseConfig] = {
    "best": PoseConfig(),
    "lm": PoseConfig(init="start"),
    "adam": PoseConfig(init="start", solver="adam"),
    "category": PoseConfig(
        init="around",
        solver="mean",
        pivot="origin",
        hypotheses=700,
        spread=40.0,
        verdict=VerdictConfig(correlation=0.7, step=180.0, uncertainty=180.0),
    ),
    "classic": PoseConfig(
        init="start",
        solver="adam",
        coarse=False,
        pivot="origin",
        samples_per_ray=0,
        photometric=Photometric(loss="l2"),
        sampler=SamplerConfig(sampling="regions", uniform_share=0.0),
        adam=AdamConfig(parameters="screw"),
    ),
}
"""best: no prior needed, a given start is used. lm and adam: one start, coarse to fine. category: an object at the
scene's origin that a network tells from a photo or two, from a start that is off by a turn of at most about 30 degrees.
classic: the recipe of the iNeRF ports, to compare with."""
