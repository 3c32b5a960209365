"""Local features of an image: places that are found again in another image of the same thing (SIFT)."""

from dataclasses import dataclass

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

_CONTRAST = 0.02
"""Weakest contrast of a keypoint; half of OpenCV's, since only the strongest keypoints are kept anyway."""


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of one image, on the CPU."""

    places: Tensor
    """(K, 2) float32 row and column; pixel centres at +0.5."""
    descriptors: Tensor
    """(K, 128) float32 unit vectors."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Tensor) -> "Keypoints":
        return Keypoints(self.places[rows], self.descriptors[rows])


def find_keypoints(image: Tensor, count: int, mask: Tensor | None = None) -> Keypoints:
    """The strongest SIFT keypoints (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012).

    One change of brightness and contrast of the whole image changes nothing: grey values are stretched first.

    Args:
        image: (H, W, 3) in [0, 1].
        count: keypoints at most (a few more where the last are equally strong).
        mask: (H, W) bool, True where a keypoint may lie.

    Returns:
        Maybe none. A place may come up twice, with descriptors of two orientations.
    """
    import cv2

    allowed = None if mask is None else mask.cpu().numpy().astype(np.uint8)
    # Without precise upscaling OpenCV's keypoints lie a quarter of a pixel off.
    sift = cv2.SIFT_create(  # type: ignore[attr-defined]
        nfeatures=count, contrastThreshold=_CONTRAST, enable_precise_upscale=True
    )
    found, descriptors = sift.detectAndCompute(_grey(image, mask), allowed)
    if descriptors is None:
        return Keypoints(torch.zeros(0, 2), torch.zeros(0, 128))
    # OpenCV's (x, y) have the centre of the first pixel at 0.
    places = torch.tensor([point.pt[::-1] for point in found], dtype=torch.float32) + 0.5
    descriptors = torch.from_numpy(descriptors)
    return Keypoints(places, (descriptors / descriptors.sum(dim=1, keepdim=True).clamp_min(1e-9)).sqrt())


def keypoint_rays(camera: Cameras, places: Tensor) -> tuple[Tensor, Tensor]:
    """Rays through places of an image, distortion removed.

    Args:
        camera: one camera (batch shape [1]).
        places: (K, 2) row and column, pixel centres at +0.5.

    Returns:
        origins (K, 3) and unit directions (K, 3) in the frame of the camera's pose, on the camera's device; directions
        of places that its lens cannot see are not finite.
    """
    if len(places) == 0:
        return torch.zeros(0, 3, device=camera.device), torch.zeros(0, 3, device=camera.device)
    rays = camera.generate_rays(camera_indices=0, coords=places.to(camera.device))
    return rays.origins, rays.directions


def _grey(image: Tensor, mask: Tensor | None) -> np.ndarray:
    """(H, W) uint8, stretched so that all but the darkest and brightest 0.5 % of the usable pixels are in range.

    Stretched before they are rounded: OpenCV's SIFT reads bytes, of which a dark image uses few.
    """
    grey = image.detach().cpu().double().numpy() @ np.array([0.299, 0.587, 0.114])
    used = grey if mask is None or not bool(mask.any()) else grey[mask.cpu().numpy()]
    low, high = np.percentile(used, [0.5, 99.5])
    if high - low < 1e-6:
        return np.zeros(grey.shape, dtype=np.uint8)
    return np.clip((grey - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
