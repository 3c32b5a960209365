"""Data sets of many scenes for the dataparser tests: chairs that the project writes, and how tests read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from nerfseg_plugins.dataparsers.many_scenes import ManyScenesDataParserConfig
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.rooms.category import CategoryObject, chair_category
from nerfseg_plugins.rooms.generate import write_many

COUNTS, VIEWS, WIDTH, HEIGHT, SEED = (2, 1, 1), 3, 48, 40, 4


def write(folder: Path, layout: str) -> list[CategoryObject]:
    """Write a small category and say what is in it."""
    write_many(folder, layout, SEED, COUNTS, VIEWS, WIDTH, HEIGHT)
    return chair_category(SEED, COUNTS, VIEWS, WIDTH, HEIGHT, ring=layout == "nmr")


def refusal(config: ManyScenesDataParserConfig, split: str = "train") -> str:
    """What the parser says when it refuses."""
    with pytest.raises(InputError) as caught:
        config.setup().get_dataparser_outputs(split)
    return str(caught.value)


def check_cameras(outputs: DataparserOutputs, item: CategoryObject, to_scene: Any = None) -> None:
    """The cameras are those that the object was written with, after `to_scene` of (N, 3) world points."""
    cameras = outputs.cameras
    to_scene = to_scene or (lambda points: points)
    origin = to_scene(np.zeros((1, 3)))
    for index, shot in enumerate(item.shots.train):
        position, axes = shot.c2w[:3, 3], shot.c2w[:3, :3].T
        assert np.allclose(cameras.camera_to_worlds[index, :, 3], to_scene(position[None])[0], atol=1e-5)
        turned = to_scene(axes) - origin
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        assert np.allclose(cameras.camera_to_worlds[index, :, :3], turned.T, atol=1e-5)
    focal = item.shots.train[0].focal(WIDTH)
    for name, value in (("fx", focal), ("fy", focal), ("cx", WIDTH / 2), ("cy", HEIGHT / 2)):
        assert torch.allclose(getattr(cameras, name), torch.tensor(value, dtype=torch.float32), atol=1e-3), name
    assert (cameras.width == WIDTH).all() and (cameras.height == HEIGHT).all()


def check_points(cameras: Cameras, points: np.ndarray, masks: list[np.ndarray], near: float, far: float) -> None:
    """Points of the object (N, 3), scene frame, lie on its masks, but for half covered pixels; and in the bounds."""
    for index, mask in enumerate(masks):
        c2w = cameras.camera_to_worlds[index].numpy()
        offset = points - c2w[:, 3]
        distance = np.linalg.norm(offset, axis=1)
        assert near < distance.min() and distance.max() < far
        x, y, z = (offset @ c2w[:, :3]).T
        columns = np.floor(float(cameras.cx[index]) - float(cameras.fx[index]) * x / z).astype(int)
        rows = np.floor(float(cameras.cy[index]) + float(cameras.fy[index]) * y / z).astype(int)
        seen = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        rows, columns = rows[seen], columns[seen]
        assert seen.mean() > 0.6 and mask[rows, columns].mean() > 0.8
        if not seen.all():
            continue  # the picture cuts the object off
        found_rows, found_columns = np.nonzero(mask)
        for found, used in ((found_rows, rows), (found_columns, columns)):
            assert abs(found.min() - used.min()) <= 1 and abs(found.max() - used.max()) <= 1


def to_data(outputs: DataparserOutputs, points: np.ndarray) -> np.ndarray:
    """(N, 3) scene points in the data's frame."""
    transform = outputs.dataparser_transform.double().numpy()
    return (points / outputs.dataparser_scale - transform[:, 3]) @ transform[:, :3]
