"""Files are written whole or not at all, also by a process that is killed, and read with errors that name them."""

import hashlib
import os
import signal
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path, inside, read_json, sha256_file, write_json


def test_a_file_appears_when_the_block_succeeds(tmp_path: Path):
    target = tmp_path / "deep" / "ids.npy"
    with atomic_path(target) as temporary:
        np.save(temporary, np.arange(3))
        assert not target.exists()
    assert np.load(target).tolist() == [0, 1, 2]
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_name_is_hidden_and_keeps_the_suffix(tmp_path: Path):
    with atomic_path(tmp_path / "picture.png") as temporary:
        assert temporary.name.startswith(".") and temporary.suffix == ".png" and temporary.parent == tmp_path
        Image.new("RGB", (2, 2)).save(temporary)  # Pillow chooses the format by the suffix


def test_the_temporary_file_may_lie_elsewhere(tmp_path: Path):
    with atomic_path(tmp_path / "models" / "a.ckpt", folder=tmp_path) as temporary:
        assert temporary.parent == tmp_path and list((tmp_path / "models").iterdir()) == []
    assert (tmp_path / "models" / "a.ckpt").is_file()


def test_permissions_follow_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", {})
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027, "asking for the umask must not change it"
    finally:
        os.umask(before)


def test_kill_9_in_the_middle_of_writing(tmp_path: Path):
    target = tmp_path / "ids.json"
    write_json(target, {"ids": [1, 2]})
    child = os.fork()
    if child == 0:
        with atomic_path(target) as temporary:
            temporary.write_text('{"ids": [1, ')
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert read_json(target) == {"ids": [1, 2]}
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["ids.json"], "what is left is hidden"


@pytest.mark.parametrize(
    ("content", "said"), [(b'{"a": ', "not valid JSON"), (b"\xff\xfe{}", "not valid JSON"), (None, "does not exist")]
)
def test_bad_json_is_named(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "transforms.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../secret.png", "images/../../secret.png", "/etc/passwd", ".."])
def test_paths_in_data_stay_in_the_data(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="outside the data folder") as caught:
        inside(tmp_path / "data", name)
    assert repr(name) in str(caught.value)


def test_paths_inside_are_joined(tmp_path: Path):
    assert inside(tmp_path, "images/0.png") == tmp_path / "images" / "0.png"
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    assert inside(tmp_path / "data", "images/0.png") == tmp_path / "data" / "images" / "0.png"
    assert inside(tmp_path / "data", "a/../images/0.png").name == "0.png"
    with pytest.raises(InputError):  # a folder beside the data whose name begins alike
        inside(tmp_path / "data", "../data2/0.png")


def test_sha256_of_more_than_one_block(tmp_path: Path):
    content = np.random.default_rng(0).bytes((1 << 20) + 7)
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()
