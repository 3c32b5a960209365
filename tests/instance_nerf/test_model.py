"""The instance model around its losses: number of classes, ids, what enters the loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import SceneBox

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.instance_nerf.losses import instance_cross_entropy, label_regularization  # noqa: E402
from nerfseg_plugins.instance_nerf.model import InstanceModel, InstanceModelConfig  # noqa: E402
from nerfseg_plugins.scene.head_model import FrozenSamples  # noqa: E402

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def build(num_labels: int = 3, metadata: Any = None, **options: Any) -> InstanceModel:
    torch.manual_seed(0)
    settings = {"implementation": "torch", "num_levels": 2, "log2_hashmap_size": 8, "head_num_levels": 2}
    config = InstanceModelConfig(**{**settings, "head_log2_hashmap_size": 8, **options})
    metadata = {"num_labels": num_labels, "bounded": True, **(metadata or {})}
    return InstanceModel(config, scene_box=SceneBox(BOX), num_train_data=2, metadata=metadata)


def grid(path: Path, highest: int) -> Path:
    ids = np.zeros((4, 4, 4), np.int32)
    ids[1, 2, 3], ids[0, 0, 0] = highest, 1
    np.save(path, ids)
    return path


def test_classes_come_from_masks_voxels_or_the_option(tmp_path: Path):
    frame = {
        "room_bbox": np.array([[-1.0, -1, -1], [1, 1, 1]]),
        "dataparser_transform": torch.eye(4)[:3],
        "dataparser_scale": 1.0,
    }
    assert build(3).head_dim() == 4, "background and three instances"
    assert build(3, label_mode="view", max_instances=7).head_dim() == 8
    voxels = grid(tmp_path / "a.npy", 6)
    assert build(3, frame, masks3d=voxels).head_dim() == 7
    assert build(9, frame, masks3d=voxels).head_dim() == 10
    assert build(3, frame, masks3d=voxels, label_mode="view", max_instances=4).head_dim() == 7
    assert len(build(3).colors) == 4 and build(3).head.out_dim == 4


def test_what_the_head_lacks():
    assert build(1).head_lacks() is None
    assert "no instance masks" in build(0).head_lacks()


def test_ids_are_the_likeliest_class_and_a_tie_is_background():
    logits = torch.tensor([[0.0, 0, 0], [1, 1, 0], [0, 1, 2], [0, 2, 2], [-3, -1, -2]])
    ids = build().predict_ids({"instance_logits": logits})
    assert ids.dtype == torch.int64 and ids.tolist() == [0, 0, 2, 1, 1]
    assert build().predict_ids({"instance_logits": logits.view(1, 5, 3)}).shape == (1, 5)


def test_an_empty_ray_is_background_however_the_head_is():
    model = build()
    samples = FrozenSamples(
        torch.rand(4, 5, 3), torch.rand(4, 5, model.field.geo_feat_dim), torch.zeros(4, 5, 1), torch.ones(4, 1)
    )
    logits = model.logits(samples)
    assert torch.equal(logits, torch.zeros(4, 4)) and model.predict_ids({"instance_logits": logits}).tolist() == [0] * 4


def test_logits_are_not_divided_by_the_opacity():
    model = build()
    positions, geo = torch.rand(1, 2, 3), torch.rand(1, 2, model.field.geo_feat_dim)
    weights = torch.tensor([[[0.1], [0.2]]])
    each = model.head(positions, geo)[0]
    found = model.logits(FrozenSamples(positions, geo, weights, torch.ones(1, 1)))
    torch.testing.assert_close(found[0], 0.1 * each[0] + 0.2 * each[1])


def patches(size: int = 4) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Outputs and batch of two patches."""
    generator = torch.Generator().manual_seed(1)
    rays = 2 * size * size
    outputs = {
        "instance_logits": torch.randn(rays, 4, generator=generator),
        "depth": torch.rand(rays, 1, generator=generator) * 0.04 + 1.96,
    }
    labels = torch.randint(-1, 4, (rays,), generator=generator)
    return outputs, {"instance_ids": labels, "patch_size": size, "indices": torch.zeros(rays, 3, dtype=torch.long)}


def test_losses_by_name_and_weight():
    outputs, batch = patches()
    depth = outputs["depth"].view(2, 4, 4) / outputs["depth"].max()
    logits = outputs["instance_logits"].view(2, 4, 4, 4)
    found = build(regularization_weight=0.5, regularization_bandwidth=0.01).head_loss(outputs, batch)
    assert set(found) == {"instance_loss", "regularization_loss"}
    torch.testing.assert_close(
        found["instance_loss"], instance_cross_entropy(outputs["instance_logits"], batch["instance_ids"])
    )
    torch.testing.assert_close(
        found["regularization_loss"], 0.5 * label_regularization(logits, depth, 0.01, "probabilities")
    )
    raw = build(regularize="logits", regularization_bandwidth=0.01).head_loss(outputs, batch)["regularization_loss"]
    torch.testing.assert_close(raw, label_regularization(logits, depth, 0.01, "logits"))


def test_without_patches_or_weight_there_is_no_regularisation():
    outputs, batch = patches()
    assert set(build(regularization_weight=0.0).head_loss(outputs, batch)) == {"instance_loss"}
    del batch["patch_size"]
    assert set(build().head_loss(outputs, batch)) == {"instance_loss"}
    assert set(build().head_loss(outputs, {**batch, "patch_size": 1})) == {"instance_loss"}


def test_per_view_ids_are_matched_before_the_loss():
    """Ids swapped in one of two views: nothing to the mode that matches, much to the other."""
    outputs, batch = patches()
    batch["indices"][16:, 0] = 1
    labels = outputs["instance_logits"].argmax(-1)
    swapped = labels.clone()
    swapped[16:] = torch.tensor([0, 2, 1, 3])[labels[16:]]
    loss = {
        (mode, name): build(label_mode=mode, max_instances=3).head_loss(outputs, {**batch, "instance_ids": ids})
        for mode in ("scene", "view")
        for name, ids in (("agreeing", labels), ("swapped", swapped))
    }
    view, scene = (
        [loss[mode, name]["instance_loss"].item() for name in ("agreeing", "swapped")] for mode in ("view", "scene")
    )
    assert view[0] == view[1] == scene[0] and scene[1] > 1.2 * scene[0]


@pytest.mark.parametrize("mode", ["scene", "view"])
def test_accuracy_counts_labelled_pixels_and_means_nothing_for_per_view_ids(mode):
    logits = torch.eye(4)[[1, 2, 3, 0]]
    found = build(label_mode=mode).head_metrics(
        {"instance_logits": logits}, {"instance_ids": torch.tensor([1, 0, -1, 0])}
    )
    assert found == ({} if mode == "view" else {"instance_accuracy": pytest.approx(2 / 3)})


@torch.no_grad()
@pytest.mark.parametrize("num_labels", [1, 2, 3])
def test_logits_of_any_number_of_classes_can_be_shown(num_labels: int):
    """Two channels are the one number that ns-render and the viewer refuse; ids and confidence do not notice."""
    from nerfstudio.utils.colormaps import apply_colormap

    model = build(num_labels).eval()
    for parameter in model.head.parameters():
        parameter.data.normal_()
    geo = torch.randn(64, 3, model.field.geo_feat_dim)
    samples = FrozenSamples(torch.rand(64, 3, 3), geo, torch.rand(64, 3, 1), torch.ones(64, 1))
    expected = model.logits(samples)
    shown = model.head_eval_outputs(samples, {"accumulation": torch.ones(64, 1)})
    assert shown["instance_logits"].shape[-1] != 2
    assert apply_colormap(shown["instance_logits"].view(8, 8, -1)).shape == (8, 8, 3)
    ids = model.predict_ids(shown)
    assert torch.equal(ids, expected.argmax(-1)) and len(ids.unique()) > 1
    torch.testing.assert_close(shown["instance_confidence"][:, 0], expected.softmax(-1).amax(-1))
