"""One head on frozen geometry: what is frozen, what is computed, what is shown."""

from typing import Any, Optional

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox

from nerfseg_plugins import compat

compat.apply()

from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation  # noqa: E402
from nerfstudio.model_components.ray_samplers import UniformLinDispPiecewiseSampler, UniformSampler  # noqa: E402
from nerfstudio.model_components.scene_colliders import NearFarCollider  # noqa: E402
from nerfstudio.models.nerfacto import NerfactoModel  # noqa: E402

from nerfseg_plugins.instance_nerf.model import InstanceModel, InstanceModelConfig  # noqa: E402
from nerfseg_plugins.scene.head_model import BoxCollider, HeadModel  # noqa: E402
from nerfseg_plugins.scene.run import load_run, render_views  # noqa: E402

SAMPLES = 12


def build(bounded: bool = True, declared: Optional[dict[str, float]] = None, **options: Any) -> InstanceModel:
    """A small model with three instances; the second step is the head's first. `declared` adds to the metadata."""
    proposal = {"hidden_dim": 8, "log2_hashmap_size": 8, "num_levels": 2, "max_res": 16, "use_linear": False}
    settings = {
        "implementation": "torch",
        "geometry_steps": 1,
        "num_levels": 2,
        "max_res": 32,
        "log2_hashmap_size": 10,
        "hidden_dim": 16,
        "hidden_dim_color": 16,
        "num_proposal_samples_per_ray": (16, 16),
        "num_nerf_samples_per_ray": SAMPLES,
        "proposal_net_args_list": [proposal, proposal],
        "head_num_levels": 2,
        "head_max_res": 32,
        "head_log2_hashmap_size": 8,
        "head_hidden_dim": 8,
        "background_color": "last_sample",
        **options,
    }
    torch.manual_seed(1)
    model = InstanceModel(
        InstanceModelConfig(**settings),
        scene_box=SceneBox(torch.tensor([[-1.0, -1.0, -0.5], [1.0, 1.0, 0.5]])),
        num_train_data=4,
        metadata={"num_labels": 3, "bounded": bounded, **(declared or {})},
    )
    for name, parameter in model.named_parameters():
        if "hash_table" in name:  # else density is the same everywhere
            parameter.data.normal_()
    return model


def rays(count: int = 50) -> RayBundle:
    """Rays from the middle of the box in all directions."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    indices = torch.arange(count)[:, None] % 4
    return RayBundle(torch.zeros(count, 3), directions, torch.full((count, 1), 1e-4), camera_indices=indices)


def batch(count: int = 50) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    return {
        "image": torch.rand(count, 3, generator=generator),
        "instance_ids": torch.randint(-1, 4, (count,), generator=generator),
        "indices": torch.zeros(count, 3, dtype=torch.long),
    }


def callbacks(model: HeadModel, step: int, location: TrainingCallbackLocation) -> None:
    attributes = TrainingCallbackAttributes(optimizers=None, grad_scaler=None, pipeline=None, trainer=None)
    for callback in model.get_training_callbacks(attributes):
        callback.run_callback_at_location(step, location)


def learn(model: HeadModel, step: int) -> dict[str, torch.Tensor]:
    """One step as nerfstudio's trainer takes it, up to the gradient; gradients accumulate."""
    model.train()
    callbacks(model, step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
    outputs = model(rays())
    losses = model.get_loss_dict(outputs, batch(), model.get_metrics_dict(outputs, batch()))
    torch.stack(list(losses.values())).sum().backward()
    callbacks(model, step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
    return outputs


def has_gradient(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


# Stages --------------------------------------------------------------------------------------------------------------


def test_each_stage_teaches_its_own_part():
    model = build()
    learn(model, 0)
    assert model.stage == "geometry" and not model.head_trained
    assert has_gradient(model.field) and has_gradient(model.proposal_networks) and not has_gradient(model.head)
    outputs = learn(model, 1)
    assert model.stage == "head" and model.head_trained
    assert set(outputs) == {"instance_logits", "depth"}
    assert has_gradient(model.head)
    for module in model.frozen_modules():
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())


def test_the_head_stage_computes_no_colour():
    model = build()
    calls = []
    model.field.mlp_head.register_forward_hook(lambda *_: calls.append("colour"))
    learn(model, 0)
    assert calls == ["colour"]
    learn(model, 1)
    assert calls == ["colour"]


def test_the_last_geometry_step_leaves_no_momentum_for_the_head_stage():
    """With accumulated gradients Adam would move the weights once more: freezing must take the gradients away."""
    model = build()
    optimizer = torch.optim.Adam(model.field.parameters(), lr=0.1)
    learn(model, 0)
    optimizer.step()
    before = {key: value.clone() for key, value in model.field.state_dict().items()}
    learn(model, 1)
    optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in model.field.state_dict().items())


def test_every_parameter_belongs_to_one_group():
    model = build(camera_optimizer=InstanceModelConfig().camera_optimizer)
    groups = model.get_param_groups()
    grouped = [id(parameter) for parameters in groups.values() for parameter in parameters]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.parameters()} - {id(model.device_indicator_param)}


def test_geometry_and_colour_stay_bit_identical_through_stage_two(tiny_run):
    """On a real run: weights, and what they render."""
    states = [torch.load(path, weights_only=True)["pipeline"] for path in sorted(tiny_run.models.iterdir())]
    frozen = [key for key in states[0] if key.startswith(("_model.field.", "_model.proposal", "_model.camera"))]
    assert len(frozen) > 10
    assert all(torch.equal(states[0][key], states[1][key]) for key in frozen)
    changed = [key for key in states[0] if not torch.equal(states[0][key], states[1][key])]
    assert changed and all(key.startswith("_model.head") for key in changed)
    early, late = (load_run(tiny_run.config, step=step) for step in (119, None))
    for first, second in zip(render_views(early, "val"), render_views(late, "val"), strict=True):
        assert set(second.outputs) - set(first.outputs) == {
            "instance_logits",
            "instance_colormap",
            "instance_confidence",
        }
        assert all(torch.equal(value, second.outputs[name]) for name, value in first.outputs.items())


def test_geometry_steps_leave_the_head_as_it_was_built():
    """Through an optimiser as real runs have it."""
    from nerfstudio.engine.optimizers import Optimizers

    from nerfseg_plugins.scene.stages import stage_optimizers

    model = build()
    groups = {name: group for name, group in stage_optimizers().items() if name in model.get_param_groups()}
    optimizers = Optimizers(groups, model.get_param_groups())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    head = {key: value.clone() for key, value in model.head.state_dict().items()}
    field = model.field.mlp_head.layers[0].weight.clone()
    learn(model, 0)
    optimizers.optimizer_scaler_step_some(scaler, list(groups))
    assert all(torch.equal(value, head[key]) for key, value in model.head.state_dict().items())
    assert not torch.equal(model.field.mlp_head.layers[0].weight, field)
    learn(model, 1)
    optimizers.optimizer_scaler_step_some(scaler, list(groups))
    assert not any(torch.equal(value, head[key]) for key, value in model.head.state_dict().items())


# Samples -------------------------------------------------------------------------------------------------------------


def reference(model: InstanceModel, bundle: RayBundle) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Logits of every sample (R, S, K), weights (R, S) and positions (R, S, 3), in evaluation."""
    bundle = model.collider(bundle)
    samples, _, _ = model.proposal_sampler(bundle, density_fns=model.density_fns)
    density, geo = model.field.get_density(samples)
    positions = samples.frustums.get_positions()
    weights = samples.get_weights(density)[..., 0]
    return model.head(positions, geo), weights.numpy(), positions.numpy()


@torch.no_grad()
def test_all_samples_composite_to_the_plain_sum():
    for count in (SAMPLES, 100):
        model = build(head_samples_per_ray=count).eval()
        model.head_steps += 1
        logits, weights, _ = reference(model, rays())
        expected = (logits.numpy() * weights[..., None]).sum(1)
        np.testing.assert_allclose(model(rays())["instance_logits"].numpy(), expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_fewer_samples_are_the_heaviest():
    model = build(head_samples_per_ray=3).eval()
    model.head_steps += 1
    logits, weights, positions = reference(model, rays())
    kept = np.argsort(-weights, axis=1)[:, :3]
    assert len(np.unique(kept)) == SAMPLES, "they are anywhere on the rays"
    samples = model.frozen_samples(rays())
    for ray in range(50):
        found = {tuple(point) for point in samples.positions[ray].numpy().round(5).tolist()}
        assert found == {tuple(point) for point in positions[ray, kept[ray]].round(5).tolist()}
    expected = np.take_along_axis(logits.numpy() * weights[..., None], kept[..., None], axis=1).sum(1)
    np.testing.assert_allclose(model.logits(samples).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_frozen_samples_carry_no_gradient():
    model = build().train()
    assert not any(tensor.requires_grad for tensor in model.frozen_samples(rays()))


@torch.no_grad()
def test_points_and_rays_see_the_same_geometry():
    model = build().eval()
    bundle = model.collider(rays(5))
    samples, _, _ = model.proposal_sampler(bundle, density_fns=model.density_fns)
    density, geo = model.field.get_density(samples)
    at_points = model.query_geometry(samples.frustums.get_positions().view(-1, 3))
    torch.testing.assert_close(at_points[0].view_as(density), density)
    torch.testing.assert_close(at_points[1].view_as(geo), geo)


# Outputs -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("bounded", [True, False])
def test_evaluation_renders_what_nerfacto_renders(bounded: bool):
    model = build(bounded).eval()
    expected = NerfactoModel.get_outputs(model, model.collider(rays()))
    found = model(rays())
    assert {"rgb", "accumulation", "depth", "expected_depth", "prop_depth_0", "prop_depth_1"} == set(found)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


@torch.no_grad()
def test_an_untrained_head_shows_nothing():
    model = build().eval()
    assert not [name for name in model(rays()) if "instance" in name]
    model.head_steps += 1
    assert {"instance_logits", "instance_colormap", "instance_confidence"} < set(model(rays()))


def test_outputs_can_be_shown(tiny_run):
    """What is not floats of 1 or 3 channels crashes ns-render and the viewer."""
    view = next(iter(render_views(load_run(tiny_run.config), "val", indices=[0])))
    for name, value in view.outputs.items():
        assert value.dtype == torch.float32 and value.shape[:2] == (36, 48), name
        assert value.shape[-1] in (1, 3) or name.endswith("_logits"), name
        assert torch.isfinite(value).all(), name
    assert view.outputs["instance_colormap"].shape[-1] == 3
    assert view.outputs["instance_confidence"].min() >= 0 and view.outputs["instance_confidence"].max() <= 1


# Bounds --------------------------------------------------------------------------------------------------------------


def test_a_room_ends_at_its_box():
    model = build(bounded=True)
    assert isinstance(model.collider, BoxCollider) and model.field.spatial_distortion is None
    assert isinstance(model.proposal_sampler.initial_sampler, UniformSampler)
    assert model.head.spatial_distortion is None


def test_a_capture_without_bounds_is_contracted():
    model = build(bounded=False)
    assert isinstance(model.collider, NearFarCollider) and model.field.spatial_distortion is not None
    assert isinstance(model.proposal_sampler.initial_sampler, UniformLinDispPiecewiseSampler)
    assert model.head.spatial_distortion is model.field.spatial_distortion


def test_bounds_can_be_set_against_the_data():
    assert isinstance(build(bounded=False, bounds="box").collider, BoxCollider)
    assert build(bounded=True, bounds="contraction").field.spatial_distortion is not None
    for contracted in (True, False):  # nerfacto's own choice, whatever the data say
        model = build(bounded=True, bounds="nerfacto", disable_scene_contraction=not contracted)
        assert isinstance(model.collider, NearFarCollider)
        assert (model.field.spatial_distortion is not None) == contracted


def planes(model: InstanceModel) -> tuple[float, float]:
    """Near and far where rays are sampled."""
    bundle = model.collider(rays(1))
    return float(bundle.nears), float(bundle.fars)


def test_a_contracted_scene_is_sampled_between_the_near_and_far_of_its_data():
    declared = {"near": 1.25, "far": 7.5}
    assert planes(build(bounded=False, declared=declared)) == (1.25, 7.5)
    settings = {"near_plane": 0.5, "far_plane": 100.0}
    assert planes(build(bounded=False, **settings)) == (0.5, 100.0), "nothing is declared"
    for bounds in ("contraction", "nerfacto"):
        assert planes(build(bounded=False, declared=declared, bounds=bounds, **settings)) == (0.5, 100.0)
    assert planes(build(bounded=True, declared=declared, **settings))[0] == 0.5, "a room ends at its walls"


@pytest.mark.parametrize("training", [True, False])
def test_rays_are_cut_at_the_box(training: bool):
    collider = BoxCollider(SceneBox(torch.tensor([[-1.0, -2.0, -3.0], [1.0, 2.0, 3.0]])), near_plane=0.25)
    collider.train(training)
    origins = torch.tensor([[0.0, 0, 0], [0, 0, 0], [-3, 0, 0], [0.9, 0, 0], [0, 5, 0]])
    directions = torch.tensor([[1.0, 0, 0], [0, -1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    bundle = collider(RayBundle(origins, directions, torch.ones(5, 1)))
    # In the middle to either side; from outside; a wall before the near plane; past the box: the last two are empty.
    torch.testing.assert_close(bundle.nears[:, 0], torch.tensor([0.25, 0.25, 2.0, 0.25, 0.25]), rtol=0, atol=1e-4)
    torch.testing.assert_close(bundle.fars[:4, 0], torch.tensor([1.0, 2.0, 4.0, 0.25]), rtol=0, atol=1e-4)
    assert (bundle.fars > bundle.nears).all()
