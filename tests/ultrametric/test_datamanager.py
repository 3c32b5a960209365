"""Batches of the ultrametric field: pixels of one image, what its masks say of them, and which masks are refused."""

import copy
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.hierarchy import MaskHierarchy, read_hierarchy, write_hierarchy
from nerfseg_plugins.ultrametric.datamanager import UltrametricDataManager
from nerfseg_plugins.ultrametric.graph import mask_barriers

SIDE = 48
"""Of the images, pixels."""


class Managers(Protocol):
    """A datamanager of `data` with options, before its masks are read."""

    def __call__(self, data: Path, missing: bool = False, **options: Any) -> UltrametricDataManager: ...


@pytest.fixture(scope="module")
def managers(ns_config, tmp_path_factory: pytest.TempPathFactory) -> Managers:
    """Datamanagers of the tiny variant."""
    config = ns_config("ultrametric-tiny", tmp_path_factory.mktemp("runs")).pipeline.datamanager

    def make(data: Path, missing: bool = False, **options: Any) -> UltrametricDataManager:
        own = copy.deepcopy(config)
        own.dataparser.data, own.dataparser.allow_missing_masks = data, missing
        sizes = {"train_num_rays_per_batch": 32, "eval_num_rays_per_batch": 32, "head_num_rays_per_batch": 400}
        for name, value in {**sizes, **options}.items():
            assert hasattr(own, name)
            setattr(own, name, value)
        return own.setup(device="cpu")

    return make


@pytest.fixture(scope="module")
def plain(managers: Managers, furniture: Path) -> UltrametricDataManager:
    """One that has read the masks, for what changes nothing."""
    manager = managers(furniture)
    assert manager.head_lacks() is None
    return manager


@pytest.fixture
def scene(furniture: Path, tmp_path: Path) -> Path:
    """A copy of the scene, to be spoiled."""
    return Path(shutil.copytree(furniture, tmp_path / "scene"))


def head_batch(manager: UltrametricDataManager, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(seed)
    manager.stage = "head"
    return manager.next_train(0)


def geometry_batch(manager: UltrametricDataManager, step: int) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(0)
    manager.stage = "geometry"
    return manager.next_train(step)


# Head batches --------------------------------------------------------------------------------------------------------


def test_pixels_are_of_one_image_and_each_only_once(plain: UltrametricDataManager):
    images = set()
    for seed in range(12):
        bundle, batch = head_batch(plain, seed)
        indices = batch["indices"]
        assert indices.shape == (400, 3) and len(indices.unique(dim=0)) == 400 and len(bundle) == 400
        assert len(indices[:, 0].unique()) == 1 and torch.equal(bundle.camera_indices[:, 0], indices[:, 0])
        assert int(indices[:, 1:].min()) >= 0 and int(indices[:, 1:].max()) < SIDE
        images.add(int(indices[0, 0]))
    assert len(images) > 3


def test_an_image_with_fewer_pixels_than_a_batch_gives_all(managers: Managers, furniture: Path):
    manager = managers(furniture, head_num_rays_per_batch=4096)
    assert manager.head_lacks() is None
    indices = head_batch(manager)[1]["indices"]
    assert len(indices) == SIDE**2 == len(indices.unique(dim=0))


def test_groups_and_barriers_are_those_of_the_pixels_masks(plain: UltrametricDataManager, furniture: Path):
    """Checked with the files: the anchor shares a mask with its positive that some negative is not in."""
    batch = head_batch(plain)[1]
    image, rows, columns = batch["indices"].T.numpy()
    path = furniture / "train_seg" / Path(plain.train_dataset.image_filenames[image[0]]).stem
    masks = np.stack([np.array(Image.open(file)) > 0 for file in sorted(path.glob("*.png"))])
    inside = masks[:, rows, columns]
    groups, edges = batch["groups"], batch["edges"]
    assert len(groups) > 100 and groups.negatives.shape[1] == plain.config.neg_sample_ratio
    together = inside[:, groups.anchors] & inside[:, groups.positives]
    assert together.any(axis=0).all()
    apart = together[..., None] & ~inside[:, groups.negatives]
    assert apart.any(axis=0).all()
    np.testing.assert_array_equal(batch["barrier"], mask_barriers(inside, edges))
    assert 0 < batch["barrier"].sum() < len(edges)


def test_edges_join_pixels_that_are_side_by_side(managers: Managers, furniture: Path):
    """With all pixels and eight neighbours these are the ring around each; corners and edges of the image reach on."""
    manager = managers(furniture, head_num_rays_per_batch=SIDE**2, graph_neighbors=8)
    assert manager.head_lacks() is None
    batch = head_batch(manager)[1]
    places = batch["indices"][:, 1:].numpy()
    first, second = places[batch["edges"].T]
    inner = ((first > 2) & (first < SIDE - 3) & (second > 2) & (second < SIDE - 3)).all(axis=1)
    assert inner.sum() > 1000 and np.abs(first - second)[inner].max() == 1


def test_the_options_of_sampling_enter(managers: Managers, furniture: Path):
    variants: list[dict[str, Any]] = [{}, {"hierarchical_sampling": False}, {"num_seg_samples": 8}]
    found = []
    for options in variants:
        manager = managers(furniture, False, **options)
        assert manager.head_lacks() is None
        found.append(head_batch(manager)[1]["groups"])
    whole, alone, few = (len(groups) for groups in found)
    assert alone % 64 == 0 and 0 < alone < whole and few * 8 == whole
    manager = managers(furniture, neg_sample_ratio=2)
    assert manager.head_lacks() is None
    assert head_batch(manager)[1]["groups"].negatives.shape == (whole, 2)


def test_equal_seeds_give_equal_batches(plain: UltrametricDataManager):
    first, again, other = (head_batch(plain, seed)[1] for seed in (3, 3, 4))
    assert torch.equal(first["indices"], again["indices"]) and not torch.equal(first["indices"], other["indices"])
    np.testing.assert_array_equal(first["groups"].negatives, again["groups"].negatives)


# Images that are made smaller ----------------------------------------------------------------------------------------


def test_masks_follow_images_that_are_made_smaller_in_memory(managers: Managers, furniture: Path):
    manager = managers(furniture, camera_res_scale_factor=0.5)
    assert manager.head_lacks() is None
    half = SIDE // 2
    for index, found in enumerate(manager.hierarchies):
        assert found is not None and found.size == (half, half)
        path = furniture / "train_seg" / Path(manager.train_dataset.image_filenames[index]).stem
        expected = read_hierarchy(path).masks()[:, 1::2, 1::2]  # pixel 3 of the small one has its middle at 7
        found_masks = found.masks()
        assert {mask.tobytes() for mask in found_masks} == {mask.tobytes() for mask in expected if mask.any()}
    batch = head_batch(manager)[1]
    assert int(batch["indices"][:, 1:].max()) < half and len(batch["groups"]) > 0


# Depth ---------------------------------------------------------------------------------------------------------------


def test_runs_of_four_follow_the_rays_with_a_colour(managers: Managers, furniture: Path):
    """Also without masks read before, as where geometry alone is trained; and no earlier than asked for."""
    for scale in (1.0, 0.5):
        manager = managers(
            furniture,
            depth_smooth=True,
            depth_smooth_start=5,
            depth_smooth_rays=40,
            camera_res_scale_factor=scale,
        )
        bundle, batch = geometry_batch(manager, 4)
        assert "num_colored" not in batch and len(bundle) == 32
        bundle, batch = geometry_batch(manager, 5)
        assert batch["num_colored"] == 32 and len(batch["image"]) == len(batch["indices"]) == 32 and len(bundle) == 72
        # As without the runs: these come behind and draw nothing before.
        plain_bundle, plain_batch = geometry_batch(manager, 4)
        assert torch.equal(plain_batch["indices"], batch["indices"])
        torch.testing.assert_close(bundle.directions[:32], plain_bundle.directions)

        image = int(bundle.camera_indices[32, 0])
        assert (bundle.camera_indices[32:] == image).all()
        cameras = manager.train_dataset.cameras.to("cpu")
        turned = bundle.directions[32:] @ cameras.camera_to_worlds[image][:, :3]
        where = turned[:, :2] / -turned[:, 2:] * torch.tensor([1.0, -1.0]) * cameras.fx[image]
        columns, rows = (where + torch.stack([cameras.cx[image], cameras.cy[image]], dim=-1)).T.numpy() - 0.5
        rows, columns = (np.round(value).astype(int).reshape(-1, 4) for value in (rows, columns))
        across, down = np.diff(columns, axis=1), np.diff(rows, axis=1)
        assert (((across == 1) & (down == 0)).all(axis=1) | ((across == 0) & (down == 1)).all(axis=1)).all()
        hierarchy = manager.hierarchies[image]
        assert hierarchy is not None
        inside = hierarchy.masks()[hierarchy.leaves()][:, rows, columns]
        assert inside.all(axis=2).any(axis=0).all()


def test_masks_too_small_for_a_run_add_no_rays(managers: Managers, scene: Path):
    folder = scene / "segments" / "sam" / "train"
    masks = np.zeros((2, SIDE, SIDE), bool)
    masks[0, 4:7, 4:7] = masks[1, 20, 20] = True
    for image in sorted((scene / "train").iterdir()):
        write_hierarchy(folder / f"{image.stem}.npz", MaskHierarchy.of_masks(masks))
    manager = managers(scene, depth_smooth=True, depth_smooth_start=0)
    bundle, batch = geometry_batch(manager, 0)
    assert batch["num_colored"] == 32 == len(bundle)
    head, found = head_batch(manager)
    assert len(head) == 400 and len(found["groups"]) == 0


def test_depth_needs_masks(managers: Managers, scene: Path):
    shutil.rmtree(scene / "train_seg")
    """Told in the first step, not when the smoothing starts."""
    manager = managers(scene, depth_smooth=True, depth_smooth_start=3)
    with pytest.raises(InputError, match=r"depth cannot be smoothed.*no masks.*nerfseg masks --data .*scene"):
        geometry_batch(manager, 0)


# What is missing or refused ------------------------------------------------------------------------------------------


def folder_of(scene: Path, index: int = 0) -> Path:
    return sorted((scene / "train_seg").iterdir())[index]


def test_images_without_masks_are_skipped(managers: Managers, scene: Path):
    """Those that have none, and those whose folder of masks is empty."""
    shutil.rmtree(folder_of(scene))
    for index in range(5):
        for path in folder_of(scene, index).iterdir():
            path.unlink()
    manager = managers(scene, missing=True)
    assert manager.head_lacks() is None
    names = [Path(path).stem for path in manager.train_dataset.image_filenames]
    kept = {names.index(path.name) for path in sorted((scene / "train_seg").iterdir())[5:]}
    assert len(kept) == 2
    assert {int(head_batch(manager, seed)[1]["indices"][0, 0]) for seed in range(20)} == kept


def test_images_without_masks_are_told_of_unless_allowed(managers: Managers, scene: Path):
    shutil.rmtree(folder_of(scene))
    with pytest.raises(InputError, match="--allow-missing-masks"):
        managers(scene)


def test_no_masks_at_all(managers: Managers, scene: Path, plain: UltrametricDataManager):
    for index in range(8):
        for path in folder_of(scene, index).iterdir():
            path.unlink()
    said = managers(scene).head_lacks()
    assert said is not None and "none of their 8 images has a mask" in said
    assert f"nerfseg masks --data {scene}" in said
    shutil.rmtree(scene / "train_seg")
    said = managers(scene).head_lacks()
    assert said is not None and "no masks" in said and f"nerfseg masks --data {scene}" in said
    said = managers(scene, load_seg=False).head_lacks()
    assert said is not None and "load_seg is off" in said


def test_masks_are_read_from_archives_too(managers: Managers, scene: Path, plain: UltrametricDataManager):
    for path in sorted((scene / "train_seg").iterdir()):
        hierarchy = plain.hierarchies[[Path(name).stem for name in _images(plain)].index(path.name)]
        assert hierarchy is not None
        write_hierarchy(scene / "segments" / "sam" / "train" / f"{path.name}.npz", hierarchy)
    shutil.rmtree(scene / "train_seg")
    manager = managers(scene)
    assert manager.head_lacks() is None
    for found, expected in zip(manager.hierarchies, plain.hierarchies, strict=True):
        assert found is not None and expected is not None
        np.testing.assert_array_equal(found.bits, expected.bits)
        np.testing.assert_array_equal(found.parent, expected.parent)


def _images(manager: UltrametricDataManager) -> list[str]:
    return [str(path) for path in manager.train_dataset.image_filenames]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_masks_of_another_size_are_refused(managers: Managers, scene: Path, packed: bool, scale: float):
    """Both files are named; also where the image is made smaller in memory, to which nothing is compared."""
    folder = folder_of(scene, 2)
    image = scene / "train" / f"{folder.name}.png"
    if packed:
        masks = np.zeros((1, SIDE, SIDE + 2), bool)
        masks[0, :20] = True
        for path in sorted((scene / "train").iterdir()):
            write_hierarchy(scene / "segments" / "sam" / "train" / f"{path.stem}.npz", MaskHierarchy.of_masks(masks))
        folder = scene / "segments" / "sam" / "train"
        image = scene / "train"
    else:
        shutil.rmtree(folder / "metadata.csv", ignore_errors=True)
        for path in folder.glob("*.png"):
            with Image.open(path) as picture:
                picture.resize((SIDE + 2, SIDE)).save(path)
    manager = managers(scene, camera_res_scale_factor=scale)
    with pytest.raises(InputError, match=r"50x48.*48x48; make the masks") as caught:
        manager.head_lacks()
    assert str(folder) in str(caught.value) and str(image) in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_mask_is_named_with_its_image(managers: Managers, scene: Path):
    folder = folder_of(scene, 2)
    path = sorted(folder.glob("*.png"))[0]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=str(path)) as caught:
        managers(scene).head_lacks()
    assert str(scene / "train" / f"{folder.name}.png") in str(caught.value)
