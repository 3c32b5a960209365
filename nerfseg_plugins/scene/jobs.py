"""Work that takes a while, done in the order in which it was asked for."""

import sys
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Optional


class Jobs:
    """Runs jobs one after the other in a thread of its own, which ends with the process.

    A job that raises is reported as an uncaught exception of any thread is, on the terminal; the next one runs.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False
        self._thread: Optional[Thread] = None

    def submit(self, job: Callable[[], None]) -> None:
        """Do this after all that was asked for before."""
        with self._changed:
            self._waiting.append(job)
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
                job, self._busy = self._waiting.popleft(), True
            try:
                job()
            except Exception:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
