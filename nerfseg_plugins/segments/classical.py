"""Segments without any weights: superpixels merged by colour, texture and edges, so that everything runs offline.

SLIC superpixels of a mean-shift-filtered image are merged hierarchically. A partition has no background: every pixel
belongs to a segment, and `nerfseg match` tells structure from things in 3D, where a wall is large and a poster is not.
The same merging, carried on to the end, gives masks of parts, things and groups that lie in each other.
"""

import warnings
from dataclasses import asdict, dataclass
from typing import Any, Optional

import cv2
import numpy as np
from scipy.cluster.vq import kmeans2, vq
from skimage.color import rgb2lab
from skimage.segmentation import slic

from nerfseg_plugins.segments.hierarchy import MaskHierarchy
from nerfseg_plugins.segments.masks import Segments
from nerfseg_plugins.segments.merge_tree import MergeTree
from nerfseg_plugins.segments.region_merging import LAB_WEIGHTS, Regions, build_regions, merge_regions, merge_tree

CODEBOOK = 32
"""Colours of an image's own codebook."""
REFERENCE_PIXELS = 320 * 240
"""Filter sizes are for images of so many pixels and grow with the root of their number in larger ones."""


@dataclass(frozen=True)
class Levels:
    """Which regions of the merge tree become masks; dissimilarities as in `dissimilarity`.

    Chosen by eye on photos, and by how well about a hundred masks an image cover the parts, objects and groups of
    rendered scenes.
    """

    finest: float = 0.25
    """Regions that merge before this level are texture, not parts."""
    coarsest: float = 0.6
    """Regions that arise after this level are made of things that have nothing in common."""
    persistence: float = 1.1
    """A region stays alone from the level at which it arises (or `finest`) until this many times that level."""
    min_share: float = 0.001
    """Smallest mask, as a share of the image."""
    max_share: float = 0.9
    """Largest mask, as a share of the image."""


class ClassicalSource:
    """Region merging; see the module."""

    name = "classical"
    model = "slic-region-merging-1"
    checkpoint: Optional[str] = None

    def __init__(
        self, granularity: float = 0.5, num_superpixels: int = 600, seed: int = 0, levels: Levels = Levels()
    ) -> None:
        """
        Args:
            granularity: regions less dissimilar than this are merged; about 0.3 (many) to 0.8 (few).
            num_superpixels: first regions.
            seed: of the codebook.
            levels: which regions of all levels are masks.
        """
        self.granularity = granularity
        self.num_superpixels = num_superpixels
        self.seed = seed
        self.levels_config = levels
        self.parameters: dict[str, Any] = {
            "granularity": granularity,
            "num_superpixels": num_superpixels,
            "seed": seed,
            "levels": asdict(levels),
        }

    def __call__(self, rgb: np.ndarray) -> Segments:
        """Segment an image (H, W, 3) uint8: every pixel is in a segment, classes are unknown, scores 1."""
        superpixels, regions = self._regions(rgb)
        return Segments.of_ids(merge_regions(regions, self.granularity)[superpixels] + 1)

    def levels(self, rgb: np.ndarray) -> tuple[Segments, MaskHierarchy]:
        """The partition of an image (H, W, 3) uint8, and the regions that last while others merge, at all levels."""
        superpixels, regions = self._regions(rgb)
        tree = merge_tree(regions)
        area = np.bincount(superpixels.ravel())
        masks = tree.members()[lasting_regions(tree, area, self.levels_config)]
        partition = tree.cut(self.granularity)[superpixels] + 1
        return Segments.of_ids(partition), MaskHierarchy.of_masks(masks[:, superpixels])

    def _regions(self, rgb: np.ndarray) -> tuple[np.ndarray, Regions]:
        """Superpixels (H, W) and their statistics."""
        scale = max(1.0, float(np.sqrt(rgb.shape[0] * rgb.shape[1] / REFERENCE_PIXELS)))
        lab = rgb2lab(cv2.pyrMeanShiftFiltering(np.ascontiguousarray(rgb), round(8 * scale), 18))
        lab = lab.astype(np.float32)
        # slic stretches the image to [0, 1] by its full range, which is why its compactness is small here.
        superpixels = slic(lab, self.num_superpixels, compactness=0.05, convert2lab=False, start_label=0)
        codes, soften = self._codes(lab)
        regions = build_regions(
            superpixels, lab, codes, CODEBOOK, texture_energy(rgb, scale), edge_strength(lab, scale)
        )
        regions.histogram = regions.histogram @ soften
        return superpixels, regions

    def _codes(self, lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest codebook colour of each pixel (H, W), and the (C, C) blur that lets similar colours count as such."""
        rng = np.random.default_rng(self.seed)
        weighted = (lab * LAB_WEIGHTS).reshape(-1, 3).astype(np.float64)
        sample = weighted[rng.permutation(len(weighted))[:8000]]
        start = np.unique(sample[: 8 * CODEBOOK].round(1), axis=0)
        start = start[:: max(1, len(start) // CODEBOOK)][:CODEBOOK]  # spread over lightness, each colour once
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a colour that loses all its pixels stays where it is
            codebook, _ = kmeans2(sample, start, minit="matrix")
        codes, _ = vq(weighted, codebook)
        distance = np.linalg.norm(codebook[:, None] - codebook[None], axis=-1)
        blur = np.zeros((CODEBOOK, CODEBOOK))
        blur[: len(codebook), : len(codebook)] = np.exp(-(distance**2) / (2 * 15.0**2))
        return codes.reshape(lab.shape[:2]), blur / np.maximum(blur.sum(axis=1, keepdims=True), 1e-12)


def lasting_regions(tree: MergeTree, area: np.ndarray, levels: Levels) -> np.ndarray:
    """Nodes (M,) of a merge tree that are worth a mask: nested by construction, since all are of one tree.

    Args:
        tree: how the regions grow together.
        area: (N,) pixels of the first regions.
        levels: what makes a region worth a mask.
    """
    born, dies = tree.lifetimes()
    size = (tree.members() @ area) / area.sum()
    lasting = dies >= levels.persistence * np.maximum(born, levels.finest)
    fitting = (size >= levels.min_share) & (size <= levels.max_share)
    return np.flatnonzero((born <= levels.coarsest) & lasting & fitting)


def texture_energy(rgb: np.ndarray, scale: float) -> np.ndarray:
    """Log energy of a small Gabor bank, (H, W, 8): two widths, four directions, smoothed."""
    gray = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).astype(np.float32)
    responses = []
    for width in (scale, 2 * scale):
        for angle in np.arange(4) * np.pi / 4:
            side = int(6 * width) | 1
            kernel = cv2.getGaborKernel((side, side), 1.2 * width, angle, 4 * width, 0.7, np.pi / 2)
            kernel = kernel - kernel.mean()
            response = np.abs(cv2.filter2D(gray, cv2.CV_32F, kernel / np.abs(kernel).sum()))
            responses.append(cv2.GaussianBlur(response, (0, 0), 2 * scale))
    return np.log1p(np.stack(responses, axis=-1))


def edge_strength(lab: np.ndarray, scale: float) -> np.ndarray:
    """Largest gradient of the smoothed channels, (H, W), in Lab units a pixel; lightness counts less than hue."""
    strength = np.zeros(lab.shape[:2], np.float32)
    for channel, weight in enumerate((0.7, 1.3, 1.3)):
        smooth = cv2.GaussianBlur(lab[..., channel], (0, 0), 1.5 * scale)
        across, along = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        strength = np.maximum(strength, weight * np.hypot(across, along) / 8)
    return strength
