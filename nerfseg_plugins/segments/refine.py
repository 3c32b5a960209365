"""Sharpening rendered id maps against the photo.

Each instance, and the background, becomes a soft mask that follows the photo's edges, and a pixel takes the id whose
mask is strongest there. Ids are never mixed, and unlabelled pixels stay unlabelled.
"""

from pathlib import Path
from typing import Any, Literal, Optional, Protocol

import cv2
import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.masks import UNLABELLED

RefinerName = Literal["none", "guided", "cascadepsp"]


class MaskRefiner(Protocol):
    """Sharpens one mask."""

    def __call__(self, rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Sharpen a mask.

        Args:
            rgb: (H, W, 3) uint8.
            mask: (H, W) bool.

        Returns:
            (H, W) float32 probability that the pixel belongs to the mask.
        """
        ...


def refine_ids(ids: np.ndarray, rgb: np.ndarray, refiner: Optional[MaskRefiner], min_pixels: int = 16) -> np.ndarray:
    """Sharpen an id map.

    Args:
        ids: (H, W) int, -1 unlabelled, 0 background, 1.. instances.
        rgb: (H, W, 3) uint8 photo.
        refiner: sharpens one mask; None leaves the map as it is.
        min_pixels: smaller instances keep their pixels, since a filter would wash them away.

    Returns:
        (H, W) int32 with ids of `ids` alone; -1 exactly where it was.

    Raises:
        InputError: map and photo differ in size.
    """
    if rgb.shape[:2] != ids.shape:
        raise InputError(
            f"an id map of {ids.shape[1]}x{ids.shape[0]} cannot be refined with a photo of "
            f"{rgb.shape[1]}x{rgb.shape[0]}; render the masks at the size of the photos"
        )
    present, counts = np.unique(ids[ids != UNLABELLED], return_counts=True)
    large = present[(counts >= min_pixels) | (present == 0)]
    if refiner is None or len(large) < 2:
        return ids.astype(np.int32)
    best = np.full(ids.shape, -1.0, np.float32)
    refined = np.zeros(ids.shape, np.int32)
    for number in large.tolist():
        mask = ids == number
        probability = refiner(rgb, mask)
        # What the map says wins a tie.
        better = (probability > best) | ((probability == best) & mask)
        best[better], refined[better] = probability[better], number
    keep = (ids == UNLABELLED) | np.isin(ids, present[~np.isin(present, large)])
    return np.where(keep, ids, refined).astype(np.int32)


class GuidedRefiner:
    """The guided filter with a colour guide (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, section 3.4)."""

    def __init__(self, radius: int = 0, smoothness: float = 3e-4) -> None:
        """
        Args:
            radius: half side of the windows, in pixels: how far an outline may move; 0 = 1/35 of the image's side.
            smoothness: epsilon for a guide in [0, 1]; colour differences well below its root are no edges.

        Raises:
            InputError: a value is out of range.
        """
        if radius < 0 or not smoothness > 0:
            raise InputError(f"the guided filter needs radius >= 0 and smoothness > 0, not {radius} and {smoothness}")
        self.radius, self.smoothness = radius, smoothness
        self._guide: Optional[_Guide] = None

    def __call__(self, rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """See `MaskRefiner`; the photo's statistics are kept for its next mask."""
        if self._guide is None or self._guide.rgb is not rgb:
            radius = self.radius or max(1, round(float(np.sqrt(rgb.shape[0] * rgb.shape[1])) / 35))
            self._guide = _Guide(rgb, radius, self.smoothness)
        return self._guide.filter(mask.astype(np.float32))


class _Guide:
    """Window statistics of one photo."""

    def __init__(self, rgb: np.ndarray, radius: int, smoothness: float) -> None:
        self.rgb = rgb
        self._side = (2 * radius + 1, 2 * radius + 1)
        self._image = rgb.astype(np.float32) / 255
        self._mean = self._box(self._image)
        products = self._image[..., :, None] * self._image[..., None, :]
        covariance = self._box(products.reshape(*rgb.shape[:2], 9)).reshape(*rgb.shape[:2], 3, 3)
        covariance = covariance - self._mean[..., :, None] * self._mean[..., None, :]
        self._inverse = np.linalg.inv(covariance + smoothness * np.eye(3, dtype=np.float32))

    def _box(self, image: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(image, cv2.CV_32F, self._side, borderType=cv2.BORDER_REFLECT_101)

    def filter(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) float32 filtered mask: equations 19 to 21, windows averaged."""
        mean = self._box(mask)
        covariance = self._box(self._image * mask[..., None]) - self._mean * mean[..., None]
        slope = np.einsum("hwij,hwj->hwi", self._inverse, covariance)
        offset = mean - (slope * self._mean).sum(axis=-1)
        return (self._box(slope) * self._image).sum(axis=-1) + self._box(offset.astype(np.float32))


class CascadePspRefiner:
    """CascadePSP (Cheng et al., CVPR 2020) through its package segmentation-refinement, from local weights."""

    def __init__(self, model_folder: Optional[Path], device: str = "cpu", side: int = 900) -> None:
        """
        Args:
            model_folder: folder that holds the weights under the name `model`.
            device: torch device.
            side: L of the package: longest side that the network sees at once, at least 96; less needs less memory.

        Raises:
            InputError: the package is not installed, or the weights are missing or damaged.
        """
        try:
            import segmentation_refinement  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(
                "cascadepsp needs segmentation-refinement; install it with: pip install segmentation-refinement"
            ) from error
        if side < 96:
            raise InputError(f"--side is {side}; CascadePSP's windows need 96 pixels or more")
        if model_folder is None or not (Path(model_folder) / "model").is_file():
            raise InputError(
                f"{Path(model_folder) / 'model' if model_folder else '--model-folder'} does not exist; give "
                "--model-folder a folder with CascadePSP's weights, downloaded from its releases, under the name model"
            )
        from nerfseg_plugins.weights import check_device, load_weights

        # The package loads with torch.load; what is not plain weights is refused before it gets there.
        load_weights(Path(model_folder) / "model", "CascadePSP")
        self._side = side
        try:
            self._refiner: Any = segmentation_refinement.Refiner(
                device=check_device(device), model_folder=str(model_folder), download_and_check_model=False
            )
        except (RuntimeError, KeyError) as error:
            raise InputError(f"{Path(model_folder) / 'model'} does not fit CascadePSP; download it again") from error

    def __call__(self, rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """See `MaskRefiner`."""
        found = self._refiner.refine(np.ascontiguousarray(rgb), mask.astype(np.uint8) * 255, fast=False, L=self._side)
        return found.astype(np.float32) / 255
