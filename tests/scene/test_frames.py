"""The data frame is that of the user's files, whatever the parser reports."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from nerfseg_plugins.dataparsers.front3d import Front3DDataParserConfig
from nerfseg_plugins.scene.frames import frame_transform, pose_to_data, pose_to_scene

APPLIED = [[1.0, 0, 0, 0.5], [0, 0, 1, -1.0], [0, -1, 0, 2.0]]


@pytest.mark.parametrize(
    "extra", [{}, {"applied_transform": APPLIED}, {"applied_transform": APPLIED, "applied_scale": 0.25}, "colmap"]
)
@pytest.mark.parametrize("parser", [NerfstudioDataParserConfig, Front3DDataParserConfig])
def test_poses_of_the_file_become_the_parsers_cameras(tmp_path: Path, tiny_room: Path, parser: type, extra):
    meta = json.loads((tiny_room / "transforms.json").read_text())
    kept = {key: meta[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "frames")}
    if extra == "colmap":
        (tmp_path / "colmap" / "sparse" / "0").mkdir(parents=True)
        extra = {}
    (tmp_path / "images").symlink_to(tiny_room / "images")
    (tmp_path / "transforms.json").write_text(json.dumps({**kept, **extra}))
    config = parser(data=tmp_path, eval_mode="all")
    if parser is NerfstudioDataParserConfig:
        config.load_3D_points = False
    outputs = config.setup().get_dataparser_outputs("train")
    matrix, scale = frame_transform(config, outputs)
    poses = {Path(frame["file_path"]).name: frame["transform_matrix"] for frame in meta["frames"]}
    data = np.array([poses[path.name] for path in outputs.image_filenames])[:, :3]
    scene = outputs.cameras.camera_to_worlds.numpy()
    np.testing.assert_allclose(pose_to_scene(data, matrix, scale), scene, atol=1e-5)
    np.testing.assert_allclose(pose_to_data(scene, matrix, scale), data, atol=1e-4)
    assert torch.linalg.det(outputs.cameras.camera_to_worlds[:, :, :3]).allclose(torch.ones(len(data)), atol=1e-4)
