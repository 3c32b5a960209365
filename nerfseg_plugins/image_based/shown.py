"""The views of the scene that is shown: which are its sources, and which are to be rendered."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.choice import other_views
from nerfseg_plugins.image_based.sources import SceneRef

HELD_OUT = 8
"""Where the data have no held-out views and many sources are wanted, every so-manieth view is held out."""


def spread_views(total: int, count: int) -> list[int]:
    """Views that stand for all: the middle ones of `count` equal parts."""
    count = min(count, total)
    return [int((part + 0.5) * total / count) for part in range(count)]


def sources_and_targets(
    scene: SceneRef, test_split: str, views: Sequence[int] = (), few: int = 0
) -> tuple[DataparserOutputs, DataparserOutputs]:
    """The source views of a scene and those to be rendered.

    With `views`, these are the sources and all others are rendered; they are counted in the order of the image files.
    Otherwise the data's training views are sources and its held-out ones are rendered. Data of many scenes have no such
    views: there `few` views are sources, spread over all, or every eighth is held out.

    Args:
        scene: to be read.
        test_split: of the held-out views, "val" or "test".
        views: numbers of the source views; empty for the rule above.
        few: source views where nothing else says it; 0 for all but every eighth.

    Returns:
        Outputs of sources and of targets. A scene without other views renders its sources.

    Raises:
        InputError: the scene cannot be read, or has no such view.
    """
    train = scene.read("train")
    if not scene.many and not views:
        held_out = scene.read(test_split)
        return train, held_out if held_out.image_filenames else train
    whole = train if scene.many else joined(train, scene.read(test_split))
    total = len(whole.image_filenames)
    if outside := [index for index in views if not 0 <= index < total]:
        raise InputError(
            f"{scene.name} has no view {outside[0]}; its {total} views count from 0 (--pipeline.datamanager.views)"
        )
    if len(set(views)) < len(views):
        raise InputError(f"the views {list(views)} of {scene.name} name one twice; name each source view once")
    if views:
        sources = list(views)
    elif few:
        sources = spread_views(total, few)
    else:
        sources = other_views(total, range(0, total, HELD_OUT))
    sources = sources or list(range(total))
    return part(whole, sources), part(whole, other_views(total, sources) or list(range(total)))


def part(outputs: DataparserOutputs, rows: Sequence[int]) -> DataparserOutputs:
    """Some of the views, in the order of `rows`."""
    count = len(outputs.image_filenames)

    def kept(values: Any) -> Any:
        return [values[row] for row in rows] if isinstance(values, list) and len(values) == count else values

    return dataclasses.replace(
        outputs,
        image_filenames=[outputs.image_filenames[row] for row in rows],
        mask_filenames=None if outputs.mask_filenames is None else [outputs.mask_filenames[row] for row in rows],
        cameras=outputs.cameras[torch.tensor(list(rows))],
        metadata={name: kept(value) for name, value in outputs.metadata.items()},
    )


def joined(first: DataparserOutputs, second: DataparserOutputs) -> DataparserOutputs:
    """All views of two splits of a scene, each once, in the order of their files."""
    seen = {os.path.abspath(path): row for row, path in enumerate(first.image_filenames)}
    rows = [row for row, path in enumerate(second.image_filenames) if os.path.abspath(path) not in seen]
    if not rows:
        return first
    second = part(second, rows)

    def both(one: Any, other: Any) -> Any:
        lists = isinstance(one, list) and isinstance(other, list)
        return [*one, *other] if lists and (len(one), len(other)) == (len(first.image_filenames), len(rows)) else one

    masks = None
    if first.mask_filenames is not None and second.mask_filenames is not None:
        masks = first.mask_filenames + second.mask_filenames
    whole = dataclasses.replace(
        first,
        image_filenames=[*first.image_filenames, *second.image_filenames],
        mask_filenames=masks,
        cameras=_together(first.cameras, second.cameras),
        metadata={name: both(value, second.metadata.get(name)) for name, value in first.metadata.items()},
    )
    order = sorted(range(len(whole.image_filenames)), key=lambda row: str(whole.image_filenames[row]))
    return part(whole, order)


def _together(*cameras: Cameras) -> Cameras:
    distortion = [
        camera.distortion_params if camera.distortion_params is not None else camera.fx.new_zeros(len(camera), 6)
        for camera in cameras
    ]

    def batch(name: str) -> Tensor:
        return torch.cat([getattr(camera, name) for camera in cameras])

    return Cameras(
        batch("camera_to_worlds")[:, :3],
        batch("fx"),
        batch("fy"),
        batch("cx"),
        batch("cy"),
        batch("width"),
        batch("height"),
        distortion_params=torch.cat(distortion) if any(bool(values.any()) for values in distortion) else None,
        camera_type=batch("camera_type"),
    )
