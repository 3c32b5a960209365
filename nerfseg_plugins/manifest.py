"""manifest.json beside derived 2D data: what made them, from which images; so that nothing stale is used silently."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json, sha256_file, write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """Where the files of one folder come from."""

    source: str
    """Name of the source, as in `nerfseg masks --source`."""
    model: str
    """Its model or algorithm with the variant."""
    checkpoint: Optional[str]
    """SHA-256 of the weights; None where there are none."""
    image_size: tuple[int, int]
    """(height, width) of the images in pixels."""
    images: str
    """`hash_images` of the images."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Everything else that changes the result; plain JSON values."""


def hash_images(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of images, in the order of their names: moving the folder does not change it."""
    digest = hashlib.sha256()
    for path in sorted((Path(path) for path in paths), key=lambda path: (path.name, str(path))):
        digest.update(f"{path.name}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json`, whole or not at all.

    Done before the first file is written, so that a killed run can tell that what it finds is its own, and go on.
    """
    write_json(Path(folder) / MANIFEST, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Read `folder/manifest.json`.

    Raises:
        InputError: it is missing or is no manifest.
    """
    path = Path(folder) / MANIFEST
    values = read_json(path)
    try:
        height, width = (int(side) for side in values["image_size"])
        return Manifest(
            source=str(values["source"]),
            model=str(values["model"]),
            checkpoint=values["checkpoint"],
            image_size=(height, width),
            images=str(values["images"]),
            parameters=dict(values["parameters"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is not a manifest of nerfseg ({error!r}); remove {folder} and make it again"
        ) from error


def check_manifest(folder: Path, expected: Union[Manifest, Mapping[str, Any]], command: str) -> Manifest:
    """Refuse a folder that was made from something else.

    Args:
        folder: holds manifest.json.
        expected: what it must say; a mapping compares only the fields that it names (`{"images": ..., }`).
        command: the command that rebuilds the folder, for the message.

    Returns:
        The manifest.

    Raises:
        InputError: the manifest is missing, damaged, stale or foreign; names the fields that differ and the command.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{path} is missing, so it is unknown what made {folder}; make it again with: {command}")
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        raise InputError(f"{error}, with: {command}") from error
    found = dataclasses.asdict(manifest)
    wanted = dataclasses.asdict(expected) if isinstance(expected, Manifest) else dict(expected)
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        raise ValueError(f"a manifest has no field {unknown[0]!r}")
    differing = [key for key in wanted if _plain(wanted[key]) != _plain(found[key])]
    if differing:
        key = differing[0]
        raise InputError(
            f"{path} does not fit: {', '.join(differing)} differ ({key} is {_short(found[key])}, wanted "
            f"{_short(wanted[key])}); remove {folder} and make it again with: {command}"
        )
    return manifest


def _plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples become lists, keys strings."""
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
