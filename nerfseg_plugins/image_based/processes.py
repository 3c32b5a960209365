"""Training one image-based model in several processes, each on its own scenes.

    ns-train pixelnerf --machine.num-devices 4 --data CARS srn-data
    ns-train pixelnerf-tiny --machine.num-devices 2 --machine.device-type cpu --data CHAIRS srn-data

One process for each GPU (NCCL), or as many as are asked for on the CPU (gloo). Every process draws as many scenes and
rays as one would alone, so N processes make a batch N times as large; for an equal batch divide `scenes_per_batch`, or
where that is 1 `rays_per_scene`, by N. Scenes are dealt out, each to one process; where there are fewer scenes than
processes some are shared. The processes step together by the mean of their gradients, so their networks stay equal;
losses in the log are means over all of them. Rank 0 writes the checkpoints, and a checkpoint continues on any number of
processes. Where a process ends before its time the others are stopped, and one sentence says which it was, why, and how
to continue from the last checkpoint.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from nerfstudio.engine.trainer import TrainerConfig
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from nerfseg_plugins.errors import InputError

PLACES = ("machine", "logging", "viewer", "vis", "output_dir", "experiment_name", "project_name", "timestamp")
"""What may differ from machine to machine in one run, besides paths."""


class World(NamedTuple):
    """This process among all that train one model."""

    rank: int
    """Number of this process on all machines, from 0."""
    size: int
    """Processes on all machines."""


def world() -> World:
    """This process's rank, and how many processes train together; (0, 1) in an ordinary run."""
    if not (dist.is_available() and dist.is_initialized()):
        return World(0, 1)
    return World(dist.get_rank(), dist.get_world_size())


def wrap(model: nn.Module, local_rank: int) -> DistributedDataParallel:
    """The model with all processes' parameters made those of rank 0, and their gradients averaged from now on.

    Its forward call must be the only way by which parameters enter a loss.

    Args:
        model: on this process's device, with the same parameters in the same order everywhere.
        local_rank: number of this process, and of its GPU, on its machine.
    """
    on_gpu = any(parameter.is_cuda for parameter in model.parameters())
    # A step may leave parameters out: of the fine network, or of a head that waits for its stage.
    return DistributedDataParallel(model, device_ids=[local_rank] if on_gpu else None, find_unused_parameters=True)


def average(values: Mapping[str, Any]) -> dict[str, Any]:
    """Means over all processes of named scalars, such as losses; every process must call this with the same names.

    Returns:
        Tensors () without gradient; in an ordinary run the values themselves.
    """
    size = world().size
    if size == 1 or not values:
        return dict(values)
    names = sorted(values)
    total = torch.stack([torch.as_tensor(values[name]).detach().float().to(_device()).reshape(()) for name in names])
    dist.all_reduce(total)
    return dict(zip(names, total / size, strict=True))


def settings(config: TrainerConfig) -> dict[str, str]:
    """What has to be equal in all processes of a run: the name of each setting and its value."""
    found: dict[str, str] = {}
    for field in dataclasses.fields(config):
        if field.name not in PLACES:
            _collect(field.name, getattr(config, field.name), found)
    return found


def _collect(name: str, value: Any, found: dict[str, str]) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for key, part in value.items():
            _collect(f"{name}.{key}", part, found)
    elif isinstance(value, type) or callable(value):
        found[name] = getattr(value, "__qualname__", type(value).__qualname__)
    elif not isinstance(value, Path):  # data may lie elsewhere on another machine
        found[name] = repr(value)


def agree(mine: Mapping[str, str]) -> None:
    """Compare named values with those of rank 0; what is named on one side alone is not compared.

    Processes of one machine get their settings from one command, those of several machines from several.

    Raises:
        InputError: one differs, in this process.
    """
    if world().size == 1:
        return
    theirs: dict[str, str] = json.loads(_from_first(json.dumps(dict(mine)).encode()))
    for name, value in mine.items():
        if theirs.get(name, value) != value:
            raise InputError(
                f"{name} is {value} in rank {world().rank}, but {theirs[name]} in rank 0; start every machine with "
                "the same command and files"
            )


def _from_first(content: bytes) -> bytes:
    """The bytes that rank 0 has, in every process."""
    length = torch.tensor([len(content)], device=_device())
    dist.broadcast(length, src=0)
    data = torch.zeros(int(length), dtype=torch.uint8, device=_device())
    if world().rank == 0:
        data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    dist.broadcast(data, src=0)
    return bytes(data.cpu().numpy())


def _device() -> torch.device:
    """Where collectives take their tensors: NCCL knows GPUs alone."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
