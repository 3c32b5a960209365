"""Checkpoints: found, read and checked with errors that say what to do."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn

from nerfseg_plugins.errors import InputError

_NAME = re.compile(r"step-(\d+)\.ckpt")


def find_checkpoint(folder: Path, step: Optional[int] = None) -> Path:
    """The checkpoint of `step`, or the newest, in a run's `nerfstudio_models/`.

    Raises:
        InputError: no folder, or no such checkpoint in it.
    """
    folder = Path(folder)
    found = {int(match[1]): path for path in folder.glob("step-*.ckpt") if (match := _NAME.fullmatch(path.name))}
    if not found:
        raise InputError(
            f"{folder} holds no checkpoint (step-*.ckpt); train the run until its first save, or check the path"
        )
    if step is None:
        return found[max(found)]
    if step not in found:
        raise InputError(f"{folder} holds no checkpoint of step {step}; it has {sorted(found)}")
    return found[step]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a nerfstudio checkpoint to the CPU, weights only: a checkpoint cannot run code.

    Raises:
        InputError: missing, damaged, or not a nerfstudio checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated kinds for a damaged archive
        raise InputError(
            f"{path} cannot be read as a checkpoint ({_reason(path, error)}); it is damaged or of another program: "
            "delete it to fall back to an earlier one, or train again"
        ) from error
    if not isinstance(state, dict) or not {"step", "pipeline"} <= state.keys():
        raise InputError(f"{path} is not a nerfstudio checkpoint (no 'step' and 'pipeline' in it); pick another file")
    return state


def model_state(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The model's part of a checkpoint, keys as in `model.state_dict()`."""
    prefix = "_model."
    keys = {key.removeprefix("module."): value for key, value in state["pipeline"].items()}
    return {key.removeprefix(prefix).removeprefix("module."): v for key, v in keys.items() if key.startswith(prefix)}


def differences(module: nn.Module, state: dict[str, torch.Tensor], ignore: tuple[str, ...] = ()) -> list[str]:
    """What keeps `state` from loading strictly into `module`, one phrase each; keys that start with `ignore` aside."""
    own = {key: value for key, value in module.state_dict().items() if not key.startswith(ignore or ("\0",))}
    state = {key: value for key, value in state.items() if not key.startswith(ignore or ("\0",))}
    found = [f"{key} is missing" for key in own if key not in state]
    found += [f"{key} is unknown" for key in state if key not in own]
    for key, value in own.items():
        if key in state and state[key].shape != value.shape:
            found.append(f"{key} has shape {tuple(state[key].shape)}, expected {tuple(value.shape)}")
    return found


def _reason(path: Path, error: Exception) -> str:
    if not zipfile.is_zipfile(path):
        return "it is cut off or was never one"
    if isinstance(error, pickle.UnpicklingError):  # torch's own text is advice on how to load it nevertheless
        return "it holds more than tensors and numbers, which could run code"
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
