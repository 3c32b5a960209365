"""Pixels of the head stage: square patches from a few views, so that neighbours can be compared."""

from dataclasses import dataclass, field
from typing import Optional, Union

import torch
from nerfstudio.data.pixel_samplers import PixelSampler, PixelSamplerConfig
from torch import Tensor


@dataclass
class PatchSamplerConfig(PixelSamplerConfig):
    """Configuration of the patch sampler."""

    _target: type = field(default_factory=lambda: PatchSampler)
    """target class to instantiate"""
    patch_size: int = 2
    """Side of a patch in pixels; 1 draws single pixels. The regularisation compares neighbours, for which 2 is enough,
    and small patches show more of the scene in a step than the paper's 8."""
    views_per_batch: int = 32
    """Views that a batch draws its patches from."""


class PatchSampler(PixelSampler):
    """Draws whole patches, each wholly inside its image; rays of a patch are contiguous and row-major."""

    config: PatchSamplerConfig

    def __init__(self, config: PatchSamplerConfig, **kwargs) -> None:
        super().__init__(config, **kwargs)
        self.set_num_rays_per_batch(self.num_rays_per_batch)

    def set_num_rays_per_batch(self, num_rays_per_batch: int) -> None:
        """Set the number of rays, rounded down to whole patches (at least one)."""
        area = self.config.patch_size**2
        super().set_num_rays_per_batch(max(num_rays_per_batch // area, 1) * area)

    def sample(self, image_batch: dict) -> dict:
        """A batch of pixels; `patch_size` in it tells how they are arranged."""
        return {**super().sample(image_batch), "patch_size": self.config.patch_size}

    def sample_method(
        self,
        batch_size: int,
        num_images: int,
        image_height: int,
        image_width: int,
        mask: Optional[Tensor] = None,
        device: Union[torch.device, str] = "cpu",
    ) -> Tensor:
        """(batch_size, 3) long: image, row, column."""
        size = self.config.patch_size
        patches = batch_size // size**2
        views = torch.randint(num_images, (min(self.config.views_per_batch, patches),), device=device)
        image = views[torch.arange(patches, device=device) % len(views)]
        row = torch.randint(image_height - size + 1, (patches,), device=device)
        column = torch.randint(image_width - size + 1, (patches,), device=device)
        corner = torch.stack([image, row, column], dim=-1)
        steps = torch.arange(size, device=device)
        dy, dx = torch.meshgrid(steps, steps, indexing="ij")
        offset = torch.stack([torch.zeros_like(dy), dy, dx], dim=-1).view(1, -1, 3)
        return (corner[:, None] + offset).view(-1, 3)
