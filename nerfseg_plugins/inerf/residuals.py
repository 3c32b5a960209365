"""How a rendering is compared with a photo."""

from dataclasses import dataclass
from typing import Literal, Optional

import torch
from torch import Tensor

Loss = Literal["l2", "l1", "huber", "cauchy", "mape"]
Channels = Literal["rgb", "chroma"]

_CHROMA = ((-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001))
"""U and V of YUV (ITU-R BT.601) from RGB: what is left of a colour without its brightness."""


@dataclass(frozen=True)
class Comparison:
    """B renderings of R rays against a photo."""

    residuals: Tensor
    """(B, R, C)."""
    weights: Tensor
    """(B, R, 1) of the rays in the normal equations."""
    cost: Tensor
    """(B,) mean robust cost per ray."""
    exposure: Tensor
    """(B, 2, C) gain and bias."""
    rendered: Tensor
    """(B, R, C) values before the exposure."""
    mixing: Optional[Tensor]
    """(C', C) that values were multiplied with."""
    eliminated: bool
    """Whether gain and bias were fitted, so that derivatives must not point along them."""

    def project(self, jacobian: Tensor) -> Tensor:
        """Derivatives of the residuals from those of the rendered values (B, R, C, K)."""
        j = jacobian if self.mixing is None else torch.einsum("dc,brck->brdk", self.mixing, jacobian)
        j = j * self.exposure[:, None, 0, :, None]
        if not self.eliminated:
            return j
        share = self.weights / self.weights.sum(dim=1, keepdim=True)
        deviation = self.rendered - (share * self.rendered).sum(dim=1, keepdim=True)
        j = j - (share[..., None] * j).sum(dim=1, keepdim=True)
        # A rendering of one colour has no gain to eliminate.
        power = (share * deviation.square()).sum(dim=1).clamp_min(1e-8)
        along = torch.einsum("brc,brck->bck", share * deviation, j) / power[..., None]
        return j - deviation[..., None] * along[:, None]


@dataclass(frozen=True)
class Photometric:
    """What is compared, and how much an outlier counts."""

    loss: Loss = "cauchy"
    """Cost of a ray's residual: l2, l1, huber, cauchy (an outlier hardly counts), or mape (relative to the photo)."""
    scale: float = 0.1
    """Residual from which huber and cauchy take a ray for an outlier."""
    channels: Channels = "rgb"
    """Compare colours, or only their hue and saturation, which survive a change of brightness."""
    exposure: bool = False
    """Whether a gain and a bias per channel are fitted to every photo."""

    def compare(self, rendered: Tensor, target: Tensor) -> Comparison:
        """Compare rendered values (B, R, C) with the photo's (R, C)."""
        mixing = None
        if self.channels == "chroma":
            mixing = rendered.new_tensor(_CHROMA)
            rendered, target = rendered @ mixing.T, target @ mixing.T
        exposure = torch.zeros(len(rendered), 2, rendered.shape[-1], device=rendered.device)
        exposure[:, 0] = 1
        residuals = rendered - target
        weights = self._weights(residuals, target)
        if self.exposure:
            for _ in range(3):
                exposure = _fit_exposure(rendered, target, weights)
                residuals = rendered * exposure[:, :1] + exposure[:, 1:] - target
                weights = self._weights(residuals, target)
        return Comparison(residuals, weights, self._cost(residuals, target), exposure, rendered, mixing, self.exposure)

    def _norm(self, residuals: Tensor, target: Tensor) -> Tensor:
        size = residuals.square().mean(dim=-1, keepdim=True).clamp_min(1e-12).sqrt()
        return size / (target.mean(dim=-1, keepdim=True).abs() + 0.01) if self.loss == "mape" else size

    def _weights(self, residuals: Tensor, target: Tensor) -> Tensor:
        """Weights (B, R, 1) under which least squares minimises the robust cost."""
        size = self._norm(residuals, target)
        if self.loss == "l2":
            return torch.ones_like(size)
        if self.loss == "huber":
            return (self.scale / size).clamp_max(1)
        if self.loss == "cauchy":
            return 1 / (1 + (size / self.scale).square())
        if self.loss == "l1":
            return 1 / size.clamp_min(1e-2)
        return 1 / (size.clamp_min(1e-2) * (target.mean(dim=-1, keepdim=True).abs() + 0.01) ** 2)

    def _cost(self, residuals: Tensor, target: Tensor) -> Tensor:
        size = self._norm(residuals, target)[..., 0]
        if self.loss == "l2":
            cost = 0.5 * size.square()
        elif self.loss == "huber":
            cost = torch.where(size < self.scale, 0.5 * size.square(), self.scale * (size - 0.5 * self.scale))
        elif self.loss == "cauchy":
            cost = 0.5 * self.scale**2 * torch.log1p((size / self.scale).square())
        else:
            cost = size
        return cost.mean(dim=-1)


def _fit_exposure(rendered: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Gain and bias (B, 2, C) per channel that bring renderings (B, R, C) nearest to the photo (R, C).

    A weak pull to gain 1 and bias 0 decides where a channel is constant.
    """
    basis = torch.stack([rendered, torch.ones_like(rendered)], dim=-1)
    weighted = basis * weights[..., None]
    pull = 1e-5 * weights.mean(dim=1)[..., None, None] * torch.eye(2, device=rendered.device) * rendered.shape[1]
    gram = torch.einsum("brci,brcj->bcij", weighted, basis) + pull
    right = torch.einsum("brci,brc->bci", weighted, target.expand_as(rendered)) + pull[..., 0]
    return torch.linalg.solve(gram, right).transpose(-1, -2)
