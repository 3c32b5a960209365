"""The processes of `ns-train METHOD --machine.num-devices N`: one for each GPU, or N on the CPU.

They take the place of those of nerfstudio's own launcher, whose arguments these functions have. Each process draws its
own rays, from the seed `machine.seed` + its rank, and all step by the mean of their gradients (NCCL on GPUs, gloo on
CPUs). Rank 0 alone writes checkpoints and shows the viewer.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.launch import Ranks, how_to_go_on


def start_ranks(
    target: Callable[..., None],
    count: int,
    main_func: Callable[..., None],
    world_size: int,
    num_devices_per_machine: int,
    machine_rank: int,
    dist_url: str,
    config: Any,
    timeout: timedelta,
    device_type: str = "cuda",
) -> Ranks:
    """Start the training processes of this machine.

    Args:
        target: what each runs: `train_rank` with nerfstudio as it must be.
        count: of processes on this machine.
        main_func: nerfstudio's `train_loop`.
        world_size: processes on all machines.
        num_devices_per_machine: as `count`.
        machine_rank: number of this machine.
        dist_url: where the processes meet.
        config: of the run.
        timeout: how long a process waits for the others in a collective.
        device_type: "cuda" or "cpu".

    Raises:
        InputError: there are no such devices.
    """
    if device_type == "mps":
        raise InputError("mps trains in one process; pass --machine.num-devices 1, or --machine.device-type cpu")
    devices = torch.cuda.device_count() if device_type == "cuda" else count
    if count > devices:
        raise InputError(
            f"--machine.num-devices is {count}, but CUDA devices here are {devices}; pass "
            f"{'at most that many, or ' if devices else ''}--machine.device-type cpu"
        )
    first = machine_rank * num_devices_per_machine
    return Ranks(
        target,
        (main_func, world_size, num_devices_per_machine, machine_rank, dist_url, config, timeout, device_type),
        count,
        lambda index: f"rank {first + index} of {world_size}",
        lambda mended: how_to_go_on(config.get_checkpoint_dir(), config.load_dir, mended),
    )


def train_rank(
    local_rank: int,
    meet: Callable[[], None],
    main_func: Callable[..., None],
    world_size: int,
    num_devices_per_machine: int,
    machine_rank: int,
    dist_url: str,
    config: Any,
    timeout: timedelta,
    device_type: str,
) -> None:
    """Train as one of several processes; the arguments are those of `start_ranks`, and what `Ranks` adds."""
    from nerfstudio.utils import comms

    rank = machine_rank * num_devices_per_machine + local_rank
    if device_type == "cuda":
        torch.cuda.set_device(local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:  # each on its share of the cores
        torch.set_num_threads(max(1, torch.get_num_threads() // num_devices_per_machine))
    if config.is_viewer_enabled() or config.is_viewer_legacy_enabled():
        timeout = max(timeout, timedelta(days=7))  # rank 0 can be paused for as long as a person likes
    config.start_paused = config.start_paused and rank == 0  # nobody could start the others
    backend = "nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=dist_url, world_size=world_size, rank=rank, timeout=timeout)
    for machine in range(world_size // num_devices_per_machine):
        begin = machine * num_devices_per_machine
        group = dist.new_group(list(range(begin, begin + num_devices_per_machine)))
        if machine == machine_rank:
            comms.LOCAL_PROCESS_GROUP = group
    main_func(local_rank, world_size, config, rank)
    meet()  # rank 0 keeps the viewer open, longer than a collective waits
    comms.synchronize()
    dist.destroy_process_group()
