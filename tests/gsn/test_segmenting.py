"""Strokes become labels of everything that views see: two things of one kind before a wall."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.segmenting import Exemplars, Marks, exemplars, likely, only_connected, seeds_of, segment, walk
from nerfseg_plugins.gsn.surfels import Surfels
from nerfseg_plugins.segments.select_config import SelectConfig, WalkerConfig

from .things import THING, WALL, as_pictures, on_left, on_right, picture, stroke, surfels, truth

CONFIG = SelectConfig()


def labels(marks: Marks, *shifts: int, noise: float = 0.0, config: SelectConfig = CONFIG) -> list[torch.Tensor]:
    """An image of labels of each view."""
    seen = surfels(*shifts, noise=noise)
    return as_pictures(segment(seen, marks, config).labels, seen)


@pytest.mark.parametrize("method", ["walker", "seed"])
def test_one_stroke_selects_one_of_two_equal_things_in_all_views(method):
    found = labels(on_left(), 0, 2, config=replace(CONFIG, method=method))
    for image, shift in zip(found, (0, 2), strict=True):
        assert torch.equal(image, (truth(shift) == 1).long())


def test_without_connectedness_features_select_both():
    found = labels(on_left(), 0, config=replace(CONFIG, method="seed", connected=False))
    assert torch.equal(found[0], (truth() > 0).long())


def test_strokes_of_two_objects_part_things_of_one_kind():
    marks = Marks.cat([on_left(1), on_right(2)])
    for noise in (0.0, 0.2):
        for image, shift in zip(labels(marks, 0, 2, noise=noise), (0, 2), strict=True):
            assert (image == truth(shift)).float().mean() > 0.99


def test_things_that_touch_are_parted_half_way():
    """A bar of one kind, marked at both ends."""
    seen = picture()
    seen.features[3:9, 3:17], seen.rgb[3:9, 3:17] = THING, torch.tensor([0.8, 0.2, 0.2])
    marks = Marks.cat([stroke(1, (5, 7), (3, 5), seen), stroke(2, (5, 7), (15, 17), seen)])
    image = as_pictures(segment(Surfels.of([seen]), marks, CONFIG).labels, Surfels.of([seen]))[0]
    assert bool((image[3:9, 3:9] == 1).all()) and bool((image[3:9, 11:17] == 2).all())
    assert bool((image[:2] == 0).all())


def test_a_negative_stroke_is_none_of_the_objects():
    """At a threshold beyond all distances everything is like the object; what is marked is less like it."""
    loose = replace(CONFIG, tau=4.0, method="seed", connected=False)
    with pytest.raises(InputError, match="everything is like the strokes of object 1"):
        labels(on_left(), 0, config=loose)
    image = labels(Marks.cat([on_left(), stroke(0, (0, 2), (0, 9))]), 0, config=loose)[0]
    assert torch.equal(image, (truth() > 0).long())


def test_numbers_of_objects_may_have_gaps():
    image = labels(on_left(3), 0)[0]
    assert torch.equal(image, 3 * (truth() == 1).long())


def test_the_same_strokes_select_the_same():
    marks = Marks.cat([on_left(1), on_right(2)])
    assert torch.equal(labels(marks, 0, 2, noise=0.3)[0], labels(marks, 0, 2, noise=0.3)[0])


def test_a_stroke_that_strays_onto_the_wall_does_not_select_the_wall():
    """Of its 12 pixels two lie on the wall, of which there are 180; the thing's ten are a third of the things'."""
    marks = stroke(1, (5, 7), (2, 8))
    models = exemplars(marks, surfels(0).features, CONFIG)
    assert models.labels.tolist() == [1]
    torch.testing.assert_close(models.features, THING[None], atol=1e-4, rtol=0)
    # A stroke on the wall alone is meant.
    wall = exemplars(stroke(1, (0, 1), (0, 2)), surfels(0).features, CONFIG)
    torch.testing.assert_close(wall.features, WALL[None], atol=1e-4, rtol=0)
    # What is said to be no object is not doubted.
    assert len(exemplars(replace(marks, labels=torch.zeros(12).long()), surfels(0).features, CONFIG).labels) == 2


def test_what_features_say_by_hand():
    """Squared distances 0 and 2 to the exemplars, tau 0.4, softness 0.1; the third label has no exemplar."""
    models = Exemplars(torch.stack([THING]), torch.tensor([2]))
    found = likely(torch.stack([THING, WALL]), models, 2, CONFIG)
    scores = torch.tensor([[-4.0, -math.inf, 0.0], [-4.0, -math.inf, -20.0]])
    torch.testing.assert_close(found, scores.softmax(dim=-1), atol=1e-4, rtol=0)
    both = Exemplars(torch.stack([WALL, THING]), torch.tensor([0, 1]))
    torch.testing.assert_close(
        likely(torch.stack([WALL]), both, 1, CONFIG), torch.tensor([[0.0, -20.0]]).softmax(dim=-1), atol=1e-4, rtol=0
    )


def test_seeds_are_where_strokes_lie_and_not_where_they_contradict_each_other():
    seen = surfels(0)
    marks = Marks.cat([stroke(1, (5, 6), (4, 6)), stroke(2, (5, 6), (5, 7)), stroke(0, (0, 1), (0, 1))])
    image = as_pictures(seeds_of(seen, marks), seen)[0]
    assert image[5, 4:7].tolist() == [1, -1, 2] and image[0, 0] == 0
    assert int((image >= 0).sum()) == 3
    away = replace(marks, points=marks.points + torch.tensor([0.0, 0.0, 1.0]))
    assert bool((seeds_of(seen, away) == -1).all())


def test_a_walk_by_hand():
    """A chain of four: none at one end, an object at the other; without priors the chance falls evenly."""
    graph = sparse.csr_matrix((np.ones(3, np.float32), ([0, 1, 2], [1, 2, 3])), shape=(4, 4))
    prior = torch.full((4, 2), 0.5)
    found = walk(graph, prior, torch.tensor([0, -1, -1, 1]), 0.0)
    torch.testing.assert_close(found[:, 1], torch.tensor([0, 1 / 3, 2 / 3, 1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4))


def test_only_what_hangs_together_with_a_stroke_stays():
    """Two pairs of one label, and one link of no more than the floor between them."""
    graph = sparse.csr_matrix((np.float32([1, 0.001, 1]), ([0, 1, 2], [1, 2, 3])), shape=(4, 4))
    shares = torch.tensor([[0.1, 0.9]]).repeat(4, 1)
    found = only_connected(graph, shares, torch.tensor([1, -1, -1, -1]), 0.001)
    assert found.argmax(dim=1).tolist() == [1, 1, 0, 0] and found[3].tolist() == [1, 0]
    held = only_connected(graph, shares, torch.tensor([1, -1, -1, -1]), 0.0)
    assert held.argmax(dim=1).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("marks", "config", "says"),
    [
        (stroke(0, (0, 1), (0, 2)), CONFIG, "nothing says what the object is"),
        (on_left(), replace(CONFIG, method="bilateral"), "take walker or seed"),
        (on_left(), replace(CONFIG, tau=-1.0), "tau is -1.0"),
        (on_left(), replace(CONFIG, clusters=0), "number of clusters is 0"),
        (on_left(), replace(CONFIG, walker=WalkerConfig(sigma_f=0.0)), "walker.sigma_f is 0.0"),
        (on_left(), replace(CONFIG, walker=WalkerConfig(softness=-1.0)), "walker.softness is -1.0"),
        (on_left(), replace(CONFIG, walker=WalkerConfig(prior=-1.0)), "walker.prior is -1.0"),
        (replace(on_left(), features=torch.ones(6, 3)), CONFIG, "features have 3 channels and the views' 4"),
        (replace(on_left(), points=torch.full((6, 3), 9.0)), CONFIG, "object 1 lie where none of the views looks"),
        (
            replace(on_left(), features=torch.eye(4)[3].expand(6, 4)),
            replace(CONFIG, method="seed", connected=False),
            "nothing is like the strokes of object 1",
        ),
    ],
)
def test_what_cannot_be_selected_is_said(marks, config, says):
    with pytest.raises(InputError, match=says):
        segment(surfels(0), marks, config)
