"""How a rendering is compared with a photo."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Loss = Literal["l2", "l1", "huber", "cauchy", "mape"]
Channels = Literal["rgb", "chroma", "none"]

_CHROMA = ((-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001))
"""U and V of YUV (ITU-R BT.601) from RGB: what is left of a colour without its brightness."""
_PULL = 1e-5
"""Variance of a channel below which its gain is not told from 1."""


@dataclass(frozen=True)
class Comparison:
    """B renderings of R rays against a photo, in D colour channels and F feature channels."""

    residuals: Tensor
    """(B, R, D + F)."""
    weights: Tensor
    """(B, R, 1) of the rays in the normal equations."""
    cost: Tensor
    """(B,) mean robust cost per ray."""
    exposure: Tensor
    """(B, 2, D) gain and bias."""
    rendered: Tensor
    """(B, R, D) colours before the exposure."""
    mixing: Tensor
    """(D, 3) that colours were multiplied with."""
    feature_weight: float
    """What features were multiplied with."""
    eliminated: bool
    """Whether gain and bias were fitted, so that derivatives must not point along them."""

    def project(self, jacobian: Tensor) -> Tensor:
        """Derivatives (B, R, D + F, K) of the residuals from those of the rendered values (B, R, 3 + F, K)."""
        j = torch.einsum("dc,brck->brdk", self.mixing, jacobian[:, :, :3]) * self.exposure[:, None, 0, :, None]
        if self.eliminated:
            share = self.weights / self.weights.sum(dim=1, keepdim=True)
            deviation = self.rendered - (share * self.rendered).sum(dim=1, keepdim=True)
            j = j - (share[..., None] * j).sum(dim=1, keepdim=True)
            # A rendering of one colour has no gain to eliminate.
            power = (share * deviation.square()).sum(dim=1).clamp_min(1e-8)
            along = torch.einsum("brc,brck->bck", share * deviation, j) / power[..., None]
            j = j - deviation[..., None] * along[:, None]
        return torch.cat([j, self.feature_weight * jacobian[:, :, 3:]], dim=2)


@dataclass(frozen=True)
class Photometric:
    """What is compared, and how much an outlier counts."""

    loss: Loss = "cauchy"
    """Cost of a ray's residual: l2, l1, huber, cauchy (an outlier hardly counts), or mape (relative to the photo)."""
    scale: float = 0.1
    """Residual from which huber and cauchy take a ray for an outlier."""
    channels: Channels = "rgb"
    """Compare colours, or only their hue and saturation, which survive a change of brightness, or only features."""
    exposure: bool = False
    """Whether a gain and a bias per channel are fitted to every photo."""
    feature_weight: float = 1.0
    """Factor on features, where a photo has some; colours lie in [0, 1]."""

    def compare(self, rendered: Tensor, target: Tensor) -> Comparison:
        """Compare rendered values (B, R, 3 + F), colours and features, with the photo's (R, 3 + F)."""
        mixing = self._mixing(rendered)
        colors, photo = rendered[..., :3] @ mixing.T, target[..., :3] @ mixing.T
        exposure = torch.zeros(len(rendered), 2, len(mixing), device=rendered.device)
        exposure[:, 0] = 1
        features = self.feature_weight * (rendered[..., 3:] - target[..., 3:])
        residuals = torch.cat([colors - photo, features], dim=-1)
        weights = self._weights(residuals, target[..., :3])
        eliminated = self.exposure and len(mixing) > 0
        if eliminated:
            for _ in range(3):
                exposure = _fit_exposure(colors, photo, weights)
                residuals = torch.cat([colors * exposure[:, :1] + exposure[:, 1:] - photo, features], dim=-1)
                weights = self._weights(residuals, target[..., :3])
        cost = self._cost(residuals, target[..., :3])
        return Comparison(residuals, weights, cost, exposure, colors, mixing, self.feature_weight, eliminated)

    def compared(self, values: Tensor) -> Tensor:
        """The channels (..., D + F) of values (..., 3 + F) that are compared."""
        return torch.cat([values[..., :3] @ self._mixing(values).T, self.feature_weight * values[..., 3:]], dim=-1)

    def _mixing(self, values: Tensor) -> Tensor:
        if self.channels == "chroma":
            return values.new_tensor(_CHROMA)
        return torch.eye(3, device=values.device, dtype=values.dtype)[: 3 if self.channels == "rgb" else 0]

    def _norm(self, residuals: Tensor, target: Tensor) -> Tensor:
        size = residuals.square().mean(dim=-1, keepdim=True).clamp_min(1e-12).sqrt()
        return size / _brightness(target) if self.loss == "mape" else size

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
        return 1 / (size.clamp_min(1e-2) * _brightness(target).square())

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


def _brightness(target: Tensor) -> Tensor:
    """(R, 1) what mape divides by."""
    return target.mean(dim=-1, keepdim=True).abs() + 0.01


def _fit_exposure(rendered: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Gain and bias (B, 2, C) per channel that bring renderings (B, R, C) nearest to the photo (R, C).

    Weighted linear regression; a weak pull to gain 1 decides where a channel is constant.
    """
    share = weights / weights.sum(dim=1, keepdim=True)
    mean, wanted = (share * rendered).sum(dim=1), (share * target).sum(dim=1)
    deviation = rendered - mean[:, None]
    covariance = (share * deviation * (target - wanted[:, None])).sum(dim=1)
    gain = (covariance + _PULL) / ((share * deviation.square()).sum(dim=1) + _PULL)
    return torch.stack([gain, wanted - gain * mean], dim=1)
