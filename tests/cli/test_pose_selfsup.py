"""`nerfseg pose selfsup` with trainings of a few steps, and the parts behind it."""

import dataclasses
import json
import math
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins import compat
from nerfseg_plugins.cli.main import entrypoint
from nerfseg_plugins.cli.pose_options import open_run
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json

compat.apply()

from nerfseg_plugins.scene.config_file import read_config  # noqa: E402

QUICK = ("--coarse", False, "--rays", 32, "--steps", 2, "--hypotheses", 4, "--init", "global")


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch):
    """Puts sys.argv back."""
    monkeypatch.setattr(sys, "argv", sys.argv)


def nerfseg(*arguments: object) -> None:
    sys.argv = ["nerfseg", "pose", "selfsup", *map(str, arguments)]
    entrypoint()


def refused(*arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        nerfseg(*arguments)
    return str(caught.value.code)


def demand(monkeypatch: pytest.MonkeyPatch, correlation: float) -> None:
    """Poses of a hardly trained scene are accepted if this says so."""
    from nerfseg_plugins.inerf.config import PRESETS, VerdictConfig

    verdict = VerdictConfig(correlation=correlation, step=math.inf, uncertainty=math.inf)
    monkeypatch.setitem(PRESETS, "best", dataclasses.replace(PRESETS["best"], verdict=verdict))


# The parts -----------------------------------------------------------------------------------------------------------


def test_the_fraction():
    from nerfseg_plugins.inerf.selfsup import choose

    chosen = choose(20, 0.25, seed=0)
    assert len(chosen) == 5 and chosen == sorted(set(chosen)) and chosen[0] >= 0 and chosen[-1] < 20
    assert choose(20, 0.25, seed=0) == chosen != choose(20, 0.25, seed=1)
    for fraction in (0.0, 1.0, 0.04, 0.99, math.nan):
        with pytest.raises(InputError) as caught:
            choose(20, fraction, seed=0)
        assert str(caught.value) == (
            f"--label-fraction is {fraction}: of 20 training views it must choose two or more, and not all"
        )


def test_views_with_poses_of_their_own(tiny_run, tmp_path: Path):
    """Listed views in the order of the data; one with another pose, all else as it was."""
    from nerfseg_plugins.dataparsers.subset import SubsetDataParserConfig

    whole = read_config(tiny_run.config).pipeline.datamanager.dataparser
    whole.data = tiny_run.data
    outputs = whole.setup().get_dataparser_outputs("train")
    pose = np.eye(4)
    pose[:3, 3] = (0.1, 0.2, 0.3)
    path = tmp_path / "views.json"
    images = [str(image) for image in outputs.image_filenames]
    found = {"file_path": images[6], "scene_transform_matrix": pose.tolist()}
    path.write_text(json.dumps({"frames": [found, {"file_path": images[2]}]}))
    parser = SubsetDataParserConfig(data=whole.data, whole=deepcopy(whole), views=path).setup()
    part = parser.get_dataparser_outputs("train")
    assert [str(image) for image in part.image_filenames] == [images[2], images[6]]
    torch.testing.assert_close(part.cameras.camera_to_worlds[0], outputs.cameras.camera_to_worlds[2])
    torch.testing.assert_close(part.cameras.camera_to_worlds[1], torch.from_numpy(pose[:3]).float())
    assert part.cameras.fx[:, 0].tolist() == outputs.cameras.fx[[2, 6], 0].tolist()
    masks = outputs.metadata["mask_filenames"]
    assert part.metadata["mask_filenames"] == [masks[2], masks[6]]
    assert part.metadata["bounded"] and part.dataparser_scale == outputs.dataparser_scale
    val = parser.get_dataparser_outputs("val")
    assert len(val.image_filenames) == 3
    torch.testing.assert_close(part.scene_box.aabb, outputs.scene_box.aabb)
    # The parser's own outputs are left alone.
    again = whole.setup().get_dataparser_outputs("train")
    torch.testing.assert_close(again.cameras.camera_to_worlds, outputs.cameras.camera_to_worlds)


def test_bad_lists_of_views(tiny_run, tmp_path: Path):
    from nerfseg_plugins.dataparsers.subset import chosen

    whole = read_config(tiny_run.config).pipeline.datamanager.dataparser
    whole.data = tiny_run.data
    outputs = whole.setup().get_dataparser_outputs("train")
    path = tmp_path / "views.json"

    def fails(frames: list[dict[str, Any]]) -> str:
        path.write_text(json.dumps({"frames": frames}))
        with pytest.raises(InputError) as caught:
            chosen(outputs, path)
        return str(caught.value)

    image = str(outputs.image_filenames[0])
    assert fails([{"file_path": "/no.png"}]) == (
        f"{path} lists /no.png, which is none of the training views; write it again"
    )
    assert fails([]) == f"{path} lists no views; there is nothing to train on"
    mirrored = np.diag([-1.0, 1, 1, 1]).tolist()
    assert f"{image} in {path} has a pose whose rotation mirrors" in fails(
        [{"file_path": image, "scene_transform_matrix": mirrored}]
    )


def test_geometry_that_has_seen_all_views_is_refused(tiny_run, tmp_path: Path):
    from nerfseg_plugins.inerf.selfsup import part_config

    config: Any = read_config(tiny_run.config)
    config.pipeline.pretrained = Path("RUN/config.yml")
    with pytest.raises(InputError) as caught:
        part_config(config, tmp_path / "views.json", tmp_path, "labelled", None)
    assert str(caught.value) == (
        "the run took its geometry, which has seen all views, from another; pass that run, RUN/config.yml"
    )


# The command ---------------------------------------------------------------------------------------------------------


def test_the_command(tiny_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    demand(monkeypatch, -2.0)
    common = ("--load-config", tiny_run.config, "--output-path", tmp_path, "--train-steps", 20, *QUICK)
    nerfseg(*common, "--label-fraction", 0.5, "--oracle")
    metrics = read_json(tmp_path / "metrics.json")
    assert list(metrics["psnr"]) == ["labelled", "selfsup", "oracle"]
    assert all(5 < value < 40 for value in metrics["psnr"].values())
    assert (metrics["training_views"], metrics["labelled"], metrics["accepted"]) == (10, 5, 5)
    listed = {name: read_json(tmp_path / "views" / f"{name}.json")["frames"] for name in metrics["psnr"]}
    assert [len(frames) for frames in listed.values()] == [5, 10, 10]
    poses = read_json(tmp_path / "found" / "poses.json")["frames"]
    by_image = {frame["file_path"]: frame["scene_transform_matrix"] for frame in poses}
    found = [frame for frame in listed["selfsup"] if "scene_transform_matrix" in frame]
    assert len(found) == 5
    for frame in found:
        np.testing.assert_allclose(frame["scene_transform_matrix"], by_image[frame["file_path"]], atol=1e-6)
    runs = [open_run(path) for path in sorted((tmp_path / "runs").glob("*/*/*/config.yml"))]
    assert [len(run.dataset("train")) for run in runs] == [5, 10, 10]
    first, *others = (run.dataset("val").cameras.camera_to_worlds for run in runs)
    assert all(torch.equal(first, other) for other in others), "all are measured by the same cameras"
    said = capsys.readouterr().out
    assert "5 of 5 photos without a pose were accepted" in said and "5 with their poses, 5 with poses found" in said

    checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ckpt")}
    nerfseg(*common, "--label-fraction", 0.5, "--oracle")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.ckpt")} == checkpoints, "nothing is repeated"
    assert read_json(tmp_path / "metrics.json")["psnr"] == pytest.approx(metrics["psnr"], abs=1e-4)
    assert refused(*common, "--label-fraction", 0.4) == (
        f"error: {tmp_path} holds trainings of another label_fraction (0.5, now 0.4); give --output-path another folder"
    )


def test_nothing_is_accepted(tiny_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    demand(monkeypatch, 2.0)
    common = ("--load-config", tiny_run.config, "--output-path", tmp_path, "--train-steps", 10, *QUICK)
    nerfseg(*common, "--label-fraction", 0.8)
    metrics = read_json(tmp_path / "metrics.json")
    assert list(metrics["psnr"]) == ["labelled"] and metrics["accepted"] == 0
    assert "no pose was accepted, so there is nothing to train again on; give a larger" in capsys.readouterr().out


def test_bad_input(tiny_run, tmp_path: Path):
    missing = tmp_path / "config.yml"
    assert refused("--load-config", missing) == (
        f"error: {missing} does not exist; pass the config.yml inside a run's folder (outputs/.../config.yml)"
    )
    run = ("--load-config", tiny_run.config, "--output-path", tmp_path / "out")
    assert refused(*run, "--train-steps", 0) == "error: --train-steps is 0; give 1 or more"
    assert refused(*run, "--label-fraction", 1) == (
        "error: --label-fraction is 1.0: of 10 training views it must choose two or more, and not all"
    )
    assert not (tmp_path / "out").exists()
