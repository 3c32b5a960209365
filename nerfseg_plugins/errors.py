"""The one exception that means "your input is wrong", and how it reaches a person: one sentence, no traceback."""

import sys
from types import TracebackType
from typing import Optional


class InputError(ValueError):
    """Bad input: a file, a flag or a checkpoint that cannot be used.

    The message names the file, what is wrong with it and what to do.
    """


def install_excepthook() -> None:
    """Make an uncaught `InputError` end the process with its message alone and exit code 1.

    nerfstudio's commands call us, so this hook is how their users see a sentence and not our traceback.
    """
    if getattr(sys.excepthook, "shows_input_errors", False):
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
        if isinstance(error, InputError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    hook.shows_input_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
