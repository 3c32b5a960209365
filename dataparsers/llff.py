"""`llff-data`: images and the poses_bounds.npy of LLFF, forward-facing or around an object.

    DATA/poses_bounds.npy          (N, 17): pose, height, width, focal length, near, far of each image
    DATA/images/  images_4/ ...    png or jpg, in the order of the rows; images_N is N times smaller
    DATA/masks/image000.png ...    instance ids (16-bit .png, .hdf5, .npy, .npz), optional
    DATA/splits.json               {"train": [names], "val": [names]}; without it every eighth image is held out

The scene frame is x_scene = scale * (R x_data + t), where x_data is the frame of poses_bounds.npy.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nerfseg_plugins.errors import InputError

from .frame_values import Intrinsics
from .front3d import SceneFrame, make_cameras
from .mask_folders import DEFAULT_MASKS, check_masks_found, find_folder, masks_of
from .poses_bounds import (
    POSES_FILE,
    SPLITS_FILE,
    check_count,
    find_images,
    read_poses_bounds,
    read_splits,
    scaled_intrinsics,
)
from .recentring import Placement, Recentring, choose_recentring, place
from .transforms import Frame

NEAR_MARGIN = 0.9
"""Part of the smallest near bound at which sampling starts, as in NeRF; bounds leave out the nearest few points."""


@dataclass
class LLFFDataParserConfig(DataParserConfig):
    """LLFF's layout: images and poses_bounds.npy."""

    _target: type = field(default_factory=lambda: LLFF)
    """Target class to instantiate."""
    data: Path = Path()
    """Folder that holds poses_bounds.npy and images/ or images_N/."""
    downscale_factor: Optional[int] = None
    """Read images_N/ (1: images/); unset: the largest images whose long side is at most 1600 pixels."""
    recentring: Literal["auto", "forward", "360", "none"] = "auto"
    """Scene frame: forward makes the average pose the identity, 360 puts the origin where the cameras look, none keeps
    the data's; auto takes 360 when the cameras stand around a common centre, forward when they look one way."""
    bound_factor: Optional[float] = 0.75
    """Except with 360, the nearest bound becomes 1 / bound_factor scene units, as in NeRF; None keeps the data's."""
    eval_interval: int = 8
    """Without splits.json, every n-th view is held out, beginning with the first; 0 trains and evaluates on all."""
    masks: Optional[Path] = DEFAULT_MASKS
    """Folder of the id masks to learn from, relative to the data or absolute; None where nothing is learned from
    masks."""
    truth: Path = DEFAULT_MASKS
    """Folder of the true id masks, used by the evaluation alone; relative to the data or absolute."""
    allow_missing_masks: bool = False
    """Whether training views without a mask are accepted; they then train colour alone."""


class LLFFCapture(NamedTuple):
    """All that one data folder says."""

    folder: Path
    frames: list[Frame]
    """In the order of the rows; every frame has a split, or none has."""
    bounds: np.ndarray
    """(N, 2) nearest and farthest depth along the optical axis of each frame, data units."""


class LLFF(DataParser):
    """Parser of `LLFFDataParserConfig`.

    Outputs carry in `metadata`: `near` and `far` (where all that is in the bounds lies, distances along unit rays in
    scene units), `recentring` (what was done), `bounded` (False), and where the data have them `mask_filenames` and
    `truth_filenames` (list[Path | None], one per view).
    """

    config: LLFFDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: LLFFDataParserConfig) -> None:
        super().__init__(config)
        self._capture: Optional[LLFFCapture] = None

    def capture(self) -> LLFFCapture:
        """The data folder, read once.

        Raises:
            InputError: the data cannot be used.
        """
        if self._capture is None:
            self._capture = read_llff(self.config.data, self.config.downscale_factor)
        return self._capture

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        capture = self.capture()
        frames = select_frames(capture.frames, split, self.config.eval_interval)
        c2w = np.stack([frame.c2w for frame in capture.frames])
        recentring: Recentring = choose_recentring(c2w) if self.config.recentring == "auto" else self.config.recentring
        near = float(capture.bounds[:, 0].min())
        where = str(capture.folder / POSES_FILE)
        placement = place(c2w, near, recentring, self.config.bound_factor, where)
        aabb = scene_box(capture.frames, capture.bounds, placement)
        scene = SceneFrame(torch.tensor(placement.transform, dtype=torch.float32), placement.scale, aabb)
        near, far = near_and_far(capture.frames, capture.bounds)
        metadata = {
            "bounded": False,
            "recentring": recentring,
            "near": near * placement.scale,
            "far": far * placement.scale,
            **self._masks(capture.folder, frames, split),
        }
        return DataparserOutputs(
            image_filenames=[frame.image for frame in frames],
            cameras=make_cameras(frames, scene),
            scene_box=SceneBox(aabb=scene.aabb),
            metadata=metadata,
            dataparser_transform=scene.transform,
            dataparser_scale=scene.scale,
        )

    def _masks(self, data: Path, frames: list[Frame], split: str) -> dict[str, list[Optional[Path]]]:
        found = {}
        folder = find_folder(data, self.config.masks, "masks")
        if folder is not None:
            found["mask_filenames"] = masks_of(frames, folder)
            if split == "train":
                check_masks_found(found["mask_filenames"], frames, folder, self.config.allow_missing_masks)
        folder = find_folder(data, self.config.truth, "truth")
        if folder is not None:
            found["truth_filenames"] = masks_of(frames, folder)
        return found


def read_llff(data: Path, downscale_factor: Optional[int] = None) -> LLFFCapture:
    """Read a data folder.

    Args:
        data: the folder that holds `poses_bounds.npy`, or that file.
        downscale_factor: see `find_images`.

    Raises:
        InputError: a file is missing or unusable; the message names it and the mend.
    """
    folder = data.parent if data.name == POSES_FILE else data
    path = folder / POSES_FILE
    poses = read_poses_bounds(path)
    images = find_images(folder, downscale_factor)
    check_count(images, poses, path)
    splits: list[Optional[str]] = [None] * len(images)
    if (folder / SPLITS_FILE).is_file():
        splits = read_splits(folder / SPLITS_FILE, images)
    frames, kept = [], []
    for index, (image, split) in enumerate(zip(images, splits, strict=True)):
        where = f"row {index} of {path}"
        intrinsics = scaled_intrinsics(image, poses.sizes[index], float(poses.focals[index]), where)
        if split is None and any(splits):
            continue  # the file names the splits and leaves this image out of all
        frames.append(Frame(image.relative_to(folder).as_posix(), image, poses.c2w[index], intrinsics, split))
        kept.append(index)
    return LLFFCapture(folder, frames, poses.bounds[kept])


def select_frames(frames: list[Frame], split: str, interval: int) -> list[Frame]:
    """The frames of `split` (train, val or test; test falls back to val).

    Where the frames have no splits, every `interval`-th is held out, beginning with the first, as in NeRF.

    Raises:
        InputError: the interval makes no sense.
    """
    if interval < 0 or interval == 1:
        raise InputError(f"eval_interval is {interval}; give 2 or more, or 0 to train and evaluate on all views")
    named = {frame.split for frame in frames}
    if named != {None}:
        wanted = "val" if split == "test" and "test" not in named else split
        return [frame for frame in frames if frame.split == wanted]
    if interval == 0 or len(frames) == 1:
        return frames
    return [frame for index, frame in enumerate(frames) if (index % interval == 0) != (split == "train")]


def near_and_far(frames: list[Frame], bounds: np.ndarray) -> tuple[float, float]:
    """Distances along unit rays between which all bounds lie, data units.

    A bound is a depth along the optical axis; the rays of an image's corners reach it farther away.
    """
    stretch = [np.linalg.norm(_corner(frame.intrinsics)) for frame in frames]
    return NEAR_MARGIN * float(bounds[:, 0].min()), float((bounds[:, 1] * stretch).max())


def scene_box(frames: list[Frame], bounds: np.ndarray, placement: Placement) -> torch.Tensor:
    """(2, 3) float32 box around all cameras and all that they see as far as their bounds, scene frame."""
    points = []
    for frame, (_, far) in zip(frames, bounds, strict=True):
        x, y, z = _corner(frame.intrinsics) * far
        corners = np.array([[0, 0, 0], [x, y, z], [-x, y, z], [x, -y, z], [-x, -y, z]])
        points.append(corners @ frame.c2w[:3, :3].T + frame.c2w[:3, 3])
    moved = np.concatenate(points) @ placement.transform[:, :3].T + placement.transform[:, 3]
    return torch.tensor(np.stack([moved.min(axis=0), moved.max(axis=0)]) * placement.scale, dtype=torch.float32)


def _corner(camera: Intrinsics) -> np.ndarray:
    """(3,) where the ray through the image's corner meets the plane at depth 1, camera frame (OpenGL)."""
    return np.array([camera.width / 2 / camera.fx, camera.height / 2 / camera.fy, -1.0])


llff = DataParserSpecification(
    config=LLFFDataParserConfig(),
    description="LLFF's layout: poses_bounds.npy and images, forward-facing or around an object; optional id masks.",
)
