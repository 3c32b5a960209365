"""The world of nerfstudio's viewer: ten times as large as the scene, with cameras that look along +z with y down."""

import numpy as np
import viser.transforms as vtf
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from torch import Tensor


def placed(c2w: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Position (3,) and rotation (4,), quaternion with its real part first, in the viewer of a camera (3, 4), OpenGL.

    OpenGL's cameras look along -z with y up.
    """
    pose = c2w.detach().cpu().double().numpy()
    turned = vtf.SO3.from_matrix(pose[:, :3]) @ vtf.SO3.from_x_radians(np.pi)
    return pose[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO, turned.wxyz


def placed_points(points: Tensor) -> np.ndarray:
    """Points (N, 3) of the scene frame in the viewer, float32."""
    return (points.detach().cpu().float() * VISER_NERFSTUDIO_SCALE_RATIO).numpy()
