"""`nmr-data`: the NMR renderings of ShapeNet objects, in many categories, as released with DVR.

    DATA/CATEGORY/softras_train.lst        one object's folder name in a line; also _val, _test; gen_*.lst for unseen
    DATA/CATEGORY/OBJECT/image/0000.png    white background
    DATA/CATEGORY/OBJECT/mask/0000.png     foreground, optional
    DATA/CATEGORY/OBJECT/cameras.npz       world_mat_0 world to camera (OpenCV); camera_mat_0 with the focal length

Focal lengths are in half image widths. `--data` may also be one category or one object. Data have y up; the scene frame
has z up: x_scene = R x_data.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfseg_plugins.errors import InputError

from .camera_archive import CameraArchive
from .frame_values import Intrinsics, image_size, read_pose
from .lists import find_listed, list_listed
from .many_scenes import (
    OPENCV,
    Z_UP,
    ManyScenes,
    ManyScenesDataParserConfig,
    SceneFolder,
    SceneViews,
    masks_for,
    pictures,
)
from .transforms import Frame

NEAR, FAR = 1.2, 4.0
CAMERAS_FILE = "cameras.npz"
WHITE = (1.0, 1.0, 1.0)


@dataclass
class NMRDataParserConfig(ManyScenesDataParserConfig):
    """The NMR renderings of ShapeNet: objects of many categories, split by lists."""

    _target: type = field(default_factory=lambda: NMR)
    """Target class to instantiate."""
    list_prefix: str = "softras_"
    """Which lists name the objects: PREFIXtrain.lst and so on; softras_ for seen categories, gen_ for unseen ones."""


class NMR(ManyScenes):
    """Parser of `NMRDataParserConfig`; see `ManyScenes` for what its outputs carry."""

    config: NMRDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def list_scenes(self, split: str) -> list[SceneFolder]:
        data = self.config.data
        if (data / CAMERAS_FILE).is_file():
            return [SceneFolder(data.name, "", data)]
        return list_listed(data, self.config.list_prefix, split)

    def find_scene(self, name: str) -> Optional[SceneFolder]:
        data = self.config.data
        if (data / CAMERAS_FILE).is_file():
            return SceneFolder(data.name, "", data) if name == data.name else None
        return find_listed(data, self.config.list_prefix, name)

    def read_scene(self, scene: SceneFolder) -> SceneViews:
        folder = scene.folder
        images = pictures(folder / "image")
        if not images:
            raise InputError(f"{folder / 'image'} has no images; restore them or remove the object from its list")
        archive = CameraArchive.read(folder / CAMERAS_FILE)
        frames = [_frame(image, archive, key) for image, key in zip(images, archive.keys_of(images), strict=True)]
        transform = np.concatenate([Z_UP, np.zeros((3, 1))], axis=1)
        return SceneViews(frames, NEAR, FAR, WHITE, masks_for(images, [folder / "mask"]), transform)


def _frame(image: Path, archive: CameraArchive, index: int) -> Frame:
    width, height = image_size(image)
    where = f"world_mat_{index} of {archive.path}"
    c2w = read_pose(archive.inverse("world_mat", index), where) @ OPENCV
    camera = archive.matrix("camera_mat", index)
    fx, fy = abs(float(camera[0, 0])) * width / 2, abs(float(camera[1, 1])) * height / 2
    if not min(fx, fy) > 0:
        raise InputError(f"camera_mat_{index} of {archive.path} has a focal length of 0; correct it")
    intrinsics = Intrinsics(fx, fy, width / 2, height / 2, width, height, (0.0,) * 6, "PINHOLE")
    return Frame(f"image/{image.name}", image, c2w, intrinsics, None)


nmr = DataParserSpecification(
    config=NMRDataParserConfig(),
    description="NMR renderings of ShapeNet: categories of objects with masks and cameras.npz, split by lists.",
)
