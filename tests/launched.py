"""What the processes of test_launch.py do; they import this module by its name."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.launch import Ranks


def fail_alone(rank: int, meet: Callable[[], None], folder: Path, fault: str) -> None:
    """Rank 1 fails; rank 0 would wait for ever."""
    if rank == 1:
        fail(fault)
    if fault != "nothing":
        signal.pause()
    (folder / f"before-{rank}").touch()
    meet()
    (folder / f"after-{rank}-{sum(path.name.startswith('before') for path in folder.iterdir())}").touch()


def fail_in_step(rank: int, meet: Callable[[], None], folder: Path, fault: str) -> None:
    """Rank 1 fails while rank 0 waits for it in an all-reduce, where no Python runs."""
    import torch
    from torch import distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/store", world_size=2, rank=rank)
    dist.all_reduce(torch.ones(1))
    if rank == 1:
        fail(fault)
    dist.all_reduce(torch.ones(1))


def fail(fault: str) -> None:
    """Rank 1's end."""
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "segmentation fault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "bad input":
        raise InputError("photo.png is broken; restore it")
    if fault == "mistake":
        raise KeyError("missing")
    if fault == "no memory":
        raise MemoryError("no more")
    if fault == "lost":
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.7]:1234")
    if fault == "left":
        os._exit(0)


def outlive_nobody(rank: int, meet: Callable[[], None], folder: Path) -> None:
    """Say that we are there, and wait for ever."""
    stream = os.open(folder / "alive", os.O_WRONLY)  # open until this process ends
    os.write(stream, b"%d" % rank)
    signal.pause()


if __name__ == "__main__":
    arguments: list[Any] = [Path(sys.argv[1])]
    Ranks(outlive_nobody, arguments, 2).join()
