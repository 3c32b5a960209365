"""Features without any weights: colour and texture at several scales, as the explicit feature map of a kernel.

Cosine similarity must mean something, so colours are not compared as numbers but through random Fourier features
(Rahimi and Recht, 2007): their inner products are a Gaussian kernel of the distance between two colours, near 1 for
shades of one colour and near 0 for different ones. Averaged over a window they describe the distribution of its colours
(a kernel mean embedding). Colours are CIELAB's with the chroma taken relative to the lightness, since on an evenly
coloured surface both fall together where it turns from the light, and with lightness itself counting less.

Windows are the cell itself, what surrounds it without crossing an edge, and two round neighbourhoods; beside them stand
histograms of gradients. Each is a block of unit length times a weight, so a dissimilarity in one is not outvoted.
"""

from typing import Any, Optional

import cv2
import numpy as np

from nerfseg_plugins.features.pca import unit

MAX_CELLS = 15_000
"""The stride is the smallest that gives no more cells: 200 maps of 64 channels then take less than 400 MB."""
COLOR_FEATURES = 128
COLOR_LENGTHS = np.array([30.0, 9.0, 9.0], np.float32)
"""Differences in L, a, b at which two colours count as different."""
LIGHTNESS_OFFSET = 40.0
"""Chroma is divided by the lightness plus this: with 16 it would not depend on shading at all, as CIELAB is defined;
more keeps it quiet in the dark."""
CELL_WEIGHT = 0.7
REGION_WEIGHT = 1.0
REGION_STEPS = 60
"""Steps of diffusion over which a region gathers: as many cells reach about sqrt(0.5 * steps) cells far."""
REGION_EDGE = 0.7
"""Difference of neighbouring colours, in units of `COLOR_LENGTHS`, over which diffusion falls to 1/e."""
WINDOWS = ((2.0, 0.7), (6.0, 0.7))
"""Round neighbourhoods: sigma in cells, weight."""
ORIENTATIONS = 8
GRADIENTS = ((1.0, 0.5), (2.0, 0.5))
"""Histograms of gradients: sigma in pixels of the image smoothed before, weight."""
GRADIENT_WINDOW = 3.0
"""Sigma in cells of the windows of the histograms."""
EVEN = 1.0
"""Strength of gradients, in units of lightness a pixel, at which a surface is as much even as textured."""


class ClassicalFeatures:
    """The feature map of the module."""

    name = "classical"
    model = "color-texture-kernel-1"
    checkpoint: Optional[str] = None
    centre = False
    """Inner products are kernels; they would not be without the mean."""
    channels = COLOR_FEATURES * (2 + len(WINDOWS)) + (ORIENTATIONS + 1) * len(GRADIENTS)

    def __init__(self, stride: Optional[int] = None, seed: int = 0) -> None:
        """
        Args:
            stride: pixels between neighbouring cells; None chooses it by the image's size, see `MAX_CELLS`.
            seed: of the random frequencies.
        """
        self.stride = stride
        self.parameters: dict[str, Any] = {"stride": stride, "seed": seed}
        rng = np.random.default_rng(seed)
        self._frequencies = rng.normal(size=(3, COLOR_FEATURES)).astype(np.float32)
        self._phases = rng.uniform(0, 2 * np.pi, COLOR_FEATURES).astype(np.float32)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, D) float32."""
        rows, columns = grid_of((rgb.shape[0], rgb.shape[1]), self.stride)
        lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        light = lab[..., 0]
        colors = np.stack([light, *(lab[..., k] * (100 / (light + LIGHTNESS_OFFSET)) for k in (1, 2))], axis=-1)
        colors /= COLOR_LENGTHS
        cells = pool(np.cos(colors @ self._frequencies + self._phases), rows, columns)
        regions = diffuse(cells, pool(colors, rows, columns), REGION_STEPS)
        blocks = [CELL_WEIGHT * unit(cells), REGION_WEIGHT * unit(regions)]
        blocks += [weight * unit(cv2.GaussianBlur(cells, (0, 0), sigma)) for sigma, weight in WINDOWS]
        for sigma, weight in GRADIENTS:
            blocks.append(weight * gradient_histograms(cv2.GaussianBlur(light, (0, 0), sigma) * sigma, rows, columns))
        return np.concatenate(blocks, axis=-1)


def grid_of(size: tuple[int, int], stride: Optional[int] = None) -> tuple[int, int]:
    """Rows and columns of the cells of an image of (height, width) pixels; without a stride see `MAX_CELLS`."""

    def cells(step: int) -> tuple[int, int]:
        return max(round(size[0] / step), 1), max(round(size[1] / step), 1)

    if stride:
        return cells(stride)
    step = 2
    while np.prod(cells(step)) > MAX_CELLS:
        step += 1
    return cells(step)


def pool(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means over the cells of a grid that the image spans exactly: (H, W, C) -> (rows, columns, C)."""
    pieces = [  # OpenCV resizes no more than four channels at once by areas
        cv2.resize(values[..., first : first + 4], (columns, rows), interpolation=cv2.INTER_AREA)
        for first in range(0, values.shape[-1], 4)
    ]
    return np.concatenate([piece.reshape(rows, columns, -1) for piece in pieces], axis=-1)


def diffuse(values: np.ndarray, guide: np.ndarray, steps: int) -> np.ndarray:
    """Spread values over what is alike: steps of anisotropic diffusion (Perona and Malik, 1990).

    Args:
        values: (h, w, C).
        guide: (h, w, 3) colours; what flows between neighbours falls with their difference.
        steps: explicit steps; the flow along each axis is at most 0.24, so they are stable.
    """
    values = values.copy()
    across, down = (
        0.24 * np.exp(-np.square(np.diff(guide, axis=axis) / REGION_EDGE).sum(axis=-1, keepdims=True))
        for axis in (1, 0)
    )
    for _ in range(steps):
        right, below = across * np.diff(values, axis=1), down * np.diff(values, axis=0)
        values[:, :-1] += right
        values[:, 1:] -= right
        values[:-1] += below
        values[1:] -= below
    return values


def gradient_histograms(light: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """How strong gradients are in each direction, and how even the surface is.

    Args:
        light: (H, W) lightness.
        rows: of the grid.
        columns: of the grid.

    Returns:
        (rows, columns, 9) of unit length: square roots of shares, so that inner products are Hellinger affinities.
    """
    across, down = (cv2.Sobel(light, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0))
    bins = np.arctan2(down, across) % np.pi * (ORIENTATIONS / np.pi)
    away = np.abs(bins[..., None] - np.arange(ORIENTATIONS, dtype=np.float32))
    share = np.maximum(0, 1 - np.minimum(away, ORIENTATIONS - away)) * np.hypot(across, down)[..., None]
    histogram = cv2.GaussianBlur(pool(share, rows, columns), (0, 0), GRADIENT_WINDOW)
    whole = np.concatenate([histogram, np.full((rows, columns, 1), EVEN, np.float32)], axis=-1)
    return np.sqrt(whole / whole.sum(axis=-1, keepdims=True))
