"""Work that takes a while, done in the order in which it was asked for."""

import sys
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Optional

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.elements import plain


class Jobs:
    """Runs jobs one after the other in a thread of its own, which ends with the process.

    A job that raises is reported as an uncaught exception of any thread is, on the terminal; the next one runs.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[tuple[Callable[[], object], Optional[str]]] = deque()
        self._busy = False
        self._thread: Optional[Thread] = None

    def submit(self, job: Callable[[], object], kind: Optional[str] = None) -> None:
        """Do this after all that was asked for before.

        Args:
            job: what to do.
            kind: a job of the same kind that still waits gives way to this one: of what a slider asks for while it
                moves, only the last matters.
        """
        with self._changed:
            if kind is not None:
                self._waiting = deque(waiting for waiting in self._waiting if waiting[1] != kind)
            self._waiting.append((job, kind))
            if self._thread is None:
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until everything is done; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                (job, _), self._busy = self._waiting.popleft(), True
            try:
                job()
            except Exception:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()


def told(work: Callable[[], str], say: Callable[[str], None]) -> bool:
    """Do something and say what came of it, and how long it took.

    Args:
        work: returns what is to be said; where that is nothing, nothing is.
        say: shows Markdown.

    Returns:
        Whether it was done; not where it raised an `InputError`, which is said.
    """
    start = time.perf_counter()
    try:
        said = work()
    except InputError as error:
        say(f"**Not done:** {plain(str(error))}")
        return False
    except Exception as error:
        say(f"**Failed** ({plain(type(error).__name__)}); the terminal says where")
        raise
    if said:
        say(f"{plain(said)} ({time.perf_counter() - start:.1f} s)")
    return True
