"""Image metrics against formulas and another library."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation import image


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    true = torch.from_numpy(rng.random((24, 32, 3), dtype=np.float32))
    return (true + 0.1 * torch.from_numpy(rng.standard_normal((24, 32, 3)).astype(np.float32))).clamp(0, 1), true


def test_psnr_by_hand_and_by_skimage():
    assert image.psnr(torch.full((2, 2, 3), 0.6), torch.full((2, 2, 3), 0.5)) == pytest.approx(20, abs=1e-4)
    pred, true = pictures()
    expected = peak_signal_noise_ratio(true.numpy(), pred.numpy(), data_range=1.0)
    assert image.psnr(pred, true) == pytest.approx(expected, abs=1e-4)


def test_psnr_of_equal_pictures_is_a_number():
    _, true = pictures()
    assert image.psnr(true, true) == image.MAX_PSNR
    assert image.psnr(true + 1e-7, true) == image.MAX_PSNR


def test_what_a_screen_clips_is_clipped():
    assert image.psnr(torch.full((2, 2, 3), 1.4), torch.ones(2, 2, 3)) == image.MAX_PSNR


def test_ssim_equals_another_library():
    pred, true = pictures()
    expected = structural_similarity(
        true.numpy(),
        pred.numpy(),
        channel_axis=2,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert image.ssim(pred, true) == pytest.approx(float(expected), abs=1e-4)
    assert image.ssim(true, true) == pytest.approx(1)


def test_lpips_asks_the_network():
    pred, true = pictures()

    def network(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        assert first.shape == second.shape == (1, 3, 24, 32)
        return (first - second).abs().mean()

    assert image.lpips(pred, true, network) == pytest.approx(float((pred - true).abs().mean()))
    assert image.lpips(pred, true, lambda a, b: torch.tensor(math.nan)) is None


def test_shapes_that_differ_are_refused():
    for metric in (image.psnr, image.ssim):
        with pytest.raises(InputError, match=r"\(4, 4, 3\).*\(4, 5, 3\)"):
            metric(torch.zeros(4, 4, 3), torch.zeros(4, 5, 3))
    with pytest.raises(InputError, match="11x11"):
        image.ssim(torch.zeros(4, 40, 3), torch.zeros(4, 40, 3))
