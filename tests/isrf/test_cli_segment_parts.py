"""The parts of `nerfseg segment` that need no run: flags, rigid moves, folders that are written whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfseg_plugins.cli.segment_edit import EditOptions
from nerfseg_plugins.cli.segment_output import fitted, overview_views, shares_in_view, staged_folder
from nerfseg_plugins.cli.segment_strokes import StrokeOptions, drawn
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.isrf.make_edit import in_scene_frame, rigid_motion
from nerfseg_plugins.segments.strokes import Views

VIEWS = Views([Path("0000.png"), Path("0001.png")], [(12, 16), (12, 16)])


def test_flags_become_strokes(tmp_path: Path):
    marks = np.zeros((12, 16), bool)
    marks[0, 0] = True
    Image.fromarray(marks).save(tmp_path / "marks.png")
    (tmp_path / "strokes.json").write_text('{"strokes": [{"view": "0001", "rectangle": [0, 1, 1, 1]}]}')
    options = StrokeOptions(
        positive=["0:" + str(tmp_path / "marks.png")],
        negative=["0001.png: " + str(tmp_path / "marks.png")],
        strokes=[tmp_path / "strokes.json"],
        positive_points=["1:2,3,4,5"],
        negative_points=["0:9,9"],
        positive_rectangle=["0001:10,10,11,10"],
        negative_rectangle=["1:7,7,8,7"],
        radius=0,
    )
    found = [(stroke.view, stroke.positive, stroke.pixels.tolist()) for stroke in drawn(options.drawings(), VIEWS)]
    assert found == [
        (1, True, [[1, 0], [1, 1]]),
        (0, True, [[0, 0]]),
        (1, True, [[3, 2], [5, 4]]),
        (1, True, [[10, 10], [10, 11]]),
        (1, False, [[0, 0]]),
        (0, False, [[9, 9]]),
        (1, False, [[7, 7], [7, 8]]),
    ]
    assert drawn(StrokeOptions().drawings(), VIEWS) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positive": ["strokes.png"]}, "--positive strokes.png names no view or no stroke"),
        ({"positive": ["3:"]}, "--positive 3: names no view or no stroke"),
        ({"negative": [":a.png"]}, "--negative :a.png names no view"),
        ({"positive": ["0:nowhere.png"]}, "nowhere.png does not exist"),
        ({"positive": ["7:nowhere.png"]}, "there is no train view 7"),
        ({"strokes": [Path("nowhere.json")]}, "nowhere.json does not exist"),
        ({"positive_points": ["1:3"]}, "--positive-points 1:3: after the view come pairs"),
        ({"positive_points": ["1:a,b"]}, "come pairs"),
        ({"positive_points": ["1:3,99"]}, "train view 1 .0001.png. lies outside the image"),
        ({"positive_points": ["1:nan,3"]}, "not a finite number"),
        ({"positive_points": ["1:3,3"], "radius": -1}, "has radius -1"),
        ({"negative_points": ["b:3,3"]}, "called 'b'"),
        ({"negative_rectangle": ["1:3,3,4"]}, "come x0,y0,x1,y1"),
        ({"positive_rectangle": ["1:3.2,3.2,3.4,3.4"]}, "marks no pixel of train view 1"),
        ({"positive_points": ["1:3,3"], "negative_points": ["0001:4,4"]}, "marked positive .* and negative"),
    ],
)
def test_bad_flags_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        drawn(StrokeOptions(**options).drawings(), VIEWS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action": "move"}, "both are zero"),
        ({"action": "remove", "translation": (1.0, 0.0, 0.0)}, "belong to --action move, not remove"),
        ({"action": "keep", "color": (1, 2, 3)}, "--color belongs to --action recolor"),
        ({"action": "recolor", "color": (1, 2, 300)}, "0 to 255"),
        ({"action": "recolor", "strength": 1.5}, "--strength is 1.5"),
        ({"action": "move", "rotation_deg": (0.0, float("nan"), 0.0)}, "finite"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        EditOptions(**options).check()


def test_an_object_turns_about_its_centre_and_then_moves():
    centre = np.array([1.0, 2.0, 3.0])
    motion = rigid_motion((10.0, 0.0, 0.0), (0.0, 0.0, 90.0), centre)
    # A quarter turn about z takes what is beside the centre in x to beside it in y.
    for before, after in (((1, 2, 3), (11, 2, 3)), ((2, 2, 3), (11, 3, 3)), ((1, 3, 3), (10, 2, 3))):
        np.testing.assert_allclose(motion @ [*before, 1], [*after, 1], atol=1e-12)
    np.testing.assert_allclose(rigid_motion((0, 0, 0), (0, 0, 0), centre), np.eye(4), atol=1e-12)


def test_a_motion_of_the_data_is_one_of_the_scene():
    rng = np.random.default_rng(0)
    matrix = np.concatenate([Rotation.random(random_state=1).as_matrix(), rng.normal(size=(3, 1))], axis=1)
    motion = rigid_motion((0.3, -1.0, 2.0), (20.0, 50.0, -70.0), rng.normal(size=3))
    points = rng.normal(size=(5, 3))

    def to_scene(data: np.ndarray) -> np.ndarray:
        return 0.37 * (data @ matrix[:, :3].T + matrix[:, 3])

    moved = to_scene(points @ motion[:3, :3].T + motion[:3, 3])
    found = in_scene_frame(motion, matrix, 0.37)
    np.testing.assert_allclose(to_scene(points) @ found[:3, :3].T + found[:3, 3], moved, atol=1e-12)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path):
    folder = tmp_path / "out" / "chair"
    with staged_folder(folder) as new:
        (new / "first").write_text("1")
        assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), staged_folder(folder) as new:
        (new / "second").write_text("2")
        raise KeyboardInterrupt
    assert [path.name for path in folder.parent.rglob("*")] == ["chair", "first"]
    with staged_folder(folder) as new:
        (new / "third").write_text("3")
    assert [path.name for path in folder.parent.rglob("*")] == ["chair", "third"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--output-path"), staged_folder(tmp_path / "file" / "chair"):
        pass


def test_an_overview_shows_the_views_with_strokes_and_others_of_the_object():
    assert overview_views(np.array([0, 0.9, 0.2, 1.0, 0.6, 0.1, 0.8]), [5]) == [5, 1, 3, 4]
    assert overview_views(np.array([0.5, 0.5]), [1]) == [1, 0]
    assert overview_views(np.zeros(9), [7, 6, 5, 4, 3]) == [3, 4, 5, 6]


def test_which_part_of_an_object_lies_in_a_view():
    from nerfstudio.cameras.cameras import Cameras

    # Two cameras at (0, 0, 5), one that looks down the z axis at the points and one that looks up, away from them.
    ahead, away = torch.eye(3, 4), torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ torch.eye(3, 4)
    ahead[2, 3] = away[2, 3] = 5
    cameras = Cameras(torch.stack([ahead, away]), fx=10.0, fy=10.0, cx=8.0, cy=6.0, width=16, height=12)
    # At depth 5 a step of 1 is 2 pixels: 3.9 to the right is in column 15.8, 4.1 is beyond; 3.1 up is above row 0.
    points = torch.tensor([[0, 0, 0], [3.9, 0, 0], [4.1, 0, 0], [0, 2.9, 0], [0, 3.1, 0]])
    np.testing.assert_allclose(shares_in_view(cameras, points), [3 / 5, 0], atol=1e-6)


def test_pictures_are_fitted_into_a_sheet():
    picture = np.zeros((10, 30, 3), np.uint8)
    found = fitted(picture, (20, 20))
    assert found.shape == (20, 20, 3)
    assert (found[:6] == 255).all() and (found[7:13] == 0).all() and (found[14:] == 255).all()
