"""A frozen model renders rays, differentiably by the rays alone."""

import pytest
import torch
from torch import nn

from nerfseg_plugins import compat

compat.apply()

from nerfseg_plugins.errors import InputError  # noqa: E402
from nerfseg_plugins.inerf.scene import FrozenScene  # noqa: E402

from ..instance_nerf.slabs import DIRECTION, START, slab_model  # noqa: E402
from .test_pyramid import balls, in_box, views  # noqa: E402

AHEAD = torch.tensor([START, (-0.2, 0.0, 0.0)]), torch.tensor([DIRECTION, DIRECTION])
"""From the start, and from between the first two slabs."""


def test_what_rays_see():
    """The red slab from x = -0.9 lies 0.5 ahead, the green one from x = -0.2 lies 0.3 ahead."""
    rendered = FrozenScene(slab_model()).render(*AHEAD)
    torch.testing.assert_close(rendered.values, torch.tensor([[1.0, 0, 0], [0, 1, 0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(rendered.depth, torch.tensor([0.5, 0.3]), atol=0.01, rtol=0)
    torch.testing.assert_close(rendered.opacity, torch.ones(2), atol=1e-3, rtol=0)


def test_depth_is_the_expected_one():
    """Behind soft borders the median is another one, and it has no derivative."""
    origins, directions = views()
    found, there = balls(contracted=False).render(origins, directions), in_box(origins, directions)
    solid = there.opacity > 0.9
    assert float((found.depth - there.depth)[solid].abs().mean()) < 5e-4


def test_features_are_compared_where_they_are_asked_for():
    rendered = FrozenScene(slab_model(), outputs=("rgb", "instance_logits")).render(*AHEAD)
    assert rendered.values.shape == (2, 6)
    assert rendered.values[:, 3:].argmax(-1).tolist() == [1, 2]


def test_an_output_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"no 'semantics'.*rgb"):
        FrozenScene(slab_model(), outputs=("semantics",)).render(*AHEAD)


def test_a_model_of_whole_images_is_refused():
    class Splats(nn.Module):
        pass

    with pytest.raises(InputError, match="Splats renders whole images, not rays"):
        FrozenScene(Splats())  # type: ignore[arg-type]


def test_samples_are_only_ever_added():
    few, many = (
        FrozenScene(slab_model(), samples_per_ray=16).model,
        FrozenScene(slab_model(), samples_per_ray=300).model,
    )
    assert few.proposal_sampler.num_nerf_samples_per_ray == 64
    assert tuple(few.proposal_sampler.num_proposal_samples_per_ray) == (400,)
    assert many.proposal_sampler.num_nerf_samples_per_ray == 300
    assert tuple(many.proposal_sampler.num_proposal_samples_per_ray) == (600,)


@pytest.mark.parametrize("contracted", [False, True])
def test_derivatives_by_rays(contracted: bool):
    """Against differences of the rendering, whose samples move along: with many samples that hardly matters."""
    scene = balls(contracted)
    rays = torch.stack(views()).requires_grad_()
    (slope,) = torch.autograd.grad(scene.render(rays[0], rays[1]).values.sum(), rays)
    along = torch.randn(rays.shape, generator=torch.Generator().manual_seed(0))
    ahead, behind = (scene.render(*(rays.detach() + sign * 1e-3 * along)).values for sign in (1, -1))
    both = torch.stack([(slope * along).sum(dim=(0, -1)), (ahead - behind).sum(-1) / 2e-3])
    assert float(torch.corrcoef(both)[0, 1]) > 0.99
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in scene.model.parameters())


def test_a_rendering_is_repeatable():
    """Nothing is drawn at random in evaluation."""
    scene = balls(contracted=True)
    first, second = scene.render(*views()), scene.render(*views())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)) and not scene.model.training
