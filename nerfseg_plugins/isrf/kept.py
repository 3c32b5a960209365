"""The voxels of a run, kept beside it: finding its surfaces takes longer than anything that is done with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfstudio.cameras.cameras import Cameras

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import CacheConfig, VoxelCache
from nerfseg_plugins.scene.fingerprint import fingerprint

VOXELS = "voxels.npz"


def kept_voxels(
    model: Any, cameras: Cameras, config: CacheConfig, folder: Path, say: Callable[[str], object]
) -> VoxelCache:
    """The voxels on a run's surfaces: those that were left in FOLDER/voxels.npz, or made now and left there.

    Args:
        model: an `IsrfModel` whose weights do not change any more.
        cameras: those of the training views, scene frame.
        config: what to keep.
        folder: the run's.
        say: is told what takes long.

    Raises:
        InputError: the training views see no surface, or the file cannot be written.
    """
    path, made_from = folder / VOXELS, f"{fingerprint(model)} {config}"
    if path.is_file():
        try:
            return VoxelCache.load(path, made_from, model.device)
        except InputError:
            say(f"{path} is of other weights or another resolution, or damaged: it is made anew")
    say("looking for the surfaces of the scene, which takes up to a minute the first time ...")
    cache = model.voxel_cache(cameras, config)
    try:
        cache.save(path, made_from)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error}); free space, or copy the run to a place of your own"
        ) from error
    return cache
