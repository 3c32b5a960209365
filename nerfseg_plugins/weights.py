"""Weights of networks, from a user's disk or their publisher, read without running what a pickle may hold."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import sha256_file

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_ADDRESS = re.compile(r"(https?):/+(.+)")
"""As `Path` leaves it, which knows no double slashes."""


def fetch(url: str, name: str, file: Optional[str] = None) -> Path:
    """The file of published weights, from torch's cache or downloaded into it.

    Args:
        url: where it is published.
        name: of the source, for messages.
        file: its name in the cache; None for that in the url.

    Raises:
        InputError: it cannot be downloaded; says what to download elsewhere and how to pass it.
    """
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / (file or url.rpartition("/")[2])
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path))
        except (OSError, RuntimeError) as error:  # urllib's URLError is an OSError
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"the weights of {name} could not be fetched ({reason}); download {url} on another machine and pass "
                "the file with --checkpoint"
            ) from error
    return path


def need_checkpoint(path: Optional[Path], source: str, what: str) -> tuple[Path, str]:
    """A checkpoint that exists, and its SHA-256; of a folder, that of its weights file.

    A `https://` or `http://` address is fetched: the one way in which a source without weights of its own asks the
    network.

    Raises:
        InputError: none was given, or it does not exist, cannot be fetched or holds no weights.
    """
    if path is None:
        raise InputError(f"the source {source} needs --checkpoint with {what}")
    path = Path(path)
    if address := _ADDRESS.match(path.as_posix()):
        path = fetch(f"{address[1]}://{address[2]}", source)
    if not path.exists():
        raise InputError(f"{path} does not exist; give --checkpoint {what}")
    if path.is_dir():
        files = sorted([*path.glob("*.safetensors"), *path.glob("*.bin")])
        if not files:
            raise InputError(f"{path} holds no *.safetensors or *.bin; give --checkpoint {what}")
        return path, sha256_file(files[0])
    return path, sha256_file(path)


def load_weights(path: Path, source: str) -> dict[str, Any]:
    """A state dict from a `.pth`, `.pt` or `.safetensors` file, without running what a pickle may hold.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    state = _read(path, source)
    state = state.get("model", state) if isinstance(state, dict) else state
    if not _is_state(state):
        raise InputError(f"{path} holds no state dict; save model.state_dict() of {source} there")
    return state


def load_states(path: Path, source: str) -> dict[str, dict[str, "Tensor"]]:
    """The state dicts of several networks by name, from one `.pth` or `.pt` file; what else it holds is left out.

    Raises:
        InputError: the file is damaged or holds no such.
    """
    found = _read(path, source)
    states = {name: state for name, state in found.items() if _is_state(state)} if isinstance(found, dict) else {}
    if not states:
        raise InputError(f"{path} holds no networks by name, so it is no checkpoint of {source}; give the right file")
    return states


def _read(path: Path, source: str) -> Any:
    """What a file of weights holds; a pickle may hold tensors and plain containers alone."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a bad file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is no readable checkpoint of {source} ({reason}); download or save it again"
        ) from error


def _is_state(found: Any) -> bool:
    import torch

    return isinstance(found, dict) and all(isinstance(value, torch.Tensor) for value in found.values())


def state_of(path: Path, name: str, prefix: Optional[str] = None) -> dict[str, "Tensor"]:
    """A file's weights; with a prefix only those below it, without it.

    Raises:
        InputError: the file is damaged, holds no weights, or none with the prefix.
    """
    state = load_weights(path, name)
    if prefix is None:
        return state
    state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not state:
        raise InputError(
            f"{path} holds no {prefix}*, so it is no checkpoint of {name}; give --checkpoint the right file"
        )
    return state


def load_into(network: "Module", state: dict[str, "Tensor"], path: Path, name: str) -> None:
    """Load weights strictly.

    Raises:
        InputError: a weight is missing, left over or of another shape.
    """
    wanted = network.state_dict()
    for key in wanted:
        if key not in state:
            raise InputError(f"{path} has no {key}, so it is no checkpoint of {name}; give --checkpoint the right file")
    for key, value in state.items():
        if key not in wanted:
            raise InputError(f"{path} holds {key}, which {name} has not; give --checkpoint the right file")
        if value.shape != wanted[key].shape:
            raise InputError(
                f"{path} has {key} of shape {tuple(value.shape)}, but {name} has {tuple(wanted[key].shape)}; give "
                "--checkpoint the right file"
            )
    network.load_state_dict(state)


def check_device(device: str) -> str:
    """The device, if torch has it.

    Raises:
        InputError: it has not.
    """
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {device} was asked for but torch sees no GPU; use --device cpu")
    return device
