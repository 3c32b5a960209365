"""Frames as video files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.video import write_moving


def shades(count: int = 5) -> list[np.ndarray]:
    """Grey frames of 32x20, brighter and brighter."""
    return [np.full((20, 32, 3), 40 * index, np.uint8) for index in range(count)]


def test_a_gif_holds_all_frames(tmp_path: Path):
    write_moving(tmp_path / "a.gif", iter(shades()), fps=5)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 5 and image.size == (32, 20) and image.info["duration"] == 200  # type: ignore[attr-defined]
        image.seek(4)
        assert abs(int(np.asarray(image.convert("RGB"))[3, 3, 0]) - 160) <= 3


def test_an_mp4_holds_all_frames(tmp_path: Path):
    import imageio_ffmpeg

    write_moving(tmp_path / "a.mp4", shades(), fps=10)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    meta = next(reader)
    frames = [np.frombuffer(frame, np.uint8) for frame in reader]
    assert meta["size"] == (32, 20) and meta["fps"] == 10
    assert [int(frame.mean()) for frame in frames] == [pytest.approx(40 * index, abs=4) for index in range(5)]


@pytest.mark.parametrize("name, frames, said", [("a.avi", 1, "must end in .mp4 or .gif"), ("a.mp4", 0, "no frames")])
def test_videos_that_cannot_be_written(tmp_path: Path, name: str, frames: int, said: str):
    with pytest.raises(InputError, match=said) as caught:
        write_moving(tmp_path / name, shades(frames), fps=10)
    assert str(tmp_path / name) in str(caught.value) and not list(tmp_path.iterdir())
