"""Work in a thread of its own: in order, the last of a kind, and what is said of it."""

from threading import Event

import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.jobs import Jobs, told


@pytest.fixture
def held() -> tuple[Jobs, Event]:
    """Jobs of which the first waits for an event."""
    jobs, gate, begun = Jobs(), Event(), Event()

    def first() -> None:
        begun.set()
        assert gate.wait(20)

    jobs.submit(first)
    assert begun.wait(20)
    return jobs, gate


def test_jobs_are_done_in_order(held):
    (jobs, gate), done = held, []
    for number in range(5):
        jobs.submit(lambda number=number: done.append(number))
    assert not jobs.wait(0.05) and not done
    gate.set()
    assert jobs.wait(20) and done == [0, 1, 2, 3, 4]


def test_a_waiting_job_gives_way_to_a_newer_one_of_its_kind(held):
    (jobs, gate), done = held, []
    for name, kind in (("a", "slider"), ("b", None), ("c", "slider"), ("d", "other"), ("e", "slider"), ("f", None)):
        jobs.submit(lambda name=name: done.append(name), kind)
    gate.set()
    assert jobs.wait(20) and done == ["b", "d", "e", "f"]


def test_a_job_that_raises_does_not_stop_the_next(held, capsys):
    (jobs, gate), done = held, []

    def broken() -> None:
        raise RuntimeError("a bug")

    jobs.submit(broken)
    jobs.submit(lambda: done.append(1))
    gate.set()
    assert jobs.wait(20) and done == [1] and "a bug" in capsys.readouterr().err


def test_what_came_of_it_is_said():
    said: list[str] = []

    def refused() -> str:
        raise InputError("no such file: a_b")

    def broken() -> str:
        raise RuntimeError("a bug")

    assert told(lambda: "3 * 4", said.append) and said.pop() == r"3 \* 4 (0.0 s)"
    assert told(lambda: "", said.append) and not said
    assert not told(refused, said.append) and said.pop() == r"**Not done:** no such file: a\_b"
    with pytest.raises(RuntimeError, match="a bug"):
        told(broken, said.append)
    assert said.pop() == "**Failed** (RuntimeError); the terminal says where"
