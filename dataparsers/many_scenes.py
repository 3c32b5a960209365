"""What the layouts of many scenes share: which scenes there are, and the outputs of one of them.

A scene is one object or one scan. All its views come in every split: which of them a method is shown and which it must
render is not the layout's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside

from .front3d import SceneFrame, make_cameras
from .transforms import IMAGE_SUFFIXES, Frame

SPLITS = ("train", "val", "test")
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""(3, 3) from a y-up to a z-up world."""
OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between the OpenCV and the OpenGL camera: y and z are reversed."""


@dataclass
class ManyScenesDataParserConfig(DataParserConfig):
    """Options of every layout that holds many scenes."""

    _target: type = field(default_factory=lambda: ManyScenes)
    """Target class to instantiate."""
    data: Path = Path()
    """Folder of the data set, of one category, or of one scene."""
    scene: Optional[str] = None
    """Name of the scene to read, such as chairs/1a2b; unset: the first of scene_split."""
    scene_split: Literal["train", "val", "test"] = "train"
    """Split whose first scene is read where no scene is named."""
    near: Optional[float] = None
    """Distance along rays at which the scene begins, in its units; unset: what the layout says."""
    far: Optional[float] = None
    """Distance along rays at which the scene ends, in its units; unset: what the layout says."""


class SceneFolder(NamedTuple):
    """One scene of a data set."""

    name: str
    """Unique: CATEGORY/OBJECT, or the folder's name where there are no categories."""
    category: str
    """Empty where there are no categories."""
    folder: Path


@dataclass(frozen=True)
class SceneViews:
    """All views of a scene."""

    frames: list[Frame]
    """In the order of their files; poses in the data's frame."""
    near: float
    """Distance along unit rays at which the scene begins, scene units."""
    far: float
    background: tuple[float, float, float]
    """RGB in [0, 1] of where nothing is."""
    foreground: Optional[list[Optional[Path]]] = None
    """The mask of each view's object, where the layout has masks."""
    transform: np.ndarray = field(default_factory=lambda: np.eye(4)[:3])
    """(3, 4) [R | t] of x_scene = scale * (R x_data + t)."""
    scale: float = 1.0


class ManyScenes(DataParser):
    """Parser of a data set of many scenes; the outputs are those of one scene, with all its views in every split.

    Outputs carry in `metadata`: `scene` and `category` (str), `near` and `far` (distances along unit rays, scene
    units), `background` ((r, g, b) in [0, 1]), `bounded` (False), and `foreground_filenames` (list[Path | None], one
    per view) where the layout has masks.
    """

    config: ManyScenesDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def scene_names(self, split: str) -> list[str]:
        """Names of the scenes of `split` (train, val or test), in the order of the data set.

        Raises:
            InputError: the data name a scene that does not exist.
        """
        return [scene.name for scene in self.list_scenes(split)]

    def of_scene(self, name: str) -> ManyScenesDataParserConfig:
        """The configuration that reads the scene `name` of any split."""
        return replace(self.config, scene=name)

    def chosen(self) -> SceneFolder:
        """The scene that the configuration asks for.

        Raises:
            InputError: there is no such scene.
        """
        if self.config.scene is not None:
            found = self.find_scene(self.config.scene)
            if found is not None:
                return found
            names = [name for split in SPLITS for name in self.scene_names(split)]
            some = ", ".join(dict.fromkeys(names[:3])) + (" ..." if len(names) > 3 else "")
            raise InputError(f"{self.config.data} has no scene {self.config.scene!r}; it has {some or 'none'}")
        scenes = self.list_scenes(self.config.scene_split)
        if not scenes:
            raise InputError(f"{self.config.data} has no scene in its split {self.config.scene_split}; choose another")
        return scenes[0]

    def list_scenes(self, split: str) -> list[SceneFolder]:
        """The scenes of `split`, in the order of the data set.

        Raises:
            InputError: the data name a scene that does not exist.
        """
        raise NotImplementedError

    def find_scene(self, name: str) -> Optional[SceneFolder]:
        """The scene `name` of any split, None where there is none; without reading the lists of all scenes."""
        raise NotImplementedError

    def read_scene(self, scene: SceneFolder) -> SceneViews:
        """All views of a scene.

        Raises:
            InputError: a file is missing or unusable; the message names it and the mend.
        """
        raise NotImplementedError

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        scene = self.chosen()
        views = self.read_scene(scene)
        near, far = self._bounds(views)
        transform = torch.tensor(views.transform, dtype=torch.float32)
        cameras = make_cameras(views.frames, SceneFrame(transform, views.scale, torch.zeros(2, 3)))
        metadata: dict[str, Any] = {
            "scene": scene.name,
            "category": scene.category,
            "near": near,
            "far": far,
            "background": views.background,
            "bounded": False,
        }
        if views.foreground is not None:
            metadata["foreground_filenames"] = views.foreground
        half = far - float(cameras.camera_to_worlds[:, :3, 3].norm(dim=-1).min())
        half = half if half > 0 else far
        return DataparserOutputs(
            image_filenames=[frame.image for frame in views.frames],
            cameras=cameras,
            alpha_color=torch.tensor(views.background, dtype=torch.float32),
            scene_box=SceneBox(aabb=torch.tensor([[-half] * 3, [half] * 3], dtype=torch.float32)),
            metadata=metadata,
            dataparser_transform=transform,
            dataparser_scale=views.scale,
        )

    def _bounds(self, views: SceneViews) -> tuple[float, float]:
        near = views.near if self.config.near is None else self.config.near
        far = views.far if self.config.far is None else self.config.far
        if not 0 <= near < far:
            raise InputError(f"near is {near} and far {far}; rays need 0 <= near < far, so set --near and --far")
        return near, far


def listed_scenes(folder: Path, path: Path, category: str) -> list[SceneFolder]:
    """The scenes that a list names, one in a line, relative to `folder`.

    Args:
        folder: where the scenes lie.
        path: the list.
        category: put before each name, where it is not empty.

    Raises:
        InputError: the list cannot be read, leaves the folder, or names a scene that does not exist or comes twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable list ({error}); write one scene's name in each line") from error
    scenes: dict[str, SceneFolder] = {}
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        if not entry:
            continue
        target = inside(folder, entry)
        if not target.is_dir():
            raise InputError(
                f"line {number} of {path} names {entry!r}, but {target} does not exist; restore it or remove the line"
            )
        if entry in scenes:
            raise InputError(f"line {number} of {path} names {entry!r} a second time; remove the line")
        scenes[entry] = SceneFolder(f"{category}/{entry}" if category else entry, category, target)
    return list(scenes.values())


def subfolders(folder: Path) -> list[Path]:
    """Folders within `folder` in the order of their names, without hidden ones (left by writers that were killed)."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def pictures(folder: Path) -> list[Path]:
    """Images within `folder` in the order of their names; empty where it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in IMAGE_SUFFIXES and not path.name.startswith("."))


def check_folder(data: Path) -> None:
    """Refuse a data folder that is none.

    Raises:
        InputError: naming it.
    """
    if not data.is_dir():
        raise InputError(f"{data} is not a folder; give --data the folder of the data set")


def masks_for(images: Sequence[Path], folders: Sequence[Path]) -> Optional[list[Optional[Path]]]:
    """The masks of `images`, in order, from the first of `folders` that has any; None where none has.

    Raises:
        InputError: there are more or fewer masks than images.
    """
    for folder in folders:
        found = pictures(folder)
        if not found:
            continue
        if len(found) != len(images):
            raise InputError(
                f"{folder} has {len(found)} masks but {images[0].parent} has {len(images)} images; "
                "each image needs its mask, or remove the folder"
            )
        return list(found)
    return None
