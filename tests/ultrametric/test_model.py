"""The ultrametric model: its losses by hand, and what a trained run shows."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.utils.colormaps import ColormapOptions, apply_colormap

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.fingerprint import fingerprint
from nerfseg_plugins.scene.head_model import FrozenSamples
from nerfseg_plugins.scene.run import Run, load_run, render_views
from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, build_dendrogram
from nerfseg_plugins.ultrametric.display import DIMMED
from nerfseg_plugins.ultrametric.groups import Groups
from nerfseg_plugins.ultrametric.hierarchy_file import save_hierarchy, write_run_with_hierarchy
from nerfseg_plugins.ultrametric.model import UltrametricModel, UltrametricModelConfig, seen_places

from .conftest import FEATURE_DIM


def small_model(**options: Any) -> UltrametricModel:
    """An untrained model in a box of side 2."""
    sizes: dict[str, Any] = {
        "implementation": "torch",
        "background_color": "black",
        "num_levels": 2,
        "log2_hashmap_size": 8,
        "num_proposal_samples_per_ray": (8, 8),
        "num_nerf_samples_per_ray": 8,
        "head_num_levels": 2,
        "head_log2_hashmap_size": 8,
        "feature_dim": 2,
    }
    torch.manual_seed(0)
    return UltrametricModel(
        UltrametricModelConfig(**{**sizes, **options}),
        scene_box=SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])),
        num_train_data=1,
        metadata={"bounded": True},
    )


# Losses --------------------------------------------------------------------------------------------------------------

ANGLES = (0.0, 60.0, 120.0, 210.0)
"""Directions of four pixels' features, degrees; the pixels are joined in a row."""


def batch() -> dict[str, Any]:
    """Pixel 0 is to be closer to pixel 2 than to pixel 3, behind the outline of a mask."""
    groups = Groups(np.array([0]), np.array([2]), np.array([[3]]))
    edges, barrier = np.array([[0, 1], [1, 2], [2, 3]]), np.array([False, False, True])
    return {"groups": groups, "edges": edges, "barrier": barrier}


def rendered(length: float = 1.0) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor(ANGLES))
    return (length * torch.stack([angles.cos(), angles.sin()], dim=1)).requires_grad_()


def contrast(positive: float, negative: float, temperature: float) -> float:
    return math.log1p(math.exp((negative - positive) / temperature))


def losses(length: float = 1.0, **options: Any) -> dict[str, float]:
    found = small_model(**options).head_loss({"features": rendered(length)}, batch())
    return {name: float(value) for name, value in found.items()}


def test_losses_by_hand():
    """The best path to pixel 2 has cosines 0.5, that to pixel 3 ends with 0; as the crow flies it is otherwise."""
    found = losses(length=3.0, ultrametric_weight=0.5, euclidean_weight=2.0, norm_weight=0.25)
    expected = {
        "ultrametric_loss": 0.5 * contrast(0.5, 0.0, 0.1),
        "euclidean_loss": 2.0 * contrast(-0.5, -math.sqrt(0.75), 0.1),
        "norm_loss": 0.25 * 4.0,
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_temperature_enters_both():
    found = losses(temperature=0.5)
    assert found["ultrametric_loss"] == pytest.approx(contrast(0.5, 0.0, 0.5), rel=1e-4)
    assert found["euclidean_loss"] == pytest.approx(contrast(-0.5, -math.sqrt(0.75), 0.5), rel=1e-4)


def test_the_barrier_enters_in_one_mode():
    """In the other one it decides the path alone, and here is but one."""
    found = losses(barrier_weight=0.3)
    assert found["ultrametric_loss"] == pytest.approx(contrast(0.5, -0.3, 0.1), rel=1e-4)
    found = losses(barrier_weight=0.3, ultrametric_mode="reference")
    assert found["ultrametric_loss"] == pytest.approx(contrast(0.5, 0.0, 0.1), rel=1e-4)


def test_losses_without_weight_are_left_out():
    assert losses().keys() == {"ultrametric_loss", "euclidean_loss", "norm_loss"}
    assert losses(ultrametric_weight=0.0).keys() == {"euclidean_loss", "norm_loss"}
    assert losses(euclidean_weight=0.0).keys() == {"ultrametric_loss", "norm_loss"}
    assert losses(norm_weight=0.0, length=2.0)["norm_loss"] == 0


@pytest.mark.parametrize("name", ["ultrametric_loss", "euclidean_loss", "norm_loss"])
def test_every_loss_reaches_the_features(name: str):
    features = rendered(2.0)
    small_model().head_loss({"features": features}, batch())[name].backward()
    assert features.grad is not None and features.grad.isfinite().all() and features.grad.abs().max() > 1e-6


def test_a_batch_that_says_nothing_can_be_learned_from():
    nothing = {**batch(), "groups": Groups(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4), int))}
    features = rendered(2.0)
    found = small_model().head_loss({"features": features}, nothing)
    sum(found.values(), torch.zeros(())).backward()
    assert float(found["ultrametric_loss"]) == float(found["euclidean_loss"]) == 0
    assert features.grad is not None and features.grad.isfinite().all()


def test_rays_that_only_have_a_depth_teach_no_colour():
    model = small_model(depth_smooth_weight=2.0).train()
    directions = torch.nn.functional.normalize(torch.randn(16, 3), dim=-1)
    outputs = model(RayBundle(-1.5 * directions, directions, torch.full((16, 1), 1e-6), torch.zeros(16, 1).long()))
    image = torch.rand(8, 3)
    outputs["accumulation"] = torch.ones_like(outputs["accumulation"])
    depth = torch.full((16, 1), 3.0)
    depth[12:, 0] = torch.tensor([2.0, 2.0, 4.0, 2.0])  # of a side of 1: 1 1 2 1, so that 1 - 3 + 6 - 1 = 3
    outputs["expected_depth"] = depth.requires_grad_()
    data = {"image": image, "num_colored": 8}
    metrics = model.get_metrics_dict(outputs, data)
    found = model.get_loss_dict(outputs, data, metrics)
    error = (outputs["rgb"][:8] - image).square().mean()
    assert float(found["rgb_loss"]) == pytest.approx(float(error), rel=1e-4)
    assert float(metrics["psnr"]) == pytest.approx(-10 * math.log10(float(error)), rel=1e-3)
    assert float(found["depth_smooth_loss"]) == pytest.approx(2.0 * (3 / 2.01**3 - 0.1) / 2, rel=1e-4)
    found["depth_smooth_loss"].backward()
    assert depth.grad is not None and depth.grad[:12].abs().max() == 0 and (depth.grad[12:] != 0).all()
    without = model.get_loss_dict({**outputs, "rgb": outputs["rgb"][:8]}, {"image": image}, metrics)
    assert "depth_smooth_loss" not in without


def test_what_shines_through_is_the_same_in_all_directions():
    """So features of a ray that meets nothing have length 1 and ask nothing of the field."""
    model = small_model(feature_dim=4)
    weights = torch.tensor([[0.0, 0.0], [0.25, 0.5]])[..., None]
    samples = FrozenSamples(
        torch.zeros(2, 2, 3), torch.zeros(2, 2, model.field.geo_feat_dim), weights, torch.ones(2, 1)
    )
    found = model.features(samples)
    torch.testing.assert_close(found[0], torch.full((4,), 0.5))
    at = model.head(torch.zeros(1, 3), torch.zeros(1, model.field.geo_feat_dim))[0]
    torch.testing.assert_close(found[1], 0.75 * at + 0.25 * 0.5)


# A real run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(ultrametric_run: Path) -> Run:
    return load_run(ultrametric_run)


@pytest.fixture(scope="module")
def halves() -> Dendrogram:
    """Points all over the scene, in three segments: what lies above, and below the one side and the other."""
    steps = np.linspace(-1, 1, 25)
    points = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    angles = np.where(points[:, 2] > 0.05, 90.0, np.where(points[:, 0] > 0.05, 0.0, 20.0))
    return build_dendrogram(points, np.stack([np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))], axis=1))


@pytest.fixture
def model(run: Run, halves: Dendrogram):
    """The run's model with that hierarchy, which is taken off again."""
    found: Any = run.pipeline.model
    before = found.granularity, found.min_size
    found.hierarchy, found.granularity, found.min_size = halves, 0.2, 4
    yield found
    found.hierarchy, found.picked = None, None
    found.granularity, found.min_size = before


def first_view(run: Run):
    return next(iter(render_views(run, "val", indices=[0])))


SEGMENTS = {"segment_id", "segment_colormap"}


def test_outputs_can_be_shown(run: Run, model: UltrametricModel):
    """As the viewer and ns-render do, whatever they hold."""
    outputs = first_view(run).outputs
    assert set(outputs) > SEGMENTS
    for name, value in outputs.items():
        assert value.dtype == torch.float32 and torch.isfinite(value).all(), name
        assert value.shape[-1] in (1, 3) or (name == "features" and value.shape[-1] == FEATURE_DIM), name
        for normalize in (False, True):
            shown = apply_colormap(value, ColormapOptions(normalize=normalize))
            assert shown.shape == (48, 48, 3) and torch.isfinite(shown).all(), name
    for name in ("feature_colormap", "segment_colormap"):
        assert outputs[name].shape == (48, 48, 3) and outputs[name].min() >= 0 and outputs[name].max() <= 1


def test_features_have_length_one_or_there_are_none(run: Run):
    outputs = first_view(run).outputs
    assert not SEGMENTS & set(outputs), "there is no hierarchy"
    lengths, met = outputs["features"].norm(dim=-1), outputs["accumulation"][..., 0] >= 0.2
    assert 0.05 < met.float().mean() < 0.999, "else half of this is not tested"
    torch.testing.assert_close(lengths, met.float())
    assert (outputs["feature_colormap"][~met] == 0.5).all()
    model: Any = run.pipeline.model
    found = model.features_at(torch.rand(50, 3) - 0.5)
    assert found.shape == (50, FEATURE_DIM) and found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(50))


def test_ids_of_a_picture_are_those_of_label_maps(run: Run, model: UltrametricModel, halves: Dendrogram):
    """Nearly: one goes by the heaviest sample and one by the median of depth, and so small a run is foggy."""
    for granularity, count in ((0.2, 3), (0.5, 2), (1.8, 1)):
        model.granularity = granularity
        assert len(model.cut()) == count
        agree, seen = 0, 0
        for view in render_views(run, "val"):
            ids = model.predict_ids(view.outputs)
            maps = list(model.label_maps(view.camera, view.outputs, [granularity, 1.8]))
            assert len(maps) == 2 and maps[0].dtype == np.int32 and maps[0].shape == (48, 48)
            assert ids.max() <= count and torch.equal(ids > 0, view.outputs["segment_id"][..., 0] > 0)
            assert (maps[0][view.outputs["accumulation"][..., 0].numpy() < 0.5] == -1).all()
            both = (ids.numpy() > 0) & (maps[0] >= 0)
            agree, seen = agree + (ids.numpy() == maps[0] + 1)[both].sum(), seen + both.sum()
        assert seen > 200 and agree >= 0.85 * seen


def test_label_maps_are_those_of_the_nearest_points(run: Run, model: UltrametricModel, halves: Dendrogram):
    view = first_view(run)
    found = next(model.label_maps(view.camera, view.outputs, [0.2]))
    places = seen_places(view.camera, view.outputs)
    seen = np.isfinite(places).all(axis=-1)
    np.testing.assert_array_equal(seen, view.outputs["accumulation"][..., 0].numpy() >= 0.5)
    above, beside = places[..., 2] - 0.05, places[..., 0] - 0.05
    far = seen & (np.abs(places) < 1).all(axis=-1) & (np.abs(above) > 0.1) & (np.abs(beside) > 0.1)
    by_size = np.argsort(-np.bincount(halves.cut(0.2).labels))
    assert by_size.tolist() == [0, 1, 2] and far.sum() > 20
    own = np.where(above > 0, 0, np.where(beside > 0, 1, 2))
    centres = np.array([[0, 0, 0.5], [0.5, 0, -0.5], [-0.5, 0, -0.5]])
    names = halves.cut(0.2).labels[halves.kd_tree.query(centres)[1]]
    np.testing.assert_array_equal(found[far], names[own[far]])


def test_a_picked_segment_stays_bright(run: Run, model: UltrametricModel):
    before = first_view(run).outputs
    node = int(model.cut().nodes[0])
    model.picked = node
    after = first_view(run).outputs
    assert torch.equal(after["segment_id"], before["segment_id"])
    bright = (after["segment_colormap"] == before["segment_colormap"]).all(dim=-1)
    ids = model.predict_ids(before)
    assert bright.any() and (~bright).any()
    assert (bright == (ids == 1)).float().mean() > 0.9
    dim = before["segment_colormap"][~bright]
    torch.testing.assert_close(after["segment_colormap"][~bright], DIMMED * dim)


def test_segments_need_a_hierarchy(run: Run):
    model: Any = run.pipeline.model
    assert "nerfseg hierarchy" in model.why_no_ids()
    view = first_view(run)
    for wanted in (model.cut, lambda: next(model.label_maps(view.camera, view.outputs, [0.1]))):
        with pytest.raises(InputError, match=r"make it with nerfseg hierarchy.*hierarchy\.yml"):
            wanted()


@pytest.mark.parametrize("granularity", [-0.1, 2.5, math.nan])
def test_a_granularity_out_of_range_is_refused(run: Run, model: UltrametricModel, granularity: float):
    assert model.why_no_ids() is None
    model.granularity = granularity
    with pytest.raises(InputError, match=r"out of range.*0 .* to 2"):
        first_view(run)


def test_the_configured_hierarchy_must_be_of_these_weights(
    ultrametric_run: Path, run: Run, halves: Dendrogram, tmp_path: Path
):
    config = Path(shutil.copytree(ultrametric_run.parent, tmp_path / "run")) / "config.yml"
    path = config.parent / "hierarchy.npz"
    save_hierarchy(path, halves, fingerprint(run.pipeline.model))
    shown = write_run_with_hierarchy(config, path, 0.5, 7)
    found: Any = load_run(shown).pipeline.model
    np.testing.assert_array_equal(found.hierarchy.points, halves.points)
    assert (found.granularity, found.min_size, len(found.cut())) == (0.5, 7, 2)
    save_hierarchy(path, halves, "others")
    with pytest.raises(InputError, match=r"hierarchy\.npz was made from other weights.*nerfseg hierarchy"):
        load_run(shown)
    path.unlink()
    with pytest.raises(InputError, match=r"hierarchy\.npz does not exist"):
        load_run(shown)
