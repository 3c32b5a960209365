"""`nerfseg open`: other scenes with the weights of a run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.scripts.render import Commands  # noqa: E402

from nerfseg_plugins.cli.open import Open  # noqa: E402
from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.files import write_json  # noqa: E402
from nerfseg_plugins.scene.config_file import read_config, write_config  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402

from .category_runs import cameras, write_object  # noqa: E402


@pytest.fixture
def run(category_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to write beside."""
    shutil.copytree(category_run.parent, tmp_path / "run")
    return tmp_path / "run" / "config.yml"


def nerfseg_open(run: Path, *flags: str) -> None:
    tyro.cli(Open, args=["--load-config", str(run), *flags]).main()


def write_capture(folder: Path, count: int = 5) -> Path:
    """A capture that nerfstudio's own parser reads; its photos are 12 high and 10 wide."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for index, c2w in enumerate(cameras()[:count]):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{index}.png")
        matrix = np.concatenate([c2w, [[0, 0, 0, 1]]]).tolist()
        frames.append({"file_path": f"images/{index}.png", "transform_matrix": matrix})
    lens = {"fl_x": 14.0, "fl_y": 14.0, "cx": 5.0, "cy": 6.0, "w": 10, "h": 12, "camera_model": "OPENCV"}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder


def test_another_object_of_the_same_data(run: Path, capsys: pytest.CaptureFixture[str]):
    nerfseg_open(run, "--scene", "discs/d", "--views", "1", "5", "--name", "d")
    said = capsys.readouterr().out
    assert "d.yml: discs/d from 2 source views, 5 views to be rendered" in said and "ns-viewer --load-config" in said
    opened = load_run(run.parent / "d.yml")
    assert [path.stem for path in opened.dataset("train").image_filenames] == ["000001", "000005"]
    assert len(opened.dataset("val")) == 5 and opened.checkpoint == load_run(run).checkpoint
    # What it renders is what the run's own network renders from these views.
    view = next(iter(render_views(opened, "val", names=("rgb",), indices=[0])))
    original: Any = load_run(run).pipeline
    original.model.open_scene(opened.pipeline.datamanager.shown)  # type: ignore[attr-defined]
    torch.manual_seed(0)
    expected = original.model.get_outputs_for_camera(opened.dataset("val").cameras[0:1])["rgb"]
    assert torch.allclose(view.outputs["rgb"], expected.cpu(), atol=0.05)
    assert view.image_path.parts[-3] == "d"


def test_a_capture_of_another_layout(run: Path, tmp_path: Path):
    capture = write_capture(tmp_path / "garden")
    flags = ["--data", str(capture), "--dataparser", "nerfstudio-data", "--near", "0.2", "--far", "3"]
    nerfseg_open(run, *flags, "--set", "eval-mode=interval", "eval_interval=2", "auto_scale_poses=false")
    opened = load_run(run.parent / "garden.yml")
    assert [int(path.stem) for path in opened.dataset("val").image_filenames] == [0, 2, 4]
    manager: Any = opened.pipeline.datamanager
    assert manager.shown.bounds == (0.2, 3.0) and manager.dataparser.config.auto_scale_poses is False
    view = next(iter(render_views(opened, "val", names=("rgb", "depth"))))
    assert view.outputs["rgb"].shape == (12, 10, 3) and view.outputs["depth"].min() >= 0.2


def test_the_opened_scene_in_nerfstudios_own_commands(run: Path, tmp_path: Path):
    nerfseg_open(run, "--scene", "rings/e", "--views", "0", "4")
    words = ["dataset", "--load-config", str(run.parent / "rings-e.yml"), "--split", "train+test"]
    # nerfstudio looks for checkpoints where the run was trained, and for the datamanager of the method's name.
    config: Any = read_config(run.parent / "rings-e.yml")
    config.output_dir, config.experiment_name, config.method_name, config.timestamp = tmp_path, "x", "gnt-tiny", "run"
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "gnt-tiny").symlink_to(tmp_path)
    write_config(run.parent / "rings-e.yml", config)
    tyro.cli(
        Commands,
        args=[
            *words,
            "--output-path",
            str(tmp_path / "made"),
            "--rendered-output-names",
            "rgb",
            "--image-format",
            "png",
        ],
    ).main()
    assert len(list((tmp_path / "made" / "train" / "rgb").glob("*.png"))) == 2
    assert len(list((tmp_path / "made" / "test" / "rgb").glob("*.png"))) == 5


def test_one_folder_of_an_object(run: Path, tmp_path: Path):
    write_object(tmp_path / "mug", 5)
    nerfseg_open(run, "--data", str(tmp_path / "mug"))
    assert load_run(run.parent / "mug.yml").dataset("train").scene.name == "mug"  # type: ignore[attr-defined]


def test_a_name_that_is_taken(run: Path):
    nerfseg_open(run, "--scene", "discs/c")
    written = (run.parent / "discs-c.yml").read_bytes()
    with pytest.raises(InputError, match=r"discs-c\.yml exists; give another --name, or --overwrite"):
        nerfseg_open(run, "--scene", "discs/c", "--views", "3")
    assert (run.parent / "discs-c.yml").read_bytes() == written
    nerfseg_open(run, "--scene", "discs/c", "--views", "3", "--overwrite")
    assert (run.parent / "discs-c.yml").read_bytes() != written


BAD = {
    "no scene": (["--scene", "discs/x"], "has no scene 'discs/x'; there are discs/a"),
    "no data": (["--data", "nowhere"], "nowhere does not exist; give --data"),
    "no parser": (["--dataparser", "srn"], "--dataparser names the dataparser 'srn', which is not installed"),
    "no view": (["--views", "7"], "has no view 7; its 7 views count from 0"),
    "no option": (["--set", "eval=3"], "--set: SRNDataParserConfig has no option 'eval'"),
    "no equals sign": (["--set", "near"], "--set near is no option; write NAME=VALUE"),
    "wrong value": (["--set", "near=close"], "--set: near is 'close', but must be a number or null"),
    "bounds": (["--near", "3", "--far", "2"], "from near 3 to far 2"),
    "name with a folder": (["--name", "../x"], "--name is '../x'; give a plain name"),
    "name of the run": (["--name", "config"], "--name is 'config'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_opened(run: Path, kind: str):
    flags, said = BAD[kind]
    before = sorted(run.parent.iterdir())
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        nerfseg_open(run, *flags)
    assert "\n" not in str(caught.value) and sorted(run.parent.iterdir()) == before


def test_scenes_with_too_few_views(run: Path):
    config: Any = read_config(run)
    config.pipeline.model.num_source_views = 3
    write_config(run, config)
    with pytest.raises(InputError, match="discs/c has 2 source views, but 3 are asked for"):
        nerfseg_open(run, "--scene", "discs/c", "--views", "0", "1")


def test_images_that_cannot_be_read(run: Path, tmp_path: Path):
    write_object(tmp_path / "mug", 5)
    broken = tmp_path / "mug" / "rgb" / "000003.png"
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(InputError, match=r"000003\.png cannot be decoded"):
        nerfseg_open(run, "--data", str(tmp_path / "mug"), "--views", "3")


def test_a_run_on_a_mixture_does_not_say_how_to_read_other_data(run: Path, category: Path, tmp_path: Path):
    shutil.copytree(category, tmp_path / "category")
    write_json(tmp_path / "mix.json", {"sources": [{"dataparser": "srn-data", "data": "category"}]})
    config: Any = read_config(run)
    config.pipeline.datamanager.data = tmp_path / "mix.json"
    write_config(run, config)
    nerfseg_open(run, "--scene", "discs/d")
    assert load_run(run.parent / "discs-d.yml").dataset("train").scene.name == "discs/d"  # type: ignore[attr-defined]
    write_object(tmp_path / "mug", 5)
    with pytest.raises(InputError, match="was trained on a mixture of data; say how to read --data: --dataparser"):
        nerfseg_open(run, "--data", str(tmp_path / "mug"))


def test_a_run_of_another_kind(tiny_run: Any):
    with pytest.raises(InputError, match="knows the one scene that it was trained on"):
        nerfseg_open(tiny_run.config)
