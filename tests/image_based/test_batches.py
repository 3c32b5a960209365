"""Batches of training: rays and their colours, source views, and what is drawn."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.batches import DrawRule, draw_batch
from nerfseg_plugins.image_based.choice import PoolRule
from nerfseg_plugins.image_based.images import ImageCache
from nerfseg_plugins.image_based.jitter import GREY, Jitter
from nerfseg_plugins.image_based.reshape import ReshapeRule
from nerfseg_plugins.image_based.scene import Scene, scene_bounds

from .captures import capture_parser, category_parser, llff_parser, write_capture, write_llff, write_object

RULE = DrawRule("scene", 20, (2,), None, "center", False, None, 0.0)
NEAR = dataclasses.replace(RULE, target="view", pool=PoolRule(num_views=3, spread=1, target_odds=0.0))


def scene_of(parser: Any) -> Scene:
    outputs = parser.setup().get_dataparser_outputs("train")
    return Scene(parser.data.name, outputs, ImageCache(10), scene_bounds(outputs))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def three(tmp_path: Path) -> list[Scene]:
    """A capture of mixed sizes with distorted images, a forward-facing one, and an object."""
    sizes = [(12, 16), (18, 16), (12, 16), (12, 16), (24, 30)]
    hall = capture_parser(write_capture(tmp_path / "hall", sizes, k1=-0.2, p1=0.01), eval_mode="all")
    parsers = [hall, llff_parser(write_llff(tmp_path / "attic")), category_parser(write_object(tmp_path / "cup"))]
    return [scene_of(parser) for parser in parsers]


@pytest.mark.parametrize("rule", [RULE, NEAR])
def test_rays_have_the_colours_of_the_pixels_that_they_pass(three: list[Scene], rule: DrawRule):
    """A point on each ray is projected by nerfstudio's cameras' own formulas, through the lens, onto its pixel."""
    rays, batch = draw_batch(three, rule, rng(), in_boxes=False)
    assert rays.shape == (60,) and batch["image"].shape == (60, 3) and batch["scenes"] == ["hall", "attic", "cup"]
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(60))
    for number, scene in enumerate(three):
        assert rays.camera_indices is not None
        for row in range(20 * number, 20 * number + 20):
            index = int(rays.camera_indices[row])
            c2w = scene.cameras.camera_to_worlds[index].double()
            point = rays.origins[row].double() + 1.7 * rays.directions[row].double()
            x, y, z = c2w[:, :3].T @ (point - c2w[:, 3])
            u, v = x / -z, -y / -z
            k1, p1 = (-0.2, 0.01) if number == 0 else (0.0, 0.0)
            r = u * u + v * v
            u, v = u * (1 + k1 * r) + 2 * p1 * u * v, v * (1 + k1 * r) + p1 * (r + 2 * v * v)
            column = float(scene.focal[index, 0] * u + scene.center[index, 0])
            line = float(scene.focal[index, 1] * v + scene.center[index, 1])
            assert column % 1 == pytest.approx(0.5, abs=0.01) and line % 1 == pytest.approx(0.5, abs=0.01)
            true = scene.image(index)[int(line), int(column)] / 255
            assert batch["image"][row].tolist() == pytest.approx(true.tolist(), abs=1e-6)


def test_rays_have_the_bounds_of_their_scenes(three: list[Scene]):
    rays, _ = draw_batch(three, RULE, rng(), in_boxes=False)
    assert rays.nears is not None and rays.fars is not None
    for number, scene in enumerate(three):
        rows = slice(20 * number, 20 * number + 20)
        assert rays.nears[rows].unique().tolist() == pytest.approx([scene.bounds.near])
        assert rays.fars[rows].unique().tolist() == pytest.approx([scene.bounds.far])


def test_scenes_of_different_sizes_are_one_batch(three: list[Scene]):
    _, batch = draw_batch(three, RULE, rng(), in_boxes=False)
    views = batch["views"]
    assert (views.num_scenes, views.num_views) == (3, 2)
    assert views.size == (12, 16), "that of the first scene's first view"
    assert views.near.tolist() == pytest.approx([scene.bounds.near for scene in three])
    # An object's images have 16 rows and columns, and 20 pixels of focal length.
    assert views.focal[2, 0].tolist() == pytest.approx([20, 15]) and views.center[2, 0].tolist() == [8, 6]


def test_equal_seeds_draw_equal_batches(three: list[Scene]):
    rule = dataclasses.replace(RULE, jitter=0.1, counts=(1, 2, 3))
    one, two, other = (draw_batch(three, rule, rng(seed), in_boxes=True) for seed in (4, 4, 5))
    assert torch.equal(one[0].directions, two[0].directions) and torch.equal(one[1]["image"], two[1]["image"])
    assert torch.equal(one[1]["views"].images, two[1]["views"].images)
    assert not torch.equal(one[1]["image"], other[1]["image"])


def test_boxes(three: list[Scene]):
    """White surrounds the object of the last scene; it has no other white pixels."""
    for in_boxes in (True, False):
        _, batch = draw_batch(three[2:], dataclasses.replace(RULE, rays=300), rng(), in_boxes)
        white = (batch["image"] == 1).all(dim=-1)
        assert bool(white.any()) != in_boxes


def test_numbers_of_source_views(three: list[Scene]):
    rule = dataclasses.replace(RULE, counts=(1, 3))
    seen = {draw_batch(three, rule, rng(seed), False)[1]["views"].num_views for seed in range(12)}
    assert seen == {1, 3}
    for number in range(5):
        views = draw_batch(three[:1], RULE, rng(number), False)[1]["views"]
        assert not torch.equal(views.c2w[0, 0], views.c2w[0, 1]), "distinct ones"


def test_sources_near_the_target_without_the_target(three: list[Scene]):
    counts = []
    for seed in range(12):
        rays, batch = draw_batch(three, NEAR, rng(seed), in_boxes=False)
        assert rays.camera_indices is not None
        counts.append(batch["views"].num_views)
        for number, scene in enumerate(three):
            targets = rays.camera_indices[20 * number : 20 * number + 20].unique()
            assert len(targets) == 1
            gap = (batch["views"].c2w[number, :, :, 3] - scene.c2w[int(targets), :, 3]).norm(dim=-1)
            assert gap.min() > 0
    assert set(counts) <= {2, 3, 4} and len(set(counts)) > 1


def test_fewer_rays_with_more_source_views(three: list[Scene]):
    rule = dataclasses.replace(NEAR, rays=60, rays_by_views=True)
    for seed in range(6):
        rays, batch = draw_batch(three[1:2], rule, rng(seed), in_boxes=False)
        assert len(rays) == {2: 90, 3: 60, 4: 45}[batch["views"].num_views]


def test_rays_of_a_few_views_only(three: list[Scene]):
    rule = dataclasses.replace(RULE, rays=100, views_per_scene=2)
    rays, _ = draw_batch(three[:1], rule, rng(), in_boxes=False)
    assert rays.camera_indices is not None and len(rays.camera_indices.unique()) == 2
    everything, _ = draw_batch(three[:1], dataclasses.replace(RULE, rays=100), rng(), in_boxes=False)
    assert everything.camera_indices is not None and len(everything.camera_indices.unique()) == 5


@pytest.mark.parametrize("rule", [dataclasses.replace(RULE, counts=(7,)), dataclasses.replace(NEAR, pool=PoolRule(9))])
def test_fewer_views_than_are_asked_for(three: list[Scene], rule: DrawRule):
    with pytest.raises(InputError, match=r"cup has [56] source views, but 7 are asked for"):
        draw_batch(three[2:], rule, rng(), in_boxes=False)


# Jitter --------------------------------------------------------------------------------------------------------------


def test_jitter_changes_views_and_colours_alike(three: list[Scene]):
    """A ray's colour is still that of its pixel, changed as the source views are."""
    rule = dataclasses.replace(RULE, jitter=0.3)
    plain, changed = (draw_batch(three[1:2], rule, rng(1), False)[1] for rule in (RULE, rule))
    sources = [
        tensor.movedim(1, -1).reshape(-1, 3) for batch in (plain, changed) for tensor in [batch["views"].images[0]]
    ]
    inside = ((sources[1] > 0.01) & (sources[1] < 0.99)).all(dim=-1)
    ones = torch.ones(int(inside.sum()), 1)
    found = torch.linalg.lstsq(torch.cat([sources[0][inside], ones], 1), sources[1][inside]).solution
    colours = (torch.cat([plain["image"], torch.ones(20, 1)], 1) @ found).clamp(0, 1)
    assert torch.allclose(colours, changed["image"], atol=1e-4)
    assert not torch.allclose(plain["image"], changed["image"], atol=0.01)


def test_jitter_by_hand():
    """Greys stay greys of another brightness and contrast; without strength nothing changes."""
    none = Jitter.draw(rng(), 0.0)
    torch.testing.assert_close(none.apply(torch.tensor([[0.2, 0.4, 0.9]])), torch.tensor([[0.2, 0.4, 0.9]]))
    draws = np.random.default_rng(3).uniform(-0.2, 0.2, 2)  # brightness, contrast
    changed = Jitter.draw(rng(3), 0.2).apply(torch.full((1, 3), 0.5))
    expected = (1 + draws[0]) * (1 + draws[1]) * 0.5 + 0.5 * (1 - (1 + draws[1]))
    assert changed[0].tolist() == pytest.approx([expected] * 3, abs=1e-5)
    assert sum(GREY) == pytest.approx(1)


def test_channels_change_places_in_views_and_colours_alike(three: list[Scene]):
    """Red, green and blue are only renamed, so black, white and greys stay; every order comes up."""
    orders = set()
    for seed in range(40):
        change = Jitter.draw(rng(seed), 0.0, swap=True)
        greys = torch.tensor([[0.0] * 3, [0.4] * 3, [1.0] * 3])
        assert torch.allclose(change.apply(greys), greys)
        orders.add(tuple(round(value, 4) for value in change.apply(torch.tensor([[0.1, 0.2, 0.3]]))[0].tolist()))
    assert len(orders) == 6 and all(sorted(order) == [0.1, 0.2, 0.3] for order in orders)
    plain, changed = (
        draw_batch(three[:1], dataclasses.replace(RULE, swap_channels=swap), rng(2), False)[1] for swap in (False, True)
    )
    for key in (lambda batch: batch["image"], lambda batch: batch["views"].images[0].movedim(1, -1)):
        assert torch.allclose(key(plain).sort(dim=-1).values, key(changed).sort(dim=-1).values, atol=1e-6)


def test_exponents_change_views_and_colours_alike(three: list[Scene]):
    before, after = (
        draw_batch(three[:1], dataclasses.replace(RULE, gamma=gamma), rng(2), False)[1] for gamma in (0.0, 0.9)
    )
    old, new = before["image"], after["image"]
    inner = ((old > 0.02) & (old < 0.98)).all(-1)
    exponents = new[inner].log() / old[inner].log()
    torch.testing.assert_close(exponents, exponents[:1].expand_as(exponents), atol=1e-3, rtol=0)
    assert exponents[0].log().abs().max() <= 0.9 and (exponents[0] - 1).abs().max() > 0.05
    torch.testing.assert_close(
        after["views"].images, before["views"].images ** exponents[0][:, None, None], atol=1e-3, rtol=0
    )


def test_reshaped_batches_keep_their_colours(three: list[Scene]):
    """The point that a ray passes half-way is where the ray of the scene as it is passes half-way, mapped."""
    rule = dataclasses.replace(RULE, reshape=ReshapeRule(stretch=0.3))
    (old, before), (new, after) = (draw_batch(three, each, rng(4), False) for each in (RULE, rule))
    torch.testing.assert_close(after["image"], before["image"])
    for number in range(3):
        rows = slice(20 * number, 20 * number + 20)
        first, second = (
            rays.origins[rows] + (rays.nears + rays.fars)[rows] / 2 * rays.directions[rows] for rays in (old, new)
        )
        scale = second / first
        torch.testing.assert_close(scale, scale[:1].expand_as(scale), atol=1e-3, rtol=1e-3)
        assert float(scale[0].prod()) == pytest.approx(1, abs=1e-3) and (scale[0] - 1).abs().max() > 0.02
    assert not torch.equal(after["views"].c2w, before["views"].c2w)
