"""What the processes of test_processes.py do; they import this module by its name."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from nerfseg_plugins import compat

compat.apply()

from mean_color import trainer_config  # noqa: E402
from nerfstudio.cameras.rays import RayBundle  # noqa: E402
from nerfstudio.data.scene_box import SceneBox  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402
from nerfstudio.utils import comms  # noqa: E402

from nerfseg_plugins.dataparsers.srn import SRNDataParserConfig  # noqa: E402
from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig  # noqa: E402
from nerfseg_plugins.image_based.processes import agree, average, world, wrap  # noqa: E402
from nerfseg_plugins.image_based.trainer import ImageBasedTrainerConfig  # noqa: E402
from nerfseg_plugins.image_based.views import SourceViews  # noqa: E402

SCENES, RAYS, STEPS = 4, 6, 8
mean_color = MethodSpecification(config=trainer_config(SRNDataParserConfig()), description="For tests.")
"""For `ns-train`."""


class Tiny(ImageBasedModel):
    """A colour from the encoder's mean and the ray's direction."""

    def populate_modules(self) -> None:
        super().populate_modules()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(7, 3)
        self.idle = nn.Linear(2, 2)  # of no use in any step

    def encode(self, images: Tensor) -> Tensor:
        return self.convolution(images)

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        assert views.maps is not None
        scene = views.maps.mean((1, 3, 4)).repeat_interleave(len(rays) // views.num_scenes, dim=0)
        return {"rgb": torch.sigmoid(self.head(torch.cat([scene, rays.directions], dim=1)))}


def model_of(seed: int) -> Tiny:
    """A model with random weights."""
    torch.manual_seed(seed)
    config = ImageBasedModelConfig(_target=Tiny)
    return config.setup(scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])), num_train_data=0)


def batch_of(step: int, scenes: range) -> tuple[RayBundle, SourceViews, Tensor]:
    """Rays, views and true colours of some of the scenes of a step."""
    generator = torch.Generator().manual_seed(100 + step)
    images = torch.rand(SCENES, 2, 3, 5, 7, generator=generator)[list(scenes)]
    directions = torch.randn(SCENES, RAYS, 3, generator=generator)[list(scenes)].flatten(0, 1)
    true = torch.rand(SCENES, RAYS, 3, generator=generator)[list(scenes)].flatten(0, 1)
    count = len(scenes)
    views = SourceViews(
        images=images,
        c2w=torch.eye(4)[:3].expand(count, 2, 3, 4),
        focal=torch.ones(count, 2, 2),
        center=torch.ones(count, 2, 2),
        near=torch.ones(count),
        far=torch.full((count,), 2.0),
    )
    rays = RayBundle(torch.zeros_like(directions), directions, torch.ones(len(directions), 1))
    return rays, views, true


def fit(model: nn.Module, mine: Callable[[int], range]) -> dict[str, Any]:
    """Train for a few steps on the scenes that `mine` gives for a step; all that can be compared afterwards."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first: dict[str, Tensor] = {}
    losses = []
    for step in range(STEPS):
        rays, views, true = batch_of(step, mine(step))
        loss = nn.functional.mse_loss(model(rays, views)["rgb"], true)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        optimizer.step()
        losses.append(float(average({"rgb": loss.detach()})["rgb"]))
    return {"gradients": first, "losses": losses, "weights": dict(model.state_dict())}


def work(local_rank: int, world_size: int, config: ImageBasedTrainerConfig, rank: int) -> None:
    """Train together in several ways, beginning with a run and its continuation; saves what came of it.

    nerfstudio calls this instead of its own loop of training.
    """
    folder = config.output_dir
    for steps in (3, 6):
        config.max_num_iterations = steps
        torch.manual_seed(rank)
        trainer = config.setup(local_rank=local_rank, world_size=world_size)
        trainer.setup()
        trainer.train()
        dist.barrier(device_ids=[local_rank])  # the checkpoint is there
        config.load_dir = config.get_checkpoint_dir()
    manager = trainer.pipeline.datamanager
    found: dict[str, Any] = {
        "scenes": manager.open_pool().names,
        "first": trainer._start_step,
        "trained": dict(trainer.pipeline.model.state_dict()),
        "ranks": [*world(), comms.get_local_rank(), comms.get_rank()],
    }
    half = SCENES // 2
    found["equal"] = fit(wrap(model_of(rank), rank), lambda step: range(half * rank, half * (rank + 1)))
    # As much a step everywhere, of shares of different sizes.
    found["uneven"] = fit(
        wrap(model_of(rank), rank), lambda step: range(2, 3) if rank else range(step % 2, step % 2 + 1)
    )
    agree({"rays": "8", f"only in {rank}": "1"})
    found["means"] = average({"b": torch.tensor(2.0 + rank), "a": 10 * rank})
    try:
        agree({"steps": "8", "rays": str(8 + rank)})
    except InputError as error:
        found["refused"] = str(error)
    torch.save(found, folder / f"{rank}.pt")
