"""Which views of the shown scene are its sources."""

from pathlib import Path
from typing import Any

import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.options import parser_named
from nerfseg_plugins.image_based.shown import joined, part, sources_and_targets, spread_views
from nerfseg_plugins.image_based.sources import SceneRef

from .captures import capture_parser, category_parser, llff_parser, write_capture, write_llff, write_object


def scene(parser: Any, many: bool = False) -> SceneRef:
    return SceneRef("attic", "attic", parser, many)


def stems(outputs: Any) -> list[int]:
    return [int(path.stem) for path in outputs.image_filenames]


def test_views_that_stand_for_all():
    assert spread_views(50, 1) == [25] and spread_views(50, 2) == [12, 37] and spread_views(3, 9) == [0, 1, 2]


def test_the_data_say_which_views_are_held_out(tmp_path: Path):
    sources, targets = sources_and_targets(scene(llff_parser(write_llff(tmp_path / "a", 18))), "val")
    assert stems(targets) == [0, 8, 16] and stems(sources) == [*range(1, 8), *range(9, 16), 17]


def test_views_by_number_count_all_views_of_the_data(tmp_path: Path):
    parser = llff_parser(write_llff(tmp_path / "a", 10))
    sources, targets = sources_and_targets(scene(parser), "val", views=(8, 1))
    assert stems(sources) == [8, 1] and stems(targets) == [0, 2, 3, 4, 5, 6, 7, 9]
    whole = parser.setup().get_dataparser_outputs("val").cameras  # 0 and 8
    assert sources.cameras[0].camera_to_worlds.tolist() == whole[1].camera_to_worlds.tolist()


def test_objects_without_held_out_views(tmp_path: Path):
    parser = category_parser(write_object(tmp_path / "cup", views=20))
    assert [stems(part) for part in sources_and_targets(scene(parser, True), "val", (3, 1))] == [
        [3, 1],
        [index for index in range(20) if index not in (1, 3)],
    ]
    assert stems(sources_and_targets(scene(parser, True), "val", few=2)[0]) == [5, 15]
    sources, targets = sources_and_targets(scene(parser, True), "test")
    assert stems(targets) == [0, 8, 16] and len(stems(sources)) == 17
    assert sources.metadata["background"] == (1.0, 1.0, 1.0)


def test_a_scene_of_one_view_renders_it(tmp_path: Path):
    parser = category_parser(write_object(tmp_path / "cup", views=1))
    for views in ((), (0,)):
        sources, targets = sources_and_targets(scene(parser, True), "val", views)
        assert stems(sources) == stems(targets) == [0]


def test_data_that_hold_no_view_out(tmp_path: Path):
    """nerfstudio's parser leaves nothing of five views for evaluation."""
    parser: Any = parser_named("nerfstudio-data", "here")
    parser.data = write_capture(tmp_path / "a", [(12, 16)] * 5)
    sources, targets = sources_and_targets(scene(parser), "val")
    assert stems(sources) == stems(targets) == [0, 1, 2, 3, 4]


def test_joining_keeps_what_belongs_to_each_view(tmp_path: Path):
    parser = capture_parser(write_capture(tmp_path / "a", [(12, 16), (10, 14), (12, 16), (9, 8), (12, 16)])).setup()
    train, val = parser.get_dataparser_outputs("train"), parser.get_dataparser_outputs("val")
    train.metadata["masks"], val.metadata["masks"] = ["m1", "m2", "m3"], ["m0", "m4"]
    whole = joined(train, val)
    assert stems(whole) == [0, 1, 2, 3, 4]
    assert whole.metadata["masks"] == ["m0", "m1", "m2", "m3", "m4"]
    assert whole.cameras.width.flatten().tolist() == [16, 14, 16, 8, 16]
    assert stems(joined(train, train)) == [1, 2, 3]
    assert part(whole, [3]).metadata["masks"] == ["m3"] and part(whole, [3]).cameras.height.item() == 9


@pytest.mark.parametrize("views, said", [((1, 6), "attic has no view 6; its 6 views count from 0"), ((2, 2), "twice")])
def test_views_that_cannot_be(tmp_path: Path, views: tuple[int, ...], said: str):
    with pytest.raises(InputError, match=said):
        sources_and_targets(scene(category_parser(write_object(tmp_path / "cup")), True), "val", views)
