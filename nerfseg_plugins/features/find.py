"""Which folder of features a user means."""

import shlex
from pathlib import Path

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.manifest import MANIFEST

FEATURES = "features"
"""Folder below the data that holds one folder for each source."""


def features_folder(data: Path, source: str) -> Path:
    """Where the features of a source lie: beside the images, in DATA/features/SOURCE."""
    return data_folder(data) / FEATURES / source


def data_folder(data: Path) -> Path:
    """The folder of a capture that is named by its folder or by its transforms.json."""
    return data.parent if data.is_file() else data


def find_features(data: Path, wanted: str = "auto") -> Path:
    """The folder of features to use.

    Args:
        data: the capture: its folder or its transforms.json.
        wanted: "auto" for the only folder in DATA/features, else the name of one there, or a path.

    Raises:
        InputError: there is none, or there are several to choose from; tells the command.
    """
    root = data_folder(data) / FEATURES
    command = shlex.join(["nerfseg", "features", "--data", str(data)])
    there = sorted(path.name for path in root.glob("*") if (path / MANIFEST).is_file()) if root.is_dir() else []
    if wanted == "auto":
        if not there:
            raise InputError(f"{root} holds no features; make them with: {command}")
        if len(there) > 1:
            raise InputError(f"{root} holds features of {', '.join(there)}; say which of them to use")
        return root / there[0]
    if wanted in there:
        return root / wanted
    if (Path(wanted) / MANIFEST).is_file():
        return Path(wanted)
    choice = f", only of {', '.join(there)}" if there else ""
    raise InputError(f"{root} holds no features {wanted!r}{choice}; make them with: {command} --source NAME")
