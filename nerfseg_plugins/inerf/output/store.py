"""Estimates in a folder that grow photo by photo: an interrupted command goes on where it was."""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import read_json, write_json
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.lens import lens_of
from nerfseg_plugins.inerf.output.report import RunInfo, write_poses
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.result import Estimate, Step

POSES, SETTINGS = "poses.json", "settings.json"
"""Files in the folder: the estimates, and what they depend on."""


class Results:
    """poses.json of a folder, beside the settings under which it was made.

    Args:
        folder: where both lie.
        settings: whatever decides the estimates; plain values that JSON can hold.
        queries: the photos, in the order in which they are written.
        run_info: the run.
        overwrite: whether what other settings made, or other photos, may go.

    Raises:
        InputError: the folder holds results of other settings, or of photos that are not among these.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], queries: Sequence[Query], run_info: RunInfo, overwrite: bool
    ) -> None:
        self.folder = folder
        self._settings = json.loads(json.dumps(settings))
        self._queries = list(queries)
        self._run_info = run_info
        self._digests = {query.name: digest(query) for query in queries}
        self._done = self._read(overwrite)

    def get(self, query: Query) -> Optional[Estimate]:
        """The estimate of a photo that is done."""
        return self._done.get(query.name)

    def add(self, query: Query, estimate: Estimate) -> None:
        """Keep an estimate, and write all there are."""
        self._done[query.name] = estimate
        write_poses(self.folder / POSES, self.entries(), self._run_info)
        photos = {name: self._digests[name] for name in self._done}
        write_json(self.folder / SETTINGS, {"settings": self._settings, "photos": photos})

    def entries(self) -> list[tuple[Query, Estimate]]:
        """What is done, in the order of the photos."""
        return [(query, self._done[query.name]) for query in self._queries if query.name in self._done]

    def _read(self, overwrite: bool) -> dict[str, Estimate]:
        if overwrite or not (self.folder / POSES).is_file():
            return {}
        mend = "give --output-path another folder, or pass --overwrite"
        if not (self.folder / SETTINGS).is_file():
            raise InputError(f"{self.folder} holds a {POSES} that this command did not write; {mend}")
        stored = read_json(self.folder / SETTINGS)
        differing = first_difference(stored.get("settings"), self._settings)
        if differing:
            raise InputError(f"{self.folder} holds poses that were found with another {differing}; {mend}")
        if others := sorted(stored["photos"].keys() - self._digests.keys()):
            raise InputError(f"{self.folder} holds the pose of {others[0]}, which is not among the photos; {mend}")
        # A photo that failed stands under "failed", without a pose, and is tried again.
        frames = {frame["name"]: frame for frame in read_json(self.folder / POSES)["frames"]}
        same = [name for name, found in stored["photos"].items() if found == self._digests[name] and name in frames]
        return {name: _restored(frames[name]) for name in same}


def digest(query: Query) -> str:
    """SHA-256 of all that an estimate takes from a query: pixels, mask, lens, start, features."""
    found = hashlib.sha256(repr(lens_of(query.camera)).encode())
    for tensor in (query.image, query.mask, query.start, query.features):
        found.update(b"none" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def attempt(estimator: Estimator, query: Query, start: Optional[Tensor] = None) -> Estimate:
    """An estimate; a photo for which there is nothing to begin with fails alone, and not the others with it."""
    begin = time.perf_counter()
    try:
        return estimator.estimate(query, start)
    except InputError as error:
        return failed(str(error), time.perf_counter() - begin)


def failed(reason: str, seconds: float) -> Estimate:
    """The estimate of a photo for which there was nothing to begin with; its pose is not a number.

    Args:
        reason: one sentence.
        seconds: how long it took to find out.
    """
    nan = torch.full((6, 6), math.nan)
    exposure = torch.tensor([[1.0], [0.0]]).expand(2, 3)
    return Estimate(nan[:3, :4], False, reason, math.nan, nan, [], torch.zeros(0, 3, 4), exposure, seconds)


def _restored(frame: dict[str, Any]) -> Estimate:
    """An estimate as poses.json tells it; the starts that were tried are not in there."""
    trajectory = [
        Step(step["phase"], step["seconds"], _number(step["loss"]), _pose(step["transform_matrix"]))
        for step in frame["trajectory"]
    ]
    covariance = torch.full((6, 6), math.nan) if frame["covariance"] is None else torch.tensor(frame["covariance"])
    return Estimate(
        c2w=_pose(frame["scene_transform_matrix"]),
        converged=frame["converged"],
        reason=frame["reason"],
        residual=_number(frame["residual"]),
        covariance=covariance,
        trajectory=trajectory,
        hypotheses=torch.zeros(0, 3, 4),
        exposure=torch.tensor(frame["exposure"]),
        seconds=frame["seconds"],
    )


def _pose(matrix: Optional[list[list[float]]]) -> Tensor:
    return torch.full((3, 4), math.nan) if matrix is None else torch.tensor(matrix)[:3]


def _number(value: Optional[float]) -> float:
    return math.nan if value is None else value


def first_difference(stored: Any, wanted: Any, name: str = "setting") -> str:
    """The name of the first setting that differs, with its two values; empty if none does."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        found = (first_difference(stored.get(key), wanted.get(key), key) for key in {**stored, **wanted})
        return next(filter(None, found), "")
    return "" if stored == wanted else f"{name} ({stored}, now {wanted})"
