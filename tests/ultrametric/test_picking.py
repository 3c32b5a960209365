"""What clicks do, on a line of points whose tree is known by hand, and where rays end in a scene of one wall."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from plyfile import PlyData

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.colors import UNLABELLED_COLOR
from nerfseg_plugins.ultrametric.dendrogram import Dendrogram, build_dendrogram
from nerfseg_plugins.ultrametric.picking import (
    Pick,
    clicked,
    describe,
    lifetime,
    narrower,
    place_under,
    wider,
)
from nerfseg_plugins.ultrametric.points_view import segment_point_colors
from nerfseg_plugins.ultrametric.segment_file import save_segment

SIZE = 5
"""Smallest size of a segment."""
PARTS = {"a": range(0, 10), "b": range(10, 20), "c": range(20, 40), "crumb": range(40, 44), "far": range(60, 70)}
"""Points of each part, which lie in this order on a line; what is far is joined to nothing."""
ANGLES = {"a": 0.0, "b": 0.2, "c": 0.7, "crumb": 0.9, "far": 0.0}
"""Directions of their features, radians."""
GAPS = {name: 2 * np.sin(angle / 2) for name, angle in (("a b", 0.2), ("b c", 0.5), ("c crumb", 0.2))}
"""Distances of the features of neighbours."""

single_linkage = partial(build_dendrogram, linkage="single")


@pytest.fixture(scope="module")
def line() -> Dendrogram:
    """a and b are joined first, and c and the crumb; then all of them; the far part to none."""
    angles = np.concatenate([np.full(len(PARTS[name]), ANGLES[name]) for name in PARTS])
    along = np.concatenate([np.array(PARTS[name], float) for name in PARTS])
    points = np.stack([along, np.zeros_like(along), np.zeros_like(along)], axis=1)
    return single_linkage(points, np.stack([np.cos(angles), np.sin(angles)], axis=1), neighbors=2)


def members(dendrogram: Dendrogram, pick: Pick) -> set[int]:
    """Numbers of the picked points along the line."""
    return {round(float(x)) for x in dendrogram.points[dendrogram.members(pick.node), 0]}


def of(*names: str) -> set[int]:
    return {number for name in names for number in PARTS[name]}


def click(
    dendrogram: Dendrogram, x: float, pick: Pick | None = None, granularity: float = 0.1, size: int = SIZE
) -> Pick:
    return clicked(dendrogram, dendrogram.cut(granularity, size), pick, np.array([x, 0.0, 0.0]), size)


# Picking -------------------------------------------------------------------------------------------------------------


def test_a_click_picks_the_segment_as_it_is_shown(line):
    assert members(line, click(line, 4.2)) == of("a") and members(line, click(line, 65)) == of("far")
    assert members(line, click(line, 4.2, granularity=0.3)) == of("a", "b")
    assert members(line, click(line, 30, granularity=0.3)) == of("c", "crumb")
    assert members(line, click(line, 30, granularity=1.0)) == of("a", "b", "c", "crumb")


def test_clicking_again_picks_what_it_is_part_of_and_a_click_elsewhere_begins_anew(line):
    first = click(line, 4)
    second = click(line, 7, first)
    third = click(line, 12, second)
    assert members(line, second) == of("a", "b") and members(line, third) == of("a", "b", "c", "crumb")
    assert second.path[0] == first.node and third.path == (*second.path, third.node)
    with pytest.raises(InputError, match="part of nothing larger"):
        click(line, 4, third)
    assert members(line, click(line, 30, second)) == of("c") and click(line, 30, second).path[0] == click(line, 30).node


def test_a_crumb_is_neither_a_segment_nor_a_step(line):
    whole = click(line, 30)
    assert members(line, whole) == of("c")
    assert members(line, wider(line, whole, SIZE)) == of("a", "b", "c", "crumb")
    assert members(line, wider(line, whole, 1)) == of("c", "crumb")
    # What is clicked on but dissolved is shown as its neighbour.
    assert members(line, click(line, 41)) == of("c")
    assert members(line, click(line, 41, size=1)) == of("crumb")


def test_child_goes_back_and_then_down_to_where_it_was_clicked(line):
    pick = click(line, 12, granularity=0.3)
    up = wider(line, pick, SIZE)
    assert narrower(line, up, SIZE) == pick
    down = narrower(line, pick, SIZE)
    assert members(line, down) == of("b") and len(down.path) == 1
    assert wider(line, down, SIZE).node == pick.node
    with pytest.raises(InputError, match="has no parts"):
        narrower(line, down, SIZE)


def test_a_pick_of_single_points_goes_down_to_the_point(line):
    pick = click(line, 4, size=1)
    for _ in range(20):
        try:
            pick = narrower(line, pick, 1)
        except InputError:
            break
    assert members(line, pick) == {4}


def test_clicks_on_nothing_are_said(line):
    with pytest.raises(InputError, match="no segment is near"):
        click(line, 1000.0)
    with pytest.raises(InputError, match="no segment is near"):
        click(line, 4, size=1000)


# What is said --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "granularity", "start", "end"),
    [(4, 0.1, 0.0, "a b"), (4, 0.3, "a b", "b c"), (30, 0.1, 0.0, "b c"), (4, 1.0, "b c", None), (65, 0.1, 0.0, None)],
)
def test_the_granularities_of_a_segment_do_not_count_crumbs(line, x, granularity, start, end):
    life = lifetime(line, click(line, x, granularity=granularity).node, SIZE)
    assert life.start == pytest.approx(GAPS.get(start, 0.0), abs=1e-3)
    assert life.end == (None if end is None else pytest.approx(GAPS[end], abs=1e-3))
    if x == 30:  # as small as they are, they do
        assert lifetime(line, click(line, x).node, 1).end == pytest.approx(GAPS["c crumb"], abs=1e-3)


def test_a_segment_begins_where_it_reaches_the_smallest_size(line):
    life = lifetime(line, click(line, 30, granularity=0.3, size=21).node, 21)
    assert life.start == pytest.approx(GAPS["c crumb"], abs=1e-3)


def test_one_line_tells_what_is_picked(line):
    first = click(line, 4)
    assert describe(line, None, SIZE) == "Nothing is picked"
    assert describe(line, first, SIZE) == "Picked: 10 points (18.5 %), a segment from granularity 0.000 to 0.200"
    above = wider(line, wider(line, first, SIZE), SIZE)
    assert describe(line, above, SIZE) == (
        "Picked: 44 points (81.5 %), a segment from granularity 0.495 on (to 2), 2 levels above what was clicked on"
    )
    assert "1 level above" in describe(line, wider(line, first, SIZE), SIZE)


# One point, all alike ------------------------------------------------------------------------------------------------


def test_a_single_point_can_be_picked():
    alone = single_linkage(np.zeros((1, 3)), np.ones((1, 4)))
    pick = click(alone, 0.0, size=1)
    assert pick == Pick(0, (0,)) and describe(alone, pick, 1).startswith("Picked: 1 points (100.0 %)")
    for step in (wider, narrower):
        with pytest.raises(InputError):
            step(alone, pick, 1)


def test_points_that_are_all_alike_are_one_segment():
    same = single_linkage(np.random.default_rng(0).uniform(size=(50, 3)), np.ones((50, 4)), neighbors=49)
    pick = clicked(same, same.cut(0.0, SIZE), None, same.points[7], SIZE)
    assert len(same.members(pick.node)) == 50 and lifetime(same, pick.node, SIZE).start == 0


# Colours -------------------------------------------------------------------------------------------------------------


def test_points_keep_their_colours_as_the_slider_moves_and_what_is_not_picked_is_dark(line):
    fine, coarse = (segment_point_colors(line, line.cut(granularity, SIZE)) for granularity in (0.1, 0.3))
    c, crumb = slice(20, 40), slice(40, 44)
    assert (fine[c] == coarse[c]).all() and (fine[44:] == coarse[44:]).all()
    assert (fine[crumb] == UNLABELLED_COLOR).all() and (coarse[crumb] == coarse[20]).all()
    picked = segment_point_colors(line, line.cut(0.1, SIZE), click(line, 30).node)
    assert (picked[c] == fine[c]).all() and (picked[:20] < fine[:20]).any(axis=1).all()


# Rays ----------------------------------------------------------------------------------------------------------------


class Wall:
    """A model that shows a wall at x = 1, for y below 1."""

    device = torch.device("cpu")

    def get_outputs_for_camera_ray_bundle(self, bundle: Any) -> dict[str, torch.Tensor]:
        depth = (1 - bundle.origins[..., :1]) / bundle.directions[..., :1]
        y = bundle.origins[..., 1:2] + depth * bundle.directions[..., 1:2]
        return {"depth": depth, "accumulation": (y < 1).float()}


def test_a_ray_ends_on_what_it_meets():
    assert place_under(Wall(), (0.0, 0.0, 0.5), (2.0, 1.0, 0.0)).tolist() == pytest.approx([1.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("direction", "says"),
    [((1.0, 2.0, 0.0), "empty space"), ((0.0, 0.0, 0.0), "cannot be cast"), ((np.nan, 0.0, 1.0), "cannot be cast")],
)
def test_rays_that_meet_nothing_are_said(direction, says):
    with pytest.raises(InputError, match=says):
        place_under(Wall(), (0.0, 0.0, 0.0), direction)


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_saved_segment_says_what_it_is(line, tmp_path: Path):
    pick = wider(line, click(line, 4), SIZE)
    ply, described = save_segment(
        tmp_path / "segments", "cup", line, pick, 0.1, SIZE, lambda points: points * 2 + [0, 5, 0]
    )
    vertex = PlyData.read(str(ply))["vertex"].data
    assert vertex["label"].tolist() == [1] * 20 + [0] * 34
    assert vertex["x"].tolist() == pytest.approx((2 * line.points[:, 0]).tolist()) and (vertex["y"] == 5).all()
    found = SimpleNamespace(**json.loads(described.read_text()))
    assert (found.node, found.size, found.num_points, found.path) == (pick.node, 20, 54, list(pick.path))
    assert found.box == [[0.0, 5.0, 0.0], [38.0, 5.0, 0.0]] and found.center == pytest.approx([19.0, 5.0, 0.0])
    colors = np.stack([vertex[channel] for channel in ("red", "green", "blue")], axis=1)
    assert (colors[:20] == found.color).all() and (colors[20:] != found.color).any(axis=1).all()
    assert json.loads(described.read_text())["from"] == pytest.approx(GAPS["a b"], abs=1e-3)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b"])
def test_names_that_are_none_are_refused(line, tmp_path: Path, name):
    with pytest.raises(InputError, match="is no name for a segment"):
        save_segment(tmp_path, name, line, click(line, 4), 0.1, SIZE, lambda points: points)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(line, tmp_path: Path):
    (tmp_path / "segments").write_text("in the way")
    with pytest.raises(InputError, match="segments"):
        save_segment(tmp_path / "segments", "cup", line, click(line, 4), 0.1, SIZE, lambda points: points)
