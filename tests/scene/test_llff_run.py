"""A capture in LLFF's layout is trained, with masks and without, and comes back from its checkpoint as it was."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.cli.eval import evaluate_run  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402

METHOD = "instance-nerf-tiny"


@pytest.fixture(scope="module")
def llff_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A room seen from one side, as `nerfseg room --layout llff` writes it: masks, splits.json, 6 + 2 views."""
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    folder = tmp_path_factory.mktemp("data") / "room"
    room, shots = make_scene(2, "llff", num_objects=4, num_train=6, num_val=2, width=48, height=36)
    write_scene(folder, room, shots, "llff")
    return folder


def train(ns_config: Any, flags: list[str], data: Path, output: Path) -> tuple[Any, Path]:
    """A trained pipeline, and the run's config.yml."""
    config = ns_config(METHOD, output, *flags, "llff-data", f"--data={data}")
    config.save_config()
    torch.manual_seed(0)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    return trainer.pipeline.eval(), output / "room" / METHOD / "run" / "config.yml"


def test_masks_beside_the_images_teach_instances(ns_config, quick_flags, llff_room: Path, tmp_path: Path):
    _, config = train(ns_config, quick_flags(llff_room, 3, 9), llff_room, tmp_path)
    run = load_run(config)
    assert run.pipeline.model.head_trained
    assert [len(run.dataset(split)) for split in ("train", "val")] == [6, 2]
    assert evaluate_run(run, "val").metrics["miou"] is not None


def test_a_run_without_masks_comes_back_with_the_data_s_near_and_far(
    ns_config, quick_flags, llff_room: Path, tmp_path: Path
):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("images", "poses_bounds.npy", "splits.json"):
        (folder / name).symlink_to(llff_room / name)
    # Annealing is a matter of training; after one step it is over, and both models render alike.
    flags = quick_flags(folder, 6, 6, proposal_weights_anneal_max_num_iters=1)
    trained, config = train(ns_config, flags, folder, tmp_path)
    run = load_run(config)
    collider = run.pipeline.model.collider
    declared = run.dataset("train").metadata
    assert (collider.near_plane, collider.far_plane) == (declared["near"], declared["far"])
    assert declared["near"] == pytest.approx(1.2), "nine tenths of NeRF's 4/3"
    view = next(iter(render_views(run, "val", indices=[0])))
    with torch.no_grad():
        before = trained.model.get_outputs_for_camera(trained.datamanager.eval_dataset.cameras[0:1])
    for name, value in view.outputs.items():
        assert torch.equal(value, before[name]), name
    assert not run.pipeline.model.head_trained
