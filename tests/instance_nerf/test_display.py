"""Hiding, isolating, recolouring and picking instances, on a scene of slabs that is known by hand."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.instance_nerf.display import InstanceDisplay, label, legend, pick, visible_ids, visible_mask
from nerfseg_plugins.scene.colors import BACKGROUND_COLOR, palette, read_palette

from .slabs import DIRECTION, RGB, SLABS, START, slab_model

DARK = tuple(value / 255 for value in BACKGROUND_COLOR)


@pytest.fixture
def display() -> InstanceDisplay:
    return InstanceDisplay(palette(4))


def render(model, start=START, direction=DIRECTION) -> dict[str, torch.Tensor]:
    """Outputs (1, C) of one ray."""
    bundle = RayBundle(
        origins=torch.tensor([start]),
        directions=torch.tensor([direction]),
        pixel_area=torch.ones(1, 1),
        camera_indices=torch.zeros(1, 1, dtype=torch.long),
        metadata={"directions_norm": torch.ones(1, 1)},
    )
    with torch.no_grad():
        return model(bundle)


# State ---------------------------------------------------------------------------------------------------------------


def test_everything_is_visible_at_first(display):
    assert display.shows_all and visible_ids(display) == [0, 1, 2, 3]


def test_hiding_and_showing(display):
    hidden = display.hide(2).hide(0)
    assert visible_ids(hidden) == [1, 3] and not hidden.shows_all
    assert visible_ids(hidden.show(2)) == [1, 2, 3]
    assert hidden.show(2).show(0).shows_all
    assert display.shows_all, "a state never changes"


def test_isolating_shows_one_and_leaves_the_hidden_ones_as_they_were(display):
    isolated = display.hide(2).isolate(3)
    assert visible_ids(isolated) == [3]
    assert visible_ids(isolated.show(1)) == [0, 1, 3]
    assert visible_ids(isolated.hide(3)) == [0, 1]
    assert visible_ids(display.hide(2).isolate(2)) == [2]
    assert isolated.show_all().shows_all


def test_recolouring_leaves_the_palette_alone(display):
    before = display.colors.copy()
    recolored = display.hide(1).recolor(3, (1, 2, 3))
    assert recolored.colors[3].tolist() == [1, 2, 3] and recolored.colors.dtype == np.uint8
    assert np.array_equal(display.colors, before) and np.array_equal(recolored.colors[:3], before[:3])
    assert recolored.hidden == {1}
    assert np.array_equal(recolored.show_all().colors, recolored.colors)


@pytest.mark.parametrize("instance", [-1, 4])
@pytest.mark.parametrize("method", ["hide", "show", "isolate", "shows"])
def test_an_id_that_does_not_exist_is_refused(display, method, instance):
    with pytest.raises(InputError, match=f"no instance {instance}; ids go from 0 .* to 3"):
        getattr(display, method)(instance)


@pytest.mark.parametrize("color", [(0, 0, 256), (-1, 0, 0), (0.5, 0, 0), (1, 2)])
def test_what_is_no_colour_is_refused(display, color):
    with pytest.raises(InputError, match="is no colour"):
        display.recolor(1, color)


def test_the_mask_of_visible_ids_keeps_shape_and_kind(display):
    ids = np.array([[0, 1], [2, 3]])
    hidden = display.hide(1)
    assert visible_mask(hidden, ids).tolist() == [[True, False], [True, True]]
    mask = visible_mask(hidden, torch.from_numpy(ids))
    assert mask.dtype == torch.bool and mask.tolist() == [[True, False], [True, True]]


# Text ----------------------------------------------------------------------------------------------------------------


def test_the_list_names_every_instance_with_its_colour(display):
    rows = legend(display.hide(2).recolor(1, (255, 0, 16)), {1: "chair", 2: "desk"}, picked=1).splitlines()
    assert [row.rstrip() for row in rows[1:3]] == [
        "`#ff0010` **1 chair**",
        f"`#{bytes(palette(4)[2]).hex()}` ~~2 desk~~",
    ]
    assert rows[0].rstrip() == f"`#{bytes(BACKGROUND_COLOR).hex()}` 0 background" and rows[3].endswith("3")


def test_a_long_list_is_cut():
    rows = legend(InstanceDisplay(palette(130)), {}).splitlines()
    assert len(rows) == 101 and rows[-1] == "and 30 more"


def test_names_cannot_carry_markup_or_code():
    """The viewer compiles its text as MDX, where braces and tags are programs."""
    assert label(3, {3: "{alert(1)}<img onerror=x> `a` **b**|c\n# d"}) == "3 alert 1 img onerror x a b c d"
    assert label(3, {3: "Küchentisch, rund (2)"}) == "3 Küchentisch, rund 2"
    assert label(7, {}) == "7" and label(3, {3: "x" * 99}) == "3 " + "x" * 32


# Rendering -----------------------------------------------------------------------------------------------------------


def test_nothing_is_computed_while_nothing_is_hidden():
    model = slab_model()
    positions = torch.zeros(2, 5, 3)
    assert model.hidden(positions) is None and model.backdrop() is None
    model.display = model.display.hide(1)
    assert model.hidden(positions).shape == (2, 5)


@pytest.mark.parametrize(("hide", "seen"), [((), 1), ((1,), 2), ((1, 2), 0), ((2,), 1)])
def test_what_is_behind_a_hidden_instance_is_rendered(hide, seen):
    """Depth is the distance from the start, at x = -0.9, to the front of the first slab that is left."""
    model = slab_model()
    for instance in hide:
        model.display = model.display.hide(instance)
    outputs = render(model)
    assert outputs["depth"].item() == pytest.approx(SLABS[seen][0] + 0.9, abs=0.01)
    assert outputs["accumulation"].item() == pytest.approx(1, abs=1e-4)
    assert outputs["rgb"][0].tolist() == pytest.approx(RGB[seen], abs=1e-4)
    assert outputs["instance_logits"][0].argmax() == seen
    assert outputs["instance_colormap"][0].numpy() * 255 == pytest.approx(palette(3)[seen])


def test_an_isolated_instance_stands_alone():
    model = slab_model()
    model.display = model.display.isolate(2)
    outputs = render(model)
    assert outputs["depth"].item() == pytest.approx(1.0, abs=0.01)
    assert outputs["rgb"][0].tolist() == pytest.approx(RGB[2], abs=1e-4)


@pytest.mark.parametrize("background", ["last_sample", "black", "random"])
def test_where_all_is_hidden_nothing_is_left(background):
    """Without the background there is no wall either, however the model fills rays that meet nothing."""
    model = slab_model(background=background)
    for instance in (0, 1, 2):
        model.display = model.display.hide(instance)
    outputs = render(model)
    assert outputs["accumulation"].item() == 0
    assert outputs["rgb"][0].tolist() == pytest.approx(DARK, abs=1e-4)
    assert outputs["instance_colormap"][0].tolist() == pytest.approx(DARK, abs=1e-4)


@pytest.mark.parametrize(("density", "seen"), [(1.0, 0), (8.0, 2)])
def test_fog_of_what_is_left_is_not_painted(density, seen):
    """The isolated slab is 0.1 thick: it absorbs 1 - exp(-0.1) = 0.10 at density 1, and 0.55 at density 8."""
    model = slab_model()
    field = model.field.get_density
    model.field.get_density = lambda samples: (field(samples)[0].clamp_max(density), field(samples)[1])
    model.display = model.display.isolate(2)
    outputs = render(model)
    assert outputs["accumulation"].item() == pytest.approx(1 - np.exp(-0.1 * density), abs=0.1)
    assert (outputs["instance_colormap"][0] * 255).tolist() == pytest.approx(palette(3)[seen].tolist())
    assert pick(model, START, DIRECTION) == (seen or None)


def test_recolouring_changes_the_colormap_but_not_the_exported_palette(tmp_path):
    model = slab_model()
    model.display = model.display.recolor(1, (9, 8, 7))
    assert (render(model)["instance_colormap"][0] * 255).tolist() == pytest.approx([9, 8, 7])
    model.write_side_files(tmp_path)
    colors, _ = read_palette(tmp_path / "palette.json")
    assert np.array_equal(colors, palette(3))


def test_metrics_see_the_model_as_it_was_trained():
    model = slab_model()
    shown = model.display = model.display.hide(1).recolor(2, (9, 8, 7))
    with model.as_trained():
        assert render(model)["rgb"][0].tolist() == pytest.approx(RGB[1], abs=1e-4)
    assert model.display is shown
    with pytest.raises(RuntimeError), model.as_trained():
        raise RuntimeError
    assert model.display is shown


def test_training_never_sees_the_display():
    model = slab_model()
    model.display = model.display.hide(1)
    bundle = RayBundle(
        origins=torch.tensor([START]),
        directions=torch.tensor([DIRECTION]),
        pixel_area=torch.ones(1, 1),
        camera_indices=torch.zeros(1, 1, dtype=torch.long),
    )
    samples = model.frozen_samples(model.collider(bundle))
    assert samples.depth.item() == pytest.approx(0.5, abs=0.02)


# Names and palette ---------------------------------------------------------------------------------------------------


def test_names_are_written_where_the_masks_are_the_datas_own(tmp_path):
    own = {"mask_filenames": ["a.png"], "truth_filenames": ["a.png"], "instance_names": {1: "chair", 2: "desk", 9: "x"}}
    slab_model(**own).write_side_files(tmp_path)
    assert read_palette(tmp_path / "palette.json")[1] == {1: "chair", 2: "desk"}


def test_names_of_other_masks_are_not_taken_over():
    """Where a matcher made the masks, id 1 is whatever it found first."""
    matched = {"mask_filenames": ["m.png"], "truth_filenames": ["a.png"], "instance_names": {1: "chair"}}
    assert slab_model(**matched).names == {}
    assert slab_model(instance_names={1: "chair"}).names == {}


# Picking -------------------------------------------------------------------------------------------------------------


def test_the_first_surface_on_a_ray_is_picked():
    model = slab_model()
    assert pick(model, START, DIRECTION) == 1
    assert pick(model, (-0.2, 0.1, 0.0), (5.0, 0.0, 0.0)) == 2, (
        "the ray starts behind the first slab; length is no matter"
    )
    assert pick(model, (0.4, 0.0, 0.0), DIRECTION) == 0
    assert pick(model, (0.4, 0.0, 0.0), (-1.0, 0.0, 0.0)) == 2


def test_picking_looks_through_what_is_hidden():
    model = slab_model()
    model.display = model.display.hide(1)
    assert pick(model, START, DIRECTION) == 2
    model.display = model.display.isolate(1)
    assert pick(model, (0.4, 0.0, 0.0), DIRECTION) is None


def test_a_ray_that_meets_nothing_picks_nothing():
    assert pick(slab_model(), (0.4, 0.0, 0.0), (0.0, 1.0, 0.0)) is None


def test_before_the_head_is_trained_nothing_is_picked():
    assert pick(slab_model(trained=False), START, DIRECTION) is None


@pytest.mark.parametrize("training", [True, False])
def test_picking_leaves_the_models_mode_as_it_was(training):
    model = slab_model().train(training)
    assert pick(model, START, DIRECTION) == 1
    assert model.training is training


@pytest.mark.parametrize(
    "ray", [(START, (0.0, 0.0, 0.0)), ((np.nan, 0.0, 0.0), DIRECTION), (START, (np.inf, 0.0, 0.0))]
)
def test_a_ray_that_cannot_be_cast_is_refused(ray):
    with pytest.raises(InputError, match="cannot be cast"):
        pick(slab_model(), *ray)
