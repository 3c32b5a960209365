"""`nerfseg pose benchmark` on a tiny run, and the protocol behind it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfseg_plugins.cli.main import entrypoint
from nerfseg_plugins.cli.pose_options import SearchChanges, SearchOptions, open_run
from nerfseg_plugins.files import read_json

QUICK = {"coarse": False, "rays": 32, "steps": 2, "samples_per_ray": 0}


@pytest.fixture(scope="module")
def run(tiny_run) -> Any:
    return open_run(tiny_run.config)


@pytest.fixture(scope="module")
def queries(run) -> list[Any]:
    from nerfseg_plugins.inerf.protocol import held_out_queries

    return held_out_queries(run)


# The protocol --------------------------------------------------------------------------------------------------------


def test_held_out_views_are_queries_with_truth(run, queries: list[Any], tiny_run):
    from nerfseg_plugins.inerf.protocol import held_out_queries

    assert [query.name for query in queries] == ["0010", "0011", "0012"]
    cameras = run.dataset("val").cameras
    for index, query in enumerate(queries):
        with Image.open(tiny_run.data / "images" / f"{query.name}.png") as image:
            np.testing.assert_allclose(query.image.numpy(), np.asarray(image) / 255.0, atol=1e-6)
        torch.testing.assert_close(query.truth, cameras.camera_to_worlds[index])
        rays = cameras.generate_rays(index, keep_shape=True)
        turned = query.directions @ query.truth[:, :3].T
        torch.testing.assert_close(turned, rays.directions, atol=1e-5, rtol=0)
        assert query.start is None and bool(query.mask.all())
    assert [query.name for query in held_out_queries(run, 2)] == ["0010", "0012"]
    assert [query.name for query in held_out_queries(run, 99, "train")] == [f"{index:04d}" for index in range(10)]


@pytest.mark.parametrize(("protocol", "degrees", "distance"), [("synthetic", 40, 0.2), ("small", 10, 0.05)])
def test_starts_lie_around_the_truth(queries: list[Any], protocol: Any, degrees: float, distance: float):
    from nerfseg_plugins.inerf.protocol import draw_starts

    starts: Any = draw_starts(queries, protocol, 60, seed=1)
    angles, shifts = [], []
    for query, own in zip(queries, starts, strict=True):
        true = query.truth.double().numpy()
        for start in own:
            turn = start.double().numpy()[:, :3] @ true[:, :3].T
            angles.append(np.degrees(Rotation.from_matrix(turn).magnitude()))
            shifts.append(start.double().numpy()[:, 3] - turn @ true[:, 3])  # about the world's origin, then moved
    assert 0.9 * degrees < max(angles) <= degrees + 1e-3 and np.mean(angles) == pytest.approx(degrees / 2, rel=0.15)
    assert 0.9 * distance < np.abs(shifts).max() < 1.6 * distance
    more = draw_starts(queries[:2], protocol, 70, seed=1)
    torch.testing.assert_close(more[1][59], starts[1][59])
    others: Any = draw_starts(queries, protocol, 1, seed=2)
    assert not torch.equal(others[0][0], starts[0][0])


def test_no_start_and_the_truth_itself(queries: list[Any]):
    from nerfseg_plugins.inerf.protocol import draw_starts

    assert draw_starts(queries, "global", 2, seed=0) == [[None, None]] * 3
    torch.testing.assert_close(draw_starts(queries, "truth", 1, seed=0)[2][0], queries[2].truth)


def test_a_dark_photo_with_a_green_cast(queries: list[Any]):
    from nerfseg_plugins.inerf.protocol import Disturbance, disturbed

    dark = disturbed(queries[0], Disturbance(exposure=0.6, green_cast=0.1), seed=0)
    gain = torch.tensor([0.6 * 0.9, 0.6 * 1.1, 0.6 * 0.9])
    torch.testing.assert_close(dark.image, queries[0].image * gain)
    bright = disturbed(queries[0], Disturbance(exposure=5.0), seed=0)
    assert float(bright.image.max()) == 1.0
    assert torch.equal(disturbed(queries[0], Disturbance(), seed=0).image, queries[0].image)


def test_an_occluder_covers_its_share(queries: list[Any]):
    from nerfseg_plugins.inerf.protocol import Disturbance, disturbed

    clean = queries[1].image.clone()
    corners = set()
    for seed in range(12):
        photo = disturbed(queries[1], Disturbance(occluder=0.2), seed)
        rows, columns = (photo.image != clean).any(dim=-1).nonzero().unbind(-1)
        tall, wide = (int(side.max() - side.min()) + 1 for side in (rows, columns))
        assert tall * wide / clean[..., 0].numel() == pytest.approx(0.2, abs=0.03)
        assert float(photo.image[rows, columns].std()) > 0.1, "it has a texture"
        assert bool(photo.mask.all()), "nobody says where it is"
        corners.add((int(rows.min()), int(columns.min())))
        torch.testing.assert_close(disturbed(queries[1], Disturbance(occluder=0.2), seed).image, photo.image)
    assert len(corners) > 6
    assert torch.equal(queries[1].image, clean)


def test_trials(run, queries: list[Any]):
    from nerfseg_plugins.inerf.of_run import estimator_of_run
    from nerfseg_plugins.inerf.protocol import draw_starts, report, trials

    options: Any = {**QUICK, "hypotheses": 3, "init": "global", "seed": 5}
    estimator = estimator_of_run(run, SearchOptions(**options).config())
    done = list(trials(estimator, queries[:1], draw_starts(queries[:1], "global", 2, seed=0)))
    assert [(trial.view, trial.number) for trial in done] == [("0010", 0), ("0010", 1)]
    assert not torch.equal(done[0].estimate.hypotheses, done[1].estimate.hypotheses), "each has draws of its own"
    assert estimator.config.seed == 5
    again = next(trials(estimator, queries[:1], [[None]]))
    torch.testing.assert_close(again.estimate.c2w, done[0].estimate.c2w)
    figures: Any = report(done, scale=2.0)
    records = [trial.record() for trial in done]
    assert figures["count"] == 2
    assert figures["rotation_max"] == pytest.approx(max(record["rotation_error"] for record in records))
    assert figures["seconds_median"] == pytest.approx(np.mean([record["seconds"] for record in records]))
    assert figures["translation_median_data"] == pytest.approx(figures["translation_median"] / 2)


def test_a_trial_with_nothing_to_begin_with_fails(run, queries: list[Any]):
    from nerfseg_plugins.inerf.of_run import estimator_of_run
    from nerfseg_plugins.inerf.protocol import report, trials

    options: Any = QUICK
    estimator = estimator_of_run(run, SearchChanges(**options).changed("lm"))
    (trial,) = trials(estimator, queries[:1], [[None]])
    record = trial.record()
    assert record["rotation_error"] is None and not record["converged"] and "no pose to start from" in record["reason"]
    figures = report([trial], scale=1.0)
    assert (figures["joint_rate"], figures["not_finite"], figures["rotation_max"]) == (0, 1, None)


def test_a_damaged_scene_never_converges(tiny_run, tmp_path: Path):
    """Weights that are not numbers: the estimate says so, and what is written can be read."""
    from nerfseg_plugins.inerf.of_run import estimator_of_run
    from nerfseg_plugins.inerf.output.report import RunInfo
    from nerfseg_plugins.inerf.output.store import Results
    from nerfseg_plugins.inerf.protocol import held_out_queries, report, trials

    run = open_run(tiny_run.config)
    field: Any = run.pipeline.model.field
    for weights in field.parameters():
        weights.data.fill_(torch.nan)
    queries = held_out_queries(run, 1)
    options: Any = QUICK
    estimator = estimator_of_run(run, SearchChanges(**options).changed("lm"))
    (trial,) = trials(estimator, queries, [[queries[0].truth]])
    assert not trial.estimate.converged
    assert report([trial], scale=1.0)["converged_rate"] == 0
    Results(tmp_path, {}, queries, RunInfo.of(run), overwrite=False).add(queries[0], trial.estimate)
    frame = read_json(tmp_path / "poses.json")
    (only,) = frame["frames"] or frame["failed"]
    assert not only["converged"] and only["reason"] == trial.estimate.reason


# The command ---------------------------------------------------------------------------------------------------------


def nerfseg(*arguments: object) -> None:
    sys.argv = ["nerfseg", "pose", "benchmark", *map(str, arguments)]
    entrypoint()


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch):
    """Puts sys.argv back."""
    monkeypatch.setattr(sys, "argv", sys.argv)


def test_the_command(tiny_run, tmp_path: Path, capsys):
    path = tmp_path / "benchmark.json"
    quick = ("--coarse", False, "--rays", 32, "--steps", 2, "--samples-per-ray", 0)
    common = ("--load-config", tiny_run.config, "--output-path", path, "--views", 2, "--starts", 2, *quick)
    nerfseg(*common, "--protocol", "small", "--presets", "lm", "classic", "--exposure", 0.6, "--occluder", 0.2)
    found = read_json(path)
    assert list(found["presets"]) == ["lm", "classic"]
    assert found["settings"]["protocol"] == "small" and found["settings"]["occluder"] == 0.2
    for name, metrics in found["presets"].items():
        assert metrics["count"] == len(found["trials"][name]) == 4
        right = [t["rotation_error"] < 5 and t["translation_error"] < 0.05 for t in found["trials"][name]]
        assert metrics["joint_rate"] == pytest.approx(np.mean(right))
    starts = [[t["start_rotation_error"] for t in found["trials"][name]] for name in ("lm", "classic")]
    assert starts[0] == starts[1] and max(starts[0]) <= 10, "all presets start at the same places"
    said = capsys.readouterr().out
    assert "small; right: < 5 degrees, < 0.05 scene units" in said
    assert "median seconds" in said and "classic" in said


def test_bad_input(tiny_run, tmp_path: Path):
    def refused(*arguments: object) -> str:
        with pytest.raises(SystemExit) as caught:
            nerfseg("--output-path", tmp_path / "found.json", *arguments)
        return str(caught.value.code)

    common = ("--load-config", tiny_run.config)
    missing = tmp_path / "config.yml"
    assert refused("--load-config", missing) == (
        f"error: {missing} does not exist; pass the config.yml inside a run's folder (outputs/.../config.yml)"
    )
    assert refused(*common, "--output-path", "found.txt") == "error: found.txt must end in .json"
    assert refused(*common, "--protocol", "global") == (
        "error: preset lm needs a start, and the protocol global gives none; use --presets best"
    )
    assert refused(*common, "--views", 0) == "error: --views is 0; give 1 or more"
    assert refused(*common, "--occluder", 1) == "error: --occluder is 1.0; give a number between 0 and 1"
    assert refused(*common, "--green-cast", "nan") == "error: --green-cast is nan; give a number between -1 and 1"
    known = "best, lm, adam, category, classic"
    assert refused(*common, "--presets") == f"error: --presets names none; give one or more of {known}"
