"""What the processes of test_processes.py do; they import this module by its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from torch import Tensor, nn
from torch import distributed as dist

from nerfseg_plugins import compat
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.model import ImageBasedModel, ImageBasedModelConfig
from nerfseg_plugins.image_based.processes import agree, average, world, wrap
from nerfseg_plugins.image_based.views import SourceViews

SCENES, RAYS, STEPS = 4, 6, 8


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


def work(rank: int, meet: Callable[[], None], folder: Path) -> None:
    """Train together in several ways; saves what came of it."""
    compat.apply()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", world_size=2, rank=rank)
    assert world() == (rank, 2)
    half = SCENES // 2
    found = {"equal": fit(wrap(model_of(rank), rank), lambda step: range(half * rank, half * (rank + 1)))}
    # Shares of different sizes: what a step draws is as much everywhere, of more or fewer scenes.
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
