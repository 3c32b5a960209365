"""nerfstudio's commands and ours on a trained run: metrics, pictures that turn back into ids, videos, exports."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from PIL import Image
from plyfile import PlyData

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.scripts.eval import ComputePSNR  # noqa: E402
from nerfstudio.scripts.render import Commands  # noqa: E402

from nerfseg_plugins.cli.eval import Eval  # noqa: E402
from nerfseg_plugins.cli.export import Export  # noqa: E402
from nerfseg_plugins.scene.colors import colors_to_ids, read_palette  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402
from nerfseg_plugins.segments.masks import read_ids  # noqa: E402

WIDTH, HEIGHT = 48, 36


@pytest.fixture(scope="module")
def run(tiny_run):
    return load_run(tiny_run.config)


@pytest.fixture(scope="module")
def predicted(run) -> dict[str, np.ndarray]:
    """Ids of the held-out views by image name, straight from the model."""
    model = run.pipeline.model
    return {view.image_path.stem: model.predict_ids(view.outputs).numpy() for view in render_views(run, "val")}


def ns_render(*arguments: str) -> None:
    """`ns-render`, parsed by its own parser."""
    tyro.cli(Commands, args=list(arguments)).main()


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def camera_path(run, path: Path) -> np.ndarray:
    """Two cameras of held-out views as the viewer writes them; the ids that they see, side by side in one array."""
    cameras = run.dataset("val").cameras
    seen, rows = [], []
    for index in (0, 2):
        matrix = np.eye(4)
        matrix[:3] = cameras.camera_to_worlds[index].numpy()
        fov = 2 * math.degrees(math.atan(HEIGHT / 2 / float(cameras.fy[index])))
        rows.append({"camera_to_world": matrix.flatten().tolist(), "fov": fov, "aspect": WIDTH / HEIGHT})
        with torch.no_grad():
            outputs = run.pipeline.model.get_outputs_for_camera(cameras[index : index + 1])
        seen.append(run.pipeline.model.predict_ids(outputs).numpy())
    content = {"render_height": HEIGHT, "render_width": WIDTH, "seconds": 1.0, "camera_type": "perspective"}
    path.write_text(json.dumps({**content, "camera_path": rows}))
    return np.stack(seen)


def video_shape(path: Path) -> tuple[int, int, int]:
    """Width, height and number of frames, as ffmpeg decodes them."""
    import imageio_ffmpeg

    reader = imageio_ffmpeg.read_frames(str(path))
    size = next(reader)["size"]
    return (*size, sum(1 for _ in reader))


def test_the_predictions_are_worth_looking_at(predicted):
    """Else the tests below would compare background with background."""
    assert set(predicted) == {"0010", "0011", "0012"}
    assert len(set(np.unique(np.stack(list(predicted.values()))).tolist())) >= 3


# nerfstudio's commands -----------------------------------------------------------------------------------------------


def test_ns_eval(tiny_run, run, tmp_path: Path):
    path = tmp_path / "metrics.json"
    tyro.cli(ComputePSNR, args=["--load-config", str(tiny_run.config), "--output-path", str(path)]).main()
    results = json.loads(path.read_text())["results"]
    psnr = []
    for view in render_views(run, "val", names=("rgb",)):
        error = (view.outputs["rgb"].clamp(0, 1) - view.batch["image"]).square().mean().item()
        psnr.append(-10 * math.log10(error))
    assert results["psnr"] == pytest.approx(np.mean(psnr), abs=0.05)
    assert 0 < results["ssim"] < 1
    assert "lpips" not in results, "its weights are not there: left out, not NaN"
    assert all(math.isfinite(value) for value in results.values())


def test_ns_render_dataset(tiny_run, predicted, tmp_path: Path):
    names = ["instance_colormap", "rgb"]
    common = ["--load-config", str(tiny_run.config), "--output-path", str(tmp_path), "--image-format", "png"]
    ns_render("dataset", *common, "--split", "val", "--rendered-output-names", *names)
    colors, _ = read_palette(tiny_run.folder / "palette.json")
    for stem, ids in predicted.items():
        picture = pixels(tmp_path / "val" / "instance_colormap" / f"{stem}.png")
        np.testing.assert_array_equal(colors_to_ids(picture, colors), ids)
        assert pixels(tmp_path / "val" / "rgb" / f"{stem}.png").shape == (HEIGHT, WIDTH, 3)


def test_ns_render_dataset_renders_every_output(tiny_run, tmp_path: Path):
    """Without names it renders all there are: none may be of a kind that it cannot show."""
    common = ["--load-config", str(tiny_run.config), "--output-path", str(tmp_path), "--split", "val"]
    ns_render("dataset", *common)
    made = {path.name for path in (tmp_path / "val").iterdir()}
    assert {"gt-rgb", "rgb", "depth", "instance_colormap", "instance_confidence", "instance_logits"} <= made
    assert all(len(list((tmp_path / "val" / name).iterdir())) == 3 for name in made)


def test_ns_render_camera_path_to_pictures(tiny_run, run, tmp_path: Path):
    ids = camera_path(run, tmp_path / "path.json")
    ns_render(
        "camera-path",
        *("--load-config", str(tiny_run.config), "--camera-path-filename", str(tmp_path / "path.json")),
        *("--output-path", str(tmp_path / "masks"), "--output-format", "images", "--image-format", "png"),
        *("--rendered-output-names", "instance_colormap"),
    )
    colors, _ = read_palette(tiny_run.folder / "palette.json")
    for index in range(2):
        found = colors_to_ids(pixels(tmp_path / "masks" / f"{index:05d}.png"), colors)
        # The viewer's camera is ours up to rounding of the field of view: rays on a border may fall to either side.
        assert (found == ids[index]).mean() > 0.99


def test_ns_render_camera_path_to_a_video(tiny_run, run, tmp_path: Path):
    camera_path(run, tmp_path / "path.json")
    ns_render(
        "camera-path",
        *("--load-config", str(tiny_run.config), "--camera-path-filename", str(tmp_path / "path.json")),
        *("--output-path", str(tmp_path / "tour.mp4"), "--rendered-output-names", "rgb", "instance_colormap"),
    )
    assert video_shape(tmp_path / "tour.mp4") == (2 * WIDTH, HEIGHT, 2)


def test_ns_render_interpolate(tiny_run, tmp_path: Path):
    ns_render(
        "interpolate",
        *("--load-config", str(tiny_run.config), "--output-path", str(tmp_path / "tour.mp4")),
        *("--interpolation-steps", "2", "--rendered-output-names", "instance_colormap"),
    )
    assert video_shape(tmp_path / "tour.mp4") == (WIDTH, HEIGHT, 4), "two steps between each pair of three views"


# Ours ----------------------------------------------------------------------------------------------------------------


def test_nerfseg_eval(tiny_run, tmp_path: Path):
    command = tyro.cli(Eval, args=["--load-config", str(tiny_run.config), "--output-path", str(tmp_path / "m.json")])
    command.main()
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert metrics["num_views"] == 3 and metrics["psnr"] > 10 and metrics["lpips"] is None
    for name in ("miou", "pq", "sq", "rq", "pq_view", "class_miou"):
        assert 0 <= metrics[name] <= 1, name


def test_nerfseg_export_masks(tiny_run, predicted, tmp_path: Path):
    flags = ["--load-config", str(tiny_run.config), "--output-path", str(tmp_path / "masks")]
    tyro.cli(Export, args=["masks", *flags]).main()
    for stem, ids in predicted.items():
        np.testing.assert_array_equal(read_ids(tmp_path / "masks" / f"{stem}.png"), ids)
    assert (tmp_path / "masks" / "palette.json").read_bytes() == (tiny_run.folder / "palette.json").read_bytes()


def test_nerfseg_export_pointcloud(tiny_run, tmp_path: Path):
    path = tmp_path / "cloud.ply"
    flags = ["--load-config", str(tiny_run.config), "--output-path", str(path), "--num-points", "500"]
    tyro.cli(Export, args=["pointcloud", *flags, "--min-accumulation", "0.2"]).main()
    vertex = PlyData.read(str(path))["vertex"]
    assert 0 < len(vertex) <= 500 and set(np.unique(vertex["label"]).tolist()) <= {0, 1, 2, 3, 4}
    low, high = np.array(json.loads((tiny_run.data / "transforms.json").read_text())["room_bbox"])
    points = np.stack([vertex[axis] for axis in "xyz"], 1)
    margin = 0.2 * (high - low).max() + 1e-3
    assert ((points > low - margin) & (points < high + margin)).all(), "metres, in the frame of the data"


@pytest.mark.parametrize("arguments", [["eval"], ["export", "masks", "--output-path", "x"], ["export", "pointcloud"]])
def test_nerfseg_ends_with_one_sentence(arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Through the entry point of the command: exit code 1, and the message on standard error."""
    from nerfseg_plugins.cli.main import entrypoint

    missing = tmp_path / "config.yml"
    monkeypatch.setattr(sys, "argv", ["nerfseg", *arguments, "--load-config", str(missing)])
    with pytest.raises(SystemExit) as caught:
        entrypoint()
    said = str(caught.value.code)  # Python prints it to standard error and exits with 1
    assert said.startswith("error: ") and str(missing) in said and "\n" not in said


def test_nerfseg_help_is_quick():
    """It imports neither torch nor nerfstudio, and shows every subcommand."""
    from nerfseg_plugins.cli.main import SUBCOMMANDS

    code = (
        "import sys; from nerfseg_plugins.cli.main import entrypoint\n"
        "try:\n    entrypoint()\nfinally:\n    print('HEAVY', [m for m in ('torch', 'nerfstudio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in SUBCOMMANDS)
    assert "HEAVY []" in done.stdout
