"""Steps are taken back one by one."""

import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.history import MAX_UNDO, History


def test_undo_goes_back_step_by_step():
    nothing, one, two = (), ("a",), ("a", "b")
    first = History(nothing).then(one)
    second = first.then(two)
    assert second.then(second.now) is second, "a step that changes nothing is none"
    assert second.undone().now is one and second.undone().undone().now is nothing
    assert second.undone().then(two).undone().now is one


def test_undo_forgets_what_is_too_long_ago():
    history = History(0)
    for step in range(1, MAX_UNDO + 6):
        history = history.then(step)
    for _ in range(MAX_UNDO):
        history = history.undone()
    assert history.now == 5
    with pytest.raises(InputError, match="nothing left to undo"):
        history.undone()
