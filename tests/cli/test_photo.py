"""`nerfseg photo normalize`: cars out of photos."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.cli.main import entrypoint
from nerfseg_plugins.cli.photo_normalize import largest_thing
from nerfseg_plugins.segments.mask_rcnn import Things

WIDTH, HEIGHT = 120, 90


def nerfseg(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["nerfseg", *arguments])
    entrypoint()


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What the command says when it refuses."""
    with pytest.raises(SystemExit) as caught:
        nerfseg(monkeypatch, *arguments)
    said = str(caught.value.code)
    assert said.startswith("error: ") and "\n" not in said
    return said


def car() -> np.ndarray:
    """(H, W) bool: an ellipse of 48 by 16 pixels around (60, 40)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return ((x - 60) / 24) ** 2 + ((y - 40) / 8) ** 2 <= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/red.jpg with a red car on grey, and masks/red.png."""
    photo = np.where(car()[..., None], np.array([220, 30, 30]), 120).astype(np.uint8)
    (tmp_path / "in").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(photo).save(tmp_path / "in" / "red.jpg", quality=95)
    Image.fromarray(car()).save(tmp_path / "masks" / "red.png")
    return tmp_path


def test_a_given_mask(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    places = ["--images", str(folder / "in"), "--masks", str(folder / "masks"), "--output-path", str(folder / "out")]
    nerfseg(monkeypatch, "photo", "normalize", *places, "--size", "70")
    assert str(folder / "out" / "red_normalize.png") in capsys.readouterr().out
    # The minor axis of 16 pixels asks for 69.9 pixels, hence 70: as many as wanted, so nothing is interpolated.
    picture = np.asarray(Image.open(folder / "out" / "red_normalize.png"))
    assert picture.shape == (70, 70, 3)
    inside = np.zeros((70, 70), bool)
    inside[:, :] = car()[40 - 35 : 40 + 35, 60 - 35 : 60 + 35]
    assert (picture[~inside] == 255).all()
    assert np.abs(picture[inside].mean(axis=0) - (220, 30, 30)).max() < 25
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "out" / "red_mask.png")) > 0, car())
    # What it has written is no photo to it; the corrected mask is found beside it.
    again = ["--images", str(folder / "in"), "--masks", str(folder / "out"), "--output-path", str(folder / "in")]
    nerfseg(monkeypatch, "photo", "normalize", *again, "--size", "70")
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "in" / "red_normalize.png")), picture)
    nerfseg(monkeypatch, "photo", "normalize", *again, "--size", "70")
    assert sorted(path.name for path in (folder / "in").iterdir()) == ["red.jpg", "red_mask.png", "red_normalize.png"]


def test_photos_without_a_whole_car_are_named_and_the_others_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "in" / "empty.png")
    Image.new("L", (WIDTH, HEIGHT)).save(folder / "masks" / "empty.png")
    places = ["--masks", str(folder / "masks"), "--output-path", str(folder / "out")]
    nerfseg(monkeypatch, "photo", "normalize", "--images", str(folder / "in"), *places)
    assert "left out: " in (said := capsys.readouterr().out) and "empty.png: no car is found" in said
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["red_mask.png", "red_normalize.png"]
    said = refusal(monkeypatch, "photo", "normalize", "--images", str(folder / "in" / "empty.png"), *places)
    assert "empty.png: no car is found" in said
    Image.fromarray(np.roll(car(), 40, axis=1)).save(folder / "masks" / "red.png")
    said = refusal(monkeypatch, "photo", "normalize", "--images", str(folder / "in" / "red.jpg"), *places)
    assert "red.jpg: the car touches the left and the right border" in said


def test_a_network_that_finds_other_things(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Mask R-CNN with random weights, biased so that all it sees are chairs."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    from nerfseg_plugins.segments.mask_rcnn import MaskRcnnSource

    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    with torch.no_grad():
        network.roi_heads.box_predictor.cls_score.weight.zero_()
        network.roi_heads.box_predictor.cls_score.bias.zero_()[62] = 4.0
    torch.save(network.state_dict(), folder / "weights.pth")
    original = MaskRcnnSource.things

    def small(self: MaskRcnnSource, rgb: np.ndarray) -> Things:
        self._network.transform.min_size = (64,)  # type: ignore[union-attr]  # 800 takes a minute
        return original(self, rgb)

    monkeypatch.setattr(MaskRcnnSource, "things", small)
    flags = ["--images", str(folder / "in"), "--checkpoint", str(folder / "weights.pth"), "--min-score", "0.05"]
    said = refusal(monkeypatch, "photo", "normalize", *flags, "--output-path", str(folder / "out"))
    assert "red.jpg: no car is found (0 pixels); give a mask with --masks" in said
    assert not (folder / "out").exists()
    said = refusal(monkeypatch, "photo", "normalize", *flags, "--category", "cart")
    assert "'cart' is no category of COCO" in said


def test_of_several_cars_the_largest():
    masks = np.zeros((4, 6, 6), bool)
    masks[0, 0, 0], masks[1, :2], masks[2, :3, :3], masks[3] = True, True, True, True

    class Network:
        def things(self, rgb: np.ndarray) -> Things:
            return Things(masks, np.array([0.9, 0.8, 0.7, 0.6]), ("car", "car", "car", "truck"))

    image = np.zeros((6, 6, 3), np.uint8)
    np.testing.assert_array_equal(largest_thing(Network(), image, "car"), masks[1])
    assert not largest_thing(Network(), image, "bus").any()


def test_bad_files_and_flags(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def said(*flags: str) -> str:
        return refusal(monkeypatch, "photo", "normalize", "--output-path", str(folder / "out"), *flags)

    red, masks = str(folder / "in" / "red.jpg"), ["--masks", str(folder / "masks")]
    assert "nowhere does not exist" in said("--images", str(folder / "nowhere"), *masks)
    (folder / "none").mkdir()
    assert f"{folder / 'none'} names no photos" in said("--images", str(folder / "none"), *masks)
    assert f"{folder / 'none'} has no mask of {red}" in said("--images", red, "--masks", str(folder / "none"))
    (folder / "in" / "bad.png").write_bytes(b"no image")
    assert "bad.png is no readable image" in said("--images", str(folder / "in" / "bad.png"), *masks)
    (folder / "masks" / "red.png").write_bytes(b"no mask")
    assert f"{folder / 'masks' / 'red.png'} is no readable mask" in said("--images", red, *masks)
    Image.new("L", (WIDTH, HEIGHT + 1)).save(folder / "masks" / "red.png")
    assert f"red.png has 120x91 pixels, but {red} 120x90" in said("--images", red, *masks)
    Image.open(red).save(folder / "red.png")
    assert "would have results of one name" in said("--images", red, str(folder / "red.png"), *masks)
    assert "--size is 4" in said("--images", red, "--size", "4")
    assert "--minor-scale and --major-scale" in said("--images", red, "--minor-scale", "0")
    assert "belong to --source sam" in said("--images", red, "--point", "1", "1")
    assert "needs --checkpoint" in said("--images", red, "--source", "sam")
    assert "weights cannot be fetched" in said("--images", red)
