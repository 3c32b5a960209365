"""What a person has done in a viewer, step by step, so that steps can be taken back."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from nerfseg_plugins.errors import InputError

MAX_UNDO = 50
"""Steps that can be taken back."""
State = TypeVar("State")


@dataclass(frozen=True)
class History(Generic[State]):
    """A state that is never changed but replaced, and how it was before."""

    now: State
    before: tuple[State, ...] = ()
    """The newest last."""

    def then(self, now: State) -> "History[State]":
        """After a step; one that changes nothing cannot be taken back."""
        return self if now is self.now else History(now, (*self.before, self.now)[-MAX_UNDO:])

    def undone(self) -> "History[State]":
        """Before the last step.

        Raises:
            InputError: there is none.
        """
        if not self.before:
            raise InputError("there is nothing left to undo")
        return History(self.before[-1], self.before[:-1])
