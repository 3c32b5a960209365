"""Which pixels of a photo are compared (iNeRF, arXiv 2012.05877, section 3.2).

A whole photo is a hundred times the rays that six unknowns need, and most of its pixels say little. Every sampling is
one weight per pixel; rays are drawn by weight without repetition.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Sampling = Literal["random", "points", "regions", "gradient", "object"]

_DIFFERS = 0.02
"""A colour that differs by less in every channel is the background's: five levels of 255."""
_FLOOR = 1e-6
"""Share that is spread evenly at least, so that rays are left to draw once all pixels of interest are taken."""


@dataclass(frozen=True)
class SamplerConfig:
    """Which pixels of a photo are compared."""

    sampling: Sampling = "gradient"
    """Evenly at random, at interest points (SIFT), in regions around those, where the photo's gradient is strong, or
    on and around what stands out from a background of one colour."""
    region_iterations: int = 3
    """How many times interest points, or the object, are dilated into regions."""
    region_size: int = 5
    """Side in pixels of the square that dilates."""
    uniform_share: float = 0.3
    """Share of rays drawn evenly over the photo whatever the sampling, so that flat regions count as well."""


class PixelSampler:
    """Draws pixels of one photo.

    A photo without interest points or without any gradient is drawn from evenly.

    Args:
        image: (H, W, 3) in [0, 1].
        mask: (H, W) bool, True where a pixel may be used; at least one.
        config: which pixels.
    """

    def __init__(self, image: Tensor, mask: Tensor, config: SamplerConfig) -> None:
        assert image.shape[:2] == mask.shape and bool(mask.any())
        self.pixels = mask.nonzero()
        """(N, 2) row and column of all usable pixels."""
        self.weights = _mixed(_interest(image, config)[mask], config.uniform_share)
        """(N,) probability that a first ray falls there."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw pixels, one after the other by weight.

        No pixel is drawn twice before all usable ones are: where rays outnumber them, all are repeated equally often
        but for the rest.

        Args:
            count: rays.
            generator: of any device; its state alone decides which pixels.

        Returns:
            (count, 2) long, row and column, on the image's device.
        """
        whole, rest = divmod(count, len(self.pixels))
        # The largest keys weight / Exponential(1) are a draw without repetition (Efraimidis and Spirakis 2006).
        noise = torch.empty(len(self.pixels), device=generator.device).exponential_(generator=generator)
        keys = self.weights / noise.to(self.weights.device).clamp_min(torch.finfo(noise.dtype).tiny)
        chosen = self.pixels[keys.topk(rest).indices]
        return torch.cat([*[self.pixels] * whole, chosen])


def keypoints(image: Tensor) -> Tensor:
    """SIFT interest points of a photo (H, W, 3) in [0, 1]: (K, 2) long, row and column, each pixel once; K may be 0."""
    import cv2

    pixels = (image.cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8)
    found = cv2.SIFT_create().detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None)  # type: ignore[attr-defined]
    height, width = image.shape[:2]
    # OpenCV's (x, y) have the centre of the first pixel at 0.
    places = {
        (min(max(round(point.pt[1]), 0), height - 1), min(max(round(point.pt[0]), 0), width - 1)) for point in found
    }
    return torch.tensor(sorted(places), dtype=torch.long, device=image.device).view(-1, 2)


def gradient_magnitude(image: Tensor) -> Tensor:
    """Length (H, W) of the Scharr gradient of a photo (H, W, 3), per pixel, of the channel that changes most.

    Per channel, as an edge between two colours of one brightness is an edge as well.
    """
    channels = image.permute(2, 0, 1)[:, None]
    across = torch.outer(image.new_tensor([3.0, 10.0, 3.0]), image.new_tensor([-1.0, 0.0, 1.0])) / 32
    padded = F.pad(channels, (1, 1, 1, 1), mode="replicate")
    slopes = F.conv2d(padded, torch.stack([across, across.T])[:, None])
    return slopes.norm(dim=1).amax(dim=0)


def stands_out(image: Tensor) -> Tensor:
    """What a photo (H, W, 3) in [0, 1] shows in front of its background: (H, W) bool, other than the border's colour.

    The colour is the median of the border's pixels: an object that leaves the photo on a side or two does not hide it.
    """
    border = torch.cat([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    return ((image - border.median(dim=0).values).abs() > _DIFFERS).any(dim=-1)


def _interest(image: Tensor, config: SamplerConfig) -> Tensor:
    """How much each pixel is preferred, (H, W), at least 0, in any unit."""
    if config.sampling == "random":
        return image.new_ones(image.shape[:2])
    if config.sampling == "gradient":
        return gradient_magnitude(image)
    if config.sampling == "object":
        return _dilated(stands_out(image).to(image), config)
    row, column = keypoints(image).unbind(-1)
    interest = image.new_zeros(image.shape[:2])
    interest[row, column] = 1
    return interest if config.sampling == "points" else _dilated(interest, config)


def _dilated(points: Tensor, config: SamplerConfig) -> Tensor:
    """A map (H, W) of zeros and ones, dilated by a square as often as asked."""
    import cv2

    kernel = np.ones((config.region_size, config.region_size), np.uint8)
    grown = cv2.dilate(points.cpu().numpy(), kernel, iterations=config.region_iterations)
    return torch.from_numpy(grown).to(points)


def _mixed(interest: Tensor, uniform_share: float) -> Tensor:
    """Probabilities (N,): by interest (N,), and evenly for a share of the rays."""
    even = torch.full_like(interest, 1 / len(interest))
    total = interest.sum()
    share = max(uniform_share, _FLOOR) if float(total) > 0 else 1.0
    return share * even + (1 - share) * interest / total.clamp_min(torch.finfo(interest.dtype).tiny)
