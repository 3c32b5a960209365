"""The model: invariances, derivatives, training."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from scipy.spatial.transform import Rotation
from torch import Tensor

from nerfseg_plugins.image_based.model import bounded
from nerfseg_plugins.image_based.views import SourceViews
from nerfseg_plugins.pixelnerf import sampling
from nerfseg_plugins.pixelnerf.model import PixelNerfModel

MakeModel = Callable[..., PixelNerfModel]
MakeViews = Callable[..., SourceViews]
MakeRays = Callable[..., RayBundle]

OUTPUTS = {"rgb": 3, "depth": 1, "accumulation": 1, "expected_depth": 1}
OUTPUTS |= {"rgb_coarse": 3, "depth_coarse": 1, "accumulation_coarse": 1}


class Around:
    """The views of the fixture as a scene that can be opened."""

    def __init__(self, views: SourceViews) -> None:
        self.views, self.name, self.background = views, "around", (1.0, 1.0, 1.0)
        self.cameras = Cameras(views.c2w[0], 19.2, 19.2, 8.0, 8.0, 16, 16)
        self.taken: list[int] = []

    def take(self, indices: Sequence[int]) -> SourceViews:
        self.taken += indices
        return self.views.select(indices)


def test_outputs_are_columns_of_floats(make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays):
    model, rays = make_model(), make_rays(14)
    outputs = model(rays, make_views(scenes=2))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {k: (14, c) for k, c in OUTPUTS.items()}
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in outputs.values())
    assert ((outputs["depth"] >= 1.2) & (outputs["depth"] <= 2.8)).all()
    assert 0.05 < outputs["accumulation"].mean() < 0.99, "a test scene that is neither empty nor solid"
    assert torch.equal(outputs["depth"], outputs["expected_depth"])


def test_scenes_of_a_batch_do_not_see_each_other(make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays):
    model, rays = make_model(), make_rays(10)
    one, other = make_views(seed=0), make_views(seed=5)
    both = model(rays, SourceViews.together([one, other]))["rgb"]
    torch.testing.assert_close(model(rays[:5], one)["rgb"], both[:5])
    torch.testing.assert_close(model(rays[5:], other)["rgb"], both[5:])
    torch.testing.assert_close(model(rays[:1], one)["rgb"], both[:1])  # a single ray


def moved(rays: RayBundle, views: SourceViews, rotation: Tensor, by: Tensor) -> tuple[RayBundle, SourceViews]:
    """The whole scene, turned about its origin and then shifted."""
    rays = replace(rays, origins=rays.origins @ rotation.T + by, directions=rays.directions @ rotation.T)
    poses = rotation @ views.c2w
    return rays, replace(views, c2w=torch.cat([poses[..., :3], poses[..., 3:] + by[:, None]], dim=-1))


@pytest.mark.parametrize(("normalize_z", "shift", "same"), [(False, 3.0, True), (True, 0.0, True), (True, 0.3, False)])
def test_a_moved_scene_looks_the_same(
    normalize_z: bool, shift: float, same: bool, make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays
):
    """Coordinates from the camera survive any rigid motion; those from the scene's origin any that leaves it there."""
    model, rays, views = make_model(normalize_z=normalize_z), make_rays(8), make_views()
    rotation = torch.tensor(Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix(), dtype=torch.float32)
    before = model(rays, views)
    after = model(*moved(rays, views, rotation, torch.tensor([0.5, -1.0, 2.0]) * shift))
    for name in ("rgb", "depth", "accumulation"):
        assert torch.allclose(before[name], after[name], atol=2e-4) == same, name


def test_derivatives_by_rays_are_those_of_finite_differences(
    make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays
):
    model = make_model().double().requires_grad_(False)
    views, rays = make_views(), bounded(make_rays(3), make_views())
    names = ("images", "c2w", "focal", "center", "near", "far")
    views = replace(views, **{name: getattr(views, name).double() for name in names})
    views = views.with_maps(model.encode(views.images[0])[None])
    near, far = torch.full((3, 1), 1.2).double(), torch.full((3, 1), 2.8).double()
    distances = sampling.stratified(near, far, torch.rand(3, 9).double())

    def color(origins: Tensor, directions: Tensor) -> Tensor:
        moving = replace(rays, origins=origins, directions=directions, nears=near, fars=far)
        outputs, _ = model._composite(moving, views, distances, fine=True)
        return torch.cat([outputs["rgb"], outputs["depth"], outputs["accumulation"]], dim=-1)

    at = [value.double().requires_grad_() for value in (rays.origins, rays.directions)]
    assert torch.autograd.gradcheck(color, at, eps=1e-7, atol=1e-3, rtol=1e-2)


def test_an_opened_scene_is_encoded_once_and_gives_derivatives(
    make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays
):
    model, scene, rays = make_model().requires_grad_(False), Around(make_views(views=3)), make_rays(6)
    model.open_scene(scene)
    for _ in range(3):
        origins = rays.origins.clone().requires_grad_()
        directions = rays.directions.clone().requires_grad_()
        found = model(replace(rays, origins=origins, directions=directions))
        found["rgb"].sum().backward()
        assert origins.grad is not None and origins.grad.abs().sum() > 0
        assert directions.grad is not None and directions.grad.abs().sum() > 0
    assert scene.taken == [0, 1, 2]
    torch.testing.assert_close(found["rgb"], model(rays, scene.views)["rgb"])
    assert hasattr(model, "field")


def test_empty_rays_show_the_backdrop(make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays):
    model, views = make_model(), make_views()
    for mlp in (model.field.mlp_coarse, model.field.mlp_fine):
        mlp.lin_out.bias.data[3] = -100
    assert not model(make_rays(4), views)["rgb"].any()
    model.open_scene(Around(views))
    outputs = model(make_rays(4))
    assert not outputs["accumulation"].any() and (outputs["rgb"] == 1).all()


def test_training_renders_what_evaluation_renders_at_the_same_samples(
    make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays
):
    model, views = make_model(), make_views()
    views = views.with_maps(model.encode(views.images[0])[None])
    rays = bounded(make_rays(7), views)
    draws = sampling.draw(7, model.config.samples, model.device)
    evaluated = model.render_at(rays, views, draws)
    trained = model.train().render_at(rays, views, draws)
    for name, value in evaluated.items():
        torch.testing.assert_close(trained[name], value)
    assert not torch.allclose(model.render(rays, views)["rgb"], model.render(rays, views)["rgb"])
    again = model.eval().render(rays, views)["rgb"]
    torch.testing.assert_close(model.render(rays, views)["rgb"], again)


def test_without_the_coarse_samples_the_fine_network_is_asked_less(
    make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays
):
    model = make_model()
    asked: list[int] = []
    model.field.mlp_fine.register_forward_hook(lambda module, args, out: asked.append(out.shape[1]))
    model(make_rays(2), make_views())
    model.config.samples = replace(model.config.samples, merge_coarse=False)
    model(make_rays(2), make_views())
    assert asked == [2 * (12 + 6 + 4), 2 * (6 + 4)]


def test_forty_steps_learn_a_batch(make_model: MakeModel, make_views: MakeViews, make_rays: MakeRays):
    model, views, rays = make_model().train(), make_views(scenes=2), make_rays(64)
    batch = {"image": 0.5 + 0.5 * torch.sin(5 * rays.directions)}
    groups = model.get_param_groups()
    weights = [weight for group in groups.values() for weight in group]
    assert {id(weight) for weight in weights} == {id(weight) for weight in model.field.parameters()}
    optimizer = torch.optim.Adam(weights, lr=3e-3)
    losses = []
    for _ in range(40):
        loss = model.get_loss_dict(model(rays, views), batch)
        assert set(loss) == {"rgb_loss", "coarse_loss"}
        optimizer.zero_grad()
        sum(loss.values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        losses.append(sum(value.item() for value in loss.values()))
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_matrices_between_hidden_layers_are_a_group_of_their_own(make_model: MakeModel):
    """Neither the first and the last layer, which mean something by channel, nor biases and kernels of convolutions."""
    model = make_model()
    groups = model.get_param_groups()
    names = {id(weight): name for name, weight in model.field.named_parameters()}
    hidden = {names[id(weight)] for weight in groups["hidden"]}
    assert all(weight.ndim == 2 for weight in groups["hidden"])
    assert {name for name in hidden if "mlp_fine" in name} == {
        name
        for name in names.values()
        if name.startswith(("mlp_fine.blocks.", "mlp_fine.lin_z.")) and name.endswith(".weight")
    }
    assert len(groups["fields"]) + len(hidden) == len(names)


def test_losses_by_hand(make_model: MakeModel):
    model = make_model(coarse_weight=0.5)
    outputs = {"rgb": torch.full((2, 3), 0.5), "rgb_coarse": torch.full((2, 3), 0.25)}
    losses = model.get_loss_dict(outputs, {"image": torch.zeros(2, 3)})
    assert losses["rgb_loss"].item() == pytest.approx(0.25)
    assert losses["coarse_loss"].item() == pytest.approx(0.5 * 0.0625)
