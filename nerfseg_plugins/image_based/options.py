"""Options of a dataparser out of plain values: numbers, words, lists; no objects are made and no code is run."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal, Optional, Union

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import inside


def parser_named(name: str, where: str) -> DataParserConfig:
    """The default configuration of a registered dataparser, ours or nerfstudio's; a copy.

    Raises:
        InputError: there is none of this name.
    """
    from nerfstudio.configs.dataparser_configs import all_dataparsers

    if name not in all_dataparsers:
        known = ", ".join(sorted(all_dataparsers))
        raise InputError(f"{where} names the dataparser {name!r}, which is not installed; there are {known}")
    return dataclasses.replace(all_dataparsers[name])


def with_options(
    config: DataParserConfig, options: dict[str, Any], where: str, root: Optional[Path] = None
) -> DataParserConfig:
    """A parser's configuration with other values for some of its fields.

    Args:
        config: to start from.
        options: field -> a value as JSON has it.
        where: what they stand in, for messages.
        root: the folder that paths among them must not leave; None does not care.

    Raises:
        InputError: there is no such field, or it takes no such value.
    """
    names = [entry.name for entry in dataclasses.fields(config) if entry.name not in ("_target", "data")]
    kinds = typing.get_type_hints(type(config))
    values = {}
    for name, value in options.items():
        if name not in names:
            raise InputError(f"{where}: {type(config).__name__} has no option {name!r}; it has {', '.join(names)}")
        try:
            values[name] = _converted(value, kinds[name], root)
        except TypeError as error:
            raise InputError(f"{where}: {name} is {value!r}, but must be {error}") from error
    return dataclasses.replace(config, **values)


def _converted(value: Any, kind: Any, root: Optional[Path]) -> Any:
    """A value as a type asks for it.

    Raises:
        TypeError: it is none; says of what kind it must be.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _first_fitting(value, inner, root)
    if origin is Literal:
        if value not in inner or isinstance(value, bool) != any(value is choice for choice in (True, False)):
            raise TypeError(f"one of {', '.join(map(repr, inner))}")
        return value
    if origin is tuple:
        return _tuple(value, inner, root)
    if kind is Path and isinstance(value, str):
        if root is not None:
            inside(root, value)
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (bool, int, float, str) and type(value) is kind:
        return value
    if kind is type(None) and value is None:
        return None
    name = "null" if kind is type(None) else getattr(kind, "__name__", str(kind))
    raise TypeError({"Path": "a path", "str": "a word", "int": "a whole number", "float": "a number"}.get(name, name))


def _first_fitting(value: Any, kinds: tuple[Any, ...], root: Optional[Path]) -> Any:
    said = []
    for kind in kinds:
        try:
            return _converted(value, kind, root)
        except TypeError as error:
            said.append(str(error))
    raise TypeError(" or ".join(said))


def _tuple(value: Any, kinds: tuple[Any, ...], root: Optional[Path]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError("a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_converted(entry, kinds[0], root) for entry in value)
    if len(value) != len(kinds):
        raise TypeError(f"a list of {len(kinds)}")
    return tuple(_converted(entry, kind, root) for entry, kind in zip(value, kinds, strict=True))
