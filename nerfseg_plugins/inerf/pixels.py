"""A photo prepared for comparison: its pixels as rays, sharp or blurred."""

from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from nerfseg_plugins.inerf.levenberg import Rays
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.samplers import PixelSampler, SamplerConfig


class PhotoRays:
    """The rays of a query.

    Args:
        query: photo, mask and camera.
        config: which pixels are compared.
    """

    def __init__(self, query: Query, config: SamplerConfig) -> None:
        self.query = query
        self._sampler = PixelSampler(query.image, query.mask, config)
        self._blurred: dict[float, Tensor] = {0.0: query.image}

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return float(self.query.camera.fx.flatten()[0])

    def rays(
        self,
        count: int,
        blur: float,
        generator: torch.Generator,
        features: bool = True,
        sampler: Optional[PixelSampler] = None,
    ) -> Rays:
        """Rays of drawn pixels.

        Args:
            count: how many.
            blur: standard deviation of the Gaussian that the photo is seen through, pixels.
            generator: of the draw.
            features: whether the photo's features follow its colours, where it has some.
            sampler: draws pixels; by default by the photo's own interest.
        """
        pixels = (sampler or self._sampler).draw(count, generator)
        row, column = pixels.unbind(-1)
        target = self._seen_through(blur)[row, column]
        if features and self.query.features is not None:
            target = torch.cat([target, sampled(self.query.features, pixels, self.query.image.shape[:2])], dim=-1)
        return Rays(self.query.directions[row, column], target)

    def _seen_through(self, blur: float) -> Tensor:
        blur = round(blur, 1)
        if blur not in self._blurred:
            self._blurred[blur] = blurred(self.query.image, self.query.mask, blur)
        return self._blurred[blur]


def sampled(features: Tensor, pixels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Features (R, C) at pixels (R, 2) of a photo of a size (height, width), bilinear in a coarser map (h, w, C)."""
    extent = torch.tensor([size[1], size[0]], device=pixels.device)
    grid = (pixels.flip(-1) + 0.5) / extent * 2 - 1
    planes = features.permute(2, 0, 1)[None]
    found = F.grid_sample(planes, grid[None, None].to(planes), padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def blurred(image: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of an image (H, W, C) that hidden pixels do not bleed into; mask (H, W) bool."""
    visible = mask.cpu().numpy().astype(np.float32)
    smooth = gaussian_filter(image.cpu().numpy() * visible[..., None], (sigma, sigma, 0))
    share = gaussian_filter(visible, sigma)
    return torch.from_numpy(smooth / np.maximum(share, 1e-6)[..., None]).to(image)
