"""Files that are written whole or not at all, and read with an error that says what to do."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from nerfseg_plugins.errors import InputError


@contextlib.contextmanager
def atomic_path(path: Path, folder: Optional[Path] = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds, remove it when it fails.

    `folder`, on the same file system, takes the temporary file where stray files beside `path` would confuse a reader.

    The temporary name is hidden and keeps the suffix, since numpy and Pillow choose the format by it. A killed process
    may leave such a hidden file, but never a half-written `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=folder or path.parent)
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())
    temporary = Path(name)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        InputError: the file is missing or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); write it again or restore it") from error


def inside(root: Path, relative: str) -> Path:
    """`root / relative`, refused when it leaves `root`: data files may not name files elsewhere on the machine.

    Raises:
        InputError: the path is absolute or climbs out of `root`.
    """
    root = Path(root)
    path = root / relative
    # By name, not by where links lead: a folder of images is often a link that its owner made.
    if Path(relative).is_absolute() or not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise InputError(f"{relative!r} points outside the data folder {root}; paths in data files must stay inside it")
    return path


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
