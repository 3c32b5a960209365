"""A scene's source views and pixels: geometry, bounds, boxes, features."""

import dataclasses
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.store import origin_of, write_map
from nerfseg_plugins.image_based.images import ImageCache
from nerfseg_plugins.image_based.projection import project
from nerfseg_plugins.image_based.scene import Bounds, Scene, scene_bounds
from nerfseg_plugins.image_based.teacher import TeacherFeatures
from nerfseg_plugins.manifest import Manifest, write_manifest

from .captures import capture_parser, category_parser, looking_inwards, noise, write_capture, write_object

POINT = np.array([0.3, -0.2, 0.1])
"""In the data's frame."""


def scene_of(parser: Any, masked: bool = False, features: Optional[str] = None, split: str = "train") -> Scene:
    """A scene as the datamanager makes it."""
    outputs, cache = parser.setup().get_dataparser_outputs(split), ImageCache(10)
    taught = None if features is None else TeacherFeatures(parser.data, features, outputs.image_filenames, cache)
    return Scene(parser.data.name, outputs, cache, scene_bounds(outputs), masked, taught)


def dot_at(height: int, width: int, c2w: np.ndarray, k1: float = 0.0) -> np.ndarray:
    """A black image with a white dot where a camera of `write_capture` sees POINT."""
    x, y, z = c2w[:3, :3].T @ (POINT - c2w[:3, 3])
    u, v = x / -z, -y / -z
    radial = 1 + k1 * (u * u + v * v)
    center = 1.2 * width * u * radial + 0.48 * width, 1.3 * width * v * radial + 0.53 * height
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = np.hypot(columns - center[0], rows - center[1])
    bright = np.exp(-((distance / (0.03 * width)) ** 2)) * 255
    return np.repeat(np.round(bright).astype(np.uint8)[..., None], 3, axis=2)


def centroids(images: torch.Tensor) -> np.ndarray:
    """(V, 2) x and y of the bright spots in images (V, 3, H, W), pixels from the corner."""
    weight = images[:, 0].double().numpy()
    rows, columns = np.mgrid[: weight.shape[1], : weight.shape[2]] + 0.5
    total = weight.sum(axis=(1, 2))
    return np.stack([(weight * columns).sum(axis=(1, 2)), (weight * rows).sum(axis=(1, 2))], 1) / total[:, None]


@pytest.mark.parametrize("k1", [0.0, -0.3])
def test_a_point_projects_onto_itself_in_views_of_any_size_and_lens(tmp_path: Path, k1: float):
    sizes = [(60, 80), (60, 80), (90, 120), (120, 100), (30, 44)]
    images = [dot_at(*size, pose, k1) for size, pose in zip(sizes, looking_inwards(5), strict=True)]
    scene = scene_of(capture_parser(write_capture(tmp_path / "dots", sizes, images, k1=k1), eval_mode="all"))
    views = scene.take([0, 2, 3, 4])
    assert views.images.shape == (1, 4, 3, 60, 80)
    place = torch.tensor(POINT * scene.outputs.dataparser_scale).float()
    found = project(place[None, None], views)
    assert found.inside.all()
    # The smallest image is enlarged: its spot is a little over one of its pixels wide.
    np.testing.assert_allclose(found.pixels[0, :, 0].numpy(), centroids(views.images[0]), atol=0.35)


def test_the_size_of_the_scenes_first_view_or_a_given_one(tmp_path: Path):
    scene = scene_of(capture_parser(write_capture(tmp_path / "a", [(12, 16), (24, 20), (12, 16)]), eval_mode="all"))
    assert scene.take([1, 0]).size == scene.take([1]).size == (12, 16)
    given = scene.take([1], (6, 40))
    assert given.size == (6, 40)
    assert given.focal[0, 0].tolist() == pytest.approx([1.2 * 40, 1.3 * 20 * 6 / 24])
    assert given.center[0, 0].tolist() == pytest.approx([0.48 * 40, 0.53 * 6])


def test_images_are_those_of_the_files(tmp_path: Path):
    scene = scene_of(capture_parser(write_capture(tmp_path / "a", [(5, 7)] * 4)))
    views = scene.take([2, 0])
    assert [path.stem for path in scene.images] == ["0001", "0002", "0003"]
    assert (views.images[0, 0] * 255).round().byte().permute(1, 2, 0).tolist() == noise(5, 7, 3).tolist()
    rows, columns = np.array([4, 0, 2]), np.array([6, 1, 3])
    colors = scene.colors(np.array([2, 0, 2]), rows, columns) * 255
    expected = [noise(5, 7, 3)[4, 6], noise(5, 7, 1)[0, 1], noise(5, 7, 3)[2, 3]]
    assert colors.round().tolist() == [value.tolist() for value in expected]


def test_views_that_are_not_there(tmp_path: Path):
    scene = scene_of(capture_parser(write_capture(tmp_path / "attic", [(5, 7)] * 3), eval_mode="all"))
    with pytest.raises(InputError, match="attic has no view 3; its 3 views count from 0"):
        scene.take([0, 3])
    with pytest.raises(InputError, match="attic has 0 source views"):
        scene.take([])


# Bounds --------------------------------------------------------------------------------------------------------------


def outputs_of(centers: list[list[float]], half: float = 1.0, **metadata: Any) -> DataparserOutputs:
    """Cameras at places around a cube."""
    c2w = torch.eye(4)[:3].repeat(len(centers), 1, 1)
    c2w[:, :, 3] = torch.tensor(centers)
    cameras = Cameras(c2w, 5.0, 5.0, 2.0, 2.0, 4, 4, camera_type=CameraType.PERSPECTIVE)
    box = SceneBox(torch.tensor([[-half] * 3, [half] * 3]))
    return DataparserOutputs([Path("a.png")] * len(centers), cameras, scene_box=box, metadata=metadata)


def test_bounds_that_the_data_give():
    assert scene_bounds(outputs_of([[0, 0, 0]], near=0.8, far=1.8)) == (0.8, 1.8)
    assert scene_bounds(outputs_of([[0, 0, 0]], near=0.8, far=1.8), near=0.5) == (0.5, 1.8)


def test_bounds_of_a_box_seen_from_outside():
    """From (5, 0, 0) the cube [-1, 1] is 4 away, from (0, 0, 3) 2; its corners are at most |(6, 1, 1)| away."""
    found = scene_bounds(outputs_of([[5.0, 0, 0], [0, 0, 3.0]]))
    assert found == pytest.approx((2.0, 38**0.5))


def test_bounds_of_a_box_seen_from_within():
    """nerfacto's 0.05 in a box of half side 1, in proportion in others."""
    assert scene_bounds(outputs_of([[0.5, 0, 0]])) == pytest.approx((0.05, (1.5**2 + 2) ** 0.5))
    assert scene_bounds(outputs_of([[0.0, 0, 0]], half=4.0)).near == pytest.approx(0.2)


def test_bounds_that_are_no_interval():
    with pytest.raises(InputError, match=r"from near 2 to far 1\.5; .*--pipeline\.datamanager\.near"):
        scene_bounds(outputs_of([[0.0, 0, 0]]), near=2, far=1.5)


# Boxes and masks -----------------------------------------------------------------------------------------------------


def test_boxes_of_objects_in_front_of_white(tmp_path: Path):
    scene = scene_of(category_parser(write_object(tmp_path / "cup")))
    assert scene.box(0) == (4, 5, 10, 12)
    rows, columns = scene.draw_pixels(np.zeros(400, int), np.random.default_rng(0), in_boxes=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 9, 5, 11)
    rows, columns = scene.draw_pixels(np.zeros(4000, int), np.random.default_rng(0), in_boxes=False)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 15, 0, 15)


def test_an_empty_view_has_the_whole_image_as_its_box(tmp_path: Path):
    folder = write_object(tmp_path / "cup")
    Image.fromarray(np.full((16, 16, 3), 254, np.uint8)).save(folder / "rgb" / "000001.png")  # white, but for JPEG
    assert scene_of(category_parser(folder)).box(1) == (0, 0, 16, 16)


def masked(tmp_path: Path, key: str) -> Scene:
    """A capture of two views with masks: all but rows 1 to 2 and columns 3 to 5 is left out."""
    parser = capture_parser(write_capture(tmp_path / "a", [(5, 7)] * 2), eval_mode="all")
    mask = np.zeros((5, 7), np.uint8)
    mask[1:3, 3:6] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    outputs, masks = parser.setup().get_dataparser_outputs(), [tmp_path / "mask.png"] * 2
    if key == "mask_filenames":
        outputs = dataclasses.replace(outputs, mask_filenames=masks)
    else:
        outputs.metadata.update({key: masks, "background": (0.0, 1.0, 0.0)})
    return Scene("a", outputs, ImageCache(1), Bounds(1, 2), masked=True)


def test_masks_of_objects_give_boxes_and_backgrounds(tmp_path: Path):
    scene = masked(tmp_path, "foreground_filenames")
    assert scene.box(1) == (1, 3, 3, 6)
    image = scene.image(1)
    assert image[0, 0].tolist() == [0, 255, 0] and image[2, 5].tolist() == noise(5, 7, 1)[2, 5].tolist()


def test_what_nerfstudio_masks_out_is_not_learned_from(tmp_path: Path):
    scene = masked(tmp_path, "mask_filenames")
    views = np.arange(60) % 2
    rows, columns = scene.draw_pixels(views, np.random.default_rng(0), in_boxes=False)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(r, c) for r in (1, 2) for c in (3, 4, 5)}


# Features ------------------------------------------------------------------------------------------------------------


def write_features(folder: Path, images: list[Path], shapes: list[tuple[int, int]]) -> None:
    """Feature maps of two channels; of image i the first channel is cos(i + column), the second its sine."""
    write_manifest(folder, Manifest("dino", "x", None, (12, 16), "0"))
    for index, (image, shape) in enumerate(zip(images, shapes, strict=True)):
        angle = np.broadcast_to(index + np.arange(shape[1]), shape)
        with Image.open(image) as opened:
            size = opened.height, opened.width
        features = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        write_map(folder / f"{image.stem}.npz", features, image, size, origin_of(folder))


def test_features_of_source_views_and_of_pixels(tmp_path: Path):
    parser = capture_parser(write_capture(tmp_path / "a", [(12, 16)] * 4))
    images = sorted((tmp_path / "a" / "images").iterdir())
    write_features(tmp_path / "a" / "features" / "dino", images, [(3, 4)] * 4)
    scene = scene_of(parser, features="auto")
    views = scene.take([0, 2])
    assert views.features is not None and views.features.shape == (1, 2, 2, 3, 4)
    assert views.features[0, 1, 0, 1].tolist() == pytest.approx(np.cos(3 + np.arange(4)).tolist(), abs=1e-3)
    assert scene.features is not None and scene.features.channels == 2
    # Columns 2 and 6 end where the cells' centres are half a pixel further; row 5 is in the middle.
    found = scene.features.sample(np.array([0, 2]), np.array([5, 5]), np.array([2, 6]), scene.sizes)
    angles = torch.atan2(found[:, 1], found[:, 0])
    assert angles.tolist() == pytest.approx([1 + 0.125, 3 + 1.125 - 2 * np.pi], abs=0.02)


def test_maps_of_unequal_size_become_those_of_the_first(tmp_path: Path):
    parser = capture_parser(write_capture(tmp_path / "a", [(12, 16)] * 3), eval_mode="all")
    images = sorted((tmp_path / "a" / "images").iterdir())
    write_features(tmp_path / "a" / "features" / "dino", images, [(3, 4), (6, 8), (3, 4)])
    views = scene_of(parser, features="dino").take([0, 1])
    assert views.features is not None and views.features.shape == (1, 2, 2, 3, 4)


def test_features_missing_for_one_view(tmp_path: Path):
    parser = capture_parser(write_capture(tmp_path / "a", [(12, 16)] * 3), eval_mode="all")
    images, folder = sorted((tmp_path / "a" / "images").iterdir()), tmp_path / "a" / "features" / "dino"
    write_features(folder, images, [(3, 4)] * 3)
    (folder / f"{images[1].stem}.npz").unlink()
    scene = scene_of(parser, features="dino")
    scene.take([0, 2])
    with pytest.raises(InputError, match=r"has no features of .*0001\.png; .*nerfseg features --data") as caught:
        scene.take([0, 1])
    assert str(images[1]) in str(caught.value) and "--source dino" in str(caught.value)


def test_features_of_another_image_and_no_features_at_all(tmp_path: Path):
    parser = capture_parser(write_capture(tmp_path / "a", [(12, 16)] * 3), eval_mode="all")
    with pytest.raises(InputError, match=r"a/features holds no features; make them with: nerfseg features --data"):
        scene_of(parser, features="auto")
    images, folder = sorted((tmp_path / "a" / "images").iterdir()), tmp_path / "a" / "features" / "dino"
    write_features(folder, images, [(3, 4)] * 3)
    Image.fromarray(noise(12, 16, 77)).save(images[2])
    with pytest.raises(InputError, match=r"0002\.npz is of another image than .*0002\.png; make it again with"):
        scene_of(parser, features="dino").take([2])
