"""What a procedural scene knows about its views: which class and which kind of part each pixel shows."""

import re
from pathlib import Path

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json


def read_parts(data: Path, images: list[Path]) -> tuple[list[np.ndarray], list[np.ndarray], list[Path]]:
    """Class ids and kinds of parts of every image, from parts/ and hierarchy.json as `nerfseg room` writes them.

    Parts of one name are of one kind, whichever object they belong to and whatever number ends their name: `leg1` and
    `leg2` of every chair and table. What is no part of an object is of class 0 and kind 0.

    Returns:
        (H, W) uint8 or uint16 class ids and kinds of each image, and the files that say so.

    Raises:
        InputError: the data have no such files, or they do not fit.
    """
    from nerfseg_plugins.segments.masks import find_mask, read_ids

    path = data / "hierarchy.json"
    if not path.is_file() or not (data / "parts").is_dir():
        raise InputError(
            f"{data} has no parts/ and hierarchy.json, from which features are made up; make a room with: nerfseg room"
        )
    classes, kinds = _tables(path)
    class_maps, kind_maps, files = [], [], [path]
    for image in images:
        file = find_mask(data / "parts", image.stem)
        if file is None:
            raise InputError(f"{data / 'parts'} has no part ids of {image}; write the scene again with nerfseg room")
        ids = np.maximum(read_ids(file), 0)
        if ids.max() >= len(classes):
            raise InputError(f"{file} holds part {int(ids.max())}, which {path} does not list; write the scene again")
        class_maps.append(classes[ids])
        kind_maps.append(kinds[ids])
        files.append(file)
    return class_maps, kind_maps, files


def _tables(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Class id and kind of each part id."""
    tree = read_json(path)
    try:
        parts = {int(key): (str(part["name"]), str(part["object"])) for key, part in tree["parts"].items()}
        names = sorted({re.sub(r"\W*\d+$", "", name) for name, _ in parts.values()})
        classes, kinds = np.zeros((2, max(parts, default=0) + 1), np.uint16)
        for key, (name, owner) in parts.items():
            classes[key] = int(tree["objects"][owner]["class_id"])
            kinds[key] = 1 + names.index(re.sub(r"\W*\d+$", "", name))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path} is no hierarchy of parts and objects with classes ({error!r}); write the scene again with nerfseg "
            "room"
        ) from error
    return classes, kinds
