"""Pixels of two views that show the same: a plane, a thing before it, lenses, and the data of a real scene."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from nerfseg_plugins.evaluation.correspondence import ViewCamera, centres, correspond, transfer

SIZE = (12, 16)


def camera(x: float = 0.0, distortion=None) -> ViewCamera:
    """Looks along -z from (x, 0, 0)."""
    pose = np.eye(4)[:3].copy()
    pose[0, 3] = x
    return ViewCamera(pose, 8.0, 8.0, 8.0, 6.0, distortion)


def test_a_plane_moves_by_its_disparity():
    depth = np.full(SIZE, 4.0)
    pairs = correspond(depth, camera(), depth, camera(1.0))  # one to the right: 8 * 1 / 4 = 2 pixels to the left
    rows, columns = np.divmod(pairs.pixels_a, 16)
    assert np.array_equal(np.stack(np.divmod(pairs.pixels_b, 16)), [rows, columns - 2])
    assert len(rows) == 12 * 14  # the two leftmost columns fall outside


def test_what_stands_before_something_hides_it_both_ways():
    # A thing at depth 2 in columns 6..9 of view a, before a wall at 4. Seen from 1 to the right it moves by 4 pixels,
    # the wall by 2.
    wall = np.full(SIZE, 4.0)
    a, b = wall.copy(), wall.copy()
    a[:, 6:10] = 2
    b[:, 2:6] = 2
    pairs = correspond(a, camera(), b, camera(1.0))
    columns = {(int(p % 16), int(q % 16)) for p, q in zip(*pairs, strict=True)}
    thing = {(c, c - 4) for c in range(6, 10)}
    # The wall is hidden in a at 6..9 and in b at 2..5, which in a is 4..7.
    assert columns == thing | {(c, c - 2) for c in (2, 3, 10, 11, 12, 13, 14, 15)}
    back = correspond(b, camera(1.0), a, camera())
    assert {(int(q % 16), int(p % 16)) for p, q in zip(*back, strict=True)} == columns
    # Without the depth of the other view nothing is known to be hidden.
    assert len(transfer(a, camera(), camera(1.0), SIZE)[0].pixels_a) > len(pairs.pixels_a)


def test_nothing_corresponds_to_nothing():
    empty, wall = np.zeros(SIZE), np.full(SIZE, 4.0)
    for a, b in ((empty, wall), (wall, empty), (empty, empty)):
        assert len(correspond(a, camera(), b, camera(1.0)).pixels_a) == 0
    behind = ViewCamera(np.array([[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 0]]), 8, 8, 8, 6)
    assert len(correspond(wall, camera(), wall, behind).pixels_a) == 0


@pytest.mark.parametrize("distortion", [None, (0.08, -0.02, 0.0, 0.0, 0.004, -0.003)])
def test_lifting_is_what_nerfstudios_rays_do(distortion):
    rng = np.random.default_rng(0)
    view = camera(0.5, distortion)
    pixels = rng.choice(12 * 16, 30, replace=False)
    depth = rng.uniform(1, 5, 30)
    points = view.lift(centres(pixels, 16), depth)
    bent = None if distortion is None else torch.tensor([distortion], dtype=torch.float32)
    nerfstudio = Cameras(
        torch.tensor(view.c2w, dtype=torch.float32)[None],
        8.0,
        8.0,
        8.0,
        6.0,
        width=16,
        height=12,
        distortion_params=bent,
        camera_type=CameraType.PERSPECTIVE,
    )
    rays = nerfstudio.generate_rays(camera_indices=0, keep_shape=True)
    expected = rays.directions.reshape(-1, 3).numpy()[pixels]
    found = points - view.c2w[:, 3]
    assert np.allclose(found / np.linalg.norm(found, axis=1, keepdims=True), expected, atol=1e-4)
    assert np.allclose(-found[:, 2], depth)  # z-depth
    there, again = view.project(points)
    assert np.allclose(there, centres(pixels, 16), atol=1e-6) and np.allclose(again, depth)


def test_ids_agree_in_the_pairs_of_a_rendered_scene(tmp_path):
    """Parts seen twice have one id, in views that the ray tracer made with its own camera code."""
    from nerfseg_plugins.cli.eval_hierarchy import view_camera
    from nerfseg_plugins.dataparsers.depth_files import read_depth
    from nerfseg_plugins.dataparsers.sam_hierarchy import SamHierarchyDataParserConfig
    from nerfseg_plugins.dataparsers.truth_levels import read_level
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    room, shots = make_scene(1, "sam-hierarchy", num_objects=5, num_train=8, num_val=1, width=96, height=96)
    write_scene(tmp_path / "data", room, shots, "sam-hierarchy")
    outputs = SamHierarchyDataParserConfig(data=tmp_path / "data").setup().get_dataparser_outputs("train")
    cameras = [view_camera(outputs.cameras[i : i + 1]) for i in range(8)]
    scale = outputs.metadata["z_depth_scale"]
    depths = [read_depth(path, (96, 96)) * scale for path in outputs.metadata["z_depth_filenames"]]
    ids = [read_level(outputs.metadata["truth_levels"]["objects"], i).reshape(-1) for i in range(8)]
    pairs = agree = 0
    for a in range(8):
        others = [b for b in range(8) if b != a]
        b = min(others, key=lambda b: np.linalg.norm(cameras[a].c2w[:, 3] - cameras[b].c2w[:, 3]))
        found = correspond(depths[a], cameras[a], depths[b], cameras[b])
        pairs += len(found.pixels_a)
        agree += int((ids[a][found.pixels_a] == ids[b][found.pixels_b]).sum())
    assert pairs > 2000 and agree / pairs > 0.97
