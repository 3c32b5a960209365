"""Any ray of a scene asks what was selected; and what was selected is kept in a file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.gsn.query import TINT, Query, shown
from nerfseg_plugins.gsn.segmenting import Marks, segment
from nerfseg_plugins.scene.colors import palette
from nerfseg_plugins.scene.likeness import GREY
from nerfseg_plugins.segments.select_config import SelectConfig

from .things import HEIGHT, RED, THING, WALL, WIDTH, on_left, on_right, picture, surfels, truth

CONFIG = SelectConfig(tau=0.5)
MADE_FOR = "weights scene"


@pytest.fixture(scope="module")
def query() -> Query:
    seen = surfels(0, 2)
    return Query.of(seen, segment(seen, Marks.cat([on_left(), on_right()]), CONFIG), ("cup", "can"), CONFIG)


def flat(shift: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    seen = picture(shift)
    return seen.points.reshape(-1, 3), seen.features.reshape(-1, 4), seen.rgb.reshape(-1, 3)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_rays_of_views_seen_and_unseen_get_the_labels_of_their_places(query: Query, shift: int):
    found = query.shares_at(*flat(shift))
    assert found.shape == (HEIGHT * WIDTH, 3)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(len(found)))
    assert torch.equal(found.argmax(dim=-1).view(HEIGHT, WIDTH), truth(shift))


def test_a_ray_far_from_all_places_has_but_its_own_features(query: Query):
    far = torch.full((2, 3), 50.0)
    found = query.shares_at(far, torch.stack([THING, WALL]), RED.expand(2, 3))
    # Both objects look the same, so that nobody knows which of them it is.
    assert found[0, 1] == pytest.approx(float(found[0, 2]), abs=1e-4) and found[0, 0] < 0.1
    assert found[1, 0] > 0.95


def test_a_place_counts_for_less_where_it_looks_different(query: Query):
    """At the border of the left thing, features say which side a ray is on."""
    border = torch.tensor([[2.5 * 0.1, -0.5, 0.0]]).expand(2, 3)
    colors = torch.stack([RED, torch.tensor([0.5, 0.5, 0.5])])
    assert query.shares_at(border, torch.stack([THING, WALL]), colors).argmax(dim=-1).tolist() == [1, 0]


def test_what_is_shown(query: Query):
    points, features, rgb = flat(0)
    met = torch.ones(len(points), 1, dtype=torch.bool)
    met[0], features[0] = False, 0
    found = query.outputs(points, features, rgb, met)
    assert {name: (value.shape[1], value.dtype) for name, value in found.items()} == {
        "segment_id": (1, torch.float32),
        "segment_colormap": (3, torch.float32),
        "similarity_colormap": (3, torch.float32),
    }
    ids = found["segment_id"][:, 0].long().view(HEIGHT, WIDTH)
    assert torch.equal(ids, truth())
    paint = torch.from_numpy(palette(3)).float() / 255
    picked = found["segment_colormap"].view(HEIGHT, WIDTH, 3)
    torch.testing.assert_close(picked[5, 14], (1 - TINT) * RED + TINT * paint[2])
    torch.testing.assert_close(picked[0, 1], rgb[1])
    alike = found["similarity_colormap"]
    assert alike[0].tolist() == [GREY] * 3 and not torch.equal(alike[1], alike[5 * WIDTH + 14])


def test_without_a_query_the_picture_stays_as_it_is():
    points, features, rgb = flat(0)
    found = shown(None, points, features, rgb, torch.ones(len(points), 1, dtype=torch.bool))
    assert torch.equal(found["segment_colormap"], rgb) and not found["segment_id"].any()
    assert bool((found["similarity_colormap"] == GREY).all()) and found["segment_id"].shape == (len(points), 1)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(query: Query, tmp_path: Path) -> Path:
    query.save(tmp_path / "cups.npz", MADE_FOR)
    return tmp_path / "cups.npz"


def test_a_saved_query_says_the_same(query: Query, saved: Path):
    found = Query.load(saved, MADE_FOR)
    assert found.names == ("cup", "can") and found.config == CONFIG
    assert torch.equal(found.shares_at(*flat(1)), query.shares_at(*flat(1)))


def respell(path: Path, change: Any) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(path, **arrays)


def about(arrays: dict[str, Any], **changes: Any) -> None:
    arrays["about"] = np.array(json.dumps({**json.loads(str(arrays["about"])), **changes}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "is no readable selection"),
        (lambda path: path.write_text("nonsense"), "is no readable selection"),
        (lambda path: respell(path, lambda a: a.pop("size")), "is no readable selection"),
        (lambda path: respell(path, lambda a: a.update(size=a["size"][1:])), "size has the shape"),
        (lambda path: respell(path, lambda a: about(a, names=["cup"])), "shares has the shape"),
        (lambda path: respell(path, lambda a: about(a, format="other")), "it has the format 'other'"),
        (lambda path: respell(path, lambda a: a.update(exemplar_labels=a["exemplar_labels"] + 9)), "without a name"),
    ],
)
def test_files_that_cannot_be_used_are_named(saved: Path, change: Any, says: str):
    change(saved)
    with pytest.raises(InputError, match=says) as caught:
        Query.load(saved, MADE_FOR)
    assert str(saved) in str(caught.value)


def test_a_query_of_other_weights_or_another_scene_is_refused(saved: Path):
    with pytest.raises(InputError, match="other weights or another scene") as caught:
        Query.load(saved, "others")
    assert str(saved) in str(caught.value)


def test_a_name_without_its_ending_is_refused(query: Query, tmp_path: Path):
    with pytest.raises(InputError, match=r"must end in \.npz"):
        query.save(tmp_path / "cups", MADE_FOR)
    assert not list(tmp_path.iterdir())


def test_a_query_of_a_single_place():
    seen = surfels(0)
    one = replace(seen, **{name: getattr(seen, name)[:1] for name in vars(seen)})
    found = segment(surfels(0), on_left(), CONFIG)
    alone = Query.of(one, replace(found, shares=found.shares[:1]), ("cup",), CONFIG)
    assert alone.shares_at(*flat(0)).shape == (HEIGHT * WIDTH, 2)
