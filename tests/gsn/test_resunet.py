"""The image encoder."""

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.resunet import ResUNet


def small(**options) -> ResUNet:
    torch.manual_seed(0)
    return ResUNet(outputs=6, widths=(8, 8, 8), blocks=(1, 1, 1), **options)


@pytest.mark.parametrize(
    ("size", "found"), [((48, 64), (12, 16)), ((90, 120), (23, 30)), ((37, 45), (10, 12)), ((32, 33), (8, 9))]
)
def test_maps_are_a_quarter_of_any_image(size: tuple[int, int], found: tuple[int, int]):
    assert small()(torch.rand(1, 3, *size)).shape == (1, 6, *found)


def test_a_stem_without_stride_doubles_the_resolution():
    assert small(stem_stride=1)(torch.rand(1, 3, 48, 64)).shape == (1, 6, 24, 32)


def test_an_image_knows_nothing_of_the_others():
    network, images = small(), torch.rand(3, 3, 32, 40)
    together = network(images)
    for index in range(3):
        assert torch.allclose(network(images[index : index + 1])[0], together[index], atol=1e-5)


def test_nothing_but_weights_is_kept():
    """No running statistics: evaluation computes what training does."""
    network, image = small(), torch.rand(1, 3, 32, 32)
    assert torch.equal(network.train()(image), network.eval()(image))


def test_images_that_are_too_small():
    with pytest.raises(InputError, match="at least 32 pixels along each side, not 40x31"):
        small()(torch.rand(1, 3, 31, 40))
