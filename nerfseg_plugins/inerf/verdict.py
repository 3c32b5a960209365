"""Whether an estimate may be trusted."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nerfseg_plugins.inerf.config import PoseConfig
from nerfseg_plugins.inerf.levenberg import linearise
from nerfseg_plugins.inerf.pixels import PhotoRays
from nerfseg_plugins.inerf.scene import Scene


@dataclass(frozen=True)
class Verdict:
    """What is known of an estimate without the truth."""

    converged: bool
    """Whether the pose may be trusted."""
    reason: str
    """One sentence: why it may, or why not."""
    score: float
    """Larger is better; compares attempts at one photo."""
    residual: float
    """RMS of the colour residual over the rays that agree."""
    covariance: Tensor
    """(6, 6) of the twist about the camera."""
    exposure: Tensor
    """(2, 3) gain and bias."""


def stats(scene, photo, c2w, config, generator):
    rays = photo.rays(1024, 0.0, generator)
    v, j = linearise(scene, rays, c2w[None], c2w[None, :, 3])
    comp = config.photometric.compare(v, rays.target)
    r = comp.residuals[0].square().mean(-1).sqrt()
    a = v[0]
    b = rays.target

    def ncc(a, b):
        a = a - a.mean(0)
        b = b - b.mean(0)
        return float((a * b).sum() / (a.norm() * b.norm() + 1e-9))

    k = int(0.7 * len(r))
    idx = r.argsort()[:k]
    g = a.mean(-1, keepdim=True), b.mean(-1, keepdim=True)
    return dict(
        ncc=ncc(a, b),
        nccg=ncc(*g),
        ncct=ncc(a[idx], b[idx]),
        in05=float((r < 0.05).float().mean()),
        in10=float((r < 0.1).float().mean()),
        in15=float((r < 0.15).float().mean()),
        med=float(r.median()),
        cost=float(comp.cost[0]),
        gain=[round(x, 2) for x in comp.exposure[0, 0].tolist()],
    )


def judge(scene: Scene, photo: PhotoRays, c2w: Tensor, config: PoseConfig, generator: torch.Generator) -> Verdict:
    s = stats(scene, photo, c2w, config, generator)
    return Verdict(False, str(s), s["nccg"], s["med"], torch.eye(6), torch.ones(2, 3))
