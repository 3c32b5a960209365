"""`nerfseg hierarchy` on a tiny run: files that fit each other, that load again, and that a second call finds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from PIL import Image
from plyfile import PlyData

from nerfseg_plugins.cli.hierarchy import Hierarchy, open_ultrametric_run
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.run import load_run, render_views
from nerfseg_plugins.segments.masks import read_ids

LEVELS = ("0", "0.2", "1")


@pytest.fixture(scope="module")
def config(ultrametric_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a copy of the run, whose folder may be written into."""
    folder = tmp_path_factory.mktemp("hierarchy") / "run"
    shutil.copytree(ultrametric_run.parent, folder)
    return folder / "config.yml"


def hierarchy(config: Path, *flags: Any) -> Path:
    """`nerfseg hierarchy`, parsed by its own parser; the folder that it writes."""
    always = ["--load-config", config, "--granularities", *LEVELS, "--min-size", 4, "--voxel", 0.01]
    tyro.cli(Hierarchy, args=[str(word) for word in (*always, *flags)]).main()
    return config.parent / "hierarchy"


@pytest.fixture(scope="module")
def written(config: Path) -> Path:
    """What all of it writes."""
    return hierarchy(config, "--run-seg-inference", "--render-train", "--render-train-subsample", 4)


def masks(folder: Path, split: str) -> list[np.ndarray]:
    """Of each granularity, the masks (V, H, W) of a split's views."""
    return [np.stack([read_ids(path) for path in sorted((folder / level / split).iterdir())]) for level in LEVELS]


def test_points_tree_and_masks_tell_the_same(written: Path) -> None:
    tree = json.loads((written / "tree.json").read_text())
    vertex = PlyData.read(str(written / "points.ply"))["vertex"].data
    assert tree["granularities"] == [float(level) for level in LEVELS]
    assert tree["num_points"] == len(vertex) > 200
    for level in range(len(LEVELS)):
        sizes = np.bincount(vertex[f"id_{level}"])[1:].tolist()
        nodes = {node["ids"][level]: node for node in tree["nodes"] if node["ids"][level]}
        assert [nodes[own]["size"] for own in range(1, len(nodes) + 1)] == sizes
    assert tree["num_segments"][-1] >= 1
    for level, found in enumerate(masks(written / "masks", "train")):
        assert found.shape == (8, 48, 48) and found.max() <= tree["num_segments"][level]


def test_points_lie_in_the_frame_of_the_data(written: Path, config: Path) -> None:
    """The cameras, at distance 4 from the middle of the data's scene, look at them; nearly all lie within its box."""
    vertex = PlyData.read(str(written / "points.ply"))["vertex"].data
    points = np.stack([vertex[name] for name in "xyz"], axis=1)
    assert np.quantile(np.abs(points), 0.9) < 1.6


def test_the_same_pixels_have_a_label_at_every_granularity_with_segments(written: Path) -> None:
    middle, coarse = masks(written / "masks", "val")[1:]
    assert (coarse > 0).any() and ((coarse > 0) >= (middle > 0)).all()


def test_a_strip_shows_photo_and_granularities(written: Path) -> None:
    for split, count in (("train", 8), ("val", 2)):
        strips = sorted((written / "previews" / split).iterdir())
        assert len(strips) == count
        with Image.open(strips[0]) as strip:
            assert strip.size == (4 * 48 + 3 * 4, 48)


def test_pictures_are_parsed_by_themselves(written: Path) -> None:
    for level in LEVELS:
        found = [read_ids(path) for path in sorted((written / "parsing" / level).iterdir())]
        assert len(found) == 2 and found[0].shape == (48, 48)
    assert len(list((written / "parsing" / "previews").iterdir())) == 2


def test_training_views_are_rendered(written: Path, config: Path) -> None:
    stored = sorted((written / "features").glob("*.npz"))
    assert len(stored) == 2, "every fourth of eight"
    arrays = np.load(stored[0])
    assert arrays["features"].shape == (48, 48, 8) and arrays["features"].dtype == np.float16
    seen = arrays["accumulation"] > 0.9
    assert np.allclose(np.linalg.norm(arrays["features"][seen].astype(np.float32), axis=1), 1, atol=5e-3)
    assert np.quantile(np.abs(arrays["points"][seen]), 0.9) < 1.6
    assert len(list((written / "features").glob("*.png"))) == 2


def test_the_run_with_its_hierarchy_shows_segments(written: Path, config: Path) -> None:
    run = load_run(config.parent / "hierarchy.yml")
    view = next(render_views(run, "val", ("segment_id", "segment_colormap", "accumulation")))
    assert view.outputs["segment_colormap"].shape == (48, 48, 3)
    shown = view.outputs["segment_id"][..., 0].numpy()
    expected = masks(written / "masks", "val")[1][view.index]
    both = (shown > 0) & (expected > 0)
    assert (shown[both] == expected[both]).mean() > 0.5, "one by the heaviest sample, one by median depth"
    with pytest.raises(InputError, match="renders no 'segment_colormap'"):
        next(render_views(load_run(config), "val", ("segment_colormap",)))


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_second_call_makes_only_what_is_missing(written: Path, config: Path) -> None:
    before = stamps(config.parent)
    lost = sorted((written / "masks" / LEVELS[1] / "val").iterdir())[0]
    content = lost.read_bytes()
    lost.unlink()
    hierarchy(config)
    assert lost.read_bytes() == content
    after = stamps(config.parent)
    changed = {name for name in after if after[name] != before[name]}
    own = {f"hierarchy/masks/{level}/val/{lost.name}" for level in LEVELS}
    always = {"hierarchy.yml", "hierarchy/points.ply", "hierarchy/tree.json"}
    assert changed == own | always | {f"hierarchy/previews/val/{lost.name}"}


def test_other_granularities_take_the_place_of_the_old_ones(config: Path, written: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    for levels in (("0.3",), ("0.4", "0.5")):
        flags = ["--granularities", *levels, "--output-path", folder, "--masks", "val"]
        hierarchy(config, *flags)
        assert sorted(path.name for path in (folder / "masks").iterdir()) == list(levels)
        assert not (folder / "masks" / levels[0] / "train").exists()


def test_numbers_of_segments_become_granularities(config: Path, written: Path, tmp_path: Path, capsys) -> None:
    args = ["--load-config", config, "--num-segments", 1, 3, "--masks", "none", "--voxel", 0.01, "--min-size", 4]
    tyro.cli(Hierarchy, args=[str(word) for word in (*args, "--output-path", tmp_path / "out")]).main()
    tree = json.loads((tmp_path / "out" / "tree.json").read_text())
    assert len(tree["granularities"]) == len(tree["num_segments"]) <= 2
    assert f"granularity {tree['granularities'][0]:g}" in capsys.readouterr().out
    assert not (tmp_path / "out" / "masks").exists()


def test_a_dendrogram_that_is_damaged_is_made_anew(config: Path, written: Path, tmp_path: Path, capsys) -> None:
    path = config.parent / "hierarchy.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(InputError, match=r"hierarchy\.npz is no readable hierarchy"):
        load_run(config.parent / "hierarchy.yml")
    hierarchy(config, "--masks", "none", "--output-path", tmp_path / "out")
    assert "damaged: it is made anew" in capsys.readouterr().out
    assert path.read_bytes() == whole


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--granularities", 0.1, 2.5], r"2\.5 is out of range.*from 0 .* to 2"),
        (["--granularities", -0.1], "out of range"),
        (["--num-segments", 0], "--num-segments has 0"),
        (["--min-size", 0], "--min-size is 0"),
        (["--voxel", 0], "--voxel is 0.*between 0 and 1"),
        (["--downscale", 1.5], r"--downscale is 1\.5"),
        (["--max-points", 0], "--max-points is 0"),
        (["--max-rays", 0], "--max-rays is 0"),
        (["--neighbors", 0], "--neighbors is 0"),
        (["--min-opacity", 0], "--min-opacity is 0"),
        (["--edge-threshold", 0], "--edge-threshold is 0"),
        (["--render-train-subsample", 0], "--render-train-subsample is 0"),
    ],
)
def test_numbers_that_are_none(config: Path, flags: list[Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        hierarchy(config, *flags)


def test_a_folder_of_someone_else(config: Path, written: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("text")
    with pytest.raises(InputError, match=f"{tmp_path} holds files that nerfseg hierarchy did not write"):
        hierarchy(config, "--output-path", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_of_another_method(tiny_run) -> None:
    with pytest.raises(InputError, match=r"config\.yml is a run of 'instance-nerf-tiny'.*train ultrametric"):
        open_ultrametric_run(tiny_run.config)


def test_a_run_without_trained_features(ns_train, ultrametric_flags, furniture: Path, tmp_path: Path) -> None:
    config = ns_train("ultrametric-tiny", tmp_path, *ultrametric_flags(furniture, 3, 3))
    with pytest.raises(InputError, match=r"config\.yml: .*not trained yet"):
        open_ultrametric_run(config)
