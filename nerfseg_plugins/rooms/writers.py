"""Data sets on disk: what all layouts share, and the layout of Instance-NeRF (`front3d`)."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import write_json
from nerfseg_plugins.rooms.cameras import Camera
from nerfseg_plugins.rooms.noise import NoiseLevel, noisy_ids
from nerfseg_plugins.rooms.render import View, render_view
from nerfseg_plugins.rooms.room import Room

MASK_FORMATS = ("png", "npy", "hdf5")
HDF5_KEY = "cp_instance_id_segmaps"


@dataclass(frozen=True)
class Shots:
    """What to photograph.

    Attributes:
        train: cameras to learn from.
        val: held-out cameras.
        width: pixels.
        height: pixels.
    """

    train: Sequence[Camera]
    val: Sequence[Camera]
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.train) + len(self.val)

    def views(self, room: Room, split: str) -> Iterator[View]:
        """Render the cameras of `train` or `val`, one after another."""
        for camera in self.train if split == "train" else self.val:
            yield render_view(room, camera, self.width, self.height)


def no_progress() -> None:
    """Stands in for a progress bar."""


@contextlib.contextmanager
def whole_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder beside `target` that becomes `target` when the block succeeds and is removed when it fails.

    Raises:
        InputError: `target` is a file, or a folder with something in it and `overwrite` is false.
    """
    target = Path(target)
    check_target(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".partial", dir=target.parent))
    try:
        staging.chmod(0o755)
        yield staging
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".old", dir=target.parent))
            os.replace(target, old)
            os.replace(staging, target)
            shutil.rmtree(old)
        else:
            os.replace(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a target that holds something.

    Raises:
        InputError: `target` is a file, or a folder with something in it and `overwrite` is false.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for the data set")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise InputError(f"{target} is not empty; choose another folder or pass --overwrite")


def write_front3d(
    path: Path,
    room: Room,
    shots: Shots,
    mask_format: str = "png",
    noisy: bool = False,
    overwrite: bool = False,
    progress: Callable[[], None] = no_progress,
) -> None:
    """Write a room in the layout of Instance-NeRF.

    `images/0000.png`, `depth/0000.npy` (float16, z-depth, metres), `masks/`, `parts/`, `semantics/`, `hierarchy.json`,
    `transforms.json` and its two disjoint halves `train_transforms.json` and `val_transforms.json`; with `noisy` also
    `masks_noisy/`.

    Args:
        path: the folder to make.
        room: what to photograph.
        shots: from where.
        mask_format: of `masks/`, one of `MASK_FORMATS`.
        noisy: also write what an imperfect 2D network would say.
        overwrite: replace a folder that has something in it.
        progress: called after each view.

    Raises:
        InputError: the folder is not empty, or the mask format is unknown.
    """
    if mask_format not in MASK_FORMATS:
        raise InputError(f"mask format {mask_format!r} is unknown; choose one of {', '.join(MASK_FORMATS)}")
    level = NoiseLevel.for_width(shots.width)
    with whole_folder(path, overwrite) as folder:
        for name in ("images", "depth", "masks", "parts", "semantics") + (("masks_noisy",) if noisy else ()):
            (folder / name).mkdir()
        frames: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
        for split in frames:
            for view in shots.views(room, split):
                stem = f"{len(frames['train']) + len(frames['val']):04d}"
                save_rgb(folder / "images" / f"{stem}.png", view.rgb)
                np.save(folder / "depth" / f"{stem}.npy", view.depth.astype(np.float16))
                save_ids(folder / "masks" / f"{stem}.{mask_format}", view.instances)
                save_ids(folder / "parts" / f"{stem}.png", view.parts)
                Image.fromarray(view.classes.astype(np.uint8)).save(folder / "semantics" / f"{stem}.png")
                if noisy:
                    rng = np.random.default_rng([room.seed, 41, int(stem)])
                    ids, segments = noisy_ids(view.instances, room.object_to_class, level, rng)
                    save_ids(folder / "masks_noisy" / f"{stem}.png", ids)
                    write_json(folder / "masks_noisy" / f"{stem}.json", segments)
                frame = {"file_path": f"images/{stem}.png", "mask_path": f"masks/{stem}.{mask_format}"}
                frames[split].append({**frame, "transform_matrix": view.camera.c2w.tolist()})
                progress()
        head, boxes = _header(room, shots), _boxes(room)
        for name, chosen in (
            ("", frames["train"] + frames["val"]),
            ("train_", frames["train"]),
            ("val_", frames["val"]),
        ):
            write_json(folder / f"{name}transforms.json", {**head, "frames": chosen, "bounding_boxes": boxes})
        write_json(folder / "hierarchy.json", hierarchy(room))


def save_rgb(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) or (H, W, 4) uint8 as PNG; compressed lightly, since textures hardly shrink."""
    Image.fromarray(image).save(path, compress_level=3)


def save_ids(path: Path, ids: np.ndarray) -> None:
    """Write (H, W) ids in the format of the suffix: 16-bit PNG with 65535 for -1, or int32 npy or HDF5.

    Raises:
        InputError: more ids than 16 bits hold.
    """
    if path.suffix == ".npy":
        np.save(path, ids.astype(np.int32))
    elif path.suffix == ".hdf5":
        import h5py

        with h5py.File(path, "w", track_order=False) as stream:
            stream.create_dataset(HDF5_KEY, data=ids.astype(np.int32), compression="gzip", track_times=False)
    else:
        if ids.max() >= 65535:
            raise InputError(f"{path} cannot hold id {int(ids.max())}: 16-bit PNG ends at 65534; use npy")
        Image.fromarray(np.where(ids < 0, 65535, ids).astype(np.uint16)).save(path)


def hierarchy(room: Room) -> dict[str, dict[str, dict[str, Any]]]:
    """Part -> object -> group, as in `hierarchy.json`."""
    return {
        "parts": {str(item.part_id): {"name": item.name, "object": item.instance_id} for item in room.parts},
        "objects": {
            str(item.instance_id): {
                "name": item.name,
                "class": item.class_name,
                "class_id": item.class_id,
                "group": item.group_id,
            }
            for item in room.objects
        },
        "groups": {str(index): {"name": name} for index, name in enumerate(room.groups, start=1)},
    }


def _header(room: Room, shots: Shots) -> dict[str, Any]:
    camera = (list(shots.train) + list(shots.val))[0]
    focal = camera.focal(shots.width)
    return {
        "camera_angle_x": camera.angle_x,
        "camera_angle_y": 2 * float(np.arctan(0.5 * shots.height / focal)),
        "fl_x": focal,
        "fl_y": focal,
        "cx": shots.width / 2,
        "cy": shots.height / 2,
        "w": shots.width,
        "h": shots.height,
        "k1": 0.0,
        "k2": 0.0,
        "p1": 0.0,
        "p2": 0.0,
        "aabb_scale": 2,
        "room_bbox": room.bbox.tolist(),
        "num_room_objects": len(room.objects),
        "num_instances": len(room.objects),
    }


def _boxes(room: Room) -> list[dict[str, Any]]:
    return [
        {
            "instance_id": item.instance_id,
            "name": item.name,
            "class": item.class_name,
            "class_id": item.class_id,
            "extents": item.extents.round(6).tolist(),
            "orientation": item.orientation.tolist(),
            "position": item.position.round(6).tolist(),
        }
        for item in room.objects
    ]
