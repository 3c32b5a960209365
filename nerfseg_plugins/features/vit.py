"""DINO (arXiv 2104.14294) and DINOv2 (arXiv 2304.07193): the tokens of the last block, after the norm, without CLS."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.network import IMAGENET_MEAN, IMAGENET_STD, image_batch
from nerfseg_plugins.features.sources import FeatureOptions
from nerfseg_plugins.weights import check_device, fetch, load_into, need_checkpoint, state_of


class Variant(NamedTuple):
    """One published network."""

    width: int
    heads: int
    patch: int
    """Pixels."""
    side: int
    """Patches along each side of the images that it was trained on."""
    layer_scale: bool
    url: str


_DINO, _DINOV2 = "https://dl.fbaipublicfiles.com/dino", "https://dl.fbaipublicfiles.com/dinov2"
VARIANTS = {
    "dino-vits8": Variant(384, 6, 8, 28, False, f"{_DINO}/dino_deitsmall8_pretrain/dino_deitsmall8_pretrain.pth"),
    "dino-vitb8": Variant(768, 12, 8, 28, False, f"{_DINO}/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth"),
    "dinov2-vits14": Variant(384, 6, 14, 37, True, f"{_DINOV2}/dinov2_vits14/dinov2_vits14_pretrain.pth"),
    "dinov2-vitb14": Variant(768, 12, 14, 37, True, f"{_DINOV2}/dinov2_vitb14/dinov2_vitb14_pretrain.pth"),
}
DEPTH = 12
UNUSED = ("mask_token", "head.weight", "head.bias")
"""Weights in published files that describe no image."""


class VitFeatures:
    """A vision transformer as timm builds it, with the published weights or a file of them."""

    centre = True

    def __init__(self, name: str, options: FeatureOptions) -> None:
        """Load the network.

        Args:
            name: a key of `VARIANTS`.
            options: `stride` below the patch size gives overlapping patches, as N3F takes them.

        Raises:
            InputError: timm is not installed, the weights cannot be had or are of another network, or the stride is
                larger than a patch.
        """
        variant = VARIANTS[name]
        stride = variant.patch if options.stride is None else options.stride
        if not 1 <= stride <= variant.patch:
            raise InputError(f"--stride is {stride}; {name} takes 1 to {variant.patch}, the side of its patches")
        path = options.checkpoint or fetch(variant.url, name)
        path, digest = need_checkpoint(path, name, variant.url)
        state = {key: value for key, value in state_of(path, name).items() if key not in UNUSED}
        network = build_vit(variant)
        load_into(network, state, path, name)
        self.name = self.model = name
        self.checkpoint: Optional[str] = digest
        self.parameters: dict[str, Any] = {"stride": stride}
        self.channels = variant.width
        self.batch_size = options.batch_size
        self._patch, self._stride = variant.patch, stride
        self._device = check_device(options.device)
        self._network: Any = network.to(self._device).eval()

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, D) float32."""
        return self.many([rgb])[0]

    @torch.no_grad()
    def many(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """(H, W, 3) uint8 images of one size -> their (h, w, D) float32 maps."""
        rows, columns = (max(round(side / self._stride), 1) for side in images[0].shape[:2])
        size = rows * self._stride, columns * self._stride
        batch = image_batch(images, size, IMAGENET_MEAN, IMAGENET_STD, self._device)
        tokens = patch_tokens(self._network, batch, self._patch, self._stride)
        return list(tokens.reshape(len(images), rows, columns, -1).cpu().numpy())


def build_vit(variant: Variant) -> torch.nn.Module:
    """The network, with random weights; its parameters bear the names of the published files.

    Raises:
        InputError: timm is not installed.
    """
    try:
        from timm.models.vision_transformer import VisionTransformer
    except ImportError as error:
        raise InputError("DINO and DINOv2 need timm; install it with: pip install timm") from error
    return VisionTransformer(
        img_size=variant.side * variant.patch,
        patch_size=variant.patch,
        embed_dim=variant.width,
        depth=DEPTH,
        num_heads=variant.heads,
        init_values=1.0 if variant.layer_scale else None,
        num_classes=0,
        weight_init="skip",  # a checkpoint follows
    )


def patch_tokens(network: Any, batch: Tensor, patch: int, stride: int) -> Tensor:
    """The tokens of a batch's patches.

    timm's own forward pass takes images of one size and keeps every attention matrix, 6 GB for a photo; what differs is
    written out here.

    Args:
        network: timm's VisionTransformer.
        batch: (B, 3, H, W), H and W multiples of the stride.
        patch: pixels.
        stride: pixels between patches; where they overlap, the image is continued around its edge, so that the centres
            of patches lie where those of stride x stride cells do.

    Returns:
        (B, H/stride * W/stride, D), row by row.
    """
    before = (patch - stride) // 2
    around = (before, patch - stride - before) * 2
    padded = torch.nn.functional.pad(batch, around, mode="replicate") if stride < patch else batch
    projection = network.patch_embed.proj
    grid = torch.nn.functional.conv2d(padded, projection.weight, projection.bias, stride=stride)
    tokens = grid.flatten(2).transpose(1, 2)
    tokens = torch.cat([network.cls_token.expand(len(batch), -1, -1), tokens], dim=1)
    tokens = tokens + positions_for(network.pos_embed, (grid.shape[2], grid.shape[3]))
    for block in network.blocks:
        tokens = tokens + block.ls1(_attend(block.attn, block.norm1(tokens)))
        tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
    return network.norm(tokens)[:, 1:]


def positions_for(embedding: Tensor, shape: tuple[int, int]) -> Tensor:
    """Position embeddings (1, 1 + side^2, D) of a square interpolated to a grid: (1, 1 + rows * columns, D)."""
    side = round((embedding.shape[1] - 1) ** 0.5)
    if shape == (side, side):
        return embedding
    square = embedding[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(square, shape, mode="bicubic", align_corners=False)
    return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _attend(attention: Any, tokens: Tensor) -> Tensor:
    """Self-attention (B, N, D) -> (B, N, D) that never holds an N x N matrix."""
    count, length, width = tokens.shape
    mixed = attention.qkv(tokens).reshape(count, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    found = torch.nn.functional.scaled_dot_product_attention(*mixed.unbind(0))
    return attention.proj(found.transpose(1, 2).reshape(count, length, width))
