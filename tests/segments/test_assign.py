"""Given 3D masks: reading, projection behind occluders, and the assignment to segments."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.assign import (
    assign_segments,
    match_masks3d,
    overlap_iou,
    project_grid,
)
from nerfseg_plugins.segments.masks import Segments
from nerfseg_plugins.segments.masks3d import IdGrid, merge_masks, read_masks3d
from nerfseg_plugins.segments.match_config import AssignConfig

BOX = np.array([[-1.5, -1.5, 0.0], [1.5, 1.5, 1.5]])


def grid_of(boxes: np.ndarray) -> IdGrid:
    """The boxes in voxels of 0.1, by their centres."""
    axes = [np.arange(low + 0.05, high, 0.1) for low, high in BOX.T]
    centers = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    ids = np.zeros(centers.shape[:3], np.int32)
    for index, box in enumerate(boxes):
        ids[((centers >= box[0]) & (centers <= box[1])).all(axis=-1)] = index + 1
    return IdGrid(ids, BOX, {1: 4, 2: 7})


def test_projection_equals_the_true_ids(scene) -> None:
    grid = grid_of(scene.boxes)
    for view, truth in zip(scene.views, scene.truth, strict=True):
        projected = project_grid(grid, view)
        for number in (1, 2):
            assert (projected[truth == number] == number).mean() > 0.99
        # The reach of one voxel (0.1) covers some floor beside the boxes and nothing more.
        assert (projected[truth == 0] > 0).mean() < 0.1


def test_a_wall_in_front_hides_instances(scene) -> None:
    wall = dataclasses.replace(scene.views[0], depth=np.full_like(scene.views[0].depth, 0.5))
    assert not project_grid(grid_of(scene.boxes), wall).any()


def test_unknown_depth_shows_nothing(scene) -> None:
    depth = scene.views[0].depth.copy()
    depth[:10] = np.nan
    depth[10:20] = 0
    assert not project_grid(grid_of(scene.boxes), dataclasses.replace(scene.views[0], depth=depth))[:20].any()


def test_points_outside_the_grid_have_id_0() -> None:
    grid = IdGrid(np.ones((2, 2, 2), np.int32), np.array([[0.0, 0, 0], [1, 1, 1]]), {})
    points = np.array([[0.5, 0.5, 0.5], [-0.01, 0.5, 0.5], [1.0, 0.5, 0.5], [0.99, 0, 0]])
    np.testing.assert_array_equal(grid.at(points), [1, 0, 0, 1])


def test_iou_by_hand() -> None:
    segments = np.array([[1, 1, 4, -1], [1, 0, 4, 4]])
    instances = np.array([[2, 2, 2, 0], [0, 0, 3, 3]])
    rows, columns, iou = overlap_iou(segments, instances)
    np.testing.assert_array_equal(rows, [1, 4])
    np.testing.assert_array_equal(columns, [2, 3])
    np.testing.assert_allclose(iou, [[2 / 4, 0], [1 / 5, 2 / 3]])


# Segment 1 covers 6 of instance 1's pixels, segment 2 the other 4; segment 3 covers instance 2.
SPLIT = np.array([[1] * 6 + [2] * 4 + [3] * 4 + [0] * 2])
PROJECTED = np.array([[1] * 10 + [2] * 4 + [0] * 2])


def test_one_to_one_gives_each_instance_once_and_many_to_one_does_not() -> None:
    own = Segments.of_ids(SPLIT)
    assert assign_segments(own, PROJECTED, {}) == {1: 1, 2: -1, 3: 2}
    assert assign_segments(own, PROJECTED, {}, AssignConfig(mode="many-to-one")) == {1: 1, 2: 1, 3: 2}


def test_classes_break_the_tie() -> None:
    own = dataclasses.replace(Segments.of_ids(SPLIT), class_ids=np.array([5, 4, 0], np.int32))
    # IoU 0.6 x 0.5 for the wrong class against 0.4 for the right one
    assert assign_segments(own, PROJECTED, {1: 4}) == {1: -1, 2: 1, 3: 2}
    assert assign_segments(own, PROJECTED, {1: 4}, AssignConfig(other_class_weight=1.0)) == {1: 1, 2: -1, 3: 2}
    # A class that one side does not know agrees with all.
    assert assign_segments(own, PROJECTED, {1: 0, 2: 9}) == {1: 1, 2: -1, 3: 2}


def test_little_overlap_is_none() -> None:
    ids = np.zeros((10, 10), np.int32)
    ids[0] = 1
    projected = np.zeros((10, 10), np.int32)
    projected[:, 0] = 1
    own = Segments.of_ids(ids)  # IoU = 1 / 19 = 0.0526
    assert assign_segments(own, projected, {}) == {1: 1}
    assert assign_segments(own, projected, {}, AssignConfig(min_iou=0.053)) == {1: -1}
    assert assign_segments(own, projected, {}, AssignConfig(mode="many-to-one", min_iou=0.053)) == {1: -1}


def test_a_view_without_instances_assigns_nothing() -> None:
    assert assign_segments(Segments.of_ids(SPLIT), np.zeros_like(SPLIT), {}) == {1: -1, 2: -1, 3: -1}


def test_matching_with_a_grid_restores_the_true_ids(scene) -> None:
    maps = scene.permuted()
    maps[0][0, :3] = -1
    result = match_masks3d([Segments.of_ids(ids) for ids in maps], scene.views, grid_of(scene.boxes))
    for index, (ids, truth) in enumerate(zip(result.ids, scene.truth, strict=True)):
        expected = truth.copy()
        if index == 0:
            expected[0, :3] = -1
        np.testing.assert_array_equal(ids, expected)
    assert [(i.id, i.class_id, i.num_views) for i in result.instances] == [(1, 4, 8), (2, 7, 8)]
    np.testing.assert_allclose(result.instances[1].box, scene.boxes[1], atol=1e-6)


def test_a_grid_in_another_frame_is_refused(scene) -> None:
    grid = grid_of(scene.boxes)
    far = dataclasses.replace(grid, box=grid.box + 100)
    with pytest.raises(InputError, match="no view sees an instance"):
        match_masks3d([Segments.of_ids(ids) for ids in scene.truth], scene.views, far)
    with pytest.raises(InputError, match="1 segment maps and 8 depth maps"):
        match_masks3d([Segments.of_ids(scene.truth[0])], scene.views, grid)


def test_higher_scores_win_and_ids_are_never_added() -> None:
    masks = np.zeros((4, 1, 1, 3), bool)
    masks[0, 0, 0, :2] = masks[1, 0, 0, 1:] = masks[2, 0, 0, 0] = masks[3, 0, 0, 2] = True
    # Equal scores 0.8: voxel 1 stays with the first mask; the third is left out, so that the fourth is id 3 and beats
    # the second.
    np.testing.assert_array_equal(merge_masks(masks, np.array([0.8, 0.8, 0.5, 0.9]))[0, 0], [1, 1, 3])


def test_classes_follow_the_kept_masks(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "scene.npz",
        masks=np.ones((3, 2, 2, 2), bool),
        scores=np.array([0.6, 0.2, 0.9]),
        labels=np.array([1, 2, 3]),
    )
    grid = read_masks3d(tmp_path / "scene.npz", BOX)
    assert grid.classes == {1: 3, 2: 5}
    assert (grid.ids == 2).all()


@pytest.fixture
def masks3d(tmp_path: Path) -> Path:
    path = tmp_path / "scene.npz"
    masks = np.zeros((2, 4, 3, 2), bool)
    masks[0, :2], masks[1, 2:] = True, True
    np.savez(path, masks=masks, scores=np.array([0.9, 0.7]), labels=np.array([2, 10]), boxes=np.zeros((2, 6)))
    return path


def test_reads_what_nerf_rcnn_writes(masks3d: Path) -> None:
    grid = read_masks3d(masks3d, BOX)
    assert grid.ids.shape == (4, 3, 2)
    np.testing.assert_array_equal(grid.ids[:, 0, 0], [1, 1, 2, 2])
    assert grid.classes == {1: 4, 2: 39}  # label 2 is bed, label 10 other furniture
    np.testing.assert_allclose(grid.voxel_size, [0.75, 1.0, 0.75])


def test_reads_a_grid_of_ids_and_a_box_of_its_own(tmp_path: Path) -> None:
    ids = np.arange(24).reshape(2, 3, 4) - 1
    np.save(tmp_path / "grid.npy", ids)
    grid = read_masks3d(tmp_path / "grid.npy", BOX)
    assert grid.ids[0, 0, 0] == 0 and grid.ids[1, 2, 3] == 22
    own = np.array([[0.0, 0, 0], [1, 1, 1]])
    masks = np.ones((1, 2, 2, 2), bool)
    np.savez(tmp_path / "own.npz", masks=masks, scores=np.ones(1), bbox_min=own[0], bbox_max=own[1])
    np.testing.assert_array_equal(read_masks3d(tmp_path / "own.npz", BOX).box, own)


def test_bad_masks3d_are_named(masks3d: Path, tmp_path: Path) -> None:
    def refused(path: Path, words: str, box=BOX) -> None:
        with pytest.raises(InputError) as caught:
            read_masks3d(path, box)
        assert str(path) in str(caught.value) and words in str(caught.value)

    refused(tmp_path / "none.npz", "does not exist")
    refused(masks3d, "give --masks3d-box", box=None)
    refused(masks3d, "lower corner", box=BOX[::-1])
    (tmp_path / "short.npz").write_bytes(masks3d.read_bytes()[:200])
    refused(tmp_path / "short.npz", "damaged or truncated")
    refused(tmp_path / "mask.png", "no 3D mask file")
    np.savez(tmp_path / "keys.npz", mask=np.zeros((1, 2, 2, 2), bool))
    refused(tmp_path / "keys.npz", "has no 'masks', only mask")
    np.savez(tmp_path / "shape.npz", masks=np.zeros((2, 2, 2), bool), scores=np.ones(2))
    refused(tmp_path / "shape.npz", "(N, W, L, H)")
    np.savez(tmp_path / "number.npz", masks=np.zeros((2, 2, 2, 2), bool), scores=np.ones(3))
    refused(tmp_path / "number.npz", "(N, W, L, H)")
    np.savez(tmp_path / "label.npz", masks=np.zeros((1, 2, 2, 2), bool), scores=np.ones(1), labels=np.array([11]))
    refused(tmp_path / "label.npz", "label from 1 to 10")
    np.savez(tmp_path / "nan.npz", masks=np.zeros((1, 2, 2, 2), bool), scores=np.array([np.nan]))
    refused(tmp_path / "nan.npz", "not finite")
    np.save(tmp_path / "flat.npy", np.zeros((4, 4), int))
    refused(tmp_path / "flat.npy", "(W, L, H)")
    np.save(tmp_path / "float.npy", np.zeros((4, 4, 4)))
    refused(tmp_path / "float.npy", "(W, L, H) integers")
