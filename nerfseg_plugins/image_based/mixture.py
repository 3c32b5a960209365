"""A mixture of data sets, as a JSON file lists them.

    {"sources": [
        {"dataparser": "llff-data", "data": "real_iconic_noface", "weight": 0.45, "exclude": ["data2_fernvlsb"]},
        {"dataparser": "llff-data", "data": "ibrnet_collected_1", "weight": 0.55, "options": {"downscale_factor": 4}}
    ]}

`dataparser` names any installed one, `data` a folder beside the file (a scene, a folder of scenes or a data set of many
objects), `weight` how often its scenes are drawn (1 by default), `exclude` scenes that are never trained on, `options`
what the parser is to do otherwise than by default.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside, read_json
from nerfseg_plugins.image_based.options import parser_named, with_options
from nerfseg_plugins.image_based.sources import Source

KEYS = {"dataparser", "data", "weight", "exclude", "options"}


def sources_of(parser: DataParserConfig) -> list[Source]:
    """What a parser's `data` name: one source that it reads itself, or those of a mixture.

    Raises:
        InputError: there is nothing, or the mixture cannot be used.
    """
    data = Path(parser.data)
    if data.suffix == ".json" and data.is_file() and is_mixture(values := read_json(data)):
        return read_mixture(data, values)
    return [Source(parser)]


def is_mixture(values: Any) -> bool:
    """Whether JSON is of a mixture, not of the cameras of one scene."""
    return isinstance(values, dict) and "sources" in values


def read_mixture(path: Path, values: Any) -> list[Source]:
    """The sources of a mixture.

    Args:
        path: the JSON file; its folder holds all data.
        values: what is in it.

    Raises:
        InputError: something in it is not as it must be; names the file, the source and the mend.
    """
    if unknown := values.keys() - {"sources"}:
        raise InputError(f"{path} has the unknown key {sorted(unknown)[0]!r}; it may have 'sources' alone")
    entries = values["sources"]
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path} must list one source or more: {{"sources": [{{"dataparser": ..., "data": ...}}]}}')
    sources = [_source(entry, path, f"source {number} of {path}") for number, entry in enumerate(entries, start=1)]
    prefixes = [source.prefix for source in sources]
    if twice := [prefix for prefix in prefixes if prefixes.count(prefix) > 1]:
        raise InputError(f"{path} lists {twice[0]!r} twice; list it once, with the sum of the weights")
    return [replace(sources[0], prefix="")] if len(sources) == 1 else sources


def _source(entry: Any, path: Path, where: str) -> Source:
    if not isinstance(entry, dict) or not {"dataparser", "data"} <= entry.keys():
        raise InputError(f"{where} must have the keys 'dataparser' and 'data'; add them")
    if unknown := entry.keys() - KEYS:
        raise InputError(f"{where} has the unknown key {sorted(unknown)[0]!r}; it may have {', '.join(sorted(KEYS))}")
    if not isinstance(entry["dataparser"], str) or not isinstance(entry["data"], str):
        raise InputError(f"{where} must name its dataparser and its data by words")
    options, exclude, weight = entry.get("options", {}), entry.get("exclude", []), entry.get("weight", 1)
    if not isinstance(options, dict):
        raise InputError(f"{where} has options {options!r}; write an object of the parser's options and their values")
    if not isinstance(exclude, list) or not all(isinstance(name, str) for name in exclude):
        raise InputError(f"{where} excludes {exclude!r}; write a list of names of scenes")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not (0 < weight < math.inf):
        raise InputError(f"{where} has the weight {weight!r}; write a number above 0")
    data = inside(path.parent, entry["data"])
    if not data.exists():
        raise InputError(f"{where}: {data} does not exist; correct its 'data'")
    parser = with_options(parser_named(entry["dataparser"], where), options, where, root=path.parent)
    parser.data = data
    return Source(parser, float(weight), tuple(exclude), prefix=Path(entry["data"]).as_posix())
