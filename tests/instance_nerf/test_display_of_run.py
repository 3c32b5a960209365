"""What a run writes and measures beside what its viewer shows: a few steps on a room of noise."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.viewer.utils import parse_object
from nerfstudio.viewer.viewer_elements import ViewerElement
from PIL import Image

from nerfseg_plugins.method_configs.instance_nerf import instance_nerf_tiny
from nerfseg_plugins.scene.colors import colors_to_ids, palette, read_palette
from nerfseg_plugins.scene.run import Run, load_run, render_views
from nerfseg_plugins.segments.masks import write_ids

WIDTH, HEIGHT = 16, 12


def write_room(folder: Path) -> None:
    """Three views from one place into a room of noise: instance 1 on the left, 2 on the right, background above."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    ids = np.where(np.arange(WIDTH)[None] < 8, 1, 2).repeat(HEIGHT, 0).astype(np.int32)
    ids[:4] = 0
    frames = []
    for view in range(3):
        name = f"images/{view:04d}.png"
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)).save(folder / name)
        write_ids(folder / "masks" / f"{view:04d}.png", ids)
        pose = [[1, 0, 0, 0.1 * view], [0, 0, -1, 0], [0, 1, 0, 1.2], [0, 0, 0, 1]]
        frames.append({"file_path": name, "transform_matrix": pose})
    room = {
        **{"w": WIDTH, "h": HEIGHT, "fl_x": 12.0, "fl_y": 12.0, "cx": WIDTH / 2, "cy": HEIGHT / 2},
        "room_bbox": [[-2, -2, 0], [2, 2, 2.5]],
        "bounding_boxes": [{"instance_id": i, "name": f"thing {i}", "class_id": i + 4} for i in (1, 2)],
    }
    for split, part in (("train", frames[:2]), ("val", frames[2:])):
        (folder / f"{split}_transforms.json").write_text(json.dumps({**room, "frames": part}))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two steps of each stage."""
    from copy import deepcopy

    folder = tmp_path_factory.mktemp("run")
    write_room(folder / "room")
    config = deepcopy(instance_nerf_tiny.config)
    config.output_dir, config.timestamp, config.vis = folder, "now", "tensorboard"
    config.machine.device_type, config.max_num_iterations = "cpu", 4
    config.viewer.quit_on_train_completion = True
    config.pipeline.datamanager.data = folder / "room"  # type: ignore[attr-defined]
    model = config.pipeline.model
    model.geometry_steps, model.log2_hashmap_size, model.head_log2_hashmap_size = 2, 10, 10  # type: ignore[attr-defined]
    config.set_timestamp()
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return load_run(config.get_base_dir() / "config.yml")


def test_the_palette_lies_in_the_runs_folder_and_no_file_beside_the_checkpoints(run):
    assert [path.name for path in run.checkpoint.parent.iterdir()] == ["step-000000003.ckpt"]
    colors, names = read_palette(run.folder / "palette.json")
    assert np.array_equal(colors, palette(3)) and names == {1: "thing 1", 2: "thing 2"}


def test_rendered_colours_turn_back_into_ids_with_the_runs_palette(run):
    colors, _ = read_palette(run.folder / "palette.json")
    for view in render_views(run, "val"):
        picture = (view.outputs["instance_colormap"] * 255 + 0.5).to(torch.uint8).numpy()
        assert np.array_equal(colors_to_ids(picture, colors), run.pipeline.model.predict_ids(view.outputs).numpy())


def test_the_viewer_finds_the_panel_in_a_folder_of_its_own(run):
    found = parse_object(run.pipeline, ViewerElement, "Custom Elements")
    names = ["all_instances", "choice", "click", "color", "hide", "isolate", "show_all"]
    assert [path for path, _ in found] == [f"Custom Elements/Instances/{name}" for name in names]
    assert not [key for key in run.pipeline.state_dict() if "Instances" in key or "panel" in key]


def test_metrics_do_not_depend_on_what_the_viewer_hides(run):
    model, pipeline = run.pipeline.model, run.pipeline
    expected, _ = pipeline.get_eval_image_metrics_and_images(0)
    model.display = hidden = model.display.hide(0).hide(1).hide(2)
    try:
        found, _ = pipeline.get_eval_image_metrics_and_images(0)
        assert model.display is hidden
        average = pipeline.get_average_eval_image_metrics()
    finally:
        model.display = model.display.show_all()
    assert found["psnr"] == expected["psnr"] == pytest.approx(average["psnr"])
