"""The datamanager as viewer, commands and training see it."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.dataparsers.many_scenes import ManyScenes  # noqa: E402
from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.features.store import origin_of, write_map  # noqa: E402
from nerfseg_plugins.image_based.datamanager import (  # noqa: E402
    ImageBasedDataManager,
    ImageBasedDataManagerConfig,
)
from nerfseg_plugins.manifest import Manifest, write_manifest  # noqa: E402

from .captures import capture_parser, category_parser, llff_parser, write_capture, write_category, write_llff  # noqa: E402


def manager_of(parser: Any, test_mode: Any = "val", world_size: int = 1, rank: int = 0, **options: Any) -> Any:
    config = ImageBasedDataManagerConfig(dataparser=parser, **{"rays_per_scene": 8, "seed": 3, **options})
    made = config.setup(device="cpu", test_mode=test_mode, world_size=world_size, local_rank=rank)
    assert isinstance(made, ImageBasedDataManager)
    return made


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    return write_category(tmp_path / "data")


def test_a_single_scene_is_shown_and_trained_on(tmp_path: Path):
    manager = manager_of(llff_parser(write_llff(tmp_path / "fern", 18)), scenes_per_batch=2)
    assert [path.stem for path in manager.eval_dataset.image_filenames] == ["000", "008", "016"]
    assert len(manager.train_dataset) == 15 and manager.get_datapath() == tmp_path / "fern"
    assert manager.train_dataparser_outputs.image_filenames == manager.train_dataset.image_filenames
    rays, batch = manager.next_train(0)
    assert len(rays) == manager.get_train_rays_per_batch() == 16 and batch["scenes"] == ["fern", "fern"]
    assert rays.camera_indices.max() < 15
    camera, whole = manager.next_eval_image(0)
    assert camera.shape == (1,) and whole["image"].shape == (12, 16, 3)


def test_a_category_shows_an_object_that_is_not_trained_on(chairs: Path):
    manager = manager_of(category_parser(chairs), view_counts=(1, 2))
    assert manager.shown.name == "chairs/c4"
    assert [int(path.stem) for path in manager.train_dataset.image_filenames] == [1, 4]
    assert len(manager.eval_dataset) == 4
    assert sorted(manager.open_pool().names) == [f"chairs/c{number}" for number in range(4)]
    other = manager_of(category_parser(chairs), scene="chairs/c6", views=(2,))
    assert other.shown.name == "chairs/c6" and other.train_dataset.image_filenames[0].stem == "000002"
    assert other.config.dataparser.scene == "chairs/c6", "the parser of what is shown"


def test_the_configuration_of_the_run_stays_as_it_is(chairs: Path):
    """nerfstudio makes a second datamanager of the first one's configuration."""
    config = ImageBasedDataManagerConfig(dataparser=category_parser(Path("elsewhere")), data=chairs)
    before = dataclasses.asdict(config)
    config.setup(device="cpu", test_mode="test")
    assert dataclasses.asdict(config) == before
    config.setup(device="cpu", test_mode="val")


@pytest.mark.parametrize("test_mode", ["val", "test", "inference"])
def test_scenes_to_train_on_are_not_touched_for_showing_another(
    chairs: Path, test_mode: Any, monkeypatch: pytest.MonkeyPatch
):
    read = []
    original = ManyScenes._generate_dataparser_outputs

    def watched(self: ManyScenes, *args: Any, **kwargs: Any) -> Any:
        read.append(self.config.scene)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ManyScenes, "_generate_dataparser_outputs", watched)
    manager = manager_of(category_parser(chairs), test_mode, scene="chairs/c5", views=(0,))
    assert len(manager.eval_dataset[0]["image"]) == 16 and manager.shown.take([0]).num_views == 1
    assert set(read) == {"chairs/c5"}
    images = {key[0][0] if isinstance(key[0], tuple) else key[0] for key in manager.cache._kept}
    assert all("c5" in str(image) for image in images) and len(images) == 2
    manager.next_train(0)
    assert {"chairs/c0"} < set(read)


def test_what_a_step_draws_depends_on_seed_process_and_step_alone(chairs: Path):
    first, second = (manager_of(category_parser(chairs), view_counts=(1, 2)) for _ in range(2))
    for step in range(7):
        first.next_train(step)
        first.next_eval(step)
    one, two = first.next_train(7), second.next_train(7)
    assert torch.equal(one[0].origins, two[0].origins) and torch.equal(one[1]["image"], two[1]["image"])
    assert torch.equal(one[1]["views"].c2w, two[1]["views"].c2w) and one[1]["scenes"] == two[1]["scenes"]
    assert torch.equal(first.next_eval(2)[1]["image"], second.next_eval(2)[1]["image"])
    other = manager_of(category_parser(chairs), view_counts=(1, 2), seed=4).next_train(7)
    assert not torch.equal(one[0].origins, other[0].origins)


def test_processes_have_scenes_of_their_own(chairs: Path, monkeypatch: pytest.MonkeyPatch):
    from nerfseg_plugins.image_based import datamanager
    from nerfseg_plugins.image_based.processes import World

    names = []
    for rank in range(2):
        monkeypatch.setattr(datamanager, "world", lambda rank=rank: World(rank, 2))
        manager = manager_of(category_parser(chairs), world_size=2, rank=rank, scenes_per_batch=2)
        names.append(sorted(manager.next_train(0)[1]["scenes"]))
    assert names == [["chairs/c0", "chairs/c2"], ["chairs/c1", "chairs/c3"]]


def test_processes_have_as_many_source_views(chairs: Path, monkeypatch: pytest.MonkeyPatch):
    """None has to wait for another that has more to do; but what they see are views of their own."""
    from nerfseg_plugins.image_based import datamanager
    from nerfseg_plugins.image_based.processes import World

    counts, poses = [], []
    for rank in range(2):
        monkeypatch.setattr(datamanager, "world", lambda rank=rank: World(rank, 2))
        manager = manager_of(category_parser(chairs), world_size=2, rank=rank, scenes_per_batch=2, view_counts=(1, 2))
        views = [manager.next_train(step)[1]["views"] for step in range(12)]
        counts.append([one.num_views for one in views])
        poses.append([one.c2w for one in views])
    assert counts[0] == counts[1] and set(counts[0]) == {1, 2}
    assert not any(torch.equal(one, two) for one, two in zip(*poses, strict=True))


def test_boxes_until_a_step(chairs: Path):
    manager = manager_of(category_parser(chairs), box_sampling_steps=5, rays_per_scene=100)
    assert not (manager.next_train(4)[1]["image"] == 1).all(dim=-1).any()
    assert (manager.next_train(5)[1]["image"] == 1).all(dim=-1).any()


def test_evaluation_rays_are_of_one_held_out_view(chairs: Path):
    manager = manager_of(category_parser(chairs), eval_num_rays_per_batch=30)
    rays, batch = manager.next_eval(0)
    assert rays.shape == (30,) and batch["image"].shape == (30, 3) and len(rays.camera_indices.unique()) == 1
    index = int(rays.camera_indices[0])
    torch.testing.assert_close(rays.origins[0], manager.eval_dataset.cameras.camera_to_worlds[index, :, 3])
    assert rays.nears.unique().tolist() == pytest.approx([1.25])


def test_transparent_photos_are_compared_in_front_of_the_background(tmp_path: Path):
    folder = write_capture(tmp_path / "a", [(12, 16)] * 4)
    for path in (folder / "images").iterdir():
        Image.fromarray(np.zeros((12, 16, 4), np.uint8)).save(path)
    manager = manager_of(capture_parser(folder))
    assert manager.eval_dataset[0]["image"].shape == (12, 16, 3) and manager.eval_dataset[0]["image"].max() == 0
    assert manager_of(capture_parser(folder), camera_res_scale_factor=0.5).eval_dataset[0]["image"].shape == (6, 8, 3)


def test_features_are_needed_of_source_views_alone(tmp_path: Path):
    """As long as nothing is learned from the others."""
    folder = write_llff(tmp_path / "fern")
    manager = manager_of(llff_parser(folder))
    features = folder / "features" / "dino"
    write_manifest(features, Manifest("dino", "x", None, (12, 16), "0"))
    for image in manager.train_dataset.image_filenames:
        write_map(features / f"{image.stem}.npz", np.ones((3, 4, 5)), image, (12, 16), origin_of(features))
    manager = manager_of(llff_parser(folder), features="auto")
    assert manager.train_dataset.metadata["feature_channels"] == 5 and len(manager.eval_dataset[0]["image"]) == 12
    rays, batch = manager.next_train(0)
    assert batch["features"].shape == (len(rays), 5) and batch["views"].features.shape == (4, 1, 5, 3, 4)
    with pytest.raises(InputError, match=r"has no features of .*00[08]\.png; make them with: nerfseg features"):
        manager.next_eval(0)


def test_a_batch_of_small_images_takes_milliseconds(tmp_path: Path):
    """Four scenes, two source views and 128 rays of each: about 5 ms on one core; bounded generously."""
    manager = manager_of(category_parser(write_category(tmp_path / "data", (4, 1, 0), 20)), rays_per_scene=128)
    for step in range(40):
        manager.next_train(step)
    started = time.process_time()
    for step in range(20):
        manager.next_train(40 + step)
    assert (time.process_time() - started) / 20 < 0.03


BAD = {
    "scenes_per_batch": (0, "scenes_per_batch is 0; give 1 or more"),
    "rays_per_scene": (0, "rays_per_scene is 0"),
    "view_counts": ((1, 0), r"view_counts is \(1, 0\)"),
    "draw_sources": ("near", "set target to view"),
    "jitter": (1.5, "jitter is 1.5"),
    "views": ((9,), r"chairs/c4 has no view 9; its 6 views count from 0 \(--pipeline\.datamanager\.views\)"),
    "scene": ("c9", "has no scene 'c9'; there are chairs/c0"),
    "near": (9.0, "from near 9 to far 2.75"),
    "features": ("auto", "holds no features; make them with: nerfseg features"),
}


@pytest.mark.parametrize("name", BAD)
def test_options_that_cannot_be(chairs: Path, name: str):
    value, said = BAD[name]
    with pytest.raises(InputError, match=said):
        manager_of(category_parser(chairs), **{name: value})


def test_training_on_what_is_excluded(chairs: Path):
    manager = manager_of(category_parser(chairs), exclude=("chairs/c1",), only=("chairs/c1",), scene="chairs/c1")
    assert manager.shown.name == "chairs/c1", "fine to look at"
    with pytest.raises(InputError, match="the scene chairs/c1 is excluded from training"):
        manager.open_pool()


def test_scenes_with_too_few_views(chairs: Path):
    manager = manager_of(category_parser(chairs), view_counts=(7,), views=(0,))
    with pytest.raises(InputError, match=r"chairs/c\d has 6 source views, but 7 are asked for"):
        manager.next_train(0)
