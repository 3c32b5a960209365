"""Refinement: outlines move to the photo's edges, ids are never invented, unlabelled pixels stay."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.refine import CascadePspRefiner, GuidedRefiner, refine_ids


def discs(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Two touching discs, red (id 7) and blue (id 3), on grey: photo and true ids."""
    rows, columns = np.mgrid[:height, :width]
    truth = np.zeros((height, width), np.int32)
    truth[(rows - 60) ** 2 + (columns - 55) ** 2 < 30**2] = 7
    truth[(rows - 60) ** 2 + (columns - 110) ** 2 < 26**2] = 3
    colours = np.zeros((8, 3))
    colours[[0, 3, 7]] = [[150, 150, 150], [50, 60, 200], [200, 60, 50]]
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    return np.clip(colours[truth] + noise, 0, 255).astype(np.uint8), truth


def jittered(truth: np.ndarray, seed: int = 0, pixels: float = 2.0) -> np.ndarray:
    """Outlines moved smoothly by about `pixels`."""
    import cv2

    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: truth.shape[0], : truth.shape[1]]
    shift = [cv2.GaussianBlur(rng.standard_normal(truth.shape), (0, 0), 6) for _ in range(2)]
    dy, dx = (pixels * one / one.std() for one in shift)
    return truth[
        np.clip(np.round(rows + dy), 0, truth.shape[0] - 1).astype(int),
        np.clip(np.round(columns + dx), 0, truth.shape[1] - 1).astype(int),
    ]


def iou(ids: np.ndarray, truth: np.ndarray, number: int) -> float:
    return ((ids == number) & (truth == number)).sum() / ((ids == number) | (truth == number)).sum()


def test_a_jittered_disc_finds_its_edge() -> None:
    rgb, truth = discs()
    ids = jittered(truth)
    refined = refine_ids(ids, rgb, GuidedRefiner(radius=10))
    for number in (3, 7):
        assert iou(ids, truth, number) < 0.91
        assert iou(refined, truth, number) > 0.95


def test_ids_are_never_mixed_and_unlabelled_stays() -> None:
    rgb, truth = discs()
    ids = jittered(truth)
    ids[20:60, 30:90] = -1
    refined = refine_ids(ids, rgb, GuidedRefiner())
    assert set(np.unique(refined)) == {-1, 0, 3, 7}
    np.testing.assert_array_equal(refined == -1, ids == -1)


def test_true_outlines_stay_and_flat_photos_move_little() -> None:
    rgb, truth = discs()
    refined = refine_ids(truth, rgb, GuidedRefiner())
    assert (refined == truth).mean() > 0.998
    flat = np.full_like(rgb, 128)
    assert (refine_ids(truth, flat, GuidedRefiner()) == truth).mean() > 0.98


def test_specks_and_lonely_ids_keep_their_pixels() -> None:
    rgb, truth = discs()
    ids = truth.copy()
    ids[2, 2:5] = 9
    refined = refine_ids(ids, rgb, GuidedRefiner())
    np.testing.assert_array_equal(np.argwhere(refined == 9), [[2, 2], [2, 3], [2, 4]])
    np.testing.assert_array_equal(refine_ids(np.zeros_like(truth), rgb, GuidedRefiner()), np.zeros_like(truth))


def test_none_copies() -> None:
    rgb, truth = discs()
    np.testing.assert_array_equal(refine_ids(truth, rgb, None), truth)


def test_the_filter_equals_its_definition() -> None:
    """Equations 19-21 of the paper, window by window, on a small image."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (9, 11, 3), dtype=np.uint8)
    mask = rng.random((9, 11)) > 0.5
    radius, epsilon = 2, 0.01
    pad = [(2 * radius, 2 * radius)] * 2
    image = np.pad(rgb / 255.0, [*pad, (0, 0)], mode="reflect")
    target = np.pad(mask.astype(float), pad, mode="reflect")
    # Windows are taken around every pixel of the padded image; those of the true image are averaged with reflection.
    slope, offset = np.zeros((9, 11, 3)), np.zeros((9, 11))
    for y in range(9):
        for x in range(11):
            window = np.s_[y + radius : y + 3 * radius + 1, x + radius : x + 3 * radius + 1]
            pixels, values = image[window].reshape(-1, 3), target[window].ravel()
            mean, covariance = pixels.mean(axis=0), np.cov(pixels.T, bias=True)
            shared = (pixels * values[:, None]).mean(axis=0) - mean * values.mean()
            slope[y, x] = np.linalg.solve(covariance + epsilon * np.eye(3), shared)
            offset[y, x] = values.mean() - slope[y, x] @ mean
    slope = np.pad(slope, [(radius, radius), (radius, radius), (0, 0)], mode="reflect")
    offset = np.pad(offset, radius, mode="reflect")
    expected = np.zeros((9, 11))
    for y in range(9):
        for x in range(11):
            window = np.s_[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            expected[y, x] = slope[window].mean(axis=(0, 1)) @ (rgb[y, x] / 255.0) + offset[window].mean()
    np.testing.assert_allclose(GuidedRefiner(radius, epsilon)(rgb, mask), expected, atol=1e-4)


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, truth = discs()
    with pytest.raises(InputError, match="160x100 cannot be refined with a photo of 160x120"):
        refine_ids(truth[:100], rgb, GuidedRefiner())
    with pytest.raises(InputError, match="smoothness > 0"):
        GuidedRefiner(3, 0.0)
    monkeypatch.setitem(sys.modules, "segmentation_refinement", None)
    with pytest.raises(InputError, match="pip install segmentation-refinement"):
        CascadePspRefiner(tmp_path)


def test_cascadepsp_with_random_weights(tmp_path: Path) -> None:
    package = pytest.importorskip("segmentation_refinement")
    with pytest.raises(InputError, match="give --model-folder"):
        CascadePspRefiner(tmp_path)
    with pytest.raises(InputError, match="--side is 60"):
        CascadePspRefiner(tmp_path, side=60)
    torch.save({"module.x": torch.zeros(1)}, tmp_path / "model")
    with pytest.raises(InputError, match="does not fit CascadePSP"):
        CascadePspRefiner(tmp_path)
    torch.manual_seed(0)
    state = package.main.RefinementModule().state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "model")
    rgb, truth = discs(64, 64)
    refined = refine_ids(truth, rgb, CascadePspRefiner(tmp_path, side=100))
    assert set(np.unique(refined)) <= set(np.unique(truth))
