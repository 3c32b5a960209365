"""What a training process on a GPU asks of torch; there is no GPU here, so what is asked is written down.

Processes on the CPU really run, in tests/image_based/test_processes.py.
"""

from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import distributed as dist

from nerfseg_plugins import compat
from nerfseg_plugins.train_ranks import train_rank

compat.apply()

from nerfstudio.engine.trainer import TrainerConfig  # noqa: E402
from nerfstudio.utils import comms  # noqa: E402

MINUTES = timedelta(minutes=30)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked, in its order."""
    calls: list[tuple[Any, ...]] = []

    def note(name: str, result: Any = None):
        def call(*args: Any, **options: Any) -> Any:
            calls.append((name, *args, options))
            return f"group of {args[0]}" if name == "group" else result

        return call

    for place, name in (
        (dist, "init_process_group"),
        (dist, "new_group"),
        (dist, "destroy_process_group"),
        (torch.cuda, "set_device"),
        (comms, "synchronize"),
    ):
        monkeypatch.setattr(place, name, note({"new_group": "group"}.get(name, name)))
    monkeypatch.setattr(comms, "LOCAL_PROCESS_GROUP", None)
    return calls


def train(asked: list[tuple[Any, ...]], config: TrainerConfig, device: str = "cuda") -> None:
    """The second process of the second of two machines."""
    train_rank(
        1,
        lambda: asked.append(("meet",)),
        lambda *args: asked.append(("train", *args)),
        4,
        2,
        1,
        "tcp://here:1",
        config,
        MINUTES,
        device,
    )


def test_each_process_has_its_gpu_its_number_and_its_machine(asked):
    config = TrainerConfig(vis="tensorboard", start_paused=True)
    train(asked, config)
    assert asked == [
        ("set_device", 1, {}),
        (
            "init_process_group",
            "nccl",
            {"init_method": "tcp://here:1", "world_size": 4, "rank": 3, "timeout": MINUTES},
        ),
        ("group", [0, 1], {}),
        ("group", [2, 3], {}),
        ("train", 1, 4, config, 3),
        ("meet",),
        ("synchronize", {}),
        ("destroy_process_group", {}),
    ]
    assert comms.LOCAL_PROCESS_GROUP == "group of [2, 3]"
    assert not config.start_paused, "only rank 0 has the button that would start it"


def test_others_wait_while_a_person_pauses_in_the_viewer(asked):
    train(asked, TrainerConfig(vis="viewer"), "cpu")
    (_, backend, options) = asked[0]
    assert backend == "gloo" and options["timeout"] > timedelta(days=1)
