"""Training in two processes against one, and what becomes of a run when one of them ends."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.engine.trainer import TrainerConfig

from nerfseg_plugins import compat
from nerfseg_plugins.image_based.processes import agree, average, settings, world
from nerfseg_plugins.launch import Ranks

compat.apply()


@pytest.fixture(scope="module")
def at_work():
    """The functions of ranks_at_work.py, under a name that processes can import."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import ranks_at_work

        yield ranks_at_work


@pytest.fixture(scope="module")
def both(at_work, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found that worked together."""
    folder = tmp_path_factory.mktemp("ranks")
    Ranks(at_work.work, (folder,), 2).join()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(at_work) -> dict[str, Any]:
    """What one process finds on all scenes of every step."""
    return at_work.fit(at_work.model_of(0), lambda step: range(at_work.SCENES))


def test_two_halves_have_the_gradient_of_the_whole(both, alone):
    for found in both:
        gradients = {name.removeprefix("module."): value for name, value in found["equal"]["gradients"].items()}
        # What no loss depends on has no gradient alone, and zeros or none together.
        assert {name for name in alone["gradients"]} == {name for name in gradients if "idle" not in name}
        for name, gradient in alone["gradients"].items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-7)
            assert gradient.abs().max() > 1e-4, "else this test shows nothing"


def test_two_processes_learn_what_one_does_on_an_equal_batch(both, alone):
    """From other random weights in rank 1, which became those of rank 0."""
    for found in both:
        assert found["equal"]["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert alone["losses"][-1] < alone["losses"][0]
    weights = [found["equal"]["weights"] for found in both]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_processes_on_other_scenes_keep_one_network(both):
    weights = [found["uneven"]["weights"] for found in both]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert both[0]["uneven"]["losses"] == both[1]["uneven"]["losses"], "means, wherever they are read"


def test_means_over_processes(both):
    for found in both:
        assert found["means"] == {"a": torch.tensor(5.0), "b": torch.tensor(2.5)}


def test_processes_with_other_settings_are_refused(both):
    assert "refused" not in both[0]
    assert both[1]["refused"] == (
        "rays is 9 in rank 1, but 8 in rank 0; start every machine with the same command and files"
    )


def test_alone_there_is_nothing_to_agree_on():
    assert world() == (0, 1)
    agree({"rays": "8"})
    assert average({"loss": 2.0}) == {"loss": 2.0}


def test_what_must_agree_between_machines():
    config = TrainerConfig(method_name="x", output_dir=Path("here"), data=Path("data"))
    config.pipeline.datamanager.data = Path("data")
    there = replace(config, output_dir=Path("there"), data=Path("other"), timestamp="later", vis="viewer")
    assert settings(config) == settings(there), "places may differ"
    found = settings(config)
    assert found["max_num_iterations"] == "1000000" and found["pipeline.model.eval_num_rays_per_chunk"] == "4096"
    assert found["optimizers.fields.optimizer._target"] == "Adam"
    assert not any("0x" in value for value in found.values()), "nothing that is another in every process"
    assert settings(replace(config, mixed_precision=True)) != found
