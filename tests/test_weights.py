"""Checkpoints: found on disk or under an address, and nothing else asks the network."""

import hashlib
from pathlib import Path

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.weights import load_into, need_checkpoint, state_of


def test_a_file_and_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"weights")
    assert need_checkpoint(path, "sam", "weights") == (path, hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(InputError, match=r"b\.pth does not exist; give --checkpoint weights"):
        need_checkpoint(tmp_path / "b.pth", "sam", "weights")
    with pytest.raises(InputError, match="the source sam needs --checkpoint with weights"):
        need_checkpoint(None, "sam", "weights")


def test_an_address_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in torch's cache is taken; otherwise the address is asked, which no test may do."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    address = Path("https://example.org/weights/sam.pth")  # as a Path of the command line: https:/example.org
    with pytest.raises(InputError, match=r"sam could not be fetched .*download https://example\.org/weights/sam\.pth"):
        need_checkpoint(address, "sam", "weights")
    cached = tmp_path / "hub" / "checkpoints" / "sam.pth"
    cached.write_bytes(b"weights")
    assert need_checkpoint(address, "sam", "weights")[0] == cached


def test_weights_are_loaded_strictly(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 3)
    path = tmp_path / "a.pth"
    torch.save({f"net.{key}": value for key, value in layer.state_dict().items()}, path)
    other = torch.nn.Linear(2, 3)
    load_into(other, state_of(path, "it", "net."), path, "it")
    torch.testing.assert_close(other.weight, layer.weight)
    with pytest.raises(InputError, match=r"a\.pth has no weight, so it is no checkpoint of it"):
        load_into(other, state_of(path, "it"), path, "it")
    with pytest.raises(InputError, match=r"a\.pth has weight of shape \(3, 2\), but it has \(4, 2\)"):
        load_into(torch.nn.Linear(2, 4), state_of(path, "it", "net."), path, "it")
    with pytest.raises(InputError, match=r"a\.pth holds bias, which it has not"):
        load_into(torch.nn.Linear(2, 3, bias=False), state_of(path, "it", "net."), path, "it")
    with pytest.raises(InputError, match=r"a\.pth holds no encoder\.\*"):
        state_of(path, "it", "encoder.")
