"""Figures of many objects in a folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.objects import ObjectFigures, ObjectResults, mean_of, summary
from nerfseg_plugins.files import read_json

SETTINGS: dict[str, Any] = {"checkpoint": "abc", "views": (64, 104), "scale": 1.0}


def figures(name: str, *psnr: float, lpips: Any = None) -> ObjectFigures:
    views = {10 * index: {"psnr": value, "ssim": value / 100, "lpips": lpips} for index, value in enumerate(psnr)}
    return ObjectFigures(name, (64,), views, seconds=2.0)


def test_objects_count_alike():
    found = summary([figures("a/1", 10, 20), figures("a/2", 25), figures("b/1", 40, 40, 40, lpips=0.2)])
    assert found["psnr"] == pytest.approx((15 + 25 + 40) / 3) and found["ssim"] == pytest.approx(0.8 / 3)
    assert found["lpips"] is None, "of two objects it is unknown"
    assert (found["num_objects"], found["num_views"], found["seconds"]) == (3, 6, 6.0)
    assert found["categories"]["a"] == {
        "psnr": pytest.approx(20), "ssim": pytest.approx(0.2), "lpips": None, "num_objects": 2, "num_views": 3,
    }  # fmt: skip
    assert found["categories"]["b"]["lpips"] == pytest.approx(0.2)
    assert found["objects"]["a/1"] == {
        "psnr": 15, "ssim": pytest.approx(0.15), "lpips": None, "num_views": 2, "sources": [64],
    }  # fmt: skip
    assert summary([figures("chair", 10)])["categories"] == {}


def test_the_mean_of_nothing_is_unknown():
    assert mean_of([]) == {"psnr": None, "ssim": None, "lpips": None}
    assert mean_of([{"psnr": 1.0, "ssim": float("nan"), "lpips": None}])["ssim"] is None


def test_what_is_done_is_found_again(tmp_path: Path):
    results = ObjectResults(tmp_path, SETTINGS)
    assert results.get("a/1") is None
    results.add(figures("a/1", 10, 20))
    again = ObjectResults(tmp_path, {**SETTINGS, "views": [64, 104]})
    assert again.get("a/1") == figures("a/1", 10, 20) and again.get("a/2") is None
    assert read_json(tmp_path / "a" / "1" / "metrics.json")["mean"]["psnr"] == 15
    again.write_summary([figures("a/1", 10, 20)])
    assert read_json(tmp_path / "metrics.json")["num_objects"] == 1


def test_an_interrupted_write_leaves_no_half_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = ObjectResults(tmp_path, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            results.add(figures("a/1", 10))
    assert list(tmp_path.rglob("*metrics*")) == []
    assert ObjectResults(tmp_path, SETTINGS).get("a/1") is None


def test_other_settings_are_refused_and_replaced_when_asked(tmp_path: Path):
    ObjectResults(tmp_path, SETTINGS).add(figures("a/1", 10))
    other = {**SETTINGS, "scale": 0.5}
    with pytest.raises(InputError, match=rf"{tmp_path} holds results of another scale \(1.0, now 0.5\).*--overwrite"):
        ObjectResults(tmp_path, other)
    replaced = ObjectResults(tmp_path, other, overwrite=True)
    assert replaced.get("a/1") is None, "it is of the settings before"
    replaced.add(figures("a/1", 30))
    assert replaced.get("a/1") == ObjectResults(tmp_path, other).get("a/1") == figures("a/1", 30)
    assert ObjectResults(tmp_path, other, overwrite=True).get("a/1") is None, "begun anew"


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match="did not write"):
        ObjectResults(tmp_path, SETTINGS)
    assert not (tmp_path / "settings.json").exists()


def test_damaged_results_name_their_file(tmp_path: Path):
    results = ObjectResults(tmp_path, SETTINGS)
    results.add(figures("a/1", 10))
    path = tmp_path / "a" / "1" / "metrics.json"
    record = json.loads(path.read_text())
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match=str(path)):
        results.get("a/1")
    del record["views"]["0"]["psnr"]
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"{path} is no result"):
        results.get("a/1")


def test_names_stay_in_the_folder(tmp_path: Path):
    with pytest.raises(InputError, match="outside"):
        ObjectResults(tmp_path, SETTINGS).add(figures("../a", 10))
