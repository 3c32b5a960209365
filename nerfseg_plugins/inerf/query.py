"""The photos whose cameras are asked for: where they are listed, their lenses, masks and start poses."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Optional, Union

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape
from torch import Tensor

from nerfseg_plugins.dataparsers.frame_values import read_pose
from nerfseg_plugins.dataparsers.transforms import find_image, natural_key, read_transforms
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf import photos
from nerfseg_plugins.inerf.lens import LensConfig, common_lens, find_lens, make_camera, rescaled
from nerfseg_plugins.scene.frames import pose_to_scene

Transform = tuple[np.ndarray, float]
"""(3, 4) matrix A and scale s with x_scene = s * (A @ [x_data, 1]); `Run.transform`."""


@dataclass
class QueryConfig:
    """How photos are read."""

    lens: LensConfig = field(default_factory=LensConfig)
    """The lens that all photos were taken with."""
    masks: Optional[Path] = None
    """Id mask of the photo, or folder of masks named as the photos; 0 hides a pixel (moving things, the sky)."""
    start: Optional[Path] = None
    """JSON file with the poses to start from, in the data's frame: {"frames": [{"file_path", "transform_matrix"}]}."""
    poses_are: Literal["start", "truth"] = "start"
    """What the poses in a transforms.json of photos are: where to start, or what estimates are measured against."""
    features: Optional[Path] = None
    """Feature map of the photo, or folder of maps named as the photos: (height, width, channels), .npy or .npz."""
    max_side: Optional[int] = None
    """Photos whose longer side has more pixels are made smaller."""
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """RGB in [0, 1] behind photos with transparency."""


@dataclass(frozen=True)
class Query:
    """One photo whose camera is asked for."""

    name: str
    """Unique among the photos, safe as a file name, without suffix."""
    path: Path
    image: Tensor
    """(H, W, 3) float32 in [0, 1]."""
    mask: Tensor
    """(H, W) bool, True where a pixel may be used."""
    camera: Cameras
    """One camera (batch shape [1]) with the intrinsics of `image`, at the origin."""
    start: Optional[Tensor] = None
    """(3, 4) camera-to-world, scene frame, where the file names one."""
    truth: Optional[Tensor] = None
    """(3, 4) camera-to-world, scene frame, for benchmarks."""
    features: Optional[Tensor] = None
    """(h, w, C) feature map of the whole photo, of any resolution, to compare with an output of the model."""

    @cached_property
    def directions(self) -> Tensor:
        """(H, W, 3) unit directions of the rays through all pixel centres, camera frame, distortion removed."""
        directions = self.camera.generate_rays(camera_indices=0, keep_shape=True).directions
        # nerfstudio divides by the angle from the axis of a fisheye, which is zero for a pixel on the axis.
        forward = directions.new_tensor([0.0, 0.0, -1.0])
        return torch.where(directions.isfinite().all(dim=-1, keepdim=True), directions, forward)


@dataclass(frozen=True)
class _Listed:
    """A photo and what a file says of it."""

    path: Path
    where: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    pose: Optional[np.ndarray] = None
    mask: Optional[Path] = None


def read_queries(
    sources: Union[Path, Sequence[Path]],
    transform: Transform,
    config: Optional[QueryConfig] = None,
    run_cameras: Optional[Cameras] = None,
    device: Union[torch.device, str] = "cpu",
) -> list[Query]:
    """Read photos.

    Args:
        sources: one or many of: an image; a folder of images (natural order); a transforms.json or a folder that holds
            one, or an earlier poses.json. Frames need no pose, and listed photos that do not exist are skipped with a
            warning.
        transform: the run's.
        config: how to read them.
        run_cameras: the run's training cameras, for `config.lens.like_run`.
        device: where the tensors go.

    Returns:
        At least one query, in the order of the sources.

    Raises:
        InputError: a photo, its lens, mask or pose is missing or cannot be used; the message names the file.
    """
    config = config or QueryConfig()
    listed = [entry for source in _paths(sources) for entry in _list_photos(Path(source))]
    if not listed:
        raise InputError("no photo was given; name images, a folder of images or a transforms.json")
    starts = _read_starts(config.start, [entry.path for entry in listed], transform)
    run_lens = common_lens(run_cameras) if config.lens.like_run and run_cameras is not None else None
    queries = []
    for entry, name in zip(listed, distinct_names([entry.path for entry in listed]), strict=True):
        image, mask = _pixels(entry, config)
        height, width = image.shape[:2]
        lens = rescaled(find_lens(entry.path, entry.values, entry.where, config.lens, run_lens), width, height)
        pose = None if entry.pose is None else _to_scene(entry.pose, transform).to(device)
        start, truth = (pose, None) if config.poses_are == "start" else (None, pose)
        if entry.path.stem in starts:
            start = starts[entry.path.stem].to(device)
        camera = make_camera(lens).to(device)
        features = None if config.features is None else photos.read_features(config.features, entry.path).to(device)
        queries.append(Query(name, entry.path, image.to(device), mask.to(device), camera, start, truth, features))
    return queries


def read_poses(path: Path, transform: Optional[Transform] = None) -> dict[str, Tensor]:
    """The poses that a JSON file lists; frames without `transform_matrix` are passed over.

    Args:
        path: a file with {"frames": [{"file_path": ..., "transform_matrix": 4x4 camera-to-world}]}, data frame, such
            as a transforms.json or an earlier poses.json.
        transform: the way to the scene frame; None leaves the poses as they are.

    Returns:
        Stem of the image -> (3, 4) float32 camera-to-world.

    Raises:
        InputError: the file lists no poses, a pose is no rigid motion, or two images of one stem have different poses.
    """
    poses: dict[str, np.ndarray] = {}
    for index, entry in enumerate(read_transforms(path, posed=False)["frames"]):
        if entry.get("transform_matrix") is None:
            continue
        pose = read_pose(entry["transform_matrix"], f"frame {index} ({entry['file_path']}) of {path}")
        stem = _stem(entry["file_path"])
        if stem in poses and not np.allclose(poses[stem], pose):
            raise InputError(f"{path} has two poses for images named {stem}; give the images names of their own")
        poses[stem] = pose
    if not poses:
        raise InputError(f"{path} lists no pose; give its frames a transform_matrix (4x4 camera-to-world)")
    if transform is None:
        return {stem: torch.from_numpy(_rigid(pose)).float() for stem, pose in poses.items()}
    return {stem: _to_scene(pose, transform) for stem, pose in poses.items()}


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """File-name safe names of images, from their stems: letters, digits, - and _; a second "a" becomes "a-2"."""
    names: list[str] = []
    taken: set[str] = set()  # without case, which some file systems do not tell apart
    for path in paths:
        base = re.sub(r"[^\w-]+", "_", path.stem).strip("_") or "photo"
        name, count = base, 1
        while name.casefold() in taken:
            count += 1
            name = f"{base}-{count}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _paths(sources: Union[Path, Sequence[Path]]) -> Sequence[Path]:
    return [sources] if isinstance(sources, (str, Path)) else sources


def _list_photos(source: Path) -> Iterator[_Listed]:
    """What one source lists, in natural order."""
    if source.is_file():
        yield from _listed_in(source) if source.suffix.lower() == ".json" else [_Listed(source)]
        return
    if not source.is_dir():
        raise InputError(f"{source} does not exist; check the path")
    for name in ("transforms.json", "poses.json"):
        if (source / name).is_file():
            yield from _listed_in(source / name)
            return
    images = [path for path in source.iterdir() if _is_photo(path) and not path.name.startswith(".")]
    if not images:
        others = sorted(path.name for path in source.glob("*transforms*.json"))
        hint = (
            f"name {' or '.join(others)} itself" if others else "put images there, or a transforms.json that lists some"
        )
        raise InputError(f"{source} holds neither transforms.json nor images; {hint}")
    yield from (_Listed(path) for path in sorted(images, key=lambda path: natural_key(path.name)))


def _listed_in(path: Path) -> Iterator[_Listed]:
    meta = read_transforms(path, posed=False)
    found, missing = [], []
    failed = [entry for entry in meta.get("failed", []) if isinstance(entry, dict) and entry.get("file_path")]
    for index, entry in enumerate([*meta["frames"], *failed]):
        where = f"frame {index} ({entry['file_path']}) of {path}"
        image = _find_photo(path.parent, entry["file_path"])
        if image is None:
            missing.append(entry["file_path"])
            continue
        matrix = entry.get("transform_matrix")
        pose = None if matrix is None else read_pose(matrix, where)
        mask = path.parent / entry["mask_path"] if isinstance(entry.get("mask_path"), str) else None
        found.append(_Listed(image, where, {**meta, **entry}, pose, mask))
    if not found:
        raise InputError(
            f"none of the {len(missing)} images listed in {path} exists (first: {missing[0]}); restore them"
        )
    if missing:
        text = f"{len(missing)} of the images that {path} lists do not exist (first: {missing[0]}); they are skipped"
        CONSOLE.print(f"[bold yellow]Warning: {escape(text)}", soft_wrap=True)
    yield from sorted(found, key=lambda listed: natural_key(listed.path.as_posix()))


def _read_starts(path: Optional[Path], images: list[Path], transform: Transform) -> dict[str, Tensor]:
    """The poses to start from; a file of them must know all photos."""
    if path is None:
        return {}
    starts = read_poses(path, transform)
    if lacking := [image for image in images if image.stem not in starts]:
        known = ", ".join(list(starts)[:3]) + (" ..." if len(starts) > 3 else "")
        raise InputError(
            f"{path} has no pose for {lacking[0]} (it has {known}); add a frame with its file_path and transform_matrix"
        )
    return starts


def _find_photo(folder: Path, file_path: str) -> Optional[Path]:
    """The photo that a list names; other than in data to train on, it may lie anywhere: results lie beside no data."""
    if os.path.isabs(file_path) or ".." in Path(file_path).parts:
        path = folder / file_path
        return path if path.is_file() else None
    return find_image(folder, file_path)


def _pixels(entry: _Listed, config: QueryConfig) -> tuple[Tensor, Tensor]:
    """Image (H, W, 3) and mask (H, W) of a photo, checked and reduced."""
    image = photos.read_photo(entry.path, config.background)
    height, width = image.shape[:2]
    source = config.masks or entry.mask
    mask = torch.ones(height, width, dtype=torch.bool)
    # A listed mask with more than two values tells objects apart, and hides none of them.
    if source is not None and (config.masks is not None or photos.is_binary(source)):
        mask = photos.read_mask(source, entry.path, (height, width))
    width, height = photos.reduced_size(width, height, config.max_side)
    image, mask = photos.reduce_photo(image, width, height), photos.reduce_mask(mask, width, height)
    photos.check_usable(image, mask, entry.path, source)
    return image, mask


def _to_scene(pose: np.ndarray, transform: Transform) -> Tensor:
    return torch.from_numpy(pose_to_scene(_rigid(pose), *transform)).float()


def _rigid(pose: np.ndarray) -> np.ndarray:
    """(3, 4) with the nearest rotation: what a file rounds would stay in a pose that is only ever moved rigidly."""
    left, _, right = np.linalg.svd(pose[:3, :3])
    return np.concatenate([left @ right, pose[:3, 3:]], axis=1)


def _stem(file_path: str) -> str:
    """The name of an image without its suffix, which a list may leave out."""
    path = Path(file_path)
    return path.stem if _is_photo(path) else path.name


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in photos.PHOTO_SUFFIXES
