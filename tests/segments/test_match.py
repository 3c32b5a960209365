"""Matching without 3D masks on a scene whose partition is known."""

import dataclasses

import numpy as np
import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.lift import DepthView, resize_nearest
from nerfseg_plugins.segments.masks import Segments
from nerfseg_plugins.segments.match import match_segments
from nerfseg_plugins.segments.match_config import MatchConfig

CONFIG = MatchConfig(resolution=48)


def scene_ids(maps: list[np.ndarray], truth: list[np.ndarray]) -> dict[int, int]:
    """The id that most pixels of each true instance got, all views together."""
    flat, flat_truth = (np.concatenate([ids.ravel() for ids in x]) for x in (maps, truth))
    return {k: int(np.bincount(flat[flat_truth == k] + 1).argmax()) - 1 for k in (1, 2)}


def iou(maps: list[np.ndarray], truth: list[np.ndarray], found: int, true: int) -> float:
    flat, flat_truth = (np.concatenate([ids.ravel() for ids in x]) for x in (maps, truth))
    return ((flat == found) & (flat_truth == true)).sum() / ((flat == found) | (flat_truth == true)).sum()


def of(maps: list[np.ndarray]) -> list[Segments]:
    return [Segments.of_ids(ids) for ids in maps]


@pytest.mark.parametrize("labels", ["vote", "fill", "segments"])
def test_permuted_ids_become_the_two_boxes(scene, labels: str) -> None:
    result = match_segments(of(scene.permuted()), scene.views, dataclasses.replace(CONFIG, labels=labels))
    assert [instance.id for instance in result.instances] == [1, 2]
    ids = scene_ids(result.ids, scene.truth)
    assert sorted(ids.values()) == [1, 2]
    for true, found in ids.items():
        # With `vote`, a voxel that box and floor share makes a seam of a pixel; the others keep the outlines.
        assert iou(result.ids, scene.truth, found, true) > (0.93 if labels == "vote" else 0.999)
        instance = result.instances[found - 1]
        assert instance.num_views == len(scene.views)
        np.testing.assert_allclose(instance.box, scene.boxes[true - 1], atol=0.2)  # voxels are 0.13 wide
    sizes = [instance.num_pixels for instance in result.instances]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == sum(int((ids == 1).sum()) for ids in result.ids)


def test_two_runs_agree(scene) -> None:
    first, second = (match_segments(of(scene.permuted()), scene.views, CONFIG) for _ in range(2))
    for a, b in zip(first.ids, second.ids, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_dropped_segment_is_filled_by_the_other_views(scene) -> None:
    maps = scene.permuted()
    maps[2] = np.where(scene.truth[2] == 1, -1, maps[2])
    for labels, expected in (("vote", 0.9), ("fill", 0.9), ("segments", 0.0)):
        result = match_segments(of(maps), scene.views, dataclasses.replace(CONFIG, labels=labels))
        found = scene_ids(result.ids, scene.truth)[1]
        covered = (result.ids[2][scene.truth[2] == 1] == found).mean()
        assert covered >= expected if expected else covered == 0


def test_a_merged_segment_is_split(scene) -> None:
    maps = scene.permuted()
    maps[1] = np.where(scene.truth[1] > 0, 5, 0).astype(np.int32)
    maps[6] = np.where(scene.truth[6] > 0, 3, 0).astype(np.int32)
    result = match_segments(of(maps), scene.views, CONFIG)
    assert len(result.instances) == 2
    ids = scene_ids(result.ids, scene.truth)
    for true, found in ids.items():
        assert (result.ids[1][scene.truth[1] == true] == found).mean() > 0.9
    # Without filling, what covers two instances is nobody's.
    result = match_segments(of(maps), scene.views, dataclasses.replace(CONFIG, labels="segments"))
    assert set(np.unique(result.ids[1][scene.truth[1] > 0])) == {-1}


def test_specks_seen_in_one_view_vanish(scene) -> None:
    maps = scene.permuted()
    maps[0][2:8, 2:8] = 40
    result = match_segments(of(maps), scene.views, CONFIG)
    assert len(result.instances) == 2
    assert set(np.unique(result.ids[0][2:8, 2:8])) <= {0, -1}
    assert result.segments[0][40] == -1


def test_noise_and_floaters_do_not_change_the_partition(scene) -> None:
    rng = np.random.default_rng(3)
    views = []
    for view in scene.views:
        depth = view.depth + 0.03 * rng.standard_normal(view.depth.shape)
        depth[10:16, 20:28] *= rng.uniform(0.3, 0.7)
        views.append(dataclasses.replace(view, depth=depth))
    result = match_segments(of(scene.permuted()), views, CONFIG)
    ids = scene_ids(result.ids, scene.truth)
    assert len(result.instances) == 2 and sorted(ids.values()) == [1, 2]
    assert min(iou(result.ids, scene.truth, found, true) for true, found in ids.items()) > 0.85


def test_classes_are_voted_by_score(scene) -> None:
    segments = []
    for ids, truth in zip(scene.permuted(), scene.truth, strict=True):
        own = Segments.of_ids(ids)
        first = ids[truth == 1][0]
        classes = np.where(own.segment_ids == first, 4, 7)
        segments.append(dataclasses.replace(own, class_ids=classes.astype(np.int32)))
    # Five of eight views say 5 for the first box, but with little confidence; one says nothing.
    for index in range(5):
        own = segments[index]
        wrong = own.class_ids == 4
        segments[index] = dataclasses.replace(
            own,
            class_ids=np.where(wrong, 0 if index == 0 else 5, own.class_ids).astype(np.int32),
            scores=np.where(wrong, 0.2, own.scores).astype(np.float32),
        )
    result = match_segments(segments, scene.views, CONFIG)
    ids = scene_ids(result.ids, scene.truth)
    assert result.instances[ids[1] - 1].class_id == 4
    assert result.instances[ids[2] - 1].class_id == 7


def test_depth_may_be_coarser_than_the_maps(scene) -> None:
    maps = [np.kron(ids, np.ones((3, 3), np.int32)) for ids in scene.permuted()]
    result = match_segments(of(maps), scene.views, CONFIG)
    assert result.ids[0].shape == (144, 192)
    truth = [resize_nearest(ids, (144, 192)) for ids in scene.truth]
    ids = scene_ids(result.ids, truth)
    assert min(iou(result.ids, truth, found, true) for true, found in ids.items()) > 0.93


def test_floor_and_walls_become_background_by_extent(scene) -> None:
    # No pixel is marked background: the room is one more segment (10) in every view.
    maps = [np.where(ids == 0, 10, ids) for ids in scene.permuted()]
    result = match_segments(of(maps), scene.views, CONFIG)
    assert len(result.instances) == 2
    background = np.concatenate([ids[truth == 0] for ids, truth in zip(result.ids, scene.truth, strict=True)])
    assert (background == 0).mean() > 0.95
    assert result.segments[0][10] == 0
    kept = match_segments(of(maps), scene.views, dataclasses.replace(CONFIG, background="given"))
    assert len(kept.instances) == 3


def test_many_segments_are_clustered_in_some_views_and_joined_in_the_others(scene) -> None:
    result = match_segments(of(scene.permuted()), scene.views, dataclasses.replace(CONFIG, max_segments=9))
    assert len(result.instances) == 2
    assert all(instance.num_views == 8 for instance in result.instances)


def test_all_background_gives_no_instance(scene) -> None:
    result = match_segments(of([np.zeros_like(ids) for ids in scene.truth]), scene.views, CONFIG)
    assert result.instances == []
    assert all((ids == 0).all() for ids in result.ids)


def test_bad_input(scene) -> None:
    with pytest.raises(InputError, match="2 segment maps and 8 depth maps"):
        match_segments(of(scene.truth[:2]), scene.views, CONFIG)
    fog = [DepthView(np.full((4, 4), np.nan), np.zeros(3), np.ones((4, 4, 3)))]
    with pytest.raises(InputError, match="trustworthy depth"):
        match_segments(of([np.ones((4, 4), np.int32)]), fog, CONFIG)
