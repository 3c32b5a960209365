"""Processes that work together: started together, watched, and ended together.

One that ends before its time would leave the others waiting for it. Here its launcher hears of it at once, stops the
others and says in one sentence which process it was, why, and how to go on. The other way round, a process ends with
its launcher. `compat.py` lets nerfstudio's `--machine.num-devices` start its processes here.
"""

import contextlib
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn, Optional

from nerfseg_plugins.errors import InputError

GRACE = 5.0
"""Seconds that a process gets to end by itself when it is asked to."""
LOST_PATIENCE = 2.0
"""Seconds in which we expect to hear why a process lost another one."""
_LOST = re.compile(r"gloo|nccl|ProcessGroup|TCPStore|(closed|reset) by peer", re.IGNORECASE)
_CHECKPOINT = re.compile(r"step-(\d+)\.ckpt")


class RankError(InputError):
    """A process ended before its time; the message says which, why, and how to go on."""


class Ranks:
    """Processes that run one function, each with its own number.

    Args:
        target: called in each process as `target(index, meet, *args)`; importable by its name. `meet()` returns once
            all processes have called it, however long that takes.
        args: for all processes alike.
        count: of processes.
        name: says what process `index` is called.
        advice: says how to go on after a failure; asked for only then, with whether the message already says how
            to mend what was wrong.
    """

    def __init__(
        self,
        target: Callable[..., None],
        args: Sequence[Any],
        count: int,
        name: Callable[[int], str] = lambda index: f"process {index}",
        advice: Callable[[bool], str] = lambda mended: "",
    ) -> None:
        self.processes: list[BaseProcess] = []
        self._pipes: dict[Connection, int] = {}
        self._failures: list[dict[str, Any]] = []
        self._met: set[int] = set()
        self._ended: set[int] = set()
        self._name, self._advice = name, advice
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        try:
            for index in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(target, index, theirs, tuple(args)))
                process.start()
                theirs.close()  # so that it is closed when the process ends
                self.processes.append(process)
                self._pipes[ours] = index
        except BaseException:
            self.stop()
            raise

    def join(self) -> None:
        """Wait for all of them to end.

        Raises:
            RankError: one has failed; none runs any more.
        """
        try:
            while self._pipes:
                self._listen(None)
                if any(not failure["lost"] for failure in self._failures):
                    self._fail()
                if self._failures:  # some other process is the reason
                    self._listen_for_the_reason()
                    self._fail()
            for process in self.processes:
                process.join()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End those that still run."""
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        deadline = time.monotonic() + GRACE
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
            process.join()

    def _listen_for_the_reason(self) -> None:
        deadline = time.monotonic() + LOST_PATIENCE
        while self._pipes and time.monotonic() < deadline:
            self._listen(max(0.0, deadline - time.monotonic()))
            if any(not failure["lost"] for failure in self._failures):
                return

    def _listen(self, timeout: Optional[float]) -> None:
        """Take what the processes say; a pipe that closes says that its process has ended."""
        for pipe in wait(list(self._pipes), timeout):
            assert isinstance(pipe, Connection)
            index = self._pipes[pipe]
            try:
                said = json.loads(pipe.recv_bytes())
            except (EOFError, ConnectionError):
                del self._pipes[pipe]
                self._close(index)
                continue
            if said["event"] == "met":
                self._met.add(index)
            elif said["event"] == "end":
                self._ended.add(index)
            else:
                self._failures.append({**said, "index": index})
        if len(self._met) == len(self.processes):
            self._met.clear()
            for pipe in self._pipes:
                _send(pipe, {"event": "all met"})

    def _close(self, index: int) -> None:
        """Find out why a process ended that has said nothing of it."""
        process = self.processes[index]
        process.join()
        if index not in self._ended and all(failure["index"] != index for failure in self._failures):
            why = _why(process.exitcode or 0)
            # Of a lost peer NCCL's guard makes an end by SIGABRT.
            lost = process.exitcode == -signal.SIGABRT
            self._failures.append({"why": why, "mended": False, "trace": "", "lost": lost, "index": index})

    def _fail(self) -> NoReturn:
        """Stop the others and report."""
        failure = min(self._failures, key=lambda failure: failure["lost"])  # the first of the kind
        self.stop()
        if failure["trace"]:
            print(failure["trace"], file=sys.stderr, end="", flush=True)
        advice = self._advice(failure["mended"])
        message = f"{self._name(failure['index'])} {failure['why']}"
        raise RankError(f"{message}; {advice}" if advice else message)


def _why(code: int) -> str:
    """What an exit code tells of a process that has said nothing."""
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL), as the system does when memory runs out"
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with exit code {code} before its work was done"


def how_to_go_on(checkpoints: Path, load_dir: Optional[Path], mended: bool = False) -> str:
    """What to tell the user of a run of nerfstudio that stopped.

    Args:
        checkpoints: the run's folder of checkpoints.
        load_dir: where the run itself was resumed from.
        mended: whether it has been said what to do before the command is run again.
    """
    for folder in (checkpoints, load_dir):
        names = [path.name for path in Path(folder).glob("*")] if folder is not None else []
        steps = [int(match[1]) for name in names if (match := _CHECKPOINT.fullmatch(name))]
        if steps:
            begin = "then" if mended else f"to continue after step {max(steps)},"
            return f"{begin} run the same command again with --load-dir {folder} after the method's name"
    return "" if mended else "no checkpoint had been written: run the same command again"


# In the processes ----------------------------------------------------------------------------------------------------


def _work(target: Callable[..., None], index: int, pipe: Connection, args: tuple[Any, ...]) -> None:
    """What a process does: its work, and a word to its launcher about the end of it."""
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    try:
        target(index, lambda: _meet(pipe), *args)
        _send(pipe, {"event": "end"})
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)  # the launcher was interrupted too
    except Exception as error:
        _send(pipe, _failure(error))
        sys.exit(1)


def _failure(error: Exception) -> dict[str, Any]:
    """What to tell of an exception: of bad input the sentence, of a mistake in the program where it is."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else ""
    said = f"{type(error).__name__}: {first}" if first else type(error).__name__
    report = {"event": "failure", "mended": False, "trace": "", "lost": False}
    if isinstance(error, InputError):
        return {**report, "mended": True, "why": f"cannot go on: {text}"}
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return {**report, "why": f"ran out of memory ({said}): use fewer rays or scenes per step"}
    report["trace"] = "".join(traceback.format_exception(error))
    if isinstance(error, RuntimeError) and _LOST.search(f"{type(error).__name__} {text}"):
        return {**report, "lost": True, "why": f"lost its connection to another process ({said})"}
    return {**report, "why": f"failed ({said})"}


def _meet(pipe: Connection) -> None:
    _send(pipe, {"event": "met"})
    pipe.recv_bytes()


def _send(pipe: Connection, message: dict[str, Any]) -> None:
    """JSON, since what a connection sends by itself are pickles."""
    with contextlib.suppress(ConnectionError):  # the other end is gone: whoever is left hears of that elsewhere
        pipe.send_bytes(json.dumps(message).encode())


def _end_with_launcher() -> None:
    """A process that waits for others would otherwise go on when nobody is left to end it."""
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    launcher.join()
    os._exit(1)  # the main thread may wait in a collective, where no exception reaches it
