"""Saved edits: which part of a scene they are about and what is done to it, bound to the weights they were made for."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.isrf.edits import Edit
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.scene.config_file import read_config, write_config
from nerfseg_plugins.scene.names import checked_name

FORMAT = "nerfseg-edit-1"
_MEND = "save the edit again from the run"


def save_edits(path: Path, edits: Sequence[Edit], made_for: str) -> None:
    """Write edits as npz, whole or not at all.

    Args:
        path: .npz.
        edits: in the order in which they count.
        made_for: `fingerprint` of the model.

    Raises:
        InputError: the name does not end in .npz, or the disk is full.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise InputError(f"{path} must end in .npz")
    arrays = {f"{i}.{name}": array for i, edit in enumerate(edits) for name, array in edit.voxels.to_arrays().items()}
    about = {"format": FORMAT, "made_for": made_for, "edits": [_describe(edit) for edit in edits]}
    try:
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"{path} could not be written ({error}); free space on the disk") from error


def load_edits(path: Path, made_for: str) -> list[Edit]:
    """Read what `save_edits` wrote.

    Args:
        path: .npz.
        made_for: `fingerprint` of the model that the edits are for.

    Raises:
        InputError: the file is missing, damaged, no such file, or was made for other weights.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    try:
        about = json.loads(str(arrays["about"]))
        found, belongs_to, described = about["format"], str(about["made_for"]), list(about["edits"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no saved edit of nerfseg; {_MEND}") from error
    if found != FORMAT:
        raise InputError(f"{path} has the format {found!r}, expected {FORMAT!r}; {_MEND}")
    if belongs_to != made_for:
        raise InputError(
            f"{path} was made for other weights than this run now has, as after more training, so its voxels would "
            f"mean other places; {_MEND}"
        )
    try:
        return [_restore(entry, _of_edit(arrays, i)) for i, entry in enumerate(described)]
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}; {_MEND}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({_first_line(error)}); {_MEND}") from error


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise ValueError("it holds a single array")
        with stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; it was moved or deleted: put it back, or {_MEND}") from error
    except Exception as error:  # numpy, zipfile and zlib raise many kinds for a truncated or foreign file
        raise InputError(f"{path} is no readable edit ({_first_line(error)}); {_MEND}") from error


def write_run_with_edit(run: Path, name: str, edit: Path) -> Path:
    """Write RUN/NAME.yml: the run's configuration with a saved edit, for every command that takes a --load-config.

    RUN/config.yml goes on to show the scene untouched.

    Args:
        run: the run's folder, or its config.yml.
        name: what the file is called, without .yml.
        edit: what `save_edits` wrote.

    Returns:
        RUN/NAME.yml.

    Raises:
        InputError: no such run, no such edit, a run of another method, or a name that is none.
    """
    run = Path(run)
    config_path = run / "config.yml" if run.is_dir() else run
    path = config_path.parent / f"{checked_name(name)}.yml"
    config = read_config(config_path)
    if not hasattr(config.pipeline.model, "edit"):
        raise InputError(f"{config_path} is a run of {config.method_name!r}, whose scenes cannot be edited; train isrf")
    if not Path(edit).is_file():
        raise InputError(f"{edit} does not exist; save the edit first")
    config.pipeline.model.edit = Path(edit).resolve()
    write_config(path, config)
    return path


def _describe(edit: Edit) -> dict[str, Any]:
    return {
        "name": edit.name,
        "action": edit.action,
        "color": list(edit.color),
        "strength": edit.strength,
        "luminance": edit.luminance,
        "transform": edit.transform.tolist(),
    }


def _restore(entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> Edit:
    red, green, blue = (float(value) for value in entry["color"])
    return Edit(
        name=str(entry["name"]),
        voxels=VoxelSet.from_arrays(arrays),
        action=entry["action"],
        color=(red, green, blue),
        strength=float(entry["strength"]),
        luminance=float(entry["luminance"]),
        transform=torch.tensor(entry["transform"], dtype=torch.float64),
    )


def _of_edit(arrays: dict[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    prefix = f"{index}."
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
