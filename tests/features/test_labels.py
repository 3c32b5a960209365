"""Features from labels: what is alike, how much noise there is, and the way from a written room."""

import json
from pathlib import Path

import numpy as np
import pytest

from nerfseg_plugins.cli.features import Features
from nerfseg_plugins.cli.truth import read_parts
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.labels import LabelOptions, embedding, label_features, write_label_features
from nerfseg_plugins.features.store import FeatureMaps, read_map

QUIET = LabelOptions(noise=0, smooth_noise=0, stride=2)


def test_directions() -> None:
    """One class's parts share 1 / (1 + 0.5^2) of their directions, up to chance in 64 dimensions."""
    leg, seat, other = (embedding(*pair, LabelOptions()) for pair in ((5, 1), (5, 2), (7, 3)))
    np.testing.assert_allclose([np.linalg.norm(leg), np.linalg.norm(other)], 1, atol=1e-6)
    assert leg @ seat == pytest.approx(0.8, abs=0.15)
    assert abs(leg @ other) < 0.35
    np.testing.assert_array_equal(leg, embedding(5, 1, LabelOptions()))
    assert leg @ embedding(5, 1, LabelOptions(seed=1)) < 0.9


def test_cells_average_their_pixels() -> None:
    classes = np.array([[0, 0, 0, 5], [0, 0, 5, 5]])
    found = label_features(classes, np.zeros_like(classes), (1, 2), 0, QUIET)
    nothing, chair = embedding(0, 0, QUIET), embedding(5, 0, QUIET)
    mixed = nothing + 3 * chair
    np.testing.assert_allclose(found[0, 0], nothing, atol=1e-6)
    np.testing.assert_allclose(found[0, 1], mixed / np.linalg.norm(mixed), atol=1e-5)


def test_noise_is_as_long_as_it_is_asked_for() -> None:
    """Independent noise of length n leaves a cosine of 1 / (1 + n^2) between equal things."""
    zeros = np.zeros((40, 60), int)
    rough = label_features(zeros, zeros, (40, 60), 0, LabelOptions(noise=0.5, smooth_noise=0)).reshape(-1, 64)
    assert np.mean(rough[:-1] @ rough[7]) == pytest.approx(0.8, abs=0.03)
    smooth = label_features(zeros, zeros, (40, 60), 0, LabelOptions(noise=0, smooth_noise=0.5))
    assert smooth[20, 20] @ smooth[20, 21] > 0.98
    assert smooth[5, 5] @ smooth[35, 55] < 0.9
    again = label_features(zeros, zeros, (40, 60), 0, LabelOptions(noise=0.5, smooth_noise=0))
    np.testing.assert_array_equal(again.reshape(-1, 64), rough)
    other = label_features(zeros, zeros, (40, 60), 1, LabelOptions(noise=0.5, smooth_noise=0))
    assert not np.allclose(again, other)


def test_arrays_are_written_like_any_source(data: Path, capsys: pytest.CaptureFixture) -> None:
    images = sorted((data / "images").iterdir())
    classes = [np.full((36, 48), index, np.uint8) for index in range(3)]
    kinds = [np.zeros((36, 48), np.uint8)] * 3
    folder = data / "features" / "labels"
    assert write_label_features(folder, images, classes, kinds, QUIET) == 3
    maps = FeatureMaps.load(folder, images, "")
    found = maps.sample(torch_indices([[1, 4, 5], [1, 30, 40], [2, 4, 5]]))
    np.testing.assert_allclose(found[0], embedding(1, 0, QUIET), atol=1e-3)
    np.testing.assert_allclose(found[2], embedding(2, 0, QUIET), atol=1e-3)
    before = (folder / "0.npz").read_bytes()
    (folder / "0.npz").unlink()
    assert write_label_features(folder, images, classes, kinds, QUIET) == 1
    assert (folder / "0.npz").read_bytes() == before
    with pytest.raises(InputError, match=r"manifest.json does not fit: parameters"):
        write_label_features(folder, images, classes, kinds, LabelOptions())
    with pytest.raises(ValueError, match="3 images have 2 class maps"):
        write_label_features(folder, images, classes[:2], kinds, QUIET)


def torch_indices(rows: list[list[int]]):
    import torch

    return torch.tensor(rows)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three views of a room with two chairs."""
    from nerfseg_plugins.rooms.generate import make_scene, write_scene

    folder = tmp_path_factory.mktemp("rooms") / "room"
    for seed in range(20):
        room, shots = make_scene(seed, "front3d", num_objects=8, num_train=2, num_val=1, width=48, height=36)
        if sum(item.name.startswith("chair") for item in room.objects) >= 2:
            write_scene(folder, room, shots)
            return folder
    raise AssertionError("no room with two chairs among 20")


def test_a_room_says_what_is_alike(room: Path) -> None:
    images = sorted((room / "images").iterdir())
    classes, kinds, files = read_parts(room, images)
    tree = json.loads((room / "hierarchy.json").read_text())
    assert files == [room / "hierarchy.json", *(room / "parts" / f"{image.stem}.png" for image in images)]
    from nerfseg_plugins.segments.masks import read_ids

    chairs = [key for key, item in tree["objects"].items() if item["name"].startswith("chair")]
    looks: dict[str, set[tuple[int, int]]] = {key: set() for key in chairs}
    for image, one, kind in zip(images, classes, kinds, strict=True):
        parts = read_ids(room / "parts" / f"{image.stem}.png")
        semantics = read_ids(room / "semantics" / f"{image.stem}.png")
        np.testing.assert_array_equal(one, semantics)
        np.testing.assert_array_equal(kind == 0, parts == 0)
        for part in np.unique(parts[parts > 0]):
            owner, name = str(tree["parts"][str(part)]["object"]), tree["parts"][str(part)]["name"]
            (pair,) = set(zip(one[parts == part].tolist(), kind[parts == part].tolist(), strict=True))
            if owner in looks:
                looks[owner].add((name.rstrip("0123456789"), *pair))  # type: ignore[arg-type]
    every = set.union(*looks.values())
    assert len(every) == len({name for name, *_ in every})  # type: ignore[misc]


def test_a_room_gets_features(room: Path) -> None:
    Features(room, source="labels").main()
    folder = room / "features" / "labels"
    assert read_map(folder / "0000.npz").features.shape == (9, 12, 64)
    with pytest.raises(InputError, match="stride"):
        Features(room, source="labels", stride=2).main()
    Features(room, source="labels", stride=2, overwrite=True).main()
    assert read_map(folder / "0000.npz").features.shape == (18, 24, 64)


def test_data_without_parts_are_refused(data: Path, room: Path) -> None:
    with pytest.raises(InputError, match=r"has no parts/ and hierarchy.json.*nerfseg room"):
        Features(data, source="labels").main()
    (data / "parts").mkdir()
    (data / "hierarchy.json").write_text('{"parts": {"1": {"name": "leg1", "object": 1}}, "objects": {}}')
    with pytest.raises(InputError, match=r"hierarchy.json is no hierarchy"):
        Features(data, source="labels").main()
    (data / "hierarchy.json").write_text((room / "hierarchy.json").read_text())
    with pytest.raises(InputError, match=r"parts has no part ids of .*0.png"):
        Features(data, source="labels").main()
    from nerfseg_plugins.segments.masks import write_ids

    for index in range(3):
        write_ids(data / "parts" / f"{index}.png", np.full((36, 48), 9999))
    with pytest.raises(InputError, match=r"0.png holds part 9999"):
        Features(data, source="labels").main()
