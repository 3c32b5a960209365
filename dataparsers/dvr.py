"""`dvr-data`: scans with projection matrices, as in DVR's rs_dtu_4 and in IDR.

    DATA/DTU/new_train.lst            one scan's folder name in a line; also _val, _test (without it val serves)
    DATA/DTU/SCAN/image/000000.png    or images/, or images_N/, N times smaller
    DATA/DTU/SCAN/mask/000000.png     foreground, optional; mask_N/ beside images_N/
    DATA/DTU/SCAN/cameras.npz         world_mat_0 = K [R | t], scale_mat_0; or cameras_sphere.npz

`--data` may also be a folder with lists, or one scan. A scale matrix takes the frame in which the scan fits the unit
sphere to the data's; the scene frame is the former with z up, where the data's y points down.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfseg_plugins.errors import InputError

from .camera_archive import CameraArchive, Decomposed, decompose, read_similarity
from .frame_values import Intrinsics, image_size
from .lists import find_listed, list_listed
from .many_scenes import (
    OPENCV,
    ManyScenes,
    ManyScenesDataParserConfig,
    SceneFolder,
    SceneViews,
    masks_for,
    pictures,
)
from .transforms import Frame

IMAGE_FOLDERS, MASK_FOLDERS = ("image", "images", "rgb"), ("mask", "masks")
CAMERA_FILES = ("cameras_sphere.npz", "cameras.npz")
NEAR, FAR = 0.1, 5.0
"""Of rs_dtu_4, where the table behind the object is rendered too."""
CLOSEST = 0.05
"""Least near of cameras that stand within or close to the unit sphere."""
MIDDLE = (0.2, 0.8)
"""Part of the image in which principal points lie; elsewhere the cameras are of another size."""
Y_DOWN_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
BLACK = (0.0, 0.0, 0.0)


@dataclass
class DVRDataParserConfig(ManyScenesDataParserConfig):
    """DVR's and IDR's layout: scans with projection and scale matrices in cameras.npz."""

    _target: type = field(default_factory=lambda: DVR)
    """Target class to instantiate."""
    list_prefix: str = "new_"
    """Which lists name the scans: PREFIXtrain.lst and so on."""
    downscale_factor: Optional[int] = None
    """Read images_N/ (1: image/ or images/); unset: the largest that there are."""
    camera_size: Optional[tuple[int, int]] = None
    """Width and height of the images that the matrices are for; unset: those of image/, N times those of images_N/."""
    cameras_file: Optional[str] = None
    """Which of a scan's files holds the matrices; unset: cameras_sphere.npz, else cameras.npz."""


class DVR(ManyScenes):
    """Parser of `DVRDataParserConfig`; see `ManyScenes` for what its outputs carry."""

    config: DVRDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def list_scenes(self, split: str) -> list[SceneFolder]:
        data, prefix = self.config.data, self.config.list_prefix
        if is_scan(data):
            return [SceneFolder(data.name, "", data)]
        scenes = list_listed(data, prefix, split)
        if not scenes and split in ("val", "test"):  # the original evaluates on its validation scans
            scenes = list_listed(data, prefix, "test" if split == "val" else "val")
        return scenes

    def find_scene(self, name: str) -> Optional[SceneFolder]:
        data = self.config.data
        if is_scan(data):
            return SceneFolder(data.name, "", data) if name == data.name else None
        return find_listed(data, self.config.list_prefix, name)

    def read_scene(self, scene: SceneFolder) -> SceneViews:
        files = find_files(scene.folder, self.config.downscale_factor)
        archive = CameraArchive.read(find_cameras(scene.folder, self.config.cameras_file))
        keys = archive.keys_of(files.images)
        scale, rotation, centre = _placement(archive, keys)
        frames = [
            _frame(image, archive, key, files.factor, self.config.camera_size)
            for image, key in zip(files.images, keys, strict=True)
        ]
        turn = Y_DOWN_TO_Z_UP @ rotation.T
        transform = np.concatenate([turn, np.negative(turn @ centre)[:, None]], axis=1)
        near, far = NEAR, FAR
        if is_scan(self.config.data):
            positions = np.stack([frame.c2w[:3, 3] for frame in frames])
            distances = np.linalg.norm(positions - centre, axis=1) / scale
            near, far = max(CLOSEST, float(distances.min()) - 1), float(distances.max()) + 1
        return SceneViews(frames, near, far, BLACK, files.masks, transform, 1 / scale)


class ScanFiles(NamedTuple):
    """Images and masks of a scan, in order."""

    images: list[Path]
    masks: Optional[list[Optional[Path]]]
    factor: int
    """How many times smaller the images are than those that the cameras are for."""


def is_scan(folder: Path) -> bool:
    """Whether `folder` is one scan: it has cameras."""
    return folder.is_dir() and any(folder.glob("cameras*.npz"))


def find_cameras(folder: Path, name: Optional[str]) -> Path:
    """The file of a scan's matrices.

    Raises:
        InputError: there is none.
    """
    names = CAMERA_FILES if name is None else (name,)
    found = next((folder / item for item in names if (folder / item).is_file()), None)
    if found is None:
        others = ", ".join(path.name for path in sorted(folder.glob("*.npz")))
        hint = f"it has {others}: pass --cameras-file" if others else "restore it"
        raise InputError(f"{folder / names[-1]} does not exist; {hint}")
    return found


def find_files(folder: Path, factor: Optional[int]) -> ScanFiles:
    """Images and masks of a scan.

    Args:
        folder: of the scan.
        factor: N of images_N/ (1: image/ and so on); None takes the largest images that there are.

    Raises:
        InputError: there are no images, or not as many masks.
    """
    found = {1: next((folder / name for name in IMAGE_FOLDERS if pictures(folder / name)), None)}
    for path in sorted(folder.glob("image*_*")):
        base, _, number = path.name.rpartition("_")
        if base in IMAGE_FOLDERS and number.isdigit() and int(number) > 1 and pictures(path):
            found.setdefault(int(number), path)
    sizes = sorted(number for number, path in found.items() if path is not None)
    chosen = found.get(sizes[0] if factor is None and sizes else factor or 0)
    if chosen is None:
        if not sizes:
            raise InputError(f"{folder} has no images in image/, images/ or images_N/; restore them")
        raise InputError(
            f"{folder} has no images for --downscale-factor {factor}; give one that exists: "
            + ", ".join(map(str, sizes))
        )
    number = sizes[0] if factor is None else factor
    images = pictures(chosen)
    suffix = "" if number == 1 else f"_{number}"
    masks = masks_for(images, [folder / f"{name}{suffix}" for name in MASK_FOLDERS])
    for image, mask in zip(images, masks or [], strict=False):
        if mask is not None and image_size(mask) != image_size(image):
            raise InputError(f"{mask} has another size than its image {image}; write it at the image's size")
    return ScanFiles(images, masks, number)


def _placement(archive: CameraArchive, keys: Sequence[int]) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and centre of the unit sphere in the data's frame; the data's frame itself without matrices."""
    if not any(name.startswith("scale_mat_") for name in archive.arrays):
        return 1.0, np.eye(3), np.zeros(3)
    matrices = [archive.matrix("scale_mat", key) for key in keys]
    placement = read_similarity(matrices[0], f"scale_mat_{keys[0]} of {archive.path}")
    for key, matrix in zip(keys, matrices, strict=True):
        read_similarity(matrix, f"scale_mat_{key} of {archive.path}")
        if np.abs(matrix - matrices[0]).max() > 1e-4 * placement[0]:
            raise InputError(
                f"scale_mat_{key} of {archive.path} differs from scale_mat_{keys[0]}; a scan has one frame for all "
                "its views, so write the same matrix"
            )
    return placement


def _frame(image: Path, archive: CameraArchive, key: int, factor: int, camera_size: Optional[tuple[int, int]]) -> Frame:
    where = f"world_mat_{key} of {archive.path}"
    parts = decompose(archive.matrix("world_mat", key), where)
    intrinsics = _scaled(parts, image, factor, camera_size, where)
    return Frame(f"{image.parent.name}/{image.name}", image, parts.c2w @ OPENCV, intrinsics, None)


def _scaled(
    parts: Decomposed, image: Path, factor: int, camera_size: Optional[tuple[int, int]], where: str
) -> Intrinsics:
    """The camera of an image, whose upper left corner is (0, 0); in the matrices that is the first pixel's centre."""
    width, height = image_size(image)
    full = (width * factor, height * factor) if camera_size is None else camera_size
    x, y = width / full[0], height / full[1]
    matrix = parts.intrinsics
    cx, cy = (matrix[0, 2] + 0.5) * x, (matrix[1, 2] + 0.5) * y
    if not (MIDDLE[0] < cx / width < MIDDLE[1] and MIDDLE[0] < cy / height < MIDDLE[1]):
        raise InputError(
            f"{where} has its principal point at ({matrix[0, 2]:.1f}, {matrix[1, 2]:.1f}), far from the middle of a "
            f"{full[0]}x{full[1]} image ({image}); give --camera-size the width and height that the cameras are for"
        )
    return Intrinsics(matrix[0, 0] * x, matrix[1, 1] * y, float(cx), float(cy), width, height, (0.0,) * 6, "PINHOLE")


dvr = DataParserSpecification(
    config=DVRDataParserConfig(),
    description="DVR's and IDR's layout: scans with masks and projection matrices in cameras.npz, split by lists.",
)
