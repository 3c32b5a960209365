"""Saved selections as configurations, and scenes whose 2D features are not whole."""

import shutil
from pathlib import Path

import pytest

from nerfseg_plugins.cli.image_based import DataOptions
from nerfseg_plugins.cli.open import Open
from nerfseg_plugins.cli.segment import Segment
from nerfseg_plugins.cli.segment_strokes import StrokeOptions
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.saved import write_run_with_segments
from nerfseg_plugins.scene.config_file import read_config

from .conftest import Stages


@pytest.fixture
def run(stages: Stages, tmp_path: Path) -> Path:
    """A folder with no more of a run than its configuration."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(stages.gsn, folder / "config.yml")
    return folder


def test_a_selection_is_shown_by_a_configuration_of_its_own(run: Path, rooms: Path):
    before = (run / "config.yml").read_bytes()
    segments = run / "segments" / "things.npz"
    segments.parent.mkdir()
    segments.write_bytes(b"whatever Query.save wrote")
    pipeline = read_config(run / "config.yml").pipeline
    pipeline.datamanager.data = rooms / "room_4"
    path = write_run_with_segments(run, pipeline, "things", segments)
    written = read_config(path)
    assert path == run / "things.yml" and written.pipeline.model.segments == segments.resolve()
    assert written.data == written.pipeline.datamanager.data == rooms / "room_4"
    assert pipeline.model.segments is None and (run / "config.yml").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "missing", "says"),
    [
        ("../things", "", "no name for what is saved"),
        ("things", "segments.npz", r"segments\.npz does not exist; save the selection first"),
        ("things", "config.yml", r"config\.yml does not exist"),
    ],
)
def test_nothing_is_written_where_something_is_missing(run: Path, name: str, missing: str, says: str):
    segments = run / "segments.npz"
    segments.write_bytes(b"whatever Query.save wrote")
    pipeline = read_config(run / "config.yml").pipeline
    if missing:
        (run / missing).unlink()
    with pytest.raises(InputError, match=says):
        write_run_with_segments(run, pipeline, name, segments)
    assert not list(run.parent.rglob("things.yml"))


def test_features_that_are_missing_for_one_source_view_are_named(stages: Stages, rooms: Path, tmp_path: Path):
    """The view is one of those that are looked at; nothing is written."""
    run = shutil.copytree(stages.gsn.parent, tmp_path / "run")
    room = shutil.copytree(rooms / "room_4", tmp_path / "room")
    Open(run / "config.yml", where=DataOptions(data=room), name="room").main()
    missing = room / "features" / "labels" / "image001.npz"
    missing.unlink()
    strokes = StrokeOptions(positive_points=["image001:20,15"], radius=1)
    with pytest.raises(InputError, match="has no features of") as caught:
        Segment(run / "room.yml", "thing", strokes, resolution=16).main()
    said = str(caught.value)
    assert str(room / "images" / "image001.png") in said and "nerfseg features --data" in said
    assert not (run / "segments").exists() and not (run / "thing.yml").exists()
