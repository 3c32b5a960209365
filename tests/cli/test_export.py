"""`nerfseg export`: command lines, masks from colour pictures, the PLY file, names of what is written."""

from pathlib import Path

import mediapy
import numpy as np
import pytest
import tyro
from PIL import Image
from plyfile import PlyData

from nerfseg_plugins.cli.export import Export, ExportMasks, ExportPointcloud, write_ply
from nerfseg_plugins.cli.views import output_names
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.colors import colors_to_ids, ids_to_colors, palette, read_palette, write_palette
from nerfseg_plugins.scene.points import PointCloud
from nerfseg_plugins.segments.masks import read_ids


def parse(line: str) -> Export:
    return tyro.cli(Export, args=line.split())


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """What ns-render writes of `instance_colormap`: two PNGs, one in a subfolder, and the run's palette beside."""
    rng = np.random.default_rng(0)
    ids = {name: rng.integers(-1, 9, (12, 16)).astype(np.int32) for name in ("0000.png", "left/0001.png")}
    for name, view in ids.items():
        path = tmp_path / "renders" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mediapy.write_image(path, ids_to_colors(view, palette(9)), fmt="png")
    write_palette(tmp_path / "palette.json", palette(9), {3: "lamp"})
    return tmp_path, ids


def test_command_lines_read_as_documented():
    masks = parse("masks --load-config run/config.yml --split all --output-path out").what
    assert masks == ExportMasks(Path("out"), load_config=Path("run/config.yml"), split="all")
    pictures = parse("masks --colormaps renders --palette palette.json --output-path out").what
    assert pictures == ExportMasks(Path("out"), colormaps=Path("renders"), palette=Path("palette.json"))
    cloud = parse("pointcloud --load-config run/config.yml --output-path c.ply --num-points 5").what
    assert cloud == ExportPointcloud(Path("run/config.yml"), Path("c.ply"), num_points=5)


def test_colour_pictures_turn_back_into_ids(pictures: tuple[Path, dict[str, np.ndarray]], capsys):
    folder, ids = pictures
    out = folder / "out"
    parse(f"masks --colormaps {folder}/renders --palette {folder}/palette.json --output-path {out} --previews").main()
    assert "wrote 2 masks" in capsys.readouterr().out
    table, names = read_palette(out / "palette.json")
    assert names == {3: "lamp"}
    for name, view in ids.items():
        np.testing.assert_array_equal(read_ids(out / name), view)
        with Image.open(out / name) as image:
            assert image.mode.startswith("I") and int(np.array(image).max()) == 65535  # 16 bit; -1 occurs in each
        with Image.open(out / "previews" / name) as image:
            np.testing.assert_array_equal(colors_to_ids(np.asarray(image), table), view)


def test_a_foreign_picture_is_named(pictures: tuple[Path, dict[str, np.ndarray]]):
    folder, _ = pictures
    bad = folder / "renders" / "zz.png"
    Image.new("RGB", (4, 4), (1, 2, 3)).save(bad)
    export = ExportMasks(folder / "out", colormaps=folder / "renders", palette=folder / "palette.json")
    with pytest.raises(InputError, match="1 colours that are not in the palette") as caught:
        export.main()
    assert str(bad) in str(caught.value)


def test_a_truncated_picture_is_named(pictures: tuple[Path, dict[str, np.ndarray]]):
    folder, _ = pictures
    bad = folder / "renders" / "0000.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(InputError) as caught:
        ExportMasks(folder / "out", colormaps=folder / "renders", palette=folder / "palette.json").main()
    assert str(bad) in str(caught.value)
    assert not list(folder.glob("out/0000*"))


def test_folders_without_png_say_what_to_render(tmp_path: Path):
    write_palette(tmp_path / "palette.json", palette(3))
    export = ExportMasks(tmp_path / "out", colormaps=tmp_path / "renders", palette=tmp_path / "palette.json")
    with pytest.raises(InputError, match="has no PNG; render"):
        export.main()
    (tmp_path / "renders").mkdir()
    (tmp_path / "renders" / "0.jpg").touch()
    with pytest.raises(InputError, match="JPEGs"):
        export.main()


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("masks --output-path out", "either --load-config"),
        ("masks --output-path out --load-config a --colormaps b", "either --load-config"),
        ("masks --output-path out --colormaps b", "pass the run's palette.json"),
        ("pointcloud --load-config a --output-path cloud.obj", r"cloud\.obj must end in \.ply"),
    ],
)
def test_options_that_do_not_fit_are_refused(line: str, match: str):
    with pytest.raises(InputError, match=match):
        parse(line).main()


@pytest.mark.parametrize("labels", [None, np.array([4, -1], np.int32)])
def test_ply_reads_back(tmp_path: Path, labels: np.ndarray):
    points = np.array([[0.5, -1.25, 3.0], [1e-3, 2.0, -7.5]], np.float32)
    write_ply(tmp_path / "cloud.ply", PointCloud(points, np.array([[1, 2, 3], [255, 0, 9]], np.uint8), labels))
    data = PlyData.read(str(tmp_path / "cloud.ply"))
    vertex = data["vertex"]
    assert not data.text and data.byte_order == "<"
    np.testing.assert_array_equal(np.stack([vertex[c] for c in "xyz"], 1), points)
    np.testing.assert_array_equal(np.stack([vertex[c] for c in ("red", "green", "blue")], 1), [[1, 2, 3], [255, 0, 9]])
    assert vertex["label"].dtype == np.int32
    assert vertex["label"].tolist() == ([-1, -1] if labels is None else [4, -1])


def test_names_follow_the_images():
    images = [Path("/d/images/a.jpg"), Path("/d/images/b.png")]
    assert output_names(images, ".png") == [Path("a.png"), Path("b.png")]
    splits = [Path("/d/train/r_0.png"), Path("/d/val/r_0.png")]
    assert output_names(splits, ".png") == [Path("train/r_0.png"), Path("val/r_0.png")]
    assert output_names([], ".png") == []
    with pytest.raises(InputError, match=r"a\.jpg and .*a\.png would both be written as a\.png"):
        output_names([Path("/d/a.jpg"), Path("/d/a.png")], ".png")
