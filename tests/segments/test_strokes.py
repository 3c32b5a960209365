"""Strokes: which pixels a brush marks, how they are read and written, and what is refused."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.draw import disk, line

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.stroke_files import Drawing, read_marks, read_strokes, write_strokes
from nerfseg_plugins.segments.strokes import (
    Stroke,
    Views,
    check_strokes,
    fill_rectangle,
    parse_view,
    polyline_inside,
    stamp_points,
    stamp_polyline,
)

SIZE = (12, 16)
VIEWS = Views([Path("data/left/a.png"), Path("data/right/a.png"), Path("data/b.1.jpg")], [SIZE, SIZE, (6, 8)])


def grid(pixels: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The pixels as a picture; they must be in order and each once."""
    assert pixels.dtype == np.int64 and pixels.shape == (len(pixels), 2)
    marked = np.zeros(size, bool)
    marked[tuple(pixels.T)] = True
    np.testing.assert_array_equal(np.argwhere(marked), pixels)
    return marked


# Shapes --------------------------------------------------------------------------------------------------------------


def test_a_brush_of_radius_0_marks_the_pixel_of_a_point():
    assert stamp_points([(3, 2)], 0, SIZE).tolist() == [[2, 3]]
    assert stamp_points([(3.4, 1.6), (2.6, 2.4)], 0, SIZE).tolist() == [[2, 3]]
    assert stamp_points([(-0.5, 11.49), (15.49, 0)], 0, SIZE).tolist() == [[0, 15], [11, 0]], "pixels to their edges"


def test_a_brush_is_a_disc():
    expected = np.zeros(SIZE, bool)
    expected[disk((5, 6), 3.0001, shape=SIZE)] = True
    np.testing.assert_array_equal(grid(stamp_points([(6, 5)], 3, SIZE)), expected)
    assert len(stamp_points([(6, 5)], 3, SIZE)) == 29, "as its docstring says"
    assert len(stamp_points([(6, 5)], 1, SIZE)) == 5


def test_a_brush_is_cut_off_at_the_edge():
    expected = np.zeros(SIZE, bool)
    expected[:3, :3] = [[True, True, True], [True, True, False], [True, False, False]]
    np.testing.assert_array_equal(grid(stamp_points([(0, 0)], 2, SIZE)), expected)
    assert len(stamp_points([(15, 11)], 100, SIZE)) == 12 * 16


@pytest.mark.parametrize("end", [(13, 2), (13, 9), (1, 10), (4, 2), (0, 0)])
def test_a_thin_line_is_connected_and_holds_bresenhams(end: tuple[int, int]):
    marked = grid(stamp_polyline([(1, 2), end], 0, SIZE))
    rows, columns = line(2, 1, end[1], end[0])
    assert marked[rows, columns].mean() > 0.8, "ties may fall to either side"
    assert marked[2, 1] and marked[end[1], end[0]]
    assert ndimage.label(marked, np.ones((3, 3)))[1] == 1
    assert len(rows) <= marked.sum() <= 2 * len(rows)


def test_a_thick_line_is_all_that_is_near_it():
    vertices = [(2.0, 2.5), (9.0, 8.0), (14.0, 3.0)]
    along = np.linspace(0, 1, 2000)[:, None]
    dense = np.concatenate([np.add(a, along * np.subtract(b, a)) for a, b in pairwise(vertices)])
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.min(np.hypot(columns[..., None] - dense[:, 0], rows[..., None] - dense[:, 1]), axis=-1)
    marked = grid(stamp_polyline(vertices, 2.2, SIZE))
    assert marked[distance < 2.19].all() and not marked[distance > 2.21].any()


def test_a_polyline_of_one_vertex_is_a_point():
    np.testing.assert_array_equal(stamp_polyline([(4, 5)], 2, SIZE), stamp_points([(4, 5)], 2, SIZE))


def test_a_rectangle_is_filled_whichever_corners_are_given():
    expected = np.zeros(SIZE, bool)
    expected[3:6, 2:9] = True
    for corners in ((2, 3, 8, 5), (8, 5, 2, 3), (1.2, 5.9, 8.9, 2.1)):
        np.testing.assert_array_equal(grid(fill_rectangle(corners, SIZE)), expected)
    assert fill_rectangle((2.1, 3.1, 2.9, 3.9), SIZE).shape == (0, 2)


@pytest.mark.parametrize(
    ("points", "radius", "message"),
    [
        ([(16, 3)], 3, "x 16, y 3 in a view of 16x12"),
        ([(2, 2), (3, -1)], 3, "x 3, y -1 in a view of 16x12"),
        ([(2, float("nan"))], 3, "not a finite number"),
        ([(float("inf"), 2)], 3, "not a finite number"),
        ([(2, 2)], -1, "radius -1"),
        ([(2, 2)], float("nan"), "radius nan"),
        ([], 3, "is empty"),
    ],
)
@pytest.mark.parametrize("draw", [stamp_points, stamp_polyline])
def test_what_cannot_be_drawn_is_refused(draw: Any, points: list, radius: float, message: str):
    with pytest.raises(InputError, match=f"^view 3: .*{message}"):
        draw(points, radius, SIZE, "view 3: the line")


@pytest.mark.parametrize(
    ("corners", "message"),
    [((2, 3, 16, 5), "x 16, y 5"), ((2, 3, 4), "has 3 numbers"), ((2, 3, 4, float("nan")), "not a finite")],
)
def test_what_is_no_rectangle_is_refused(corners: tuple, message: str):
    with pytest.raises(InputError, match=message):
        fill_rectangle(corners, SIZE)


# Views ---------------------------------------------------------------------------------------------------------------


def test_views_are_found_by_index_and_name():
    for view, index in ((2, 2), ("left/a", 0), ("right/a.png", 1), ("b.1", 2), ("b.1.jpg", 2), ("data/left/a.png", 0)):
        assert VIEWS.index_of(view, "here") == index
    assert [parse_view(text) for text in ("3", " 12", "0003", "3.png", "-1")] == [3, 12, "0003", "3.png", -1]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (3, "no train view 3; they are numbered 0 to 2"),
        (-1, "no train view -1"),
        ("c", "no train view is called 'c'.* such as a.png"),
        ("", "no train view is called ''"),
        ("a", "'a' may be data/left/a.png or data/right/a.png"),
    ],
)
def test_views_that_do_not_exist_are_refused(view: Any, message: str):
    with pytest.raises(InputError, match=f"^strokes.json, stroke 4: .*{message}"):
        VIEWS.index_of(view, "strokes.json, stroke 4")


# Checks --------------------------------------------------------------------------------------------------------------


def stroke(view: int, positive: bool, *pixels: tuple[int, int], origin: str = "") -> Stroke:
    return Stroke(view, positive, np.array(pixels, np.int64).reshape(-1, 2), origin)


def test_good_strokes_pass():
    check_strokes([stroke(0, True, (1, 2), (1, 3)), stroke(0, False, (2, 2)), stroke(1, False, (1, 2))], VIEWS)
    check_strokes([stroke(0, True, (1, 2)), stroke(0, True, (1, 2))], VIEWS)


def test_bad_strokes_are_refused():
    with pytest.raises(InputError, match="there are no strokes"):
        check_strokes([], VIEWS)
    with pytest.raises(InputError, match=r"the negative stroke marks no pixel of train view 2 \(b.1.jpg\)"):
        check_strokes([stroke(0, True, (1, 2)), stroke(2, False)], VIEWS)
    with pytest.raises(InputError, match=r"pos.png lies outside train view 2 \(b.1.jpg\) of 8x6 pixels"):
        check_strokes([stroke(2, True, (1, 2), (5, 8), origin="pos.png")], VIEWS)
    with pytest.raises(InputError, match="no train view 7"):
        check_strokes([stroke(7, True, (1, 2))], VIEWS)


def test_a_pixel_that_is_both_is_refused():
    strokes = [
        stroke(1, True, (1, 2), (4, 3), (5, 3), origin="pos.png"),
        stroke(1, False, (5, 3), (4, 3), (9, 9), origin="neg.png"),
    ]
    with pytest.raises(InputError) as caught:
        check_strokes(strokes, VIEWS)
    for words in ("train view 1 (a.png)", "2 pixels", "(pos.png)", "(neg.png)", "x 3, y 4", "take them out"):
        assert words in str(caught.value)


# Pictures ------------------------------------------------------------------------------------------------------------


def test_a_palette_marks_by_its_colours(tmp_path: Path):
    marked = np.eye(12, 16) > 0
    image = Image.fromarray((~marked).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "stroke.png")
    np.testing.assert_array_equal(read_marks(tmp_path / "stroke.png", SIZE), marked)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "1", "RGB", "I;16", "P"])
def test_pictures_mark_by_alpha_or_by_not_being_black(tmp_path: Path, mode: str):
    marked = np.random.default_rng(0).random(SIZE) < 0.3
    if mode in ("RGBA", "LA"):
        image = Image.new(mode, SIZE[::-1], "black")  # black strokes count too: what marks is that they are there
        image.putalpha(Image.fromarray(marked.astype(np.uint8) * 7))
    elif mode == "I;16":
        image = Image.fromarray(marked.astype(np.uint16) * 300)
    else:
        image = Image.fromarray(marked.astype(np.uint8) * 255).convert(mode)
    image.save(tmp_path / "stroke.png")
    np.testing.assert_array_equal(read_marks(tmp_path / "stroke.png", SIZE), marked)


def save(path: Path, marked: np.ndarray) -> Path:
    Image.fromarray(marked.astype(np.uint8) * 255).save(path)
    return path


def test_larger_and_smaller_pictures_are_brought_to_the_view(tmp_path: Path):
    marked = np.random.default_rng(0).random((6, 8)) < 0.2
    path = save(tmp_path / "stroke.png", marked)
    np.testing.assert_array_equal(read_marks(path, SIZE), marked.repeat(2, 0).repeat(2, 1))
    # Smaller, a thin stroke must not fall between the pixels of the view.
    np.testing.assert_array_equal(read_marks(path, (3, 4)), marked.reshape(3, 2, 4, 2).any((1, 3)))


def test_sides_that_a_factor_does_not_divide_are_rounded(tmp_path: Path):
    marked = np.zeros((3286, 4946), bool)
    marked[3285, 4945] = marked[1600, 8] = True
    found = read_marks(save(tmp_path / "stroke.png", marked), (411, 618))
    assert np.argwhere(found).tolist() == [[200, 1], [410, 617]]


def test_bad_pictures_are_refused(tmp_path: Path):
    def refused(path: Path, *words: str) -> None:
        with pytest.raises(InputError) as caught:
            read_marks(path, SIZE, "train view 3 (0003.png)")
        for word in (str(path), *words):
            assert word in str(caught.value)

    refused(tmp_path / "nowhere.png", "does not exist")
    (tmp_path / "text.png").write_text("no picture")
    refused(tmp_path / "text.png", "damaged")
    whole = save(tmp_path / "whole.png", np.random.default_rng(0).random(SIZE) < 0.5)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:60])
    refused(tmp_path / "cut.png", "damaged")
    refused(save(tmp_path / "empty.png", np.zeros(SIZE, bool)), "marks no pixel")
    refused(save(tmp_path / "size.png", np.ones((12, 17), bool)), "17x12", "train view 3 (0003.png) is 16x12")
    refused(save(tmp_path / "half.png", np.ones((6, 9), bool)), "9x6")
    Image.new("RGBA", SIZE[::-1], "red").save(tmp_path / "opaque.png")
    refused(tmp_path / "opaque.png", "nowhere transparent")
    Image.new("RGB", SIZE[::-1], "red").save(tmp_path / "photo.png")
    refused(tmp_path / "photo.png", "no transparency")


# strokes.json --------------------------------------------------------------------------------------------------------


def write(folder: Path, *rows: Any) -> Path:
    (folder / "strokes.json").write_text(json.dumps({"strokes": rows}))
    return folder / "strokes.json"


def test_strokes_are_read_and_drawn(tmp_path: Path):
    save(tmp_path / "marks.png", np.eye(12, 16) > 0)
    path = write(
        tmp_path,
        {"view": 0, "positive": True, "radius": 1, "polyline": [[2, 3], [6, 3]]},
        {"view": "right/a", "positive": False, "rectangle": [1, 1, 2, 3]},
        {"view": 1, "points": [[5, 5], [9, 9]], "radius": 0},
        {"view": 0, "positive": False, "png": "marks.png"},
    )
    found = [drawing.stroke(VIEWS) for drawing in read_strokes(path)]
    assert [(own.view, own.positive) for own in found] == [(0, True), (1, False), (1, True), (0, False)]
    np.testing.assert_array_equal(found[0].pixels, stamp_polyline([(2, 3), (6, 3)], 1, SIZE))
    assert found[1].pixels.tolist() == [[1, 1], [1, 2], [2, 1], [2, 2], [3, 1], [3, 2]]
    assert found[2].pixels.tolist() == [[5, 5], [9, 9]]
    assert found[3].pixels.tolist() == [[i, i] for i in range(12)]
    assert str(path) in found[0].origin and "stroke 0" in found[0].origin


def test_what_is_written_is_read_again(tmp_path: Path):
    drawings = [
        Drawing(3, True, polyline=((1.5, 2.0), (3.0, 4.0)), radius=2.5),
        Drawing("a.png", False, rectangle=(1.0, 2.0, 3.0, 4.0)),
        Drawing(0, True, points=((1.0, 2.0),)),
        Drawing(1, False, png=tmp_path / "pictures" / "marks.png"),
    ]
    write_strokes(tmp_path / "strokes.json", drawings)
    assert json.loads((tmp_path / "strokes.json").read_text())["strokes"][3]["png"] == "pictures/marks.png"
    found = read_strokes(tmp_path / "strokes.json")
    for number, (before, after) in enumerate(zip(drawings, found, strict=True)):
        assert after == Drawing(**{**vars(before), "origin": f"{tmp_path / 'strokes.json'}, stroke {number}"})
    with pytest.raises(InputError, match="lies outside"):
        write_strokes(tmp_path / "inner" / "strokes.json", drawings)
    assert not (tmp_path / "inner").exists()


LINE = [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"view": 0}, "exactly one of polyline"),
        ({"view": 0, "polyline": LINE, "png": "a.png"}, "exactly one"),
        ([1, 2], "exactly one"),
        ({"polyline": LINE}, 'needs "view"'),
        ({"view": 1.5, "polyline": LINE}, 'needs "view"'),
        ({"view": 0, "polyline": LINE, "positive": "yes"}, "\"positive\" is 'yes'"),
        ({"view": 0, "polyline": LINE, "radius": "3"}, "\"radius\" is '3'"),
        ({"view": 0, "polyline": LINE, "colour": 3}, "unknown key 'colour'"),
        ({"view": 0, "polyline": [[1, 2, 3]]}, "pairs of numbers"),
        ({"view": 0, "polyline": [1, 2]}, "pairs of numbers"),
        ({"view": 0, "polyline": "line"}, "pairs of numbers"),
        ({"view": 0, "rectangle": [1, 2, 3]}, "four numbers"),
        ({"view": 0, "png": 3}, "path of a picture"),
        ({"view": 0, "png": "../marks.png"}, "must stay inside"),
        ({"view": 0, "png": "/etc/passwd"}, "must stay inside"),
    ],
)
def test_entries_that_are_no_strokes_are_refused(tmp_path: Path, row: Any, message: str):
    with pytest.raises(InputError, match=message) as caught:
        read_strokes(write(tmp_path, {"view": 0, "polyline": LINE}, row))
    assert "stroke 1" in str(caught.value) or "points outside" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"view": 0, "polyline": []}, "is empty"),
        ({"view": 0, "polyline": [[1, 99]]}, r"train view 0 \(a.png\) lies outside the image: x 1, y 99"),
        ({"view": 0, "polyline": [[1, float("nan")]]}, "not a finite number"),
        ({"view": 0, "polyline": LINE, "radius": -2}, "radius -2"),
        ({"view": 0, "rectangle": [1, 1, 99, 2]}, "lies outside"),
        ({"view": 5, "polyline": LINE}, "no train view 5"),
        ({"view": "nobody", "polyline": LINE}, "called 'nobody'"),
    ],
)
def test_strokes_that_cannot_be_drawn_are_refused(tmp_path: Path, row: Any, message: str):
    drawings = read_strokes(write(tmp_path, row))
    with pytest.raises(InputError, match=message) as caught:
        drawings[0].stroke(VIEWS)
    assert f"{tmp_path / 'strokes.json'}, stroke 0" in str(caught.value)


def test_files_that_are_no_strokes_are_refused(tmp_path: Path):
    path = tmp_path / "strokes.json"
    for text, message in (("[]", "no list of strokes"), ('{"strokes": []}', "has no stroke"), ("{", "not valid JSON")):
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            read_strokes(path)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        read_strokes(tmp_path / "nowhere.json")


# Strokes without a person --------------------------------------------------------------------------------------------


def ring() -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    distance = np.hypot(rows - 30, columns - 40)
    return (distance < 28) & (distance > 12)


def test_a_scribble_stays_inside_and_away_from_the_outline():
    mask = ring()
    depth = np.asarray(ndimage.distance_transform_edt(mask))
    for seed in range(5):
        path = np.array(polyline_inside(mask, seed, vertices=5, margin=4))
        assert (depth[path[:, 1], path[:, 0]] > 4).all()
        assert (np.abs(np.diff(path, axis=0)).max(1) == 1).all(), "each next to the one before"
    assert len(path) > 20


def test_a_scribble_is_drawn_by_its_seed():
    assert polyline_inside(ring(), 3, 4, 3) == polyline_inside(ring(), 3, 4, 3)
    assert polyline_inside(ring(), 3, 4, 3) != polyline_inside(ring(), 4, 4, 3)


def test_a_thin_mask_is_eroded_as_far_as_it_goes():
    mask = np.zeros((20, 40), bool)
    mask[9:12, 5:35] = True
    path = polyline_inside(mask, 0, vertices=3, margin=8)
    assert {y for _, y in path} == {10} and all(5 < x < 34 for x, _ in path)
    mask[:] = False
    mask[4, 7] = True
    assert polyline_inside(mask, 0, vertices=3, margin=8) == [(7, 4)]


def test_a_scribble_keeps_to_the_largest_piece_and_off_the_edge_of_the_image():
    mask = np.zeros((30, 60), bool)
    mask[2:10, 2:10] = mask[:, 30:60] = True
    path = polyline_inside(mask, 1, vertices=6, margin=5)
    assert all(x >= 35 and x <= 54 and 5 <= y <= 24 for x, y in path)


def test_nothing_to_scribble_in_is_refused():
    with pytest.raises(InputError, match="empty"):
        polyline_inside(np.zeros((4, 5), bool), 0)
    with pytest.raises(InputError, match="0 vertices"):
        polyline_inside(np.ones((4, 5), bool), 0, vertices=0)
