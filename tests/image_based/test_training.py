"""Whole trainings of a small method through nerfstudio's trainer: resumed, taken over, loaded to look at."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.image_based.trainer import ImageBasedTrainer  # noqa: E402
from nerfseg_plugins.scene.checkpoint import find_checkpoint, read_checkpoint  # noqa: E402
from nerfseg_plugins.scene.config_file import write_config  # noqa: E402

from .captures import capture_parser, category_parser, llff_parser, write_capture, write_category, write_llff  # noqa: E402
from .mean_color import MeanColor, MeanColorConfig, trainer_config  # noqa: E402


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    return write_category(tmp_path / "data")


def build(parser: Any, output: Path, name: str, steps: int = 6, **options: Any) -> ImageBasedTrainer:
    """A trainer, set up but not started."""
    resume, pretrained = options.pop("resume", None), options.pop("pretrained", None)
    config = trainer_config(parser, **options)
    config.output_dir, config.experiment_name, config.timestamp = output, "chairs", name
    config.max_num_iterations, config.load_dir, config.pipeline.pretrained = steps, resume, pretrained  # type: ignore
    torch.manual_seed(config.machine.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    assert isinstance(trainer, ImageBasedTrainer)
    trainer.setup()
    return trainer


def weights(trainer: ImageBasedTrainer) -> dict[str, torch.Tensor]:
    state = read_checkpoint(find_checkpoint(trainer.checkpoint_dir))["pipeline"]
    return {key: value for key, value in state.items() if "coder" in key}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_training_lowers_the_loss_and_leaves_a_run(chairs: Path, tmp_path: Path):
    """The object's noise cannot be learned, the white around it can: half of the way is far more than chance."""
    trainer = build(category_parser(chairs), tmp_path / "runs", "run", 60, rays_per_scene=64)
    losses = []
    original = trainer.train_iteration

    def watched(step: int) -> Any:
        found = original(step)
        losses.append(float(found[0]))
        return found

    trainer.train_iteration = watched  # type: ignore[method-assign]
    trainer.train()
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert find_checkpoint(trainer.checkpoint_dir).name == "step-000000059.ckpt"
    assert (trainer.base_dir / "config.yml").is_file() and (trainer.base_dir / "dataparser_transforms.json").is_file()
    shown = trainer.pipeline.model.get_outputs_for_camera(trainer.pipeline.datamanager.eval_dataset.cameras[0:1])
    assert shown["rgb"].shape == (16, 16, 3)


def test_a_resumed_run_ends_as_an_uninterrupted_one(chairs: Path, tmp_path: Path):
    """To the bit, though the uninterrupted one has evaluated in between."""
    options: dict[str, Any] = {"view_counts": (1, 2), "jitter": 0.1}
    whole = build(category_parser(chairs), tmp_path, "whole", 8, **options)
    whole.train()
    first = build(category_parser(chairs), tmp_path, "first", 3, **options)
    first.train()
    second = build(category_parser(chairs), tmp_path, "second", 8, resume=first.checkpoint_dir, **options)
    assert second._start_step == 3
    torch.rand(7)  # what else has been drawn does not matter
    second.train()
    assert same(weights(whole), weights(second)) and not same(weights(whole), weights(first))


def test_equal_seeds_give_equal_runs(chairs: Path, tmp_path: Path):
    trained = []
    for name, seed in (("a", None), ("b", 42), ("c", 7)):  # unset is that of the machine, 42
        trainer = build(category_parser(chairs), tmp_path, name, 4, seed=seed)
        trainer.train()
        trained.append(weights(trainer))
    assert same(trained[0], trained[1]) and not same(trained[0], trained[2])


def test_the_run_shows_any_scene(chairs: Path, tmp_path: Path):
    """Trained on chairs, looked at with a capture of another layout; the weights are the same."""
    trainer = build(category_parser(chairs), tmp_path, "run", 3)
    trainer.train()
    config = trainer_config(llff_parser(write_llff(tmp_path / "fern")))
    pipeline: Any = config.pipeline.setup(device="cpu", test_mode="val")
    state = read_checkpoint(find_checkpoint(trainer.checkpoint_dir))
    pipeline.load_pipeline(state["pipeline"], state["step"])
    pipeline.eval()
    assert pipeline.model.scene.name == "fern" and pipeline.datamanager._pool is None
    assert torch.equal(pipeline.model.decoder.weight, weights(trainer)["_model.decoder.weight"])
    outputs = pipeline.model.get_outputs_for_camera(pipeline.datamanager.eval_dataset.cameras[0:1])
    assert outputs["rgb"].shape == (12, 16, 3)
    assert 0 < pipeline.get_average_eval_image_metrics()["psnr"] < 50


def test_views_of_mixed_sizes_are_shown_together(tmp_path: Path):
    """The model takes and encodes them one by one."""
    capture = write_capture(tmp_path / "hall", [(12, 16), (18, 16), (10, 20), (12, 16), (24, 30)], k1=-0.1)
    trainer = build(capture_parser(capture), tmp_path, "run", 2)
    trainer.train()
    model, dataset = trainer.pipeline.model.eval(), trainer.pipeline.datamanager.eval_dataset
    assert dataset is not None
    assert model.sources([0, 1, 2]).images.shape == (1, 3, 3, 18, 16)
    sizes = [model.get_outputs_for_camera(dataset.cameras[row : row + 1])["rgb"].shape for row in range(2)]
    assert sizes == [(12, 16, 3), (24, 30, 3)]


def test_data_are_found_from_anywhere(chairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    trainer = build(category_parser(Path("data")), tmp_path, "run")
    monkeypatch.chdir("/")
    shown: Any = trainer.config.pipeline.setup(device="cpu", test_mode="inference")
    assert shown.datamanager.train_dataset.image_filenames[0].is_relative_to(chairs)


@pytest.mark.parametrize("kind", ["width", "method"])
def test_checkpoints_of_something_else_are_refused(chairs: Path, tmp_path: Path, kind: str):
    trainer = build(category_parser(chairs), tmp_path, "run", 2)
    trainer.train()
    path, said = find_checkpoint(trainer.checkpoint_dir), "on features of another width"
    if kind == "method":
        state = read_checkpoint(path)
        del state["optimizers"]["decoder"]
        torch.save(state, path)
        said = r"optimisers are not those of this method.*--pipeline\.pretrained"
    model = MeanColorConfig(width=4) if kind == "width" else MeanColorConfig()
    with pytest.raises(InputError, match=said) as caught:
        build(category_parser(chairs), tmp_path, "again", 4, model=model, resume=trainer.checkpoint_dir)
    assert str(path) in str(caught.value)


# Networks of another run ---------------------------------------------------------------------------------------------


class Second(MeanColor):
    """Takes the other run's encoder under another name, and has a decoder of its own."""

    def adopts(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: value for key, value in state.items() if key.startswith("encoder.")}


def pretrained_run(chairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int = 3) -> ImageBasedTrainer:
    """A finished run, whose config.yml may be read although its classes are the tests' own."""
    from nerfseg_plugins.image_based import pipeline

    trainer = build(category_parser(chairs), tmp_path, "pretrained", 3, model=MeanColorConfig(width=width))
    trainer.train()
    write_config(trainer.base_dir / "config.yml", trainer.config)
    monkeypatch.setattr(pipeline, "read_config", lambda path: trainer.config)
    return trainer


def test_networks_are_taken_over_whole(chairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = pretrained_run(chairs, tmp_path, monkeypatch)
    run = other.base_dir / "config.yml"
    second = build(category_parser(chairs), tmp_path, "second", model=MeanColorConfig(_target=Second), pretrained=run)
    taken, model = weights(other), second.pipeline.model
    assert torch.equal(model.encoder.weight, taken["_model.encoder.weight"])
    assert not torch.equal(model.decoder.weight, taken["_model.decoder.weight"])
    assert second._start_step == 0
    second.train()
    options: dict[str, Any] = {"model": MeanColorConfig(_target=Second), "pretrained": run}
    resumed = build(category_parser(chairs), tmp_path, "second", 8, resume=second.checkpoint_dir, **options)
    # Not taken over again.
    assert not torch.equal(resumed.pipeline.model.encoder.weight, taken["_model.encoder.weight"]), (
        "not taken over again"
    )


def test_networks_that_do_not_fit(chairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    other = pretrained_run(chairs, tmp_path, monkeypatch, width=4)
    run, path = other.base_dir / "config.yml", find_checkpoint(other.checkpoint_dir)
    with pytest.raises(
        InputError, match=r"encoder\.weight has shape \(4, 3, 1, 1\), expected \(3, 3, 1, 1\)"
    ) as caught:
        build(category_parser(chairs), tmp_path, "second", model=MeanColorConfig(_target=Second), pretrained=run)
    assert str(path) in str(caught.value)
    state = read_checkpoint(path)
    state["pipeline"] = {key: value for key, value in state["pipeline"].items() if "encoder" not in key}
    torch.save(state, path)
    with pytest.raises(InputError, match="holds no networks that this method could take over"):
        build(category_parser(chairs), tmp_path, "third", model=MeanColorConfig(_target=Second), pretrained=run)
    state["pipeline"]["_model.encoder.weight"] = torch.zeros(3, 3, 1, 1)
    torch.save(state, path)
    with pytest.raises(InputError, match=r"encoder\.bias is missing"):
        build(category_parser(chairs), tmp_path, "fourth", model=MeanColorConfig(_target=Second), pretrained=run)
