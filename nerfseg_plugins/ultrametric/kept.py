"""The dendrogram of a run, kept beside it: finding its surface takes longer than anything that is done with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

from nerfstudio.cameras.cameras import Cameras

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.fingerprint import fingerprint
from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, build_dendrogram
from nerfseg_plugins.ultrametric.hierarchy_config import HierarchyConfig
from nerfseg_plugins.ultrametric.hierarchy_file import load_hierarchy, save_hierarchy
from nerfseg_plugins.ultrametric.surface import surface_of

HIERARCHY = "hierarchy.npz"


def kept_hierarchy(
    model: Any,
    cameras: Cameras,
    config: HierarchyConfig,
    folder: Path,
    say: Callable[[str], object],
    progress: Optional[Callable[[Iterator[Any], int], Iterator[Any]]] = None,
) -> Dendrogram:
    """The dendrogram of a run: that which was left in FOLDER/hierarchy.npz, or made now and left there.

    Args:
        model: an `UltrametricModel` whose weights do not change any more.
        cameras: those of the training views, scene frame.
        config: how it is made.
        folder: the run's.
        say: is told what takes long.
        progress: passes views on and shows how many are done.

    Raises:
        InputError: the training views see no surface, or the file cannot be written.
    """
    path, made_from = folder / HIERARCHY, fingerprint(model)
    if path.is_file():
        try:
            return load_hierarchy(path, made_from, str(config))
        except InputError:
            say(f"{path} is of other weights or settings, or damaged: it is made anew")
    say("looking for the surfaces of the scene ...")
    points, features = surface_of(model, cameras, config, progress)
    say(f"joining {len(points)} points ...")
    dendrogram = build_dendrogram(points, features, config.neighbors, config.linkage)
    save_hierarchy(path, dendrogram, made_from, str(config))
    return dendrogram
