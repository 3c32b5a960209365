"""`srn-data`: objects of a category in the layout of Scene Representation Networks.

    DATA/chairs_train/OBJECT/rgb/000000.png      white background; also chairs_val/, chairs_test/, other categories
    DATA/chairs_train/OBJECT/pose/000000.txt     camera to world, 16 numbers, OpenCV
    DATA/chairs_train/OBJECT/intrinsics.txt      "f cx cy 0.", "0. 0. 0.", "1.", "H W"

`--data` may also be DATA/chairs (all splits of one category), DATA/chairs_test or one object. The scene frame is the
data's: z is up, the object stands at the origin.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfseg_plugins.errors import InputError

from .frame_values import Intrinsics, image_size, read_pose
from .many_scenes import (
    OPENCV,
    SPLITS,
    ManyScenes,
    ManyScenesDataParserConfig,
    SceneFolder,
    SceneViews,
    check_folder,
    pictures,
    subfolders,
)
from .transforms import Frame

INTRINSICS_FILE = "intrinsics.txt"
BOUNDS = {"chairs": (1.25, 2.75), "cars": (0.8, 1.8)}
"""Near and far of the original categories, whose cameras stand 2 and 1.3 from the object."""
REACH = 0.375
"""Part of the cameras' distance that other objects reach towards and away from them: that of chairs."""
WHITE = (1.0, 1.0, 1.0)


@dataclass
class SRNDataParserConfig(ManyScenesDataParserConfig):
    """Scene Representation Networks' layout: objects of a category, each in its folder."""

    _target: type = field(default_factory=lambda: SRN)
    """Target class to instantiate."""


class SRN(ManyScenes):
    """Parser of `SRNDataParserConfig`; see `ManyScenes` for what its outputs carry."""

    config: SRNDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def list_scenes(self, split: str) -> list[SceneFolder]:
        data = self.config.data
        if (data / INTRINSICS_FILE).is_file():
            return [SceneFolder(data.name, "", data)]
        scenes = []
        for category, folders in category_folders(data).items():
            if split in folders:
                objects = object_folders(folders[split])
                scenes += [SceneFolder(f"{category}/{item.name}", category, item) for item in objects]
        return scenes

    def find_scene(self, name: str) -> Optional[SceneFolder]:
        data = self.config.data
        if (data / INTRINSICS_FILE).is_file():
            return SceneFolder(data.name, "", data) if name == data.name else None
        wanted, _, item = name.rpartition("/")
        if item in ("", ".", ".."):
            return None
        for category, folders in category_folders(data).items():
            for split in SPLITS:
                if split not in folders or wanted not in ("", category):
                    continue
                folder = objects_root(folders[split]) / item
                if folder.is_dir():
                    return SceneFolder(f"{category}/{item}", category, folder)
        return None

    def read_scene(self, scene: SceneFolder) -> SceneViews:
        frames = read_object(scene.folder)
        distance = [float(np.linalg.norm(frame.c2w[:3, 3])) for frame in frames]
        near, far = (1 - REACH) * min(distance), (1 + REACH) * max(distance)
        near, far = BOUNDS.get(scene.category, (near, far))
        return SceneViews(frames, near, far, WHITE)


class SRNIntrinsics(NamedTuple):
    """What intrinsics.txt says, in pixels."""

    focal: float
    cx: float
    cy: float
    width: float
    height: float
    world_to_camera: bool
    """Whether the pose files hold the inverse, as the optional last line says."""


def category_folders(data: Path) -> dict[str, dict[str, Path]]:
    """Category -> split -> folder of its objects.

    Raises:
        InputError: `data` is no such data set.
    """
    if not data.is_dir() and data.name and data.parent.is_dir():
        chosen = {split: data.parent / f"{data.name}_{split}" for split in SPLITS}
        chosen = {split: folder for split, folder in chosen.items() if folder.is_dir()}
        if chosen:
            return {data.name: chosen}
    check_folder(data)
    found: dict[str, dict[str, Path]] = {}
    named = {path.name: path for path in subfolders(data)}
    for name, path in named.items():
        match = re.fullmatch(rf"(.+)_({'|'.join(SPLITS)})", name)
        # The original cars_train_val has other views of the training objects: no category of its own.
        if match and match[1] not in named:
            found.setdefault(match[1], {})[match[2]] = path
    if found:
        return found
    if not object_folders(data):
        raise InputError(
            f"{data} has neither folders such as chairs_train nor objects with rgb/, pose/ and {INTRINSICS_FILE}; "
            "give --data the folder of the data set"
        )
    category = re.sub(rf"_({'|'.join(SPLITS)})$", "", data.name)
    return {category: dict.fromkeys(SPLITS, data)}


def objects_root(folder: Path) -> Path:
    """`folder`, or the only folder within that has the objects: the original chairs_train/ holds chairs_2.0_train/."""
    inner = subfolders(folder)
    if len(inner) == 1 and not _is_object(inner[0]):
        return inner[0]
    return folder


def object_folders(folder: Path) -> list[Path]:
    """The objects of one category and split, in the order of their names."""
    return [path for path in subfolders(objects_root(folder)) if _is_object(path)]


def read_object(folder: Path) -> list[Frame]:
    """All views of an object.

    Raises:
        InputError: a file is missing or unusable.
    """
    path = folder / INTRINSICS_FILE
    camera = read_srn_intrinsics(path)
    images = pictures(folder / "rgb")
    if not images:
        raise InputError(f"{folder / 'rgb'} has no images; restore them or remove {folder}")
    poses = {item.stem: item for item in (folder / "pose").glob("*.txt")} if (folder / "pose").is_dir() else {}
    for image in images:
        if image.stem not in poses:
            raise InputError(f"{folder / 'pose' / image.stem}.txt does not exist, but {image} does; restore it")
    orphans = sorted(set(poses) - {image.stem for image in images})
    if orphans:
        raise InputError(f"{folder / 'rgb' / orphans[0]}.png does not exist, but its pose does; restore the image")
    frames = []
    for image in images:
        pose = read_pose_file(poses[image.stem])
        c2w = (np.linalg.inv(pose) if camera.world_to_camera else pose) @ OPENCV
        frames.append(Frame(f"rgb/{image.name}", image, c2w, _fitted(camera, image, path), None))
    return frames


def read_srn_intrinsics(path: Path) -> SRNIntrinsics:
    """Read intrinsics.txt: four lines, or more.

    The lines are "f cx cy 0.", a barycentre of three numbers, optionally a near plane, a scale, "H W", and optionally 1
    where the poses are world to camera. Empty lines do not count.

    Raises:
        InputError: the file is missing or has other lines.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        numbers = [[float(word) for word in line] for line in lines]
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; restore it or remove {path.parent}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not lines of numbers ({error}); restore it") from error
    counts = [len(line) for line in numbers]
    flagged = len(counts) > 4 and counts[-1] == 1 and numbers[-1][0] in (0, 1)
    body = counts[:-1] if flagged else counts
    if len(body) not in (4, 5) or body[0] not in (3, 4) or body[1] != 3 or {*body[2:-1]} != {1} or body[-1] != 2:
        raise InputError(
            f"{path} has lines of {', '.join(map(str, counts)) or 'no'} numbers; "
            'write the lines "f cx cy 0.", "0. 0. 0.", "1." and "H W"'
        )
    (focal, cx, cy), (height, width) = numbers[0][:3], numbers[len(body) - 1]
    if not all(map(math.isfinite, (focal, cx, cy, width, height))) or min(focal, width, height) <= 0:
        raise InputError(f"{path} has focal length {focal}, height {height} and width {width}; all must be positive")
    return SRNIntrinsics(focal, cx, cy, width, height, flagged and numbers[-1][0] == 1)


def read_pose_file(path: Path) -> np.ndarray:
    """(4, 4) pose from a text file of 16 numbers.

    Raises:
        InputError: the file is missing, has other contents, or its rotation is none.
    """
    try:
        values = [float(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a pose of 16 numbers ({error}); restore it") from error
    if len(values) != 16:
        raise InputError(f"{path} has {len(values)} numbers; write a 4x4 camera-to-world matrix")
    return read_pose(np.array(values).reshape(4, 4), str(path))


def _is_object(folder: Path) -> bool:
    return any((folder / name).exists() for name in (INTRINSICS_FILE, "rgb", "pose"))


def _fitted(camera: SRNIntrinsics, image: Path, path: Path) -> Intrinsics:
    """The camera of an image that may be a smaller or larger version of what intrinsics.txt describes."""
    width, height = image_size(image)
    x, y = width / camera.width, height / camera.height
    if abs(x - y) > 0.01 * x:
        raise InputError(
            f"{image} is {width}x{height} pixels, which is no smaller version of the "
            f"{camera.width:g}x{camera.height:g} of {path}; correct the file or restore the image"
        )
    return Intrinsics(
        x * camera.focal, y * camera.focal, x * camera.cx, y * camera.cy, width, height, (0.0,) * 6, "PINHOLE"
    )


srn = DataParserSpecification(
    config=SRNDataParserConfig(),
    description="Scene Representation Networks' layout: objects of a category, with poses and intrinsics as text.",
)
