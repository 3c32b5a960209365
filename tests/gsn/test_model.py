"""The models: rendering an opened scene, depth, losses, and what may not change."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.model import GntModel
from nerfseg_plugins.gsn.sampling import PointsSeen
from nerfseg_plugins.gsn.transformer import RayTokens
from nerfseg_plugins.image_based.rendering import ViewsInMemory, pinhole_cameras

from .scenes import CHANNELS, SIZE, gnt, gsn, random_rays, row, turned_away, wall_color, wall_features, wall_views


def camera(size: int = 5) -> Any:
    focal, middle = torch.tensor([5.0]), torch.tensor([2.5])
    return pinhole_cameras(row(1), focal, focal, middle, middle, size, size)


def parameters(model: GntModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def test_outputs_of_an_opened_scene():
    model = gnt().eval()
    model.open_scene(ViewsInMemory("wall", wall_views(5)))
    outputs = model.get_outputs_for_camera(camera())
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "rgb": (5, 5, 3),
        "depth": (5, 5, 1),
        "expected_depth": (5, 5, 1),
        "accumulation": (5, 5, 1),
    }
    assert all(value.dtype == torch.float32 for value in outputs.values())
    for name in ("depth", "expected_depth"):
        assert outputs[name].min() >= 1.5 - 1e-4 and outputs[name].max() <= 6 + 1e-4
    assert outputs["rgb"].min() >= 0 and outputs["rgb"].max() <= 1
    assert outputs["accumulation"].max() <= 1 + 1e-5


@pytest.mark.parametrize("options", [{}, {"color": "blend"}, {"direction": "blocks"}])
def test_chunks_do_not_matter(options: dict[str, Any]):
    small, large = (gnt(eval_num_rays_per_chunk=count, **options).eval() for count in (3, 1000))
    for model in (small, large):
        model.open_scene(ViewsInMemory("wall", wall_views()))
    one, two = small.get_outputs_for_camera(camera()), large.get_outputs_for_camera(camera())
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_what_an_unseen_view_shows_does_not_matter():
    views = turned_away(wall_views(), 1)
    other = replace(views, images=views.images.clone())
    other.images[:, 1] = 1 - other.images[:, 1]
    for pool_unseen in (False, True):
        model = gnt(pool_unseen=pool_unseen).eval()
        rays, _ = random_rays(9)
        assert torch.equal(model(rays, views)["rgb"], model(rays, other)["rgb"])
        without = model(rays, views.select([0, 2]))["rgb"]
        assert torch.allclose(model(rays, views)["rgb"], without, atol=1e-6) != pool_unseen


def test_rays_that_no_view_sees():
    model = gnt().eval()
    rays, _ = random_rays(9)
    views = wall_views()
    for view in range(3):
        views = turned_away(views, view)
    outputs = model(rays, views)
    assert all(torch.isfinite(value).all() for value in outputs.values())
    assert not outputs["accumulation"].any()


def test_rays_that_begin_in_the_camera():
    rays, _ = random_rays(9)
    with pytest.raises(InputError, match=r"begin at distance 0.*--pipeline\.datamanager\.near"):
        gnt().eval()(rays, replace(wall_views(), near=torch.zeros(1)))


def test_positions_along_rays_do_not_know_the_scale_of_the_scene():
    views, (rays, _) = wall_views(), random_rays(9)
    c2w = views.c2w.clone()
    c2w[..., 3] *= 10
    large = replace(views, c2w=c2w, near=10 * views.near, far=10 * views.far)
    far_away = replace(rays, origins=10 * rays.origins)
    for positions in ("ray", "scene"):
        model = gnt(positions=positions).eval()
        same = torch.allclose(model(rays, views)["rgb"], model(far_away, large)["rgb"], atol=1e-4)
        assert same == (positions == "ray")


def test_bounds_differ_only_in_training():
    model = gnt(near_factors=(0.5, 2.0), far_factors=(0.5, 2.0))
    near, far = torch.full((9, 1), 1.5), torch.full((9, 1), 6.0)
    assert torch.equal(torch.cat(model.eval().bounds(near, far, 1)), torch.cat([near, far]))
    drawn = [torch.cat(model.train().bounds(near, far, 1), dim=1)[0] for _ in range(50)]
    assert torch.stack(drawn).std(dim=0).min() > 0.1
    assert all(low < high for low, high in drawn)


def test_one_view_is_enough():
    rays, _ = random_rays(9)
    assert torch.isfinite(gnt().eval()(rays, wall_views(1))["rgb"]).all()


def test_depth_from_attention_by_hand():
    attention = torch.tensor([[0.1, 0.3, 0.2, 0.4], [0.0, 0.0, 1.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    distances = torch.tensor([[1.0, 2.0, 4.0, 8.0]]).repeat(3, 1)
    mask = torch.tensor([[[True, False], [False, False], [True, True], [False, True]]]).repeat(3, 1, 1)
    seen = PointsSeen(torch.zeros(3, 4, 2, 3), None, torch.zeros(3, 4, 2, 4), mask)
    found = RayTokens(torch.zeros(3, 3), torch.zeros(3, 4, 16), torch.zeros(3, 4, 2, 16), attention)
    outputs = gnt().eval().outputs_of((found, seen, distances))  # type: ignore[arg-type]
    assert outputs["depth"][:, 0].tolist() == pytest.approx([4.7, 4.0, 1.5])
    assert torch.equal(outputs["expected_depth"], outputs["depth"])
    assert outputs["accumulation"][:, 0].tolist() == pytest.approx([0.7, 1.0, 0.5])


def steps(model: Any, count: int, features: bool = False, seed: int = 0, **learning: float) -> list[float]:
    """Losses of `count` steps on the wall."""
    torch.manual_seed(seed)
    views = wall_views(features=features)
    groups = [{"params": group, "lr": learning.get(name, 3e-3)} for name, group in model.get_param_groups().items()]
    optimizer, losses = torch.optim.Adam(groups), []
    model.train()
    for step in range(count):
        rays, targets = random_rays(128, seed=step)
        batch = {"image": wall_color(targets), "features": wall_features(targets)}
        outputs = model(rays, views)
        loss = sum(model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("options", [{}, {"color": "blend"}, {"direction": "blocks"}])
def test_thirty_steps_teach_it_something(options: dict[str, Any]):
    losses = steps(gnt(**options), 30)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_equal_seeds_give_equal_steps():
    assert steps(gnt(), 3) == steps(gnt(), 3)
    assert steps(gnt(), 3) != steps(gnt(), 3, seed=1)


def test_features_of_the_second_stage():
    model = gsn().eval()
    model.open_scene(ViewsInMemory("wall", wall_views(features=True)))
    outputs = model.get_outputs_for_camera(camera())
    assert outputs["features"].shape == (5, 5, CHANNELS) and outputs["feature_colormap"].shape == (5, 5, 3)
    assert torch.allclose(outputs["features"].norm(dim=-1), torch.ones(5, 5), atol=1e-5)


def test_features_are_learned():
    losses = steps(gsn(), 30, features=True)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_pixels_without_features_teach_none():
    model = gsn().train()
    outputs = {"rgb": torch.zeros(2, 3), "features": torch.ones(2, CHANNELS)}
    target = torch.zeros(2, CHANNELS)
    target[0, 0] = 1.0
    losses = model.get_loss_dict(outputs, {"image": torch.full((2, 3), 0.5), "features": target})
    assert losses["feature_loss"].item() == pytest.approx(7 / 8)
    assert losses["rgb_loss"].item() == pytest.approx(0.1 * 0.25)


def test_a_frozen_backbone_stays_bit_identical():
    model = gsn(freeze_backbone=True, dropout=0.3)
    before = parameters(model)
    steps(model, 4, features=True)
    after = parameters(model)
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"semantics"}
    model = gsn(dropout=0.3)
    steps(model, 2, features=True)
    assert not torch.equal(model.trunk.rgb_fc.weight, before["trunk.rgb_fc.weight"])


def test_features_that_are_missing_or_of_another_width():
    rays, _ = random_rays(4)
    with pytest.raises(InputError, match="the scene has none; make them with: nerfseg features"):
        gsn()(rays, wall_views())
    with pytest.raises(InputError, match=r"have 8 channels, but this network was made for 16.*--channels 16"):
        gsn(feature_dim=16)(rays, wall_views(features=True))
    with pytest.raises(InputError, match="a training scene has none"):
        gsn().get_loss_dict({"rgb": torch.zeros(1, 3)}, {"image": torch.zeros(1, 3)})


def test_a_checkpoint_of_another_width():
    state = gsn(feature_dim=16).state_dict()
    with pytest.raises(InputError, match=r"features of 16 channels, but this one is made for 8.*--pipeline.model.feat"):
        gsn().check_state(state)
    gsn(feature_dim=16).check_state(state)
    gsn().check_state(gnt().state_dict())


def published(model: Any, path: Path, head: bool) -> None:
    states = {"net_coarse": model.trunk.state_dict(), "feature_net": model.encoder.state_dict()}
    if head:
        named = model.semantics.state_dict().items()
        states["dino"] = {name.replace("feature_fc", "dinofc"): value for name, value in named}
    torch.save({**states, "optimizer": {"state": {}, "param_groups": []}}, path)


def test_published_weights_are_taken_over(tmp_path: Path):
    path = tmp_path / "model.pth"
    theirs, model = gsn(seed=1), gsn(seed=2)
    published(theirs, path, head=False)
    head = parameters(model)["semantics.feature_fc.weight"]
    model.load_published(path)
    assert torch.equal(model.trunk.rgb_fc.weight, theirs.trunk.rgb_fc.weight)
    assert torch.equal(model.semantics.feature_fc.weight, head)
    published(theirs, path, head=True)
    model.load_published(path)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in model.state_dict().items())


def test_published_weights_of_other_sizes(tmp_path: Path):
    path = tmp_path / "model.pth"
    published(gsn(), path, head=True)
    for options, message in (
        ({"direction": "blocks"}, "direction last, but this one has blocks; pass --pipeline.model.direction last"),
        ({"depth": 3}, "depth 2, but this one has 3"),
        ({"color": "blend"}, "color latent, but this one has blend"),
        ({"width": 24}, "rgbfeat_fc.0.weight of shape"),
        ({"feature_dim": 16}, r"model\.pth is of a network for features of 8 channels, but this one is made for 16"),
    ):
        with pytest.raises(InputError, match=message):
            gsn(**options).load_published(path)


def test_images_of_a_view():
    model = gnt().eval()
    model.open_scene(ViewsInMemory("wall", wall_views()))
    focal, middle = torch.tensor([float(SIZE)]), torch.tensor([SIZE / 2])
    outputs = model.get_outputs_for_camera(pinhole_cameras(row(1), focal, focal, middle, middle, SIZE, SIZE))
    truth = wall_views(1).images[0, 0].movedim(0, -1)
    metrics, images = model.get_image_metrics_and_images(outputs, {"image": truth})
    assert metrics["psnr"] > 0 and images["img"].shape == (SIZE, 2 * SIZE, 3)
