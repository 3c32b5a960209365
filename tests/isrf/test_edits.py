"""Edits of a scene that is known by hand: what rays see of it afterwards."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.edits import Edit, edited_density, labels_at, mean_luminance
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.scene.colors import BACKGROUND_COLOR

from .boxes import (
    ASIDE,
    BLUE,
    FRONT,
    GLOSSY,
    GRID,
    MIDDLE,
    RED,
    WALL,
    box_model,
    box_of,
    cast,
    density_of,
    gloss,
    voxels_of,
)

ALONG_X = (1.0, 0.0, 0.0)
BEHIND = torch.tensor(BACKGROUND_COLOR) / 255


def shift(x: float, y: float, z: float) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, 3] = torch.tensor([x, y, z])
    return matrix


def turn(degrees: float, about: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """Rotation about an axis parallel to z through a point."""
    angle = math.radians(degrees)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return shift(*about) @ matrix @ shift(*(-value for value in about))


def move(box: int, transform: torch.Tensor, name: str = "moved") -> Edit:
    return Edit(name, voxels_of(box), "move", transform=transform)


@torch.no_grad()
def see(edits: list[Edit], bundle: Any, background: str = "black") -> dict[str, torch.Tensor]:
    model = box_model(background)
    model.edits = edits
    return model(bundle)


def assert_sees(found: dict[str, torch.Tensor], ray: int, color: Any, distance: float) -> None:
    """A ray meets an opaque surface of a colour, at a distance along it."""
    torch.testing.assert_close(found["rgb"][ray], torch.as_tensor(color), atol=5e-3, rtol=0)
    assert float(found["depth"][ray]) == pytest.approx(distance, abs=0.02)
    assert float(found["accumulation"][ray]) > 0.99


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], but: tuple[str, ...] = ()) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert name in but or torch.equal(value, second[name]), name


MARKS = ("selection", "selection_id", "selection_colormap")


def test_the_scene_itself():
    found = see([], cast(MIDDLE, ASIDE))
    assert_sees(found, 0, RED, 0.5)
    assert_sees(found, 1, BLUE, 1.6)


def test_removing_shows_what_is_behind():
    removed = Edit("red", voxels_of(FRONT), "remove")
    found = see([removed], cast(MIDDLE, ASIDE))
    assert_sees(found, 0, gloss(torch.tensor(ALONG_X)), 1.0)
    assert_sees(found, 1, BLUE, 1.6)
    both = see([removed, Edit("glossy", voxels_of(GLOSSY), "remove")], cast(MIDDLE))
    assert_sees(both, 0, BLUE, 1.6)


def test_removing_what_ends_the_scene_leaves_none_of_its_colour():
    """Where a ray's last sample is its background, that may lie in what is gone."""
    everything = VoxelSet.of_dense(GRID, torch.ones(40, 40, 40, dtype=torch.bool))
    found = see([Edit("all", everything, "remove")], cast(MIDDLE, ASIDE), "last_sample")
    torch.testing.assert_close(found["rgb"], BEHIND.expand(2, 3))
    assert found["accumulation"].max() == 0 and found["features"].abs().max() == 0


def test_what_is_kept_is_alone_before_a_plain_background():
    for background in ("black", "last_sample"):
        found = see([Edit("glossy", voxels_of(GLOSSY), "keep")], cast(MIDDLE, ASIDE), background)
        assert_sees(found, 0, gloss(torch.tensor(ALONG_X)), 1.0)
        torch.testing.assert_close(found["rgb"][1], BEHIND)
        assert float(found["accumulation"][1]) == 0


def test_several_kept_things_are_kept_together_and_removal_counts_among_them():
    keeps = [Edit("a", voxels_of(FRONT), "keep"), Edit("b", voxels_of(WALL), "keep")]
    found = see(keeps, cast(MIDDLE, ASIDE))
    assert_sees(found, 0, RED, 0.5)
    assert_sees(found, 1, BLUE, 1.6)
    found = see([*keeps, Edit("c", voxels_of(FRONT), "remove")], cast(MIDDLE))
    assert_sees(found, 0, BLUE, 1.6)


def test_moving_shows_the_thing_elsewhere_and_what_was_behind_it():
    """By 0.6 in y and 0.3 in x: the ray beside the boxes meets it 0.3 later."""
    found = see([move(FRONT, shift(0.3, 0.6, 0.0))], cast(MIDDLE, ASIDE))
    assert_sees(found, 0, gloss(torch.tensor(ALONG_X)), 1.0)
    assert_sees(found, 1, RED, 0.8)


def test_a_moved_thing_hides_what_it_is_put_before():
    found = see([move(FRONT, shift(0.9, 0.0, 0.0))], cast(MIDDLE))
    assert_sees(found, 0, gloss(torch.tensor(ALONG_X)), 1.0)
    found = see([move(GLOSSY, shift(-0.9, 0.0, 0.0))], cast(MIDDLE))
    assert_sees(found, 0, gloss(torch.tensor(ALONG_X)), 0.1)


def test_a_turned_thing_is_seen_from_where_it_would_have_been_seen():
    """Turned by 30 degrees about its middle, along +x it looks as it did along a direction turned back by 30."""
    found = see([Edit("red", voxels_of(FRONT), "remove"), move(GLOSSY, turn(30, (0.15, 0, 0)))], cast(MIDDLE))
    back = torch.tensor([math.cos(math.radians(-30)), math.sin(math.radians(-30)), 0.0])
    # Half of its thickness, 0.05, lies along the ray at 1 / cos 30.
    assert_sees(found, 0, gloss(back), 1.05 - 0.05 / math.cos(math.radians(30)))


def test_a_move_to_where_it_is_changes_nothing():
    bundle = cast(MIDDLE, ASIDE, (-0.9, 0.14, 0.1))
    assert_same(see([], bundle), see([move(FRONT, shift(0, 0, 0))], bundle), MARKS)


def test_edits_of_different_things_do_not_depend_on_their_order():
    edits = [
        move(FRONT, shift(0.3, 0.6, 0.0)),
        Edit("glossy", voxels_of(GLOSSY), "remove"),
        Edit("wall", voxels_of(WALL), "recolor", (0.0, 1.0, 0.0)),
    ]
    bundle = cast(MIDDLE, ASIDE, (-0.9, -0.6, 0.2))
    expected = see(edits, bundle)
    for order in ([1, 0, 2], [2, 1, 0], [1, 2, 0]):
        assert_same(expected, see([edits[i] for i in order], bundle), MARKS)


def test_moved_things_are_kept_removed_and_recoloured_as_well():
    target = shift(0.3, 0.6, 0.0)
    alone = see([move(FRONT, target), Edit("it", voxels_of(FRONT), "keep")], cast(MIDDLE, ASIDE))
    torch.testing.assert_close(alone["rgb"][0], BEHIND)
    assert_sees(alone, 1, RED, 0.8)
    gone = see([move(FRONT, target), Edit("it", voxels_of(FRONT), "remove")], cast(ASIDE))
    assert_sees(gone, 0, BLUE, 1.6)
    luminance = mean_luminance(torch.tensor([RED]))
    green = see(
        [move(FRONT, target), Edit("it", voxels_of(FRONT), "recolor", (0, 0.6, 0), 1.0, luminance)], cast(ASIDE)
    )
    assert_sees(green, 0, (0.0, 0.6, 0.0), 0.8)


def test_what_two_moves_take_goes_with_the_last():
    edits = [move(FRONT, shift(0.0, 0.6, 0.0)), move(FRONT, shift(0.0, -0.6, 0.0))]
    found = see(edits, cast(ASIDE, (-0.9, -0.6, 0.0)))
    assert_sees(found, 0, BLUE, 1.6)
    assert_sees(found, 1, RED, 0.5)


# Colours -------------------------------------------------------------------------------------------------------------


def test_a_new_colour_keeps_light_and_shade():
    """The wall is blue: luminance 0.2126 * 0.1 + 0.7152 * 0.2 + 0.0722 * 0.9 = 0.22928."""
    paint = Edit("wall", voxels_of(WALL), "recolor", (1.0, 0.5, 0.0))
    assert_sees(see([paint], cast(ASIDE)), 0, (0.22928, 0.11464, 0.0), 1.6)
    paint = Edit("wall", voxels_of(WALL), "recolor", (1.0, 0.5, 0.0), luminance=0.45856)
    assert_sees(see([paint], cast(ASIDE)), 0, (0.5, 0.25, 0.0), 1.6)
    paint = Edit("wall", voxels_of(WALL), "recolor", (1.0, 0.5, 0.0), luminance=0.1)
    assert_sees(see([paint], cast(ASIDE)), 0, (1.0, 1.0, 0.0), 1.6)  # 2.29 times as bright, cut at 1


def test_strength_mixes_the_colours():
    half = Edit("wall", voxels_of(WALL), "recolor", (1.0, 1.0, 1.0), 0.5, 0.22928)
    assert_sees(see([half], cast(ASIDE)), 0, (0.55, 0.6, 0.95), 1.6)
    none = see([Edit("wall", voxels_of(WALL), "recolor", (1.0, 1.0, 1.0), 0.0)], cast(ASIDE))
    assert_same(see([], cast(ASIDE)), none, MARKS)


def test_mean_luminance():
    assert mean_luminance(torch.tensor([[1.0, 1, 1], [0, 0, 0]])) == pytest.approx(0.5)
    assert mean_luminance(torch.zeros(3, 3)) > 0, "nothing is divided by zero"


# Proposals -----------------------------------------------------------------------------------------------------------


def test_densities_of_proposals_as_by_hand():
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(4, 500, 3, generator=generator) * 2 - 1
    edits = [
        Edit("a", voxels_of(GLOSSY), "remove"),
        move(FRONT, turn(90)),
        Edit("b", voxels_of(WALL), "none"),
    ]
    found = edited_density(density_of, edits)(positions)
    back = turn(-90)[:3, :3].float()
    expected = torch.zeros(4, 500, 1)
    for index in np.ndindex(4, 500):
        here, source = positions[index], back @ positions[index]
        stays = int(box_of(here)) == WALL
        expected[index] = 1e4 * (stays + (int(box_of(source)) == FRONT))
    assert 0 < int((expected > 0).sum()) < 1000 and torch.equal(found, expected)


def test_without_an_effect_nothing_is_computed():
    assert edited_density(density_of, []) is density_of
    assert edited_density(density_of, [Edit("a", voxels_of(FRONT))]) is density_of
    assert_same(see([], cast(MIDDLE)), see([Edit("a", voxels_of(FRONT))], cast(MIDDLE)), MARKS)


def test_rays_keep_their_gradient():
    model = box_model()
    model.edits = [move(GLOSSY, turn(30, (0.15, 0, 0))), Edit("a", voxels_of(FRONT), "remove")]
    bundle = cast(MIDDLE)
    bundle.directions.requires_grad_()
    model(bundle)["rgb"].sum().backward()
    assert bundle.directions.grad is not None and bundle.directions.grad.abs().sum() > 0.1


# The model -----------------------------------------------------------------------------------------------------------


def test_as_trained_shows_the_scene_and_brings_everything_back():
    model = box_model()
    bundle = cast(MIDDLE, ASIDE)
    with torch.no_grad():
        expected = model(bundle)
        model.edits = [Edit("a", voxels_of(FRONT), "remove"), Edit("b", voxels_of(WALL), "keep")]
        model.selected = model.seeded = voxels_of(GLOSSY)
        model.query = torch.eye(3)
        held = model.edits, model.selected, model.seeded, model.query
        with model.as_trained():
            assert_same(expected, model(bundle))
        assert all(a is b for a, b in zip(held, (model.edits, model.selected, model.seeded, model.query), strict=True))
        assert not torch.equal(model(bundle)["rgb"], expected["rgb"])


@torch.no_grad()
def test_training_sees_no_edit():
    model = box_model()
    bundle = cast(MIDDLE, ASIDE)
    model.train()
    model.step = model.config.geometry_steps
    torch.manual_seed(0)
    expected = model(bundle)["features"]
    model.edits = [Edit("a", voxels_of(FRONT), "remove")]
    torch.manual_seed(0)
    assert torch.equal(model(bundle)["features"], expected)
    torch.testing.assert_close(expected[0], torch.tensor([1.0, 0, 0]), atol=1e-2, rtol=0)


def test_the_last_part_has_a_point_that_lies_in_several():
    points = torch.tensor([[[-0.35, 0.0, 0.0], [0.15, 0.0, 0.0]], [[0.75, 0.5, 0.0], [0.0, 0.5, 0.0]]])
    sets = [voxels_of(FRONT, GLOSSY), voxels_of(GLOSSY), voxels_of(WALL)]
    assert labels_at(sets, points).tolist() == [[1, 2], [3, 0]]
    assert labels_at([], points).tolist() == [[0, 0], [0, 0]]


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"action": "explode"}, "'explode' is no action; take one of none, keep, remove, recolor, move"),
        ({"color": (1.0, 2.0, 0.0)}, "is no colour"),
        ({"color": (1.0, float("nan"), 0.0)}, "is no colour"),
        ({"color": (1.0, 0.0)}, "is no colour"),
        ({"strength": 1.5}, "strength of 1.5"),
        ({"strength": float("nan")}, "strength of nan"),
        ({"luminance": 0.0}, "luminance of 0.0"),
        ({"transform": torch.eye(3)}, "no rotation with a translation"),
        ({"transform": 2 * torch.eye(4)}, "no rotation with a translation"),
        ({"transform": torch.diag(torch.tensor([1.0, 1, -1, 1]))}, "no rotation with a translation"),
        ({"transform": torch.full((4, 4), torch.nan)}, "no rotation with a translation"),
        ({"transform": shift(math.inf, 0, 0)}, "no rotation with a translation"),
        ({"transform": torch.eye(4)[[0, 1, 2, 2]]}, "no rotation with a translation"),
    ],
)
def test_what_is_no_edit_is_refused(values: dict[str, Any], match: str):
    with pytest.raises(InputError, match=f"edit 'chair'.*{match}"):
        Edit("chair", voxels_of(FRONT), **values)
