"""Frames of a film, read one at a time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from nerfseg_plugins.dataparsers.transforms import natural_key
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path
from nerfseg_plugins.inerf.photos import PHOTO_SUFFIXES


def numbered_frames(folder: Path) -> list[Path]:
    """The images of a folder in natural order.

    Raises:
        InputError: it holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist; name the folder of the frames")
    found = [path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES and path.name[0] != "."]
    if not found:
        raise InputError(f"{folder} holds no images; name the folder of the frames")
    return sorted(found, key=lambda path: natural_key(path.name))


def frames_of_video(video: Path, folder: Path, every: int, most: int) -> Iterator[Path]:
    """Decode a video; each frame that is wanted is written as a picture before it is passed on.

    Poses name the pictures that they are of, and others can be trained on them.

    Args:
        video: any that ffmpeg reads.
        folder: where the pictures go, FRAME.jpg by the number of the frame in the video.
        every: take the first of every so many frames.
        most: frames at most.

    Raises:
        InputError: the file is missing or no video, or breaks off before its first frame.
    """
    import imageio_ffmpeg

    if not video.is_file():
        raise InputError(f"{video} does not exist; name a video")
    reader = imageio_ffmpeg.read_frames(str(video))
    taken, index = 0, 0
    try:
        width, height = next(reader)["size"]  # type: ignore[index]
        for index, data in enumerate(reader):
            if taken == most:
                break
            if index % every == 0:
                yield _write(folder / f"{index:06d}.jpg", np.frombuffer(data, np.uint8).reshape(height, width, 3))
                taken += 1
    except (OSError, RuntimeError) as error:
        if not taken:
            raise _unreadable(video) from error
        # ffmpeg says so of the last frame of a video that was cut off while it was written.
        print(f"warning: {video} breaks off after frame {index}")
    finally:
        reader.close()
    if not taken:
        raise _unreadable(video)


def count_frames(video: Path, every: int, most: int) -> int:
    """How many frames `frames_of_video` will yield, as far as the file's header tells."""
    import imageio_ffmpeg

    try:
        reader = imageio_ffmpeg.read_frames(str(video))
        meta: dict = next(reader)  # type: ignore[assignment]
        reader.close()
    except (OSError, RuntimeError) as error:
        raise _unreadable(video) from error
    return max(1, min(most, -(-round(meta["fps"] * meta["duration"]) // every)))


def _write(path: Path, pixels: np.ndarray) -> Path:
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, quality=95)
    return path


def _unreadable(video: Path) -> InputError:
    return InputError(f"{video} cannot be read as a video; convert it, for instance to mp4, or give --images FOLDER")
