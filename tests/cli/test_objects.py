"""`nerfseg objects` on two categories of tiny objects, with a network of random weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.cli.main import entrypoint
from nerfseg_plugins.evaluation.objects import METRICS
from nerfseg_plugins.files import read_json
from nerfseg_plugins.scene.run import load_run, render_views

from .category_runs import SIDE, VIEWS, write_object, write_run

ALL = ["discs/c", "discs/d", "rings/e"]


def nerfseg(monkeypatch: pytest.MonkeyPatch, config: Path, output: Path, *flags: str) -> None:
    command = ["nerfseg", "objects", "--load-config", str(config), "--output-path", str(output), *flags]
    monkeypatch.setattr(sys, "argv", command)
    entrypoint()


def refusal(monkeypatch: pytest.MonkeyPatch, config: Path, output: Path, *flags: str) -> str:
    with pytest.raises(SystemExit) as caught:
        nerfseg(monkeypatch, config, output, *flags)
    said = str(caught.value.code)
    assert said.startswith("error: ") and "\n" not in said
    return said


def test_all_objects_of_a_split(
    category: Path, category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    nerfseg(monkeypatch, category_run, tmp_path, "--views", "1", "3", "--depth", "npz", "--sheet-views", "2")
    found = read_json(tmp_path / "metrics.json")
    assert list(found["objects"]) == ALL and found["num_views"] == 3 * (VIEWS - 2) and found["lpips"] is None
    assert found["categories"]["discs"]["num_objects"] == 2 and found["objects"]["discs/d"]["sources"] == [1, 3]
    assert found["psnr"] == pytest.approx(np.mean([found["objects"][name]["psnr"] for name in ALL]))
    said = capsys.readouterr().out
    assert "rings" in said and "discs/c" in said
    # The same pictures as nerfstudio renders through the pipeline of a run that shows this object.
    folder = tmp_path / "discs" / "d"
    shown = write_run(category_run.parents[1] / "shown", category, scene="discs/d", views=(1, 3))
    views = {view.image_path.stem: view for view in render_views(load_run(shown), "val")}
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["compare.png", METRICS, *(f"{stem}{end}" for stem in views for end in (".png", "_depth.npz"))]
    )
    psnr = []
    for stem, view in views.items():
        rendered = view.outputs["rgb"].clamp(0, 1)
        picture = np.asarray(Image.open(folder / f"{stem}.png"))
        np.testing.assert_allclose(picture, rendered.numpy() * 255, atol=0.51)
        with np.load(folder / f"{stem}_depth.npz") as stored:
            np.testing.assert_allclose(stored["depth"], view.outputs["depth"][..., 0].numpy(), atol=1e-5)
        psnr.append(-10 * np.log10(float((rendered - view.batch["image"]).square().mean())))
    assert found["objects"]["discs/d"]["psnr"] == pytest.approx(np.mean(psnr), abs=1e-3)
    with Image.open(folder / "compare.png") as sheet:
        assert sheet.size == (4 * (SIDE + 4) - 4, 20 + 2 * (SIDE + 4) - 4)


def test_an_interrupted_evaluation_goes_on(
    category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    flags = ["--views", "1", "--max-targets", "2"]
    from nerfseg_plugins.evaluation import objects

    original = objects.ObjectResults.add

    def killed(self: objects.ObjectResults, figures: objects.ObjectFigures) -> None:
        if figures.name == "discs/d":
            raise KeyboardInterrupt
        original(self, figures)

    with monkeypatch.context() as patch:
        patch.setattr(objects.ObjectResults, "add", killed)
        with pytest.raises(SystemExit) as caught:
            nerfseg(patch, category_run, tmp_path, *flags)
        assert caught.value.code == 130
    assert not (tmp_path / METRICS).exists() and not (tmp_path / "discs" / "d" / METRICS).exists()
    marked = tmp_path / "discs" / "c" / METRICS
    record = json.loads(marked.read_text())
    record["views"]["0"]["psnr"] = 99.0
    marked.write_text(json.dumps(record))
    nerfseg(monkeypatch, category_run, tmp_path, *flags)
    assert "1 of 3 objects are done already" in capsys.readouterr().out
    found = read_json(tmp_path / METRICS)
    assert list(found["objects"]) == ALL and found["objects"]["discs/c"]["psnr"] > 50, "it was not made again"
    assert "of another max_targets (2, now 3)" in refusal(
        monkeypatch, category_run, tmp_path, "--views", "1", "--max-targets", "3"
    )
    nerfseg(monkeypatch, category_run, tmp_path, *flags, "--overwrite", "--scenes", "discs/c")
    assert read_json(tmp_path / METRICS)["objects"]["discs/c"]["psnr"] < 50


def test_results_of_another_run_are_refused(
    category: Path, category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    quick = ["--views", "1", "--max-targets", "1", "--scenes", "2", "--sheet-views", "0"]
    nerfseg(monkeypatch, category_run, tmp_path / "out", *quick)
    other = write_run(tmp_path / "other", category, seed=1)
    assert "holds results of another checkpoint" in refusal(monkeypatch, other, tmp_path / "out", *quick)


def test_which_views_are_rendered(category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    chosen = ["--views", "0", "--exclude-views", "3", "4", "--scenes", "rings/e", "--sheet-views", "0"]
    nerfseg(monkeypatch, category_run, tmp_path / "1", *chosen, "--include-sources")
    assert list(read_json(tmp_path / "1" / "rings" / "e" / METRICS)["views"]) == ["0", "1", "2", "5", "6"]
    nerfseg(monkeypatch, category_run, tmp_path / "2", *chosen, "--target-views", "2", "3", "0", "--no-pictures")
    assert list(read_json(tmp_path / "2" / "rings" / "e" / METRICS)["views"]) == ["2"]
    assert [path.name for path in (tmp_path / "2" / "rings" / "e").iterdir()] == [METRICS]
    nerfseg(monkeypatch, category_run, tmp_path / "3", *chosen, "--scale", "0.75", "--depth", "png")
    with Image.open(tmp_path / "3" / "rings" / "e" / "000001.png") as picture:
        assert picture.size == (12, 12)
    with Image.open(tmp_path / "3" / "rings" / "e" / "000001_depth.png") as depth:
        levels = np.asarray(depth)
    assert levels.shape == (12, 12) and levels.max() > 256, "16 bits"


def test_source_views_of_each_object(category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    listed = tmp_path / "views.txt"
    listed.write_text("discs c 2\n\nrings/e 0 4\nd 6\n")
    flags = ["--view-list", str(listed), "--max-targets", "1", "--sheet-views", "0"]
    nerfseg(monkeypatch, category_run, tmp_path / "out", *flags)
    found = read_json(tmp_path / "out" / METRICS)["objects"]
    assert [found[name]["sources"] for name in ALL] == [[2], [6], [0, 4]]

    def said(text: str) -> str:
        listed.write_text(text)
        return refusal(monkeypatch, category_run, tmp_path / "bad", *flags)

    assert f"line 2 of {listed} names discs/zzz, which the data have not" in said("discs c 2\ndiscs zzz 3\n")
    assert f"{listed} has no line for rings/e" in said("discs c 2\nd 1\n")
    assert f"line 2 of {listed} names discs/c a second time" in said("discs c 2\nc 3\n")
    assert f"line 1 of {listed} is 'discs c two'" in said("discs c two\n")
    assert f"line 1 of {listed} is 'discs c'" in said("discs c\n")
    assert "discs/c has no view 7; its 7 views count from 0" in said("discs c 7\ndiscs d 0\nrings e 0\n")
    both = [*flags, "--views", "1"]
    assert "not both" in refusal(monkeypatch, category_run, tmp_path / "bad", *both)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--views", "64"], "discs/c has no view 64; its 7 views count from 0"),
        (["--views", "1", "1"], "--views is 1 1; give each number once"),
        (["--views", "1", "--scenes", "discs/zzz"], "has no scene 'discs/zzz'"),
        (["--views", "1", "--scenes", "3"], "has no scene 3 in its split test; its 3 scenes count from 0"),
        (["--views", "1", "--split", "val"], "has no scenes in its split val"),
        (["--views", "1", "--target-views", "9"], "discs/c has no view 9; its 7 views count from 0 (--target-views)"),
        (["--views", "1", "--target-views", "1"], "no view of discs/c is left to render"),
        (["--views", "1", "--scale", "0"], "--scale is 0.0"),
        (["--views", "1", "--chunk", "0"], "--chunk is 0"),
        (["--views", "1", "--data", "/nowhere/at/all"], "/nowhere/at/all does not exist"),
        (["--views", "1", "--data", ".", "--dataparser", "x-data"], "'x-data', which is not installed"),
        (["--views", "1", "--set", "nothing=1"], "has no option 'nothing'"),
        (["--views", "1", "--near", "3"], "near 3 to far 2.75"),
    ],
)
def test_bad_flags(flags: list[str], said: str, category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert said in refusal(monkeypatch, category_run, tmp_path / "out", *flags)
    assert not list(tmp_path.rglob(METRICS))


def test_other_data_read_in_another_way(category_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A single object, by the parser that is named."""
    write_object(tmp_path / "single", seed=3)
    flags = ["--data", str(tmp_path / "single"), "--dataparser", "srn-data", "--views", "2", "--max-targets", "1"]
    nerfseg(monkeypatch, category_run, tmp_path / "out", *flags)
    assert list(read_json(tmp_path / "out" / METRICS)["objects"]) == ["single"]


def test_runs_of_other_methods_are_refused(tiny_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = refusal(monkeypatch, tiny_run.config, tmp_path)
    assert "instance-nerf-tiny, which knows the one scene" in said


def test_a_checkpoint_of_other_sizes(category: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = write_run(tmp_path / "run", category)
    path = next((tmp_path / "run" / "nerfstudio_models").iterdir())
    state = torch.load(path, weights_only=True)
    key = "_model.field.mlp_fine.lin_out.bias"
    state["pipeline"][key] = torch.zeros(5)
    torch.save(state, path)
    said = refusal(monkeypatch, config, tmp_path / "out", "--views", "1")
    assert str(path) in said and "lin_out.bias has shape (5,), expected (4,)" in said
