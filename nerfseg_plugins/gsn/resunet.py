"""The image encoder of IBRNet, GNT and GSN: a U-Net of ResNet34's blocks.

Wang et al., "IBRNet: Learning Multi-View Image-Based Rendering" (CVPR 2021), supplement, and its released
feature_network.py, whose names of weights are kept so that published checkpoints load. ResNet34 down to 1/16 of the
image, without its pooling and its last stage; InstanceNorm instead of BatchNorm; reflected borders; two steps up with
skip connections to 1/4.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nerfseg_plugins.errors import InputError

MIN_SIDE = 32
"""Pixels; the smallest maps of smaller images are too small for reflected borders and for statistics."""


def normed(channels: int) -> nn.InstanceNorm2d:
    """Normalisation of each channel of each image, with a learned scale and shift and no running statistics."""
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=False)


def reflected(inputs: int, outputs: int, side: int = 3, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution whose borders are reflected."""
    return nn.Conv2d(
        inputs, outputs, side, stride, padding=(side - 1) // 2, bias=bias, padding_mode="reflect"
    )  # fmt: skip


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = reflected(inputs, outputs, stride=stride)
        self.bn1 = normed(outputs)
        self.conv2 = reflected(outputs, outputs)
        self.bn2 = normed(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), normed(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h / stride, w / stride)."""
        found = functional.relu(self.bn1(self.conv1(x)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.bn2(self.conv2(found)) + shortcut)


class ConvNormElu(nn.Module):
    """3x3 convolution, normalisation, ELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = reflected(inputs, outputs, bias=True)
        self.bn = normed(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h, w)."""
        return functional.elu(self.bn(self.conv(x)))


class Enlarge(nn.Module):
    """Twice the resolution, bilinear, then `ConvNormElu`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormElu(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, 2 h, 2 w)."""
        return self.conv(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))


class ResUNet(nn.Module):
    """Feature maps of images, each image by itself.

    Args:
        outputs: channels of the maps.
        widths: channels of the stem and the first stage, of the second and of the third.
        blocks: residual blocks of the three stages.
        stem_stride: 2 as published, for maps of 1/4 of the image; 1 for 1/2.
    """

    def __init__(
        self,
        outputs: int = 32,
        widths: Sequence[int] = (64, 128, 256),
        blocks: Sequence[int] = (3, 4, 6),
        stem_stride: int = 2,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.outputs = outputs
        self.conv1 = reflected(3, first, side=7, stride=stem_stride)
        self.bn1 = normed(first)
        self.layer1 = _stage(first, first, blocks[0])
        self.layer2 = _stage(first, second, blocks[1])
        self.layer3 = _stage(second, third, blocks[2])
        self.upconv3 = Enlarge(third, second)
        self.iconv3 = ConvNormElu(2 * second, second)
        self.upconv2 = Enlarge(second, first)
        self.iconv2 = ConvNormElu(2 * first, outputs)
        self.out_conv = nn.Conv2d(outputs, outputs, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, outputs, about H / 4, about W / 4).

        Raises:
            InputError: the images are too small.
        """
        height, width = images.shape[-2:]
        if min(height, width) < MIN_SIDE:
            raise InputError(
                f"the encoder needs images of at least {MIN_SIDE} pixels along each side, not {width}x{height}; use "
                "larger ones"
            )
        stem = functional.relu(self.bn1(self.conv1(images)))
        fine = self.layer1(stem)
        middle = self.layer2(fine)
        coarse = self.layer3(middle)
        found = self.iconv3(_beside(middle, self.upconv3(coarse)))
        found = self.iconv2(_beside(fine, self.upconv2(found)))
        return self.out_conv(found)


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    """Residual blocks, the first of which halves the resolution."""
    rest = (ResidualBlock(outputs, outputs) for _ in range(blocks - 1))
    return nn.Sequential(ResidualBlock(inputs, outputs, stride=2), *rest)


def _beside(skipped: Tensor, enlarged: Tensor) -> Tensor:
    """Channels of both; what was enlarged is padded or cut to the size of what skipped the way down."""
    down, right = skipped.shape[2] - enlarged.shape[2], skipped.shape[3] - enlarged.shape[3]
    fitted = functional.pad(enlarged, (right // 2, right - right // 2, down // 2, down - down // 2))
    return torch.cat([skipped, fitted], dim=1)
