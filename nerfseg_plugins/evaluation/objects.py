"""Figures of many objects, kept in a folder that grows object by object: a killed evaluation goes on where it was."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside, read_json, write_json

METRICS, SETTINGS = "metrics.json", "settings.json"
"""Files: the figures, of each object in its own folder and of all beside them; and what they depend on."""
NAMES = ("psnr", "ssim", "lpips")
Figures = dict[str, Optional[float]]


@dataclass(frozen=True)
class ObjectFigures:
    """What is measured of one object."""

    name: str
    """As the data set calls it, with its category before the slash where there are several."""
    sources: tuple[int, ...]
    """Numbers of the views that it was seen through."""
    views: dict[int, Figures]
    """Number of a rendered view -> its figures by `NAMES`; None where one cannot be had."""
    seconds: float
    """That rendering and measuring took."""

    @property
    def mean(self) -> Figures:
        """Over the views."""
        return mean_of(list(self.views.values()))


class ObjectResults:
    """The results in a folder, beside the settings under which they were made.

    FOLDER/settings.json, FOLDER/metrics.json, and of each object FOLDER/NAME/metrics.json, written whole and last: an
    object that has one is done.

    Args:
        folder: where they lie.
        settings: whatever decides the figures; plain values that JSON can hold.
        overwrite: whether to begin anew, whatever is there.

    Raises:
        InputError: the folder holds results of other settings, or something else.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.folder = Path(folder)
        wanted = json.loads(json.dumps(settings))
        self._digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        path = self.folder / SETTINGS
        mend = "give --output-path another folder, or pass --overwrite"
        if path.is_file() and not overwrite:
            if differing := first_difference(read_json(path), wanted):
                raise InputError(f"{self.folder} holds results of another {differing}; {mend}")
        elif (self.folder / METRICS).exists() and not overwrite:
            raise InputError(f"{self.folder} holds a {METRICS} that this command did not write; {mend}")
        self._known: Optional[set[str]] = set() if overwrite else None
        write_json(path, wanted)

    def folder_of(self, name: str) -> Path:
        """Where an object's pictures and figures lie.

        Raises:
            InputError: the name leads out of the folder.
        """
        return inside(self.folder, name)

    def get(self, name: str) -> Optional[ObjectFigures]:
        """The figures of an object that is done under these settings; None else.

        Raises:
            InputError: its file is damaged.
        """
        path = self.folder_of(name) / METRICS
        if not path.is_file() or (self._known is not None and name not in self._known):
            return None
        stored = read_json(path)
        try:
            if stored["settings"] != self._digest:  # of what was overwritten
                return None
            views = {int(number): {key: _number(row[key]) for key in NAMES} for number, row in stored["views"].items()}
            return ObjectFigures(name, tuple(stored["sources"]), views, float(stored["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no result of an object ({error!r}); remove it and run again") from error

    def add(self, figures: ObjectFigures) -> None:
        """Keep an object's figures; its pictures are there already."""
        views = {str(number): row for number, row in figures.views.items()}
        record = {"mean": figures.mean, "sources": list(figures.sources), "seconds": figures.seconds}
        record = {**record, "settings": self._digest, "views": views}
        write_json(self.folder_of(figures.name) / METRICS, record)
        if self._known is not None:
            self._known.add(figures.name)

    def write_summary(self, found: Sequence[ObjectFigures]) -> dict[str, Any]:
        """Write FOLDER/metrics.json, see `summary`, and return it."""
        result = summary(found)
        write_json(self.folder / METRICS, result)
        return result


def category_of(name: str) -> str:
    """Of an object's name: what stands before the slash; empty without one."""
    return name.rpartition("/")[0]


def summary(found: Sequence[ObjectFigures]) -> dict[str, Any]:
    """The figures of all objects, as plain values.

    Objects count alike, however many views they have, also in the mean over all (as in pixelNeRF's tables).

    Args:
        found: at least one object.

    Returns:
        `psnr`, `ssim`, `lpips`, `num_objects`, `num_views`, `seconds` of all; `categories` and `objects` by name.
    """
    by_category: dict[str, list[ObjectFigures]] = {}
    for one in found:
        by_category.setdefault(category_of(one.name), []).append(one)
    rows = {name: _row(members) for name, members in sorted(by_category.items()) if name}
    objects = {one.name: {**one.mean, "num_views": len(one.views), "sources": list(one.sources)} for one in found}
    return {**_row(found), "seconds": sum(one.seconds for one in found), "categories": rows, "objects": objects}


def mean_of(rows: Sequence[Figures]) -> Figures:
    """Mean of each metric, None where a row lacks it or there is none."""
    result: Figures = {}
    for name in NAMES:
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None and math.isfinite(value)]
        result[name] = float(np.mean(known)) if known and len(known) == len(values) else None
    return result


def first_difference(stored: Any, wanted: Any, name: str = "setting") -> str:
    """The name of the first setting that differs, with its two values; empty if none does."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        found = (first_difference(stored.get(key), wanted.get(key), key) for key in {**stored, **wanted})
        return next(filter(None, found), "")
    return "" if stored == wanted else f"{name} ({_short(stored)}, now {_short(wanted)})"


def _row(members: Sequence[ObjectFigures]) -> dict[str, Any]:
    views = sum(len(one.views) for one in members)
    return {**mean_of([one.mean for one in members]), "num_objects": len(members), "num_views": views}


def _number(value: Any) -> Optional[float]:
    return None if value is None else float(value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
