"""Saved dendrograms: what comes back, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, build_dendrogram
from nerfseg_plugins.ultrametric.hierarchy_file import load_hierarchy, save_hierarchy

from .scenes import patches


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "hierarchy.npz"
    save_hierarchy(path, patches(), "weights", "settings")
    return path


def refused(path: Path, match: str, made_from: str = "weights", settings: str | None = None) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_hierarchy(path, made_from, settings)
    assert str(path) in str(caught.value) and "nerfseg hierarchy" in str(caught.value)


@pytest.mark.parametrize("dendrogram", [patches(), build_dendrogram(np.zeros((1, 3)), np.ones((1, 2)))])
def test_what_is_saved_comes_back(tmp_path: Path, dendrogram: Dendrogram) -> None:
    path = tmp_path / "hierarchy.npz"
    save_hierarchy(path, dendrogram, "weights", "settings")
    found = load_hierarchy(path, "weights", "settings")
    for granularity in (0.0, 0.4, 0.7, 2.0):
        expected, cut = dendrogram.cut(granularity, 3), found.cut(granularity, 3)
        assert (cut.labels == expected.labels).all() and (cut.nodes == expected.nodes).all()
        assert (found.nodes.colors(cut.nodes) == dendrogram.nodes.colors(cut.nodes)).all()
    assert (found.points == dendrogram.points).all() and (found.features == dendrogram.features).all()
    assert [file.name for file in tmp_path.iterdir()] == ["hierarchy.npz"]


def test_gaps_that_nothing_joins_come_back(tmp_path: Path) -> None:
    path = tmp_path / "hierarchy.npz"
    points = np.concatenate([np.eye(3), 100 + np.eye(3)])
    save_hierarchy(path, build_dendrogram(points, np.ones((6, 2)), neighbors=2, linkage="single"), "weights")
    assert len(load_hierarchy(path, "weights").cut(2.0)) == 2


def test_a_file_of_other_weights_or_settings_is_refused(saved: Path) -> None:
    refused(saved, "other weights", "newer weights")
    refused(saved, "other settings", settings="others")


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.npz", "does not exist")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * share)])
    refused(saved, "no readable hierarchy")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, ids=np.zeros(3))
    refused(path, "no readable hierarchy")
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)
    refused(path, "no readable hierarchy")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("points", lambda a: a[:-1]),
        ("points", lambda a: a.astype(np.float64)),
        ("features", lambda a: a[:, 0]),
        ("features", None),
        ("order", lambda a: a * 0),
        ("order", lambda a: a - 1),
        ("ranks", lambda a: a[::-1]),
        ("ranks", lambda a: a + 1),
        ("heights", lambda a: a * np.nan),
        ("heights", lambda a: a - 1),
        ("heights", lambda a: a * 10),
        ("edges", lambda a: np.append(a, 1)),
        ("format", lambda a: np.array("nerfseg-hierarchy-0")),
        ("more", lambda a: np.zeros(3)),
        ("order", lambda a: np.array([None])),
    ],
)
def test_a_file_whose_arrays_do_not_fit(saved: Path, name: str, change) -> None:
    with np.load(saved) as stored:
        arrays = dict(stored)
    previous = arrays.pop(name, None)
    if change is not None:
        arrays[name] = change(previous)
    np.savez(saved, **arrays)
    refused(saved, "no readable hierarchy")


def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match=r"hierarchy\.npz could not be written.*free space"):
        save_hierarchy(tmp_path / "hierarchy.npz", patches(), "weights")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"hierarchy\.bin must end in \.npz"):
        save_hierarchy(tmp_path / "hierarchy.bin", patches(), "weights")
