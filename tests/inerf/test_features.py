"""Poses found by what a head shows, instead of colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins import compat
from nerfseg_plugins.errors import InputError

compat.apply()

from nerfseg_plugins.evaluation.poses import rotation_error_degrees  # noqa: E402
from nerfseg_plugins.inerf.config import PRESETS  # noqa: E402
from nerfseg_plugins.inerf.hypotheses import perturbed  # noqa: E402
from nerfseg_plugins.inerf.of_run import estimator_of_run  # noqa: E402
from nerfseg_plugins.inerf.photos import read_features  # noqa: E402
from nerfseg_plugins.inerf.pixels import sampled  # noqa: E402
from nerfseg_plugins.inerf.protocol import held_out_queries  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402

ONLY_FEATURES = replace(
    PRESETS["lm"],
    features="instance_logits",
    samples_per_ray=0,  # as the map was rendered
    photometric=replace(PRESETS["lm"].photometric, channels="none", scale=1.0),
)


def test_a_head_alone_finds_the_camera(tiny_run):
    """The map is what the run itself shows from the true pose; the photo's colours are not looked at."""
    run = load_run(tiny_run.config)
    query = held_out_queries(run, 1)[0]
    logits = next(iter(render_views(run, "val", ("instance_logits",)))).outputs["instance_logits"]
    query = replace(query, image=torch.rand(query.image.shape), features=logits)
    start = perturbed(query.truth, 6.0, 0.02, torch.Generator().manual_seed(1))
    estimate = estimator_of_run(run, ONLY_FEATURES).estimate(query, start)
    before, after = (
        rotation_error_degrees(pose.numpy()[None], query.truth.numpy()[None])[0] for pose in (start, estimate.c2w)
    )
    assert before > 0.8
    assert after < 0.05


def test_a_map_needs_an_output_and_the_other_way_round(tiny_run):
    run = load_run(tiny_run.config)
    query = held_out_queries(run, 1)[0]
    with pytest.raises(InputError, match=f"{query.path.name} has no feature map for 'instance_logits'"):
        estimator_of_run(run, ONLY_FEATURES).estimate(query, query.truth)
    with pytest.raises(InputError, match="has a feature map, but no output of the run is named"):
        estimator_of_run(run, replace(PRESETS["lm"], coarse=False)).estimate(
            replace(query, features=torch.zeros(4, 4, 2)), query.truth
        )
    with pytest.raises(InputError, match=r"has 99 channels, and 'instance_logits' of the run \d+"):
        estimator_of_run(run, ONLY_FEATURES).estimate(replace(query, features=torch.zeros(4, 4, 99)), query.truth)


def test_maps_are_read_by_the_photos_name(tmp_path: Path):
    found = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", found)
    np.savez(tmp_path / "b.npz", found)
    for stem in "ab":
        read = read_features(tmp_path, Path(f"elsewhere/{stem}.jpg"))
        assert read.dtype == torch.float32 and np.array_equal(read, found)
    with pytest.raises(InputError, match=r"holds no feature map for photos.c\.jpg; add c\.npy"):
        read_features(tmp_path, Path("photos/c.jpg"))


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.full((2, 2, 2), np.nan), np.array([["a"]])], ids=str)
def test_what_is_no_map_is_refused(tmp_path: Path, array: np.ndarray):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=r"a\.npy is no feature map"):
        read_features(tmp_path, Path("a.png"))


def test_pickled_maps_are_refused(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"a\.npy is no array that can be read"):
        read_features(tmp_path, Path("a.png"))


def test_maps_are_sampled_bilinearly():
    """A map of two columns over a photo of four: its values lie at the photo's columns 0.5 and 2.5, by centres."""
    features = torch.tensor([[[0.0], [8.0]]])
    pixels = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 3]])
    torch.testing.assert_close(sampled(features, pixels, (2, 4))[:, 0], torch.tensor([0.0, 2.0, 6.0, 8.0]))
