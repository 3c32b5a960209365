"""What an isrf model shows: features, their colours, likeness to a query, and what is marked."""

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.colormaps import ColormapOptions, apply_colormap

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.edits import Edit
from nerfseg_plugins.isrf.marks import SEED_COLOR, TINT
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.isrf.voxels import VoxelGrid
from nerfseg_plugins.scene.colors import palette
from nerfseg_plugins.scene.head_model import FrozenSamples
from nerfseg_plugins.scene.likeness import GREY
from nerfseg_plugins.scene.run import load_run, render_views

from .boxes import BLUE, FRONT, GLOSSY, GRID, MIDDLE, RED, WALL, box_model, cast, voxels_of
from .conftest import FEATURE_DIM

ASIDE, UP = (-0.9, 0.6, 0.0), (-0.9, 0.0, 0.9)
COLORS = torch.from_numpy(palette(4)).float() / 255


def samples(features: torch.Tensor, weights: torch.Tensor) -> FrozenSamples:
    """Samples of rays that meet boxes, by the boxes (R, S)."""
    return FrozenSamples(
        torch.zeros(*features.shape, 3), features.float()[..., None], weights[..., None], weights[:, :1]
    )


def see(model, *origins):
    with torch.no_grad():
        return model(cast(*origins))


# Features ------------------------------------------------------------------------------------------------------------


def test_features_are_summed_by_weight_and_shown_at_length_one():
    model = box_model()
    boxes, weights = torch.tensor([[FRONT, GLOSSY, WALL]]), torch.tensor([[0.3, 0.4, 0.0]])
    found = model.features(samples(boxes, weights))
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.4, 0.0]]))
    shown = model.head_eval_outputs(
        samples(boxes, weights), {"accumulation": torch.ones(1, 1), "rgb": torch.ones(1, 3)}
    )
    torch.testing.assert_close(shown["features"], torch.tensor([[0.6, 0.8, 0.0]]))


def test_a_ray_that_meets_nothing_has_no_features():
    model = box_model()
    model.edits = [Edit("wall", voxels_of(WALL), "remove")]
    model.query, model.selected = torch.eye(3), voxels_of(FRONT, GLOSSY, WALL)
    found = see(model, ASIDE, MIDDLE)
    assert float(found["accumulation"][0]) == 0 and found["features"][0].abs().max() == 0
    torch.testing.assert_close(found["features"][1], torch.tensor([1.0, 0, 0]))
    for name in ("feature_colormap", "similarity_colormap"):
        torch.testing.assert_close(found[name][0], torch.full((3,), GREY))
    assert found["selection"][:, 0].tolist() == [0, 1]


def test_the_loss_is_the_mean_square_and_leaves_out_what_is_not_described():
    model = box_model(distill_weight=0.5, tv_weight=2.0)
    outputs = {"features": torch.tensor([[1.0, 0, 0], [0, 0, 0], [5, 5, 5]]), "variation": torch.tensor([[0.3], [0.1]])}
    batch = {"features": torch.tensor([[0.6, 0.8, 0], [0, 0, 1], [0, 0, 0]])}
    losses = model.head_loss(outputs, batch)
    # ((0.4^2 + 0.8^2) + 1) / 6 = 0.3
    assert losses == {"distill_loss": pytest.approx(0.15), "tv_loss": pytest.approx(0.4)}
    assert model.head_metrics(outputs, batch) == {"feature_cosine": pytest.approx(0.3)}
    assert float(model.head_loss(outputs, {"features": torch.zeros(3, 3)})["distill_loss"]) == 0


def test_the_loss_of_the_original_has_its_weight():
    assert box_model().config.distill_weight == 0.001 and box_model().config.tv_weight == 0


def test_features_of_other_channels_are_refused():
    model = box_model()
    assert model.head_lacks() is None
    model.kwargs["metadata"]["feature_channels"] = 7
    assert "7 channels and the head has 3" in str(model.head_lacks())
    with pytest.raises(InputError, match=r"7 channels and the head has 3; pass --pipeline\.model\.feature-dim 7"):
        model.head_loss({"features": torch.zeros(2, 3)}, {"features": torch.ones(2, 7)})


def test_variation_is_measured_over_one_cell():
    """At the face of a box half of the jittered points are outside, where one of three channels differs by 1."""
    model = box_model(tv_weight=1.0, head_max_res=2000)  # a cell of 0.001
    positions = torch.tensor([[[-0.35, 0.0, 0.0]], [[-0.4, 0.0, 0.0]]]).expand(2, 1, 3).repeat_interleave(500, dim=0)
    found = FrozenSamples(positions, torch.zeros(1000, 1, 1), torch.ones(1000, 1, 1), torch.ones(1000, 1))
    torch.manual_seed(0)
    variation = model._variation(found)[:, 0]
    assert variation[:500].max() == 0
    assert float(variation[500:].mean()) == pytest.approx(0.5 / 3, rel=0.15)


# Colours -------------------------------------------------------------------------------------------------------------


def test_likeness_to_the_nearest_of_the_query():
    from matplotlib import colormaps

    model = box_model()
    assert torch.equal(see(model, MIDDLE)["similarity_colormap"], torch.full((1, 3), GREY))
    turbo = torch.tensor(colormaps["turbo"].colors)
    model.query = torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0]])  # cosines 0 and 0.6 with the front box
    found = see(model, MIDDLE, ASIDE)["similarity_colormap"]
    torch.testing.assert_close(found, turbo[[int(0.6 * 255), int(0.8 * 255)]].float(), atol=0.02, rtol=0)


def test_trained_positions_are_where_rays_end():
    model = box_model().train()
    model.trained_positions.fill_(torch.inf)
    assert model.feature_basis() is None
    model.step = model.config.geometry_steps
    with torch.no_grad():
        for _ in range(3):
            model(cast(MIDDLE, ASIDE, UP))
            model.step += 1
    found = model.trained_positions[model.trained_positions.isfinite().all(dim=-1)]
    assert len(found) == 9
    expected = torch.tensor([[-0.4, 0, 0], [0.7, 0.6, 0], [0.7, 0, 0.9]]).repeat(3, 1)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_colours_are_fitted_once_for_all_views():
    model = box_model()
    basis = model.feature_basis()
    found = see(model, MIDDLE, ASIDE)
    assert model.feature_basis() is basis
    torch.testing.assert_close(found["feature_colormap"], basis.project(found["features"]))
    assert (found["feature_colormap"][0] - found["feature_colormap"][1]).abs().max() > 0.5
    model.head_steps += 1
    assert model.feature_basis() is not basis, "the head has learned more since"


# Marks ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_marked():
    found = see(box_model(), MIDDLE)
    assert float(found["selection"]) == 0 and int(box_model().predict_ids(found)) == 0
    assert torch.equal(found["selection_colormap"], found["rgb"])


def test_the_selection_is_marked_where_rays_meet_it():
    model = box_model()
    model.selected = voxels_of(FRONT, GLOSSY)
    found = see(model, MIDDLE, ASIDE)
    torch.testing.assert_close(found["selection"][:, 0], torch.tensor([1.0, 0.0]))
    assert model.predict_ids(found).tolist() == [1, 0]
    expected = torch.stack([(1 - TINT) * torch.tensor(RED) + TINT * COLORS[1], torch.tensor(BLUE)])
    torch.testing.assert_close(found["selection_colormap"], expected, atol=5e-3, rtol=0)


def test_parts_have_ids_by_their_order_and_the_selection_comes_last():
    model = box_model()
    model.edits = [Edit("wall", voxels_of(WALL)), Edit("glossy", voxels_of(GLOSSY))]
    found = see(model, MIDDLE, ASIDE)
    assert model.predict_ids(found).tolist() == [0, 1] and found["selection"][:, 0].tolist() == [0, 1]
    model.selected = voxels_of(FRONT)
    found = see(model, MIDDLE, ASIDE)
    assert model.predict_ids(found).tolist() == [3, 1]
    torch.testing.assert_close(found["selection"][:, 0], torch.tensor([1.0, 0.0]))
    expected = (1 - TINT) * torch.tensor(BLUE) + TINT * COLORS[1]
    torch.testing.assert_close(found["selection_colormap"][1], expected, atol=5e-3, rtol=0)


def test_a_share_of_half_or_less_is_no_id():
    model = box_model()
    model.edits, model.selected = [Edit("front", voxels_of(FRONT))], voxels_of(GLOSSY)
    middles = torch.tensor([[-0.35, 0, 0], [0.15, 0, 0], [0.75, 0, 0]])
    shares = torch.tensor([[0.25, 0.25, 0.5], [0.45, 0.15, 0.3], [0.1, 0.7, 0.2], [0.05, 0.02, 0.03]])
    rays = FrozenSamples(middles.expand(4, 3, 3), torch.zeros(4, 3, 1), shares[..., None], torch.ones(4, 1))
    found = model.head_eval_outputs(rays, {"accumulation": shares.sum(1, keepdim=True), "rgb": torch.zeros(4, 3)})
    # Shares of what each ray meets: a half is on the wall; 0.5 of 0.9; 0.7; the last meets nothing.
    assert model.predict_ids(found).tolist() == [0, 0, 2, 0]
    torch.testing.assert_close(found["selection"][:, 0], torch.tensor([0.25, 1 / 6, 0.7, 0.0]))


def test_a_moved_part_is_marked_where_it_is_now():
    model = box_model()
    transform = torch.eye(4)
    transform[:3, 3] = torch.tensor([0.3, 0.6, 0.0])
    model.edits = [Edit("front", voxels_of(FRONT), "move", transform=transform)]
    assert model.predict_ids(see(model, MIDDLE, ASIDE)).tolist() == [0, 1]


def test_the_seed_has_a_colour_of_its_own():
    model = box_model()
    model.seeded = voxels_of(FRONT)
    found = see(model, MIDDLE, ASIDE)
    expected = (1 - TINT) * torch.tensor(RED) + TINT * torch.tensor(SEED_COLOR)
    torch.testing.assert_close(found["selection_colormap"][0], expected, atol=5e-3, rtol=0)
    assert found["selection"].max() == 0 and torch.equal(found["selection_colormap"][1], found["rgb"][1])


def test_without_a_selection_there_are_no_ids():
    model = box_model()
    assert "nothing is selected" in model.why_no_ids() and "nerfseg segment" in model.why_no_ids()
    model.selected = voxels_of(FRONT)
    assert model.why_no_ids() is None
    model.edits, model.selected = [Edit("front", voxels_of(FRONT))], None
    assert model.why_no_ids() is None


def looking_on(width: int, height: int) -> Cameras:
    """A camera at the start of `MIDDLE`, looking along +x: columns run towards -y, rows towards -z."""
    c2w = torch.tensor([[[0.0, 0, -1, -0.9], [-1, 0, 0, 0], [0, 1, 0, 0]]])
    return Cameras(c2w, fx=20.0, fy=20.0, cx=width / 2, cy=height / 2, width=width, height=height)


def test_ids_of_a_view_are_those_of_its_picture():
    """Also over several chunks, and where the head sees 2 of 64 samples."""
    model = box_model(eval_num_rays_per_chunk=100, head_samples_per_ray=2)
    model.edits, model.selected = [Edit("wall", voxels_of(WALL))], voxels_of(FRONT)
    camera = looking_on(30, 22)
    found = model.ids_in(camera)
    assert found.shape == (22, 30) and found.dtype == torch.long
    assert torch.equal(found, model.predict_ids(model.get_outputs_for_camera(camera)))
    # The front box, the wall behind it, and what is beside the wall's end.
    assert [int(found[11, column]) for column in (15, 24, 29)] == [2, 1, 0]


def test_ids_of_a_view_are_about_the_scene_as_it_was_trained():
    model, camera = box_model(), looking_on(30, 22)
    aside = torch.eye(4)
    aside[1, 3] = 0.4
    wall = Edit("wall", voxels_of(WALL))
    model.edits = [wall, Edit("front", voxels_of(FRONT))]
    expected = model.ids_in(camera)
    for action in ("remove", "keep", "move"):
        model.edits = [wall, Edit("front", voxels_of(FRONT), action, transform=aside)]
        assert torch.equal(model.ids_in(camera), expected), action
        assert not torch.equal(model.predict_ids(model.get_outputs_for_camera(camera)), expected), action


def test_ids_of_a_view_end_where_rays_meet_too_little(monkeypatch):
    """As those of the picture do: what a ray absorbs counts with all samples, of which the head sees two."""
    from nerfseg_plugins.isrf import model as module

    model, camera = box_model(head_samples_per_ray=2), looking_on(6, 4)
    steps = torch.arange(40)
    model.selected = VoxelSet.of_coords(GRID, torch.cartesian_prod(steps, steps, steps))
    boxes = model.field.get_density

    def fog(ray_samples):
        """A ray absorbs 1 - exp(-0.5), by many samples alike."""
        density, geo = boxes(ray_samples)
        if ray_samples.deltas is None:  # of single points, for the colours of features
            return density, geo
        return torch.full_like(density, 0.5) / ray_samples.deltas.sum(dim=-2, keepdim=True), geo

    monkeypatch.setattr(model.field, "get_density", fog)
    with torch.no_grad():
        outputs = model.get_outputs_for_camera(camera)
    absorbed = 1 - torch.exp(torch.tensor(-0.5))
    torch.testing.assert_close(outputs["accumulation"][..., 0], absorbed.expand(4, 6), atol=1e-4, rtol=0)
    for least, expected in ((float(absorbed) - 0.01, 1), (float(absorbed) + 0.01, 0)):
        monkeypatch.setattr(module, "MIN_ACCUMULATION", least)
        found = model.ids_in(camera)
        assert torch.equal(found, model.predict_ids(model.get_outputs_for_camera(camera)))
        assert found.unique().tolist() == [expected]


# A real run ----------------------------------------------------------------------------------------------------------


def test_outputs_can_be_shown(isrf_run):
    """As the viewer and ns-render do, whatever they hold."""
    run = load_run(isrf_run)
    view = next(iter(render_views(run, "val", indices=[0])))
    added = {"features", "feature_colormap", "similarity_colormap", "selection", "selection_id", "selection_colormap"}
    assert added < set(view.outputs)
    for name, value in view.outputs.items():
        assert value.dtype == torch.float32 and torch.isfinite(value).all(), name
        assert value.shape[-1] in (1, 3) or (name == "features" and value.shape[-1] == FEATURE_DIM), name
        for normalize in (False, True):
            for picture in (value, torch.zeros_like(value), torch.ones_like(value)):
                shown = apply_colormap(picture, ColormapOptions(normalize=normalize))
                assert shown.shape == (36, 48, 3) and torch.isfinite(shown).all(), name
    lengths = view.outputs["features"].norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_ids_of_a_real_view_are_those_of_its_picture(isrf_run):
    run = load_run(isrf_run)
    model, camera = run.pipeline.model, run.dataset("val").cameras[0:1]
    low, high = torch.full((3,), -0.4), torch.full((3,), 0.4)
    grid = VoxelGrid((-1.0, -1.0, -1.0), 0.1, (20, 20, 20), contracted=False)
    coords = torch.cartesian_prod(*[torch.arange(20)] * 3)
    centres = grid.centres(coords)
    model.selected = VoxelSet.of_coords(grid, coords[((centres > low) & (centres < high)).all(dim=-1)])
    found = model.ids_in(camera)
    assert 0 < int(found.sum()) < found.numel()
    assert torch.equal(found, model.predict_ids(model.get_outputs_for_camera(camera)))


def test_the_cache_is_made_once_and_again_when_more_is_learned(isrf_run):
    from nerfseg_plugins.isrf.cache import CacheConfig

    run = load_run(isrf_run)
    model, cameras = run.pipeline.model, run.dataset("train").cameras
    config = CacheConfig(resolution=32, depth_downscale=1.0)
    cache = model.voxel_cache(cameras, config)
    assert len(cache) > 50 and cache.features.shape[1] == FEATURE_DIM
    assert model.voxel_cache(cameras, config) is cache
    assert model.voxel_cache(cameras, CacheConfig(resolution=16, depth_downscale=1.0)) is not cache
    model.head_steps.zero_()
    with pytest.raises(InputError, match="not trained yet"):
        model.voxel_cache(cameras, config)
