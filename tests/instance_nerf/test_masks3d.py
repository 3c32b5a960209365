"""Instances as voxels: in the frame of the field, and refused when they are not what they should be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.files import read_json  # noqa: E402
from nerfseg_plugins.instance_nerf.masks3d import labelled_voxels, to_scene  # noqa: E402
from nerfseg_plugins.scene.run import load_run  # noqa: E402
from nerfseg_plugins.segments.masks import read_ids  # noqa: E402
from nerfseg_plugins.segments.masks3d import IdGrid, read_masks3d  # noqa: E402

SHAPE = (28, 24, 20)


def boxes(data: Path) -> list[dict[str, Any]]:
    return read_json(data / "transforms.json")["bounding_boxes"]


def inside(points: np.ndarray, box: dict[str, Any], margin: float) -> np.ndarray:
    """Whether points (N, 3), data frame, lie in an oriented box grown by `margin` on every side."""
    local = (points - np.array(box["position"])) @ np.array(box["orientation"])
    return (np.abs(local) <= np.array(box["extents"]) / 2 + margin).all(-1)


@pytest.fixture(scope="module")
def masks3d(tiny_room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The room's true boxes as NeRF-RCNN would write them: id k is the box of instance k."""
    low, high = np.array(read_json(tiny_room / "transforms.json")["room_bbox"])
    index = np.stack(np.meshgrid(*[np.arange(side) for side in SHAPE], indexing="ij"), -1)
    centres = low + (index + 0.5) * (high - low) / SHAPE
    rows = sorted(boxes(tiny_room), key=lambda box: box["instance_id"])
    assert [box["instance_id"] for box in rows] == [1, 2, 3, 4]
    masks = np.stack([inside(centres.reshape(-1, 3), box, 0.0).reshape(SHAPE) for box in rows])
    path = tmp_path_factory.mktemp("masks3d") / "room.npz"
    np.savez(path, masks=masks, scores=np.array([0.9, 0.9, 0.9, 0.9]))
    return path


def test_voxel_centres_by_hand():
    ids = np.zeros((2, 3, 4), np.int32)
    ids[1, 0, 3], ids[0, 2, 0] = 5, 2
    centres, found = labelled_voxels(IdGrid(ids, np.array([[10.0, 20, 30], [12, 26, 32]]), {}))
    # Voxels of 1 x 2 x 0.5; half a voxel from the corner.
    order = np.argsort(found)
    np.testing.assert_allclose(centres[order], [[10.5, 25, 30.25], [11.5, 21, 31.75]])
    assert found[order].tolist() == [2, 5]


def test_into_the_scene_frame_with_a_rotation():
    """A quarter turn about z, then a shift, then the scale: as dataparsers say it."""
    transform = torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]])
    points = to_scene(np.array([[4.0, 5, 6], [0, 0, 0]]), transform, 0.5)
    torch.testing.assert_close(points, torch.tensor([[-2.0, 3.0, 4.5], [0.5, 1.0, 1.5]]))


def test_the_overlap_goes_to_the_higher_score(tmp_path: Path):
    masks = np.zeros((3, 1, 1, 4), bool)
    masks[0, ..., :3], masks[1, ..., 1:], masks[2] = True, True, True
    np.savez(tmp_path / "a.npz", masks=masks, scores=np.array([0.6, 0.8, 0.5]))
    grid = read_masks3d(tmp_path / "a.npz", np.array([[0.0, 0, 0], [1, 1, 4]]))
    assert grid.ids[0, 0].tolist() == [1, 2, 2, 2], "ids count what is above 0.5 in saved order, and are never added"


def test_voxels_lie_where_the_cameras_see_their_instances(tiny_run, masks3d: Path):
    """True depth along a camera's ray ends in a voxel of the id that its pixel shows, all in the scene frame."""
    run = load_run(tiny_run.config)
    metadata = run.dataset("train").metadata
    centres, ids = labelled_voxels(read_masks3d(masks3d, metadata["room_bbox"]))
    points = to_scene(centres, metadata["dataparser_transform"], metadata["dataparser_scale"]).numpy()
    assert not np.allclose(points, centres, atol=0.1), "the transform of this scene does something"

    cameras, seen, near = run.dataset("train").cameras, [], []
    voxel = np.abs(np.diff(np.array(metadata["room_bbox"]), axis=0)[0] / SHAPE).max() * metadata["dataparser_scale"]
    for view in range(3):
        labels = read_ids(tiny_run.data / "masks" / f"{view:04d}.png")
        z = np.load(tiny_run.data / "depth" / f"{view:04d}.npy").astype(np.float64) * metadata["dataparser_scale"]
        bundle = cameras.generate_rays(camera_indices=view, keep_shape=True)
        forward = -cameras.camera_to_worlds[view][:, 2].numpy()
        distance = z / (bundle.directions.numpy() @ forward)
        ends = bundle.origins.numpy() + distance[..., None] * bundle.directions.numpy()
        for instance in (1, 2, 3, 4):
            own = points[ids == instance]
            for end in ends[labels == instance][::7]:
                seen.append(instance)
                near.append(np.linalg.norm(own - end, axis=1).min() < 1.5 * voxel)
    assert len(seen) > 100 and set(seen) == {1, 2, 3, 4}
    assert np.mean(near) > 0.98


def test_the_field_learns_from_voxels(ns_train, tiny_run, tiny_flags, masks3d: Path, tmp_path: Path):
    """The same few steps with and without 3D masks, on 2D masks that know one instance in one corner."""
    from nerfseg_plugins.segments.masks import write_ids

    for view in range(10):
        ids = np.full((36, 48), -1, np.int32)
        ids[0, 0] = 4
        write_ids(tmp_path / "poor" / f"{view:04d}.png", ids)
    accuracy = {}
    for name, flags in (("without", []), ("with", [f"--pipeline.model.masks3d={masks3d}"])):
        common = [*tiny_flags, "--max-num-iterations=180", f"--pipeline.pretrained={tiny_run.config}"]
        data = ["front3d-data", f"--data={tiny_run.data}", f"--masks={tmp_path / 'poor'}"]
        run = load_run(ns_train("instance-nerf-tiny", tmp_path, *common, *flags, *data, name=name))
        grid = read_masks3d(masks3d, run.dataset("train").metadata["room_bbox"])
        centres, ids = labelled_voxels(grid)
        positions = torch.from_numpy(run.to_scene_frame(centres)).float()
        with torch.no_grad():
            model = run.pipeline.model
            _, geo = model.query_geometry(positions)
            predicted = model.predict_ids({"instance_logits": model.head(positions, geo)})
        accuracy[name] = (predicted.numpy() == ids).mean()
    assert accuracy["with"] > 0.8 > accuracy["without"]


@pytest.mark.parametrize("kind", ["missing", "truncated", "pickled", "no scores", "shapes", "no instance", "2D grid"])
def test_bad_voxels_are_named_before_training(ns_train, quick_flags, tiny_room: Path, tmp_path: Path, kind: str):
    path = tmp_path / ("grid.npy" if kind in {"2D grid", "pickled"} else "masks.npz")
    masks, scores = np.ones((2, 3, 3, 3), bool), np.array([0.9, 0.8])
    if kind == "truncated":
        np.savez(path, masks=masks, scores=scores)
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "pickled":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "no scores":
        np.savez(path, masks=masks)
    elif kind == "shapes":
        np.savez(path, masks=masks, scores=scores[:1])
    elif kind == "no instance":
        np.savez(path, masks=masks, scores=scores / 2)
    elif kind == "2D grid":
        np.save(path, np.ones((3, 3), np.int32))
    with pytest.raises(InputError) as caught:
        ns_train("instance-nerf-tiny", tmp_path, *quick_flags(tiny_room, 4, 8), f"--pipeline.model.masks3d={path}")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_without_a_room_the_box_is_asked_for(ns_train, quick_flags, tiny_room: Path, tmp_path: Path, masks3d: Path):
    import json
    import shutil

    shutil.copytree(tiny_room, tmp_path / "room")
    for name in ("train_transforms.json", "val_transforms.json"):
        content = read_json(tmp_path / "room" / name)
        del content["room_bbox"]
        (tmp_path / "room" / name).write_text(json.dumps(content))
    flags = [*quick_flags(tmp_path / "room", 4, 8), f"--pipeline.model.masks3d={masks3d}"]
    with pytest.raises(InputError, match="room_bbox") as caught:
        ns_train("instance-nerf-tiny", tmp_path, *flags)
    assert str(masks3d) in str(caught.value)
