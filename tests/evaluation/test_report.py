"""The flat dictionary: its keys, what is null, and that scene-level figures pool the views."""

import json
import math

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.evaluation.report import METRIC_NAMES, Report, ViewRecord, evaluate_views

FIXED_KEYS = ["psnr", "ssim", "lpips", "miou", "pq", "sq", "rq", "pq_view", "class_miou", "nc", "vc", "tree_agreement"]
FIXED_KEYS += ["num_views", "seconds"]


def record(ids_pred: object = None, ids_true: object = None, error: float = 0.1) -> ViewRecord:
    def halves(ids: object) -> object:
        return None if ids is None else np.repeat(np.array([ids]), 12, 0).repeat(6, 1)

    picture = torch.full((12, 12, 3), 0.5)
    return ViewRecord(picture + error, picture, halves(ids_pred), halves(ids_true))  # type: ignore[arg-type]


def test_keys_are_the_fixed_ones_and_json_takes_them():
    metrics = evaluate_views([record([1, 2], [1, 2])])
    assert list(metrics) == FIXED_KEYS == list(METRIC_NAMES)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_image_metrics_are_means_over_views():
    metrics = evaluate_views([record(error=0.1), record(error=0.01)])
    assert metrics["psnr"] == pytest.approx((20 + 40) / 2, abs=1e-3)
    assert metrics["num_views"] == 2
    assert isinstance(metrics["seconds"], float) and metrics["seconds"] >= 0


@pytest.mark.parametrize("ids", [(None, None), ([1, 2], None), (None, [1, 2])])
def test_instance_metrics_are_null_without_truth_or_prediction(ids: tuple):
    metrics = evaluate_views([record(*ids)], pred_classes={1: 1}, truth_classes={1: 1})
    names = ("miou", "pq", "sq", "rq", "pq_view", "class_miou", "nc", "vc", "tree_agreement")
    assert {metrics[name] for name in names} == {None}


def test_scene_metrics_pool_the_views():
    # Ids swap between the views: right in each view, wrong in the scene (every IoU is 1/3).
    metrics = evaluate_views([record([1, 2], [1, 2]), record([2, 1], [1, 2])])
    assert metrics["pq_view"] == 1
    assert metrics["pq"] == 0
    assert metrics["miou"] == pytest.approx(1 / 3)


def test_views_without_truth_count_for_images_only():
    metrics = evaluate_views([record([1, 2], [1, 2]), record([2, 1], None)])
    assert metrics["pq"] == 1 and metrics["num_views"] == 2


def test_classes_need_both_sides():
    views = [record([7, 8], [1, 2])]
    assert evaluate_views(views, pred_classes={7: 3, 8: 3}, truth_classes={1: 3, 2: 4})["class_miou"] == 0.25
    assert evaluate_views(views, truth_classes={1: 3, 2: 4})["class_miou"] is None


def test_legacy_pq_with_and_without_classes():
    report = Report()
    report.add(record([7, 8], [1, 2]))
    report.add(record([7, 8], [1, 0]))
    # Without classes: 3 matches; true 2 is missed where it does not show; 8 invented there costs nothing.
    assert report.legacy_pq() == pytest.approx(3 / 3.5)
    # With them 8 is of the wrong class, which costs half where it matches.
    assert report.legacy_pq({7: 3, 8: 3}, {1: 3, 2: 4}) == pytest.approx(2 / (2 + 0.5 + 0.5))


def test_lpips_is_null_when_one_view_lacks_it():
    values = iter([0.25, 0.75, 0.25, math.nan])
    network = lambda true, pred: torch.tensor(next(values))  # noqa: E731
    assert evaluate_views([record(), record()], lpips=network)["lpips"] == 0.5
    assert evaluate_views([record(), record()], lpips=network)["lpips"] is None


def test_no_views_give_no_figures():
    metrics = evaluate_views([])
    assert metrics["num_views"] == 0 and metrics["psnr"] is None and metrics["pq"] is None


def test_ids_of_another_size_are_refused():
    view = record([1, 2], [1, 2])
    with pytest.raises(InputError, match="must be alike"):
        evaluate_views([ViewRecord(view.rgb_pred, view.rgb_true, np.zeros((3, 3), int), view.ids_true)])
