"""What a person does to a model in a panel: one step after the other, undone, saved and loaded."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.history import History
from nerfseg_plugins.scene.names import checked_name
from nerfseg_plugins.scene.stroke_access import StrokeAccess

State = TypeVar("State")


class BaseWorkbench(Generic[State]):
    """What a person has done to a model, and what can be done next. One call at a time.

    Every method but those that look says in a few words what came of it, and raises `InputError` where nothing did;
    then everything is as before.

    Args:
        model: what is worked on; held weakly, for it holds the panel.
        access: the viewer that shows it.
        doing: told what takes a while before it begins.
        nothing: the state in which nothing was done.
        folder: of saved files, in the run's.
    """

    def __init__(
        self, model: Any, access: StrokeAccess, doing: Callable[[str], None], nothing: State, folder: str
    ) -> None:
        self._model = weakref.ref(model)
        self._access = access
        self._doing = doing
        self._history = History(nothing)
        self._folder = folder

    @property
    def state(self) -> State:
        """What was done."""
        return self._history.now

    @property
    def model(self) -> Any:
        """The model."""
        found = self._model()
        assert found is not None, "the panel outlived its model"
        return found

    def become(self, state: State, said: str) -> str:
        """Do a step that can be undone."""
        self._history = self._history.then(state)
        return said

    def begin(self) -> None:
        """Begin with what the run shows already."""
        raise NotImplementedError

    def save(self, name: str) -> str:
        """Write what was done for other commands.

        Raises:
            InputError: there is nothing to save, the run still trains, or a file cannot be written.
        """
        raise NotImplementedError

    def undo(self) -> str:
        """Take back the last step."""
        self._history = self._history.undone()
        return "Took back the last step"

    def saved(self) -> dict[str, Path]:
        """What was saved in the run's folder, by name."""
        found = sorted((self._access.folder / self._folder).glob("*.npz"))
        return {path.stem: path for path in found if not path.name.startswith(".")}  # those are half written

    def _file_to_save(self, name: str) -> Path:
        """Where to save something.

        Raises:
            InputError: the run still trains, or it is no name.
        """
        if self._access.trains:
            raise InputError("the run still trains, so it would fit none of its checkpoints; save when it is done")
        return self._access.folder / self._folder / f"{checked_name(name)}.npz"

    def _file_to_load(self, name: str) -> Path:
        """Where something was saved.

        Raises:
            InputError: it is gone.
        """
        path = self.saved().get(name)
        if path is None:
            raise InputError(f"there is no {name!r} in {self._access.folder / self._folder}; save something first")
        return path
