"""Features without any weights: colour, texture and edges at several scales, as an explicit feature map of a kernel.

Cosine similarity must mean something, so colours are not compared as numbers but through random Fourier features
(Rahimi and Recht, 2007): inner products of these are a Gaussian kernel of the distance between two colours in CIELAB,
near 1 for shades of one colour and near 0 for different ones. Averaged over a window they describe the distribution of
its colours (a kernel mean embedding). Lightness counts less than chroma, since it changes with shading.
"""

from typing import Any, Optional

import cv2
import numpy as np

from nerfseg_plugins.features.pca import unit

MAX_CELLS = 15_000
"""The stride is the smallest that gives no more cells: 200 maps of 64 channels then take less than 400 MB."""
COLOR_FEATURES = 128
LENGTHS = np.array([40.0, 12.0, 12.0], np.float32)
"""Differences in CIELAB's L, a, b at which two colours count as different."""
SCALES = ((0.0, 1.0), (1.5, 0.7), (4.0, 0.5))
"""Of the colour windows: sigma in cells (0: the cell alone), weight."""
ORIENTATIONS = 8
TEXTURE_SCALES = ((1.0, 0.35), (2.0, 0.35))
"""Of the gradients: sigma in pixels, weight."""
TEXTURE_WINDOW = 2.0
"""Sigma in cells of the windows of the histograms of gradients."""
TEXTURE_FLOOR = 4.0
"""Gradients, in units of lightness a pixel, below which a surface counts as even."""


class ClassicalFeatures:
    """The feature map of the module."""

    name = "classical"
    model = "color-texture-kernel-1"
    checkpoint: Optional[str] = None
    centre = False
    """The inner products are the kernel; without the mean they would not be."""

    def __init__(self, stride: Optional[int] = None, seed: int = 0) -> None:
        """
        Args:
            stride: pixels between neighbouring cells; None chooses it by the image's size, see `MAX_CELLS`.
            seed: of the random frequencies.
        """
        self.stride = stride
        self.parameters: dict[str, Any] = {"stride": stride, "seed": seed}
        rng = np.random.default_rng(seed)
        self._frequencies = rng.normal(size=(3, COLOR_FEATURES)).astype(np.float32) / LENGTHS[:, None]
        self._phases = rng.uniform(0, 2 * np.pi, COLOR_FEATURES).astype(np.float32)
        self.channels = COLOR_FEATURES * len(SCALES) + (ORIENTATIONS + 1) * len(TEXTURE_SCALES)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, D) float32."""
        rows, columns = grid_of((rgb.shape[0], rgb.shape[1]), self.stride)
        lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        blocks = [*self._colors(lab, (columns, rows)), *_textures(lab[..., 0], (columns, rows))]
        return np.concatenate(blocks, axis=-1)

    def _colors(self, lab: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
        """One unit block a scale, times its weight."""
        waves = np.cos(lab @ self._frequencies + self._phases)
        cells = pool(waves, size)
        return [weight * unit(cv2.GaussianBlur(cells, (0, 0), s) if s else cells) for s, weight in SCALES]


def pool(values, size):
    return np.concatenate(
        [
            cv2.resize(values[..., i : i + 4], size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
            for i in range(0, values.shape[-1], 4)
        ],
        axis=-1,
    )


def _textures(light: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """Histograms of the orientations of gradients, one unit block a scale, times its weight; square roots, so that
    their inner products are Hellinger's. What has no texture is described by one more bin."""
    blocks = []
    for sigma, weight in TEXTURE_SCALES:
        smooth = cv2.GaussianBlur(light, (0, 0), sigma)
        dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
        dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
        strength = np.hypot(dx, dy) * sigma
        angle = np.arctan2(dy, dx) % np.pi * (ORIENTATIONS / np.pi)
        away = np.abs(angle[..., None] - np.arange(ORIENTATIONS))
        share = np.maximum(0, 1 - np.minimum(away, ORIENTATIONS - away)) * strength[..., None]
        histogram = cv2.GaussianBlur(pool(share, size), (0, 0), TEXTURE_WINDOW)
        even = np.full((*histogram.shape[:2], 1), TEXTURE_FLOOR / 4, np.float32)
        whole = np.concatenate([histogram, even], axis=-1)
        blocks.append(weight * np.sqrt(whole / whole.sum(axis=-1, keepdims=True)))
    return blocks


def grid_of(size: tuple[int, int], stride: Optional[int]) -> tuple[int, int]:
    """Rows and columns of the cells of an image of (height, width) pixels."""

    def cells(step: int) -> tuple[int, int]:
        return max(round(size[0] / step), 1), max(round(size[1] / step), 1)

    step = stride or 2
    while not stride and np.prod(cells(step)) > MAX_CELLS:
        step += 1
    return cells(step)
