"""Segment sources: absence, checkpoints, flattening; the networks run on random weights of their true architecture."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.classes import is_structure, nyu40_class
from nerfseg_plugins.segments.mask2former import relabel_panoptic
from nerfseg_plugins.segments.mask_rcnn import MaskRcnnSource
from nerfseg_plugins.segments.prompted import PromptedSam
from nerfseg_plugins.segments.sam import flatten_sam
from nerfseg_plugins.segments.sources import HierarchySource, SourceOptions, flatten_masks, make_source

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


def test_flattening_by_hand() -> None:
    masks = np.zeros((3, 1, 6), bool)
    masks[0, 0, :4] = masks[1, 0, 2:5] = masks[2, 0, 3] = True
    ids, order = flatten_masks(masks, np.array([0.5, 0.9, 0.7]))
    # The second mask is on top and hides the third wholly; the last pixel is in none.
    np.testing.assert_array_equal(ids, [[2, 2, 1, 1, 1, -1]])
    np.testing.assert_array_equal(order, [1, 0])
    ids, order = flatten_masks(masks, np.array([0.5, 0.9, 0.95]), outside=0)
    np.testing.assert_array_equal(ids, [[3, 3, 2, 1, 2, 0]])
    np.testing.assert_array_equal(order, [2, 1, 0])


def test_flattening_nothing() -> None:
    ids, order = flatten_masks(np.zeros((0, 2, 3), bool), np.zeros(0))
    np.testing.assert_array_equal(ids, np.full((2, 3), -1))
    assert len(order) == 0


def test_sams_small_masks_lie_on_top() -> None:
    sofa = np.zeros((4, 4), bool)
    sofa[:3] = True
    cushion = np.zeros((4, 4), bool)
    cushion[1, 1:3] = True
    found = [{"segmentation": cushion, "predicted_iou": 0.8}, {"segmentation": sofa, "predicted_iou": 0.99}]
    segments = flatten_sam(found, (4, 4))
    np.testing.assert_array_equal(segments.ids, [[2, 2, 2, 2], [2, 1, 1, 2], [2, 2, 2, 2], [-1, -1, -1, -1]])
    np.testing.assert_allclose(segments.scores, [0.8, 0.99])
    assert (flatten_sam([], (4, 4)).ids == -1).all()


def test_panoptic_structure_is_background_and_void_unlabelled() -> None:
    panoptic = np.array([[0, 1, 1], [2, 3, 3], [4, 4, 0]])
    names = {0: "chair", 1: "wall-other-merged", 2: "floor-wood", 3: "teddy bear"}
    rows = [
        {"id": 1, "label_id": 0, "score": 0.9},
        {"id": 2, "label_id": 1, "score": 0.8},
        {"id": 3, "label_id": 3, "score": 0.7},
        {"id": 4, "label_id": 2, "score": 0.6},
    ]
    segments = relabel_panoptic(panoptic, rows, names)
    np.testing.assert_array_equal(segments.ids, [[-1, 1, 1], [0, 2, 2], [0, 0, -1]])
    np.testing.assert_array_equal(segments.class_ids, [5, 40])
    np.testing.assert_allclose(segments.scores, [0.9, 0.7])


@pytest.mark.parametrize(
    "category",
    ["wall-brick", "floor-other-merged", "ceiling-merged", "door-stuff", "window-blind", "curtain", "stairs"],
)
def test_structure(category: str) -> None:
    assert is_structure(category)


def test_things_are_no_structure_and_have_nyu40_classes() -> None:
    for category in ("chair", "table-merged", "cabinet-merged", "pillow"):
        assert not is_structure(category)
    assert [nyu40_class(c) for c in ("bed", "couch", "table-merged", "zebra")] == [4, 6, 7, 40]


@pytest.fixture(scope="module")
def mask_rcnn_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of torchvision's Mask R-CNN, its detector biased so that something is found."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    score = network.roi_heads.box_predictor.cls_score
    with torch.no_grad():
        score.weight.zero_()
        score.bias.zero_()
        score.bias[62] = 4.0  # every box is a chair, with e^4 / (e^4 + 90) = 0.378
    path = tmp_path_factory.mktemp("weights") / "maskrcnn.pth"
    torch.save(network.state_dict(), path)
    return path


def test_mask_rcnn_runs_from_a_local_checkpoint(mask_rcnn_file: Path) -> None:
    source = make_source("mask-rcnn", SourceOptions(checkpoint=mask_rcnn_file, min_score=0.05))
    assert source.model == "maskrcnn_resnet50_fpn"
    assert source.checkpoint is not None and len(source.checkpoint) == 64
    source._network.transform.min_size = (64,)  # pyright: ignore[reportAttributeAccessIssue]  # 800 takes a minute
    segments = source(IMAGE)
    assert segments.ids.shape == (64, 64) and segments.ids.min() >= 0
    found = np.unique(segments.ids[segments.ids > 0])
    np.testing.assert_array_equal(found, segments.segment_ids)
    assert len(found) > 0 and set(segments.class_ids.tolist()) == {5}
    np.testing.assert_allclose(segments.scores, 0.3776, atol=1e-3)


def test_things_of_mask_rcnn_by_category(mask_rcnn_file: Path) -> None:
    source = make_source("mask-rcnn", SourceOptions(checkpoint=mask_rcnn_file, min_score=0.05))
    assert isinstance(source, MaskRcnnSource)
    source._network.transform.min_size = (64,)  # pyright: ignore[reportAttributeAccessIssue]
    found = source.things(IMAGE)
    assert len(found.masks) == len(found.scores) > 0 and set(found.categories) == {"chair"}
    assert found.masks.shape[1:] == (64, 64) and found.masks.dtype == bool
    assert (np.diff(found.scores) <= 0).all()
    source.check_category("car")
    with pytest.raises(InputError, match="'carr' is no category"):
        source.check_category("carr")


def test_bad_mask_rcnn_checkpoints(mask_rcnn_file: Path, tmp_path: Path) -> None:
    def refused(path: Path, words: str) -> None:
        with pytest.raises(InputError) as caught:
            make_source("mask-rcnn", SourceOptions(checkpoint=path))
        assert str(path) in str(caught.value) and words in str(caught.value)

    refused(tmp_path / "none.pth", "is no file")
    (tmp_path / "short.pth").write_bytes(mask_rcnn_file.read_bytes()[:5000])
    refused(tmp_path / "short.pth", "no readable checkpoint")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "no box predictor")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "no state dict")
    torch.save({"roi_heads.box_predictor.cls_score.weight": torch.zeros(5, 1024)}, tmp_path / "five.pth")
    refused(tmp_path / "five.pth", "5 classes")
    torch.save({"roi_heads.box_predictor.cls_score.weight": torch.zeros(91, 1024)}, tmp_path / "part.pth")
    refused(tmp_path / "part.pth", "does not fit maskrcnn_resnet50_fpn")


class Evil:
    """What a pickle could do on loading."""

    def __reduce__(self):
        return (print, ("run on loading",))


def test_a_pickle_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="no readable checkpoint"):
        make_source("mask-rcnn", SourceOptions(checkpoint=tmp_path / "evil.pth"))
    assert "run on loading" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "module", "package"),
    [("sam", "segment_anything", "segment-anything"), ("mask2former", "transformers", "transformers")],
)
def test_a_missing_package_is_one_sentence(source, module, package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"pip install {package}"):
        make_source(source)


def test_a_gpu_that_is_not_there_is_refused(mask_rcnn_file: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="use --device cpu"):
        make_source("mask-rcnn", SourceOptions(checkpoint=mask_rcnn_file, device="cuda"))


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(InputError, match="no segment source"):
        make_source("magic")  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of SAM's smallest network."""
    registry = pytest.importorskip("segment_anything").sam_model_registry
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "sam.pth"
    torch.save(registry["vit_b"](checkpoint=None).state_dict(), path)
    return path


def test_sam_runs_from_a_local_checkpoint(sam_file: Path, tmp_path: Path) -> None:
    options = SourceOptions(
        checkpoint=sam_file,
        points_per_side=2,
        pred_iou_thresh=-9,  # random weights think little of their masks
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        resize_factor=0.5,
    )
    source = make_source("sam", options)
    assert source.model == "vit_b" and source.parameters["resize_factor"] == 0.5
    assert isinstance(source, HierarchySource)
    segments, found = source.levels(IMAGE)
    assert segments.ids.shape == (64, 64) and found.size == (64, 64) and len(found) > 0
    # SAM saw 32x32 pixels, so masks are made of blocks of 2x2; it gives up to three masks for each of four points.
    masks = found.masks()
    np.testing.assert_array_equal(masks, np.repeat(np.repeat(masks[:, ::2, ::2], 2, axis=1), 2, axis=2))
    assert len(found) <= 12 and np.isfinite(found.predicted_iou).all() and (found.stability <= 1).all()
    np.testing.assert_array_equal(segments.ids > 0, masks.any(axis=0))
    with pytest.raises(InputError, match="needs --checkpoint"):
        make_source("sam")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="no checkpoint of SAM"):
        make_source("sam", SourceOptions(checkpoint=tmp_path / "other.pth"))


def test_sam_is_asked_for_one_thing(sam_file: Path) -> None:
    ask = PromptedSam(SourceOptions(checkpoint=sam_file))
    image = IMAGE[:48]
    middle = ask(image)
    assert middle.shape == (48, 64) and middle.dtype == bool
    assert ask(image, box=(8, 8, 40, 40)).shape == (48, 64)
    with pytest.raises(InputError, match=r"point \(64, 2\) lies outside the image of 64x48"):
        ask(image, point=(64, 2))
    with pytest.raises(InputError, match=r"box \(40, 8, 8, 40\) is no left, top, right, bottom"):
        ask(image, box=(40, 8, 8, 40))


def test_mask2former_runs_from_a_local_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.SwinConfig(
        embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, num_queries=8, encoder_layers=1, decoder_layers=2, num_labels=3
    )
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(tmp_path)
    transformers.Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(tmp_path)
    source = make_source("mask2former", SourceOptions(checkpoint=tmp_path, min_score=0.0))
    segments = source(IMAGE)
    assert segments.ids.shape == (64, 64) and segments.ids.min() >= -1
    with pytest.raises(InputError, match="holds no"):
        (tmp_path / "empty").mkdir()
        make_source("mask2former", SourceOptions(checkpoint=tmp_path / "empty"))
