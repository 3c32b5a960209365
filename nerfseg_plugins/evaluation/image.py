"""Image metrics of one rendered view: PSNR, SSIM, and LPIPS where its weights can be had."""

import math
from collections.abc import Callable
from typing import Optional

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError

MAX_PSNR = 100.0
"""Reported for pictures that are (nearly) equal, where the formula tends to infinity, which JSON cannot say."""


def psnr(pred: Tensor, true: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10 of the mean squared error, at most `MAX_PSNR`.

    Args:
        pred: (H, W, 3) in [0, 1]; values outside are clipped, as they are on a screen.
        true: (H, W, 3) in [0, 1].

    Raises:
        InputError: the shapes differ or are not pictures.
    """
    pred, true = _checked(pred, true)
    error = float(((pred - true).double() ** 2).mean())
    return min(-10 * math.log10(error), MAX_PSNR) if error > 0 else MAX_PSNR


def ssim(pred: Tensor, true: Tensor) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels and sigma 1.5, where it fits the picture.

    Newer torchmetrics, which `ns-eval` asks, also count the windows that reach over the border; the two may differ in
    the third digit. Arguments and errors as of `psnr`; also refuses pictures of less than 11 pixels a side.
    """
    import pytorch_msssim

    pred, true = _checked(pred, true)
    if min(pred.shape[:2]) < 11:
        raise InputError(f"SSIM needs pictures of at least 11x11 pixels, not {pred.shape[1]}x{pred.shape[0]}")
    first, second = (picture.permute(2, 0, 1)[None] for picture in (pred, true))
    return float(pytorch_msssim.ssim(first, second, data_range=1.0))


def lpips(pred: Tensor, true: Tensor, network: Callable[[Tensor, Tensor], Tensor]) -> Optional[float]:
    """Learned perceptual similarity (Zhang et al. 2018) by a given network.

    Args:
        pred: (H, W, 3) in [0, 1].
        true: (H, W, 3) in [0, 1].
        network: two (1, 3, H, W) pictures in [0, 1] -> one number; it may say NaN when its weights cannot be had.

    Returns:
        The number, or None when it is not finite.

    Raises:
        InputError: the shapes differ or are not pictures.
    """
    pred, true = _checked(pred, true)
    with torch.no_grad():
        value = float(network(true.permute(2, 0, 1)[None], pred.permute(2, 0, 1)[None]))
    return value if math.isfinite(value) else None


def _checked(pred: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    if pred.shape != true.shape or pred.ndim != 3 or pred.shape[-1] != 3:
        raise InputError(
            f"a rendered picture of shape {tuple(pred.shape)} cannot be compared with a photo of shape "
            f"{tuple(true.shape)}; both must be (H, W, 3)"
        )
    return pred.float().clamp(0, 1), true.to(pred.device).float()
