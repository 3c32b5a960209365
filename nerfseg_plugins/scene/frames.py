"""The data's frame and the scene's: x_scene = s * (A @ [x_data, 1]).

The data frame is that of the poses in the user's files, in their units; the scene frame is the normalised one that a
model is trained in. A is a rotation and a translation, (3, 4); s is a positive number. Arrays are float64.
"""

from typing import Any

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from nerfseg_plugins.files import read_json


def frame_transform(config: Any, outputs: DataparserOutputs) -> tuple[np.ndarray, float]:
    """A (3, 4) and s of a dataparser.

    nerfstudio's own parser reports the way from the frame before `applied_transform` and `applied_scale`, which
    ns-process-data has applied to the poses that it wrote into transforms.json. The data frame is that of these poses,
    so both are taken out again.

    Args:
        config: the dataparser's configuration.
        outputs: what the parser said of any split.
    """
    matrix, scale = outputs.dataparser_transform.double().numpy(), float(outputs.dataparser_scale)
    if not isinstance(config, NerfstudioDataParserConfig):
        return matrix, scale
    path = config.data if config.data.suffix == ".json" else config.data / "transforms.json"
    meta = read_json(path)
    applied = meta.get("applied_transform")
    if applied is None and (config.data / "colmap" / "sparse" / "0").exists():
        applied = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]  # what nerfstudio assumes of files older than the key
    if applied is not None:
        matrix = matrix @ np.linalg.inv(np.vstack([np.array(applied, dtype=np.float64)[:3], [0, 0, 0, 1]]))
    return matrix, scale / float(meta.get("applied_scale", 1.0))


def points_to_scene(points: np.ndarray, matrix: np.ndarray, scale: float) -> np.ndarray:
    """Points (N, 3) of the data frame in the scene frame."""
    return (points @ matrix[:, :3].T + matrix[:, 3]) * scale


def points_to_data(points: np.ndarray, matrix: np.ndarray, scale: float) -> np.ndarray:
    """Points (N, 3) of the scene frame in the data frame."""
    return (points / scale - matrix[:, 3]) @ np.linalg.inv(matrix[:, :3]).T


def pose_to_scene(c2w: np.ndarray, matrix: np.ndarray, scale: float) -> np.ndarray:
    """Camera-to-world (..., 3, 4) or (..., 4, 4) of the data frame in the scene frame.

    The scale moves the camera but leaves its axes of unit length.
    """
    moved = np.array(c2w, dtype=np.float64)
    moved[..., :3, :3] = matrix[:, :3] @ moved[..., :3, :3]
    moved[..., :3, 3] = scale * (moved[..., :3, 3] @ matrix[:, :3].T + matrix[:, 3])
    return moved


def pose_to_data(c2w: np.ndarray, matrix: np.ndarray, scale: float) -> np.ndarray:
    """Camera-to-world (..., 3, 4) or (..., 4, 4) of the scene frame in the data frame; undoes `pose_to_scene`."""
    moved = np.array(c2w, dtype=np.float64)
    back = np.linalg.inv(matrix[:, :3])
    moved[..., :3, :3] = back @ moved[..., :3, :3]
    moved[..., :3, 3] = (moved[..., :3, 3] / scale - matrix[:, 3]) @ back.T
    return moved
