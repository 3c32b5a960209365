"""Processes that end before their time, and what the others and their launcher do then."""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nerfseg_plugins import launch
from nerfseg_plugins.launch import RankError, Ranks, how_to_go_on

TOO_LONG = 40.0
"""Seconds; on a busy machine a process takes ten to begin."""


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch):
    """The functions of launched.py, under a name that processes can import."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import launched

    return launched


def ranks_of(target, folder: Path, fault: str) -> Ranks:
    return Ranks(
        target,
        (folder, fault),
        2,
        name=lambda index: f"rank {index} of 2",
        advice=lambda mended: "then go on" if mended else "go on",
    )


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("killed", "rank 1 of 2 was killed (SIGKILL), as the system does when memory runs out; go on"),
        ("segmentation fault", "rank 1 of 2 was killed by SIGSEGV; go on"),
        ("bad input", "rank 1 of 2 cannot go on: photo.png is broken; restore it; then go on"),
        (
            "no memory",
            "rank 1 of 2 ran out of memory (MemoryError: no more): use fewer rays or scenes per step; go on",
        ),
        ("mistake", "rank 1 of 2 failed (KeyError: 'missing'); go on"),
        ("left", "rank 1 of 2 ended with exit code 0 before its work was done; go on"),
    ],
)
def test_the_others_end_and_one_sentence_says_why(launched, tmp_path, capfd, fault: str, said: str):
    ranks = ranks_of(launched.fail_alone, tmp_path, fault)
    start = time.monotonic()
    with pytest.raises(RankError) as error:
        ranks.join()
    assert str(error.value) == said
    assert time.monotonic() - start < TOO_LONG
    assert not any(process.is_alive() for process in ranks.processes)
    assert ranks.processes[0].exitcode == -signal.SIGTERM, "it was asked to end"
    trace = capfd.readouterr().err
    assert ("Traceback" in trace) == (fault == "mistake"), "where it is matters of mistakes in the program alone"
    if fault == "mistake":
        assert trace.count("Traceback") == 1 and 'raise KeyError("missing")' in trace


@pytest.mark.parametrize(("fault", "why"), [("killed", "was killed (SIGKILL)"), ("bad input", "photo.png is broken")])
def test_one_that_waits_in_a_collective_ends(launched, tmp_path: Path, capfd, fault: str, why: str):
    """Whatever rank 0 says of its lost peer, the reason is rank 1's."""
    ranks = ranks_of(launched.fail_in_step, tmp_path, fault)
    with pytest.raises(RankError, match=re.escape(why)) as error:
        ranks.join()
    assert str(error.value).startswith("rank 1 of 2 ")
    assert not any(process.is_alive() for process in ranks.processes)
    assert "Traceback" not in capfd.readouterr().err


def test_a_lost_peer_elsewhere_is_the_reason_where_there_is_no_other(launched, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(launch, "LOST_PATIENCE", 0.1)
    ranks = ranks_of(launched.fail_alone, tmp_path, "lost")
    with pytest.raises(RankError, match=r"rank 1 of 2 lost its connection to another process .*closed by peer"):
        ranks.join()
    assert capfd.readouterr().err.count("Traceback") == 1


def test_all_meet_before_any_goes_on(launched, tmp_path: Path):
    ranks = ranks_of(launched.fail_alone, tmp_path, "nothing")
    ranks.join()
    assert [process.exitcode for process in ranks.processes] == [0, 0]
    after = sorted(path.name for path in tmp_path.glob("after-*"))
    assert [name[:7] for name in after] == ["after-0", "after-1"]
    assert all(name.endswith("-2") for name in after), "both had come before either went on"


def test_processes_end_with_their_launcher(tmp_path: Path):
    """Even where nothing is left that could end them: they hold the pipe open, and it closes."""
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    launcher = subprocess.Popen([sys.executable, str(Path(__file__).parent / "launched.py"), str(tmp_path)])
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            there = b""
            while len(there) < 2:
                assert selector.select(TOO_LONG), "both begin"
                there += os.read(reader, 2)
            assert sorted(there) == sorted(b"01")
            launcher.send_signal(signal.SIGKILL)
            launcher.wait(TOO_LONG)
            assert selector.select(TOO_LONG) and os.read(reader, 1) == b"", "nobody holds it any more"
    finally:
        launcher.kill()
        launcher.wait()
        os.close(reader)


def test_the_advice_names_the_last_checkpoint(tmp_path: Path):
    run, older = tmp_path / "run", tmp_path / "older"
    assert how_to_go_on(run, None) == "no checkpoint had been written: run the same command again"
    assert how_to_go_on(run, None, mended=True) == "", "the message says what to do"
    older.mkdir()
    (older / "step-000000120.ckpt").touch()
    again = "run the same command again with --load-dir {} after the method's name"
    assert how_to_go_on(run, older) == f"to continue after step 120, {again.format(older)}"
    run.mkdir()
    for name in ("step-000000400.ckpt", "step-000000300.ckpt", "notes.txt", "step-x.ckpt"):
        (run / name).touch()
    assert how_to_go_on(run, older) == f"to continue after step 400, {again.format(run)}"
    assert how_to_go_on(run, older, mended=True) == f"then {again.format(run)}"
