"""Everything that a button of the viewer does to a selection, as functions of values."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.cache import VoxelCache
from nerfseg_plugins.isrf.edits import Edit
from nerfseg_plugins.isrf.interaction import DrawnStroke, Interaction, alpha_of, describe
from nerfseg_plugins.isrf.lifting import StrokePoints
from nerfseg_plugins.isrf.make_edit import make_edit
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.isrf.voxels import VoxelGrid

GRID = VoxelGrid((0.0, 0.0, 0.0), 0.5, (6, 1, 1), contracted=False)


def row_of_voxels() -> VoxelCache:
    """Six voxels in a row along x, of an edge of 0.5."""
    return VoxelCache(
        GRID,
        keys=torch.arange(6),
        features=torch.eye(6, dtype=torch.float16),
        latents=torch.zeros(6, 2, dtype=torch.float16),
        colors=torch.arange(6, dtype=torch.uint8)[:, None].expand(6, 3) * 51,
        density=torch.arange(6, dtype=torch.float16),
    )


CACHE = row_of_voxels()


def mask(*chosen: int) -> torch.Tensor:
    found = torch.zeros(6, dtype=torch.bool)
    found[list(chosen)] = True
    return found


def stroke(positive: bool, count: int) -> DrawnStroke:
    return DrawnStroke(positive, StrokePoints(torch.full((count, 4), float(positive)), torch.zeros(count, 3)))


def chosen(found: torch.Tensor | None) -> list[int]:
    assert found is not None
    return found.nonzero()[:, 0].tolist()


def test_strokes_of_a_polarity_come_together_and_go():
    state = Interaction().with_stroke(stroke(True, 3)).with_stroke(stroke(False, 2)).with_stroke(stroke(True, 4))
    positive, negative = state.points(True), state.points(False)
    assert positive is not None and len(positive) == 7 and bool((positive.features == 1).all())
    assert negative is not None and len(negative) == 2
    assert state.without_strokes().points(True) is None


def test_strokes_are_shown_a_little_before_the_surface():
    points = StrokePoints(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, -4.0]]))
    assert DrawnStroke(True, points).marks().tolist() == [[1, 0, -4]]
    before = DrawnStroke(True, points, torch.tensor([1.0, 0.0, 1.0])).marks()
    assert before[0].tolist() == pytest.approx([1, 0, -3.8])


def test_clearing_strokes_keeps_what_they_selected():
    state = Interaction().with_stroke(stroke(True, 3)).on(CACHE).with_region(mask(1, 2), seed=mask(1))
    assert chosen(state.without_strokes().region) == [1, 2]
    everything = state.buffered(positive=True, add=False).with_edit(edit("chair")).cleared()
    assert everything.cache is CACHE and everything.region is None and everything.positive is None
    assert not everything.strokes and not everything.edits


def test_a_region_goes_into_buffers_and_the_negative_one_is_taken_out():
    state = Interaction().on(CACHE).with_region(mask(0, 1, 2)).buffered(positive=True, add=False)
    state = state.with_region(mask(3, 4)).buffered(positive=True, add=True)
    assert chosen(state.positive) == [0, 1, 2, 3, 4]
    state = state.with_region(mask(2, 5)).buffered(positive=False, add=True)
    assert chosen(state.negative) == [2, 5] and chosen(state.merged()) == [0, 1, 3, 4]
    combined = state.combined()
    assert chosen(combined.region) == [0, 1, 3, 4] and combined.seed is None
    assert chosen(state.buffered(positive=True, add=False).positive) == [2, 5]


def test_what_is_marked():
    state = Interaction().on(CACHE).with_region(mask(0, 1), seed=mask(0)).buffered(positive=True, add=False)
    state = state.with_region(mask(1)).buffered(positive=False, add=False).with_region(mask(4))
    shown = {what: chosen(state.mask(what)) for what in ("region", "positive buffer", "negative buffer", "merged")}
    assert shown == {"region": [4], "positive buffer": [0, 1], "negative buffer": [1], "merged": [0]}
    assert Interaction().mask("merged") is None and Interaction().mask("region") is None


def test_masks_of_another_cache_are_dropped():
    state = Interaction().with_stroke(stroke(True, 3)).on(CACHE).with_region(mask(1)).buffered(True, False)
    assert state.on(CACHE) is state
    other = state.on(row_of_voxels())
    assert other.region is None and other.positive is None and len(other.strokes) == 1


def test_the_colours_of_an_object():
    found = Interaction().on(CACHE).with_region(mask(1, 2)).colors()
    assert found.tolist() == [[pytest.approx(0.2)] * 3, [pytest.approx(0.4)] * 3]


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (lambda: Interaction().buffered(positive=True, add=False), "nothing is selected"),
        (lambda: Interaction().combined(), "positive buffer is empty"),
        (lambda: Interaction().colors(), "nothing is selected"),
        (lambda: Interaction().on(CACHE).with_region(mask()).colors(), "region is empty"),
    ],
)
def test_what_cannot_be_done_is_said(action, says):
    with pytest.raises(InputError, match=says):
        action()


# Edits ---------------------------------------------------------------------------------------------------------------

TWO = VoxelSet.of_coords(GRID, torch.tensor([[1, 0, 0], [2, 0, 0]]))
"""Their centre is (1, 0.25, 0.25)."""
GREYS = torch.full((2, 3), 0.25)


def edit(name: str, action: str = "remove") -> Edit:
    return make_edit(name, TWO, action, GREYS, (255, 0, 0))  # type: ignore[arg-type]


def test_an_edit_of_the_same_name_takes_the_place_of_the_old_one():
    state = Interaction().with_edit(edit("chair")).with_edit(edit("desk", "keep")).with_edit(edit("chair", "none"))
    assert [(own.name, own.action) for own in state.edits] == [("desk", "keep"), ("chair", "none")]
    assert state.with_edits([]).edits == ()


def test_a_colour_is_that_of_people_and_keeps_the_light_of_the_object():
    made = make_edit("chair", TWO, "recolor", GREYS, (255, 0, 51), strength=0.5)
    assert made.color == (1.0, 0.0, 0.2) and made.strength == 0.5 and made.luminance == pytest.approx(0.25)


def test_a_move_is_said_in_the_frame_of_the_data_and_turns_about_the_object():
    # x_scene = 2 (R x_data + t), with R a quarter turn about z.
    matrix = np.hstack([Rotation.from_euler("z", 90, degrees=True).as_matrix(), [[1.0], [0.0], [0.0]]])
    made = make_edit("chair", TWO, "move", GREYS, (0, 0, 0), 1.0, (0.0, 0.0, 3.0), (0.0, 0.0, 180.0), (matrix, 2.0))
    centre, beside = torch.tensor([[1, 0.25, 0.25], [1.5, 0.25, 0.25]], dtype=torch.float64)
    moved = [made.transform[:3, :3] @ point + made.transform[:3, 3] for point in (centre, beside)]
    assert moved[0].tolist() == pytest.approx([1, 0.25, 6.25])
    assert moved[1].tolist() == pytest.approx([0.5, 0.25, 6.25])
    same_frame = make_edit("chair", TWO, "move", GREYS, (0, 0, 0), translation=(0.0, 1.0, 0.0))
    assert same_frame.transform[:3, 3].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("numbers", "says"), [((0.0, 0.0, 0.0), "moves nothing"), ((math.nan, 0.0, 0.0), "finite numbers")]
)
def test_moves_that_are_none(numbers, says):
    with pytest.raises(InputError, match=says):
        make_edit("chair", TWO, "move", GREYS, (0, 0, 0), translation=numbers)


# What is said --------------------------------------------------------------------------------------------------------


def test_alpha_of_a_voxel_is_what_it_absorbs():
    assert alpha_of(CACHE).tolist() == pytest.approx([1 - math.exp(-density / 2) for density in range(6)])


def test_what_there_is_in_words():
    state = Interaction().with_stroke(stroke(True, 3)).with_stroke(stroke(True, 4)).with_stroke(stroke(False, 2))
    assert describe(state) == "Strokes: 2 positive and 1 negative (9 points)"
    state = state.on(CACHE).with_region(mask(1, 2)).buffered(positive=True, add=False).with_edit(edit("a_b"))
    assert describe(state, lambda name: name.upper()).split("  \n")[1:] == [
        "Region: 2 of 6 voxels",
        "Buffers: positive 2, negative none",
        "Edits: A_B (removed)",
    ]
