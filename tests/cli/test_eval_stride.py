"""`nerfseg eval` on every n-th pixel, and with other views held out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from nerfseg_plugins.cli.eval import Eval
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json
from nerfseg_plugins.scene.run import every_nth, load_run, render_views


@pytest.mark.parametrize("distortion", [None, torch.tensor([[0.1, -0.02, 0.0, 0.0, 0.01, 0.0]])])
def test_every_nth_pixel_has_the_ray_that_it_had(distortion):
    poses = torch.eye(4)[None, :3].clone()
    size = {"width": 35, "height": 22, "camera_type": CameraType.PERSPECTIVE}
    camera = Cameras(poses, 30.0, 33.0, 16.5, 12.25, distortion_params=distortion, **size)
    whole = camera.generate_rays(0, keep_shape=True).directions
    part = every_nth(camera, 3).generate_rays(0, keep_shape=True).directions
    torch.testing.assert_close(part, whole[::3, ::3], atol=1e-5, rtol=1e-5)
    assert float(camera.cx) == 16.5 and int(camera.width) == 35  # the camera itself stays as it is


def test_a_stride_renders_a_part_of_the_whole_picture(tiny_run: Any, tmp_path: Path):
    run = load_run(tiny_run.config)
    whole, part = (next(iter(render_views(run, "val", ("rgb",), stride=stride))) for stride in (1, 4))
    torch.testing.assert_close(part.outputs["rgb"], whole.outputs["rgb"][::4, ::4], atol=1e-3, rtol=0)
    Eval(tiny_run.config, tmp_path / "m.json", render_stride=3, images=tmp_path / "pictures").main()
    metrics = read_json(tmp_path / "m.json")
    assert metrics["num_views"] == 3 and metrics["miou"] is not None


def test_what_cannot_be_asked_for(tiny_run: Any, tmp_path: Path):
    with pytest.raises(InputError, match="--render-stride is 0"):
        Eval(tiny_run.config, tmp_path / "m.json", render_stride=0).main()
    own = Eval(tiny_run.config, llffhold=4)
    other = SimpleNamespace(pipeline=SimpleNamespace(datamanager=SimpleNamespace(dataparser=SimpleNamespace())))
    with pytest.raises(InputError, match="holds out no n-th view; leave out --llffhold"):
        own.hold_out(other)
    parser = other.pipeline.datamanager.dataparser = SimpleNamespace(eval_interval=8, eval_mode="fraction")
    own.hold_out(other)
    assert (parser.eval_interval, parser.eval_mode) == (4, "interval")
