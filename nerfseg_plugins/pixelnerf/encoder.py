"""pixelNeRF's image encoder: first stages of a ResNet34 as one map (arXiv 2012.02190, section 4.1, appendix B.1).

Sizes and names of the weights are those of the published implementation (github.com/sxyu/pixel-nerf, BSD 2-clause),
whose encoder in turn is torchvision's ResNet34 without its last layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.resnet import BasicBlock, conv1x1

IMAGENET_URL = "https://download.pytorch.org/models/resnet34-b627a593.pth"
"""torchvision's weights of a ResNet34."""
GROUP = 8
"""Channels of a group where groups are normalised."""


@dataclass
class EncoderConfig:
    """Sizes of the image encoder; the defaults are ResNet34's."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    """Residual blocks of each stage; all but the first stage halve the resolution and double the channels."""
    width: int = 64
    """Channels of the first convolution and the first stage."""
    num_stages: int = 3
    """Stages whose maps are used. Those behind them are kept, untrained, as published checkpoints hold them."""
    first_pool: bool = True
    """Whether the resolution is halved once more before the first stage; not for images of 64 pixels."""
    norm: Literal["batch", "group"] = "batch"
    """What activations are normalised over: the batch, as in ResNet34, or groups of channels of one image, which does
    not depend on how many images are encoded together."""

    def dim(self) -> int:
        """Channels of the encoder's maps: 512 by default."""
        return self.width + sum(self.width << stage for stage in range(self.num_stages))


def norm_layer(kind: str) -> Callable[[int], nn.Module]:
    """What makes the layers that normalise C channels."""
    return nn.BatchNorm2d if kind == "batch" else lambda channels: nn.GroupNorm(max(channels // GROUP, 1), channels)


class PyramidEncoder(nn.Module):
    """Maps of several resolutions, brought to that of the first and concatenated.

    Args:
        config: its sizes.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        norm, width = norm_layer(config.norm), config.width
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm(width)
        for stage, count in enumerate(config.blocks):
            channels_in, channels = width << max(stage - 1, 0), width << stage
            setattr(self, f"layer{stage + 1}", _stage(channels_in, channels, count, 1 if stage == 0 else 2, norm))
        for stage in range(config.num_stages, len(config.blocks)):
            getattr(self, f"layer{stage + 1}").requires_grad_(False)
        for module in self.modules():  # as torchvision begins
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Maps of images.

        Args:
            images: (N, 3, H, W) in [-1, 1].

        Returns:
            (N, D, ceil(H / 2), ceil(W / 2)); a cell's centre lies on the centre of every other pixel, see
            `shift_to_cells`.
        """
        x = torch.relu(self.bn1(self.conv1(images)))
        maps = [x]
        if self.config.first_pool:
            x = torch.nn.functional.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        for stage in range(self.config.num_stages):
            x = getattr(self, f"layer{stage + 1}")(x)
            maps.append(interpolate(x, maps[0].shape[-2:], mode="bilinear", align_corners=True))
        return torch.cat(maps, dim=1)


def shift_to_cells(pixels: Tensor, size: tuple[int, int], map_size: tuple[int, int]) -> Tensor:
    """Where to look pixels up, so that a map's first cell answers for the first pixel.

    A convolution of stride s puts the centre of its cell j onto the centre of pixel s j, whereas a map that spans its
    image exactly would have it s/2 - 1/2 pixels further.

    Args:
        pixels: (..., 2) x and y, pixels from the image's upper left corner.
        size: (H, W) of the image.
        map_size: (h, w) of the map.

    Returns:
        (..., 2), for a lookup that takes maps to span their images.
    """
    stride = pixels.new_tensor([size[1] / map_size[1], size[0] / map_size[0]])
    return pixels + (stride - 1) / 2


def _stage(channels_in: int, channels: int, count: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    downsample = None
    if stride != 1 or channels_in != channels:
        downsample = nn.Sequential(conv1x1(channels_in, channels, stride), norm(channels))
    first = BasicBlock(channels_in, channels, stride, downsample, norm_layer=norm)
    return nn.Sequential(first, *(BasicBlock(channels, channels, norm_layer=norm) for _ in range(count - 1)))
