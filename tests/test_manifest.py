"""Manifests: derived data of another source, model, parameter or image set are refused with the mend."""

import dataclasses

import pytest

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.manifest import (
    MANIFEST,
    Manifest,
    check_manifest,
    hash_images,
    read_manifest,
    write_manifest,
)

COMMAND = "nerfseg masks --source classical --data room"
GOOD = Manifest("classical", "regions", None, (120, 160), "abc", {"scales": (1, 2), "min_area": 40})


def test_a_manifest_comes_back_and_fits_itself(tmp_path):
    write_manifest(tmp_path, GOOD)
    found = read_manifest(tmp_path)
    assert (found.source, found.image_size, found.parameters["scales"]) == ("classical", (120, 160), [1, 2])
    assert check_manifest(tmp_path, GOOD, COMMAND) == found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("source", "sam"),
        ("model", "vit_h"),
        ("checkpoint", "f00"),
        ("image_size", (240, 320)),
        ("images", "def"),
        ("parameters", {"scales": (1, 2), "min_area": 41}),
    ],
)
def test_each_difference_is_refused_by_name_with_the_command(tmp_path, key, value):
    write_manifest(tmp_path, dataclasses.replace(GOOD, **{key: value}))
    with pytest.raises(InputError) as caught:
        check_manifest(tmp_path, GOOD, COMMAND)
    message = str(caught.value)
    assert str(tmp_path / MANIFEST) in message
    assert f"{key} differ" in message
    assert message.endswith(COMMAND)


def test_a_mapping_compares_only_what_it_names(tmp_path):
    write_manifest(tmp_path, GOOD)
    check_manifest(tmp_path, {"images": "abc", "image_size": (120, 160)}, COMMAND)
    with pytest.raises(InputError, match="images differ"):
        check_manifest(tmp_path, {"images": "other"}, COMMAND)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"source": "classical"}', '{"image_size": 5}'])
def test_missing_and_damaged_manifests_are_refused_with_the_command(tmp_path, text):
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError) as caught:
        check_manifest(tmp_path, GOOD, COMMAND)
    assert str(tmp_path / MANIFEST) in str(caught.value)
    assert COMMAND in str(caught.value)


def test_the_hash_of_images_follows_names_and_contents_but_not_the_folder(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(b"one")
        (tmp_path / folder / "1.png").write_bytes(b"two")
    first = hash_images(sorted((tmp_path / "a").iterdir()))
    assert first == hash_images(sorted((tmp_path / "b").iterdir(), reverse=True))
    (tmp_path / "b" / "1.png").write_bytes(b"other")
    assert first != hash_images((tmp_path / "b").iterdir())
    (tmp_path / "a" / "1.png").rename(tmp_path / "a" / "2.png")
    assert first != hash_images((tmp_path / "a").iterdir())
