"""Looking around in a scene before anything is selected in it: what some of its views see, rendered once and kept."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn.functional import normalize

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.gsn.segmenting import Marks
from nerfseg_plugins.gsn.surfels import Picture, Surfels
from nerfseg_plugins.scene.fingerprint import fingerprint

WEIGHTS = ("trunk.", "encoder.", "semantics.")
"""State keys of the weights that decide what is seen."""
FOLDER = "surveys"
"""Folder of a run's that keeps what was seen, a file a scene."""
Alone = Callable[[], AbstractContextManager[Any]]
MEMBERS = ("points", "features", "lab", "depth", "size", "place")


@dataclass(frozen=True)
class SurveyConfig:
    """How closely a scene is looked at."""

    views: int = 8
    """Source views that are rendered, spread evenly over all."""
    resolution: int = 120
    """Pixels along their longer side, at most; what is selected can be no finer."""

    def check(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            InputError: names the number.
        """
        if self.views < 1 or self.resolution < 8:
            raise InputError(
                f"a scene cannot be looked at in {self.views} views of {self.resolution} pixels; give at least 1 view "
                "and 8 pixels"
            )


def spread(count: int, wanted: int) -> list[int]:
    """At most so many of `count` views, evenly chosen from the first to the last."""
    return sorted(set(np.linspace(0, count - 1, min(wanted, count)).round().astype(int).tolist()))


@torch.no_grad()
def picture_of(model: Any, camera: Cameras, resolution: int) -> Picture:
    """What a camera sees.

    Args:
        model: a `GsnModel` in evaluation mode, with an open scene.
        camera: one camera (batch of 1), scene frame; not changed.
        resolution: pixels along its longer side, at most.
    """
    camera = camera[...].to(model.device)
    longer = max(int(camera.height), int(camera.width))
    if longer > resolution:
        camera.rescale_output_resolution(resolution / longer)
    outputs = model.get_outputs_for_camera(camera)
    rays = camera.generate_rays(camera_indices=0, keep_shape=True)
    depth = outputs["depth"].to(rays.origins)
    points = rays.origins + depth * normalize(rays.directions, dim=-1)
    met = outputs["features"].any(dim=-1, keepdim=True).to(depth.device)
    size = depth[..., 0] / float(camera.fx)
    return Picture(outputs["features"].to(depth) * met, points, outputs["rgb"].to(depth), depth[..., 0], size)


@torch.no_grad()
def lift(model: Any, origins: Tensor, directions: Tensor, label: int) -> Marks:
    """What rays meet.

    Args:
        model: a `GsnModel` in evaluation mode, with an open scene.
        origins: (P, 3), scene frame.
        directions: (P, 3) of any length but 0.
        label: of all of them.

    Returns:
        Those rays that meet something; fewer than P where some meet nothing. On the CPU.

    Raises:
        InputError: no ray meets anything.
    """
    origins, directions = origins.to(model.device), normalize(directions.to(model.device), dim=-1)
    bundle = RayBundle(
        origins,
        directions,
        pixel_area=torch.full_like(origins[:, :1], 1e-6),
        camera_indices=torch.zeros_like(origins[:, :1], dtype=torch.long),
    )
    outputs = model.get_outputs_for_camera_ray_bundle(bundle.reshape((1, -1)))
    features = outputs["features"].reshape(len(origins), -1).to(origins)
    met = features.any(dim=-1)
    if not met.any():
        raise InputError("the stroke lies on empty space: no ray through it meets anything; draw it on a thing")
    points = origins + outputs["depth"].reshape(-1, 1).to(origins) * directions
    return Marks(points[met].cpu(), features[met].cpu(), torch.full((int(met.sum()),), label))


def look_around(model: Any, config: SurveyConfig, alone: Alone = nullcontext) -> Surfels:
    """What some source views of the open scene see.

    Args:
        model: a `GsnModel` in evaluation mode.
        config: how closely.
        alone: nobody else uses the model inside this context, which is entered for every view.

    Raises:
        InputError: no scene is open, its features do not fit, or nothing is seen.
    """
    config.check()
    cameras = cameras_of(model)
    pictures = []
    for index in spread(len(cameras), config.views):
        with alone():
            pictures.append(picture_of(model, cameras[index : index + 1], config.resolution))
    return Surfels.of(pictures)


def kept_surfels(
    model: Any, config: SurveyConfig, folder: Path, say: Callable[[str], object], alone: Alone = nullcontext
) -> Surfels:
    """What some source views see: what was left in FOLDER/surveys, or looked at now and left there.

    Args:
        model: a `GsnModel` whose weights do not change any more, with an open scene.
        config: how closely.
        folder: the run's.
        say: is told what takes long.
        alone: see `look_around`.

    Raises:
        InputError: nothing is seen, or the file cannot be written.
    """
    path, made_from = folder / FOLDER / f"{scene_digest(model)[:16]}.npz", f"{made_for(model)} {astuple(config)}"
    if path.is_file():
        try:
            return load_surfels(path, made_from)
        except InputError:
            say(f"{path} is of other weights or another resolution, or damaged: it is made anew")
    count = min(config.views, len(cameras_of(model)))
    say(f"rendering {count} views of the scene, which takes up to a few minutes the first time ...")
    found = look_around(model, config, alone)
    try:
        save_surfels(path, found, made_from)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error}); free space, or copy the run to a place of your own"
        ) from error
    return found


def cameras_of(model: Any) -> Cameras:
    """Those of the open scene's source views.

    Raises:
        InputError: no scene is open.
    """
    if model.scene is None:
        raise InputError("no scene is open in this model, so nothing can be selected; open one with: nerfseg open")
    return model.scene.cameras


def made_for(model: Any) -> str:
    """What belongs to the weights of a model and the scene that is open in it is told by this."""
    return f"{fingerprint(model, WEIGHTS)} {scene_digest(model)}"


def scene_digest(model: Any) -> str:
    """SHA-256 over name, features and source cameras of the open scene."""
    cameras = cameras_of(model)
    features = getattr(model.scene, "features", None)
    described = "" if features is None else features.folder.name
    digest = hashlib.sha256(f"{model.scene.name} {described}".encode())
    for values in (cameras.camera_to_worlds, cameras.fx, cameras.fy, cameras.cx, cameras.cy):
        digest.update(values.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


# Files ----------------------------------------------------------------------------------------------------------------


def save_surfels(path: Path, surfels: Surfels, made_from: str) -> None:
    """Write surfels as npz, whole or not at all.

    Args:
        path: .npz.
        surfels: what was seen.
        made_from: tells weights, scene and resolution.
    """
    arrays = {name: getattr(surfels, name).numpy() for name in MEMBERS}
    with atomic_path(path) as temporary:
        np.savez(temporary, made_from=np.array(made_from), **arrays)


def load_surfels(path: Path, made_from: str) -> Surfels:
    """Read what `save_surfels` wrote.

    Raises:
        InputError: the file is missing, damaged, or of something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in MEMBERS}
            found = str(stored["made_from"])
        count = len(arrays["points"])
        if not count or any(len(array) != count for array in arrays.values()):
            raise ValueError("its arrays do not fit each other")
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for a truncated or foreign file
        raise InputError(f"{path} cannot be used ({error}); delete it, it is made anew") from error
    if found != made_from:
        raise InputError(f"{path} was made from something else; delete it, it is made anew")
    return Surfels(**arrays)


def together(parts: Sequence[Surfels]) -> Surfels:
    """What several groups of views see."""
    rows, number = [], 0
    for part in parts:
        rows.append(part.place + torch.tensor([number, 0, 0], dtype=torch.int32))
        number = int(rows[-1][:, 0].max()) + 1
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in MEMBERS if name != "place"}
    return Surfels(**joined, place=torch.cat(rows))
