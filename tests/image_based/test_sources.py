"""Which scenes there are: single ones, folders of them, data sets of many objects, mixtures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig
from nerfseg_plugins.dataparsers.llff import LLFFDataParserConfig
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.mixture import sources_of
from nerfseg_plugins.image_based.options import parser_named, with_options
from nerfseg_plugins.image_based.pool import Pool, share_of
from nerfseg_plugins.image_based.sources import Catalog, Source, scene_folders

from .captures import capture_parser, category_parser, llff_parser, write_capture, write_category, write_llff


def training_names(catalog: Catalog, **options: Any) -> list[list[str]]:
    return [[scene.name for scene in scenes] for _, scenes in catalog.training(**options)]


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """A folder of three captures, and of things that are none."""
    for number, name in enumerate(("attic", "barn", "cellar")):
        write_llff(tmp_path / "rooms" / name, seed=number)
    (tmp_path / "rooms" / "notes").mkdir()
    (tmp_path / "rooms" / ".trash" / "images").mkdir(parents=True)
    (tmp_path / "rooms" / "README.txt").write_text("rooms")
    return tmp_path / "rooms"


def test_a_folder_that_is_a_scene(rooms: Path):
    catalog = Catalog(sources_of(llff_parser(rooms / "barn")))
    assert training_names(catalog) == [["barn"]]
    assert catalog.shown().parser.data == rooms / "barn" and not catalog.shown().many


def test_a_folder_of_scenes(rooms: Path):
    assert [path.name for path in scene_folders(rooms)] == ["attic", "barn", "cellar"]
    catalog = Catalog(sources_of(llff_parser(rooms)), exclude=("cellar", "barn"))
    assert training_names(catalog) == [["attic"]] and catalog.num_excluded == 2
    assert catalog.shown().name == "barn", "the first that is not trained on"
    assert catalog.shown("attic").name == "attic"
    assert len(catalog.shown().read("train").image_filenames) == 7
    assert Catalog(sources_of(llff_parser(rooms))).shown().name == "attic"


def test_a_data_set_of_many_objects(tmp_path: Path):
    catalog = Catalog(sources_of(category_parser(write_category(tmp_path))))
    assert training_names(catalog) == [[f"chairs/c{number}" for number in range(4)]]
    assert catalog.shown().name == "chairs/c4" and catalog.shown().many
    assert catalog.find("chairs/c6").read("train").metadata["scene"] == "chairs/c6"  # of the split test
    one = Catalog(sources_of(category_parser(tmp_path, scene="chairs/c2")))
    assert training_names(one) == [["chairs/c2"]] and one.shown().name == "chairs/c2"


def test_an_excluded_scene_is_refused_in_training_and_fine_in_evaluation(rooms: Path):
    catalog = Catalog(sources_of(llff_parser(rooms)), exclude=("barn",))
    assert catalog.find("barn").local == "barn"
    with pytest.raises(InputError, match="the scene barn is excluded from training"):
        catalog.training(only=("attic", "barn"))
    alone = Catalog(sources_of(llff_parser(rooms / "barn")), exclude=("barn",))
    assert alone.shown().name == "barn"
    with pytest.raises(InputError, match="the scene barn is excluded from training"):
        alone.training()


def test_some_of_the_scenes(rooms: Path):
    catalog = Catalog(sources_of(llff_parser(rooms)))
    assert training_names(catalog, only=("cellar", "attic")) == [["attic", "cellar"]]
    with pytest.raises(InputError, match=r"has no scene 'den'; there are attic, barn, cellar"):
        catalog.training(only=("den",))


def test_scenes_that_cannot_be_read_are_named(rooms: Path, tmp_path: Path):
    (rooms / "attic" / "poses_bounds.npy").unlink()  # ours names the file
    with pytest.raises(InputError, match=r"attic.poses_bounds\.npy"):
        Catalog(sources_of(llff_parser(rooms))).find("attic").read("train")
    (tmp_path / "x" / "images").mkdir(parents=True)  # nerfstudio's fails by other errors
    catalog = Catalog([Source(with_data(parser_named("blender-data", "x"), tmp_path / "x"))])
    with pytest.raises(InputError, match=r"the scene x cannot be read from .*transforms_train\.json") as caught:
        catalog.shown().read("train")
    assert "\n" not in str(caught.value)


def with_data(parser: Any, data: Path) -> Any:
    parser.data = data
    return parser


# Mixtures ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(rooms: Path) -> Path:
    """rooms/ and objects/ and one capture, with a JSON file beside them."""
    write_category(rooms.parent / "objects")
    write_capture(rooms.parent / "hall", [(12, 16)] * 5)
    sources = [
        {
            "dataparser": "llff-data",
            "data": "rooms",
            "weight": 0.5,
            "exclude": ["barn"],
            "options": {"bound_factor": 1},
        },
        {"dataparser": "srn-data", "data": "objects", "weight": 2},
        {"dataparser": "nerfstudio-data", "data": "hall"},
    ]
    path = rooms.parent / "mixture.json"
    path.write_text(json.dumps({"sources": sources}))
    return path


def test_a_mixture(mixed: Path):
    catalog = Catalog(sources_of(llff_parser(mixed)))
    assert training_names(catalog) == [
        ["rooms/attic", "rooms/cellar"],
        [f"objects/chairs/c{number}" for number in range(4)],
        ["hall"],
    ]
    first = catalog.sources[0].parser
    assert isinstance(first, LLFFDataParserConfig) and first.bound_factor == 1.0
    assert [source.weight for source in catalog.sources] == [0.5, 2, 1]
    assert catalog.shown().name == "rooms/barn", "the first source that holds one out"
    assert catalog.find("chairs/c5").name == "objects/chairs/c5"
    assert len(catalog.find("hall").read("train").image_filenames) == 5
    more = Catalog(sources_of(llff_parser(mixed)), exclude=("rooms/cellar", "hall"))
    assert training_names(more)[0] == ["rooms/attic"] and len(training_names(more)) == 2


def test_equal_names_in_two_sources(mixed: Path):
    write_llff(mixed.parent / "more" / "attic")
    values = json.loads(mixed.read_text())
    values["sources"].append({"dataparser": "llff-data", "data": "more"})
    mixed.write_text(json.dumps(values))
    catalog = Catalog(sources_of(llff_parser(mixed)))
    assert catalog.find("more/attic").parser.data == mixed.parent / "more" / "attic"
    with pytest.raises(InputError, match="several scenes are named 'attic'; say rooms/attic or more/attic"):
        catalog.find("attic")


def test_a_capture_that_is_a_json_file_is_no_mixture(tmp_path: Path):
    path = write_capture(tmp_path / "hall", [(12, 16)] * 5) / "transforms.json"
    catalog = Catalog(sources_of(capture_parser(path)))
    assert training_names(catalog) == [["hall"]] and isinstance(catalog.shown().parser, Front3DDataParserConfig)


BAD = {
    "no list": ({"sources": {}}, "must list one source or more"),
    "empty": ({"sources": []}, "must list one source or more"),
    "another key": ({"sources": [{"dataparser": "llff-data", "data": "rooms"}], "seed": 1}, "unknown key 'seed'"),
    "no data": (
        {"sources": [{"dataparser": "llff-data"}]},
        "source 1 of .* must have the keys 'dataparser' and 'data'",
    ),
    "unknown key": (
        {"weigth": 1},
        "source 1 of .* has the unknown key 'weigth'; it may have data, dataparser, exclude",
    ),
    "unknown parser": (
        {"dataparser": "llf-data"},
        "names the dataparser 'llf-data', which is not installed; there are",
    ),
    "no word": ({"data": 3}, "must name its dataparser and its data by words"),
    "weight 0": ({"weight": 0}, "has the weight 0; write a number above 0"),
    "weight true": ({"weight": True}, "has the weight True"),
    "infinite weight": ({"weight": float("inf")}, "has the weight inf"),
    "exclude": ({"exclude": "barn"}, "excludes 'barn'; write a list of names"),
    "outside": ({"data": "../elsewhere"}, "points outside the data folder"),
    "absolute": ({"data": "/rooms"}, "points outside the data folder"),
    "not there": ({"data": "room"}, "room does not exist; correct its 'data'"),
    "options": ({"options": ["a"]}, "write an object of the parser's options"),
    "unknown option": (
        {"options": {"bound": 1}},
        "LLFFDataParserConfig has no option 'bound'; it has downscale_factor",
    ),
    "the class": ({"options": {"_target": "os.system"}}, "has no option '_target'"),
    "wrong kind": ({"options": {"bound_factor": "far"}}, "bound_factor is 'far', but must be a number or null"),
    "wrong choice": ({"options": {"recentring": "up"}}, "recentring is 'up', but must be one of 'auto', 'forward'"),
    "a bool": ({"options": {"eval_interval": True}}, "eval_interval is True, but must be a whole number"),
    "an object": ({"options": {"masks": {"a": 1}}}, "masks is .*, but must be a path or null"),
    "a path outside": ({"options": {"masks": "/etc"}}, "'/etc' points outside the data folder"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_mixtures(rooms: Path, kind: str):
    path, (change, said) = rooms.parent / "mixture.json", BAD[kind]
    source = {"dataparser": "llff-data", "data": "rooms"}
    path.write_text(json.dumps(change if "sources" in change else {"sources": [{**source, **change}]}))
    with pytest.raises(InputError, match=said) as caught:
        Catalog(sources_of(llff_parser(path))).training()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)


def test_lists_that_name_what_is_missing(mixed: Path):
    values = json.loads(mixed.read_text())
    values["sources"][0]["exclude"] = ["brn"]
    mixed.write_text(json.dumps(values))
    with pytest.raises(InputError, match="rooms has no scene 'brn' to exclude; correct its name"):
        Catalog(sources_of(llff_parser(mixed))).training()
    values["sources"][0] = values["sources"][1]
    mixed.write_text(json.dumps(values))
    with pytest.raises(InputError, match="lists 'objects' twice"):
        sources_of(llff_parser(mixed))


def test_options_of_every_plain_kind():
    from nerfseg_plugins.dataparsers.dvr import DVRDataParserConfig

    made: Any = with_options(
        DVRDataParserConfig(), {"camera_size": [640, 480], "near": 1, "scene": None, "scene_split": "val"}, "here"
    )
    assert (made.camera_size, made.near, made.scene, made.scene_split) == ((640, 480), 1.0, None, "val")
    assert isinstance(made.near, float)
    with pytest.raises(InputError, match=r"here: camera_size is \[640\], but must be a list of 2 or null"):
        with_options(DVRDataParserConfig(), {"camera_size": [640]}, "here")
    kept = parser_named("llff-data", "here")
    with_options(kept, {"eval_interval": 3}, "here")
    assert parser_named("llff-data", "here") == kept, "the installed defaults stay as they are"


# The pool ------------------------------------------------------------------------------------------------------------


def pool_of(catalog: Catalog, rank: int = 0, world_size: int = 1) -> Pool:
    """A pool whose scenes are their names."""
    read: Any = lambda scene: scene.name  # noqa: E731
    return Pool(catalog.training(), read, rank, world_size)


def test_weights_are_honoured(mixed: Path):
    """0.5 : 2 : 1 over 3000 draws; within a source all scenes alike. Three standard deviations at most beside it."""
    pool, rng = pool_of(Catalog(sources_of(llff_parser(mixed)))), np.random.default_rng(0)
    drawn: list[Any] = [pool.draw(rng, 1)[0] for _ in range(3000)]
    for name, share in (("rooms/attic", 0.25 / 3.5), ("objects/chairs/c3", 0.5 / 3.5), ("hall", 1 / 3.5)):
        assert abs(drawn.count(name) - 3000 * share) < 3 * (3000 * share * (1 - share)) ** 0.5, name


def test_scenes_of_a_step_are_distinct_while_there_are_enough(tmp_path: Path):
    pool, rng = pool_of(Catalog(sources_of(category_parser(write_category(tmp_path))))), np.random.default_rng(0)
    for _ in range(20):
        drawn: list[Any] = pool.draw(rng, 6)
        assert len(set(drawn[:4])) == 4 and len(drawn) == 6


def test_scenes_are_read_when_they_are_drawn(tmp_path: Path):
    pool = pool_of(Catalog(sources_of(category_parser(write_category(tmp_path)))))
    assert pool.num_read == 0
    pool.draw(np.random.default_rng(0), 2)
    assert pool.num_read == 2


def test_each_process_has_scenes_of_its_own(mixed: Path):
    """Of each source every second scene; of the one that has but one, both."""
    catalog = Catalog(sources_of(llff_parser(mixed)))
    names = [pool_of(catalog, rank, 2).names for rank in range(2)]
    assert names[0] == ["rooms/attic", "objects/chairs/c0", "objects/chairs/c2", "hall"]
    assert names[1] == ["rooms/cellar", "objects/chairs/c1", "objects/chairs/c3", "hall"]
    numbers: Any = list(range(3))
    assert [share_of(numbers, rank, 5) for rank in range(5)] == [[0], [1], [2], [0], [1]]
