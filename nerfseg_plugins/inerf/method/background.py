"""Work that nobody waits for, of which only the newest is worth doing."""

from collections.abc import Callable
from threading import Condition, Thread
from typing import Optional


class NewestJob:
    """Runs jobs in a thread of its own; one that has not begun gives way to a newer one.

    The thread starts with the first job and ends with the process. A job that raises ends it, as any thread's does:
    the traceback is printed, and the next job starts another.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: Optional[Callable[[], None]] = None
        self._busy = False
        self._thread: Optional[Thread] = None

    def submit(self, job: Callable[[], None]) -> None:
        """Do this next, instead of whatever has not begun yet."""
        with self._changed:
            self._waiting = job
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        with self._changed:
            return self._waiting is None and not self._busy

    def wait(self, seconds: float) -> bool:
        """Wait until there is nothing to do; False where that takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is None and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None)
                job, self._waiting, self._busy = self._waiting, None, True
            assert job is not None
            try:
                job()
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
