"""Reading a run's `config.yml` without letting it run code.

nerfstudio writes Python objects as YAML and reads them back with a loader that can construct anything. This one builds
nerfstudio's and our own configuration dataclasses, paths, tuples and torch's optimiser names, and refuses everything
else.
"""

import dataclasses
import enum
import importlib
from pathlib import Path
from typing import Any, cast

import yaml

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.files import atomic_path

_CONFIG_MODULES = ("nerfstudio.", "nerfseg_plugins.")
_NAMED_MODULES = (*_CONFIG_MODULES, "torch.optim.")


class _Refused(yaml.YAMLError):
    """A tag that is not on the list."""


class _ConfigLoader(yaml.SafeLoader):
    """SafeLoader plus the few Python tags that nerfstudio's configurations need."""


def _resolve(name: str, modules: tuple[str, ...]) -> Any:
    if not name.startswith(modules):
        raise _Refused(f"it names {name}, which is neither nerfstudio's nor ours")
    module_name, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise _Refused(f"it names {name}, which is not installed") from error
    if not f"{getattr(found, '__module__', '')}.".startswith(modules):  # such as the `os` that a module has imported
        raise _Refused(f"it names {name}, which is neither nerfstudio's nor ours")
    return found


def _is_settings(kind: Any) -> bool:
    """Whether a class holds values: a configuration, or a dataclass of ours, which configurations hold."""
    from nerfstudio.configs.base_config import PrintableConfig

    if not isinstance(kind, type):
        return False
    ours = kind.__module__.startswith("nerfseg_plugins.") and dataclasses.is_dataclass(kind)
    return issubclass(kind, PrintableConfig) or ours


def _construct_object(loader: _ConfigLoader, suffix: str, node: yaml.Node) -> Any:
    kind: Any = _resolve(suffix, _CONFIG_MODULES)
    if not (_is_settings(kind) and isinstance(node, yaml.MappingNode)):
        raise _Refused(f"it constructs {suffix}, which is not a configuration")
    entries = dataclasses.fields(cast(Any, kind))
    values = {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}
    known = {entry.name for entry in entries}
    if unknown := values.keys() - known:
        raise _Refused(f"{suffix} has no field {sorted(unknown)[0]!r} in this version")
    config = kind.__new__(kind)  # as yaml does: the values are the state, __init__ and its defaults are not run
    config.__dict__.update(values)
    for entry in entries:  # fields that a newer version of the class has gained
        if entry.name not in values:
            if entry.default is not dataclasses.MISSING:
                config.__dict__[entry.name] = entry.default
            elif entry.default_factory is not dataclasses.MISSING:
                config.__dict__[entry.name] = entry.default_factory()
    return config


def _construct_apply(loader: _ConfigLoader, suffix: str, node: yaml.Node) -> Any:
    if not isinstance(node, yaml.SequenceNode):
        raise _Refused(f"it calls {suffix}, which is not allowed")
    values = loader.construct_sequence(node, deep=True)
    try:
        if suffix in {"pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.Path"}:
            return Path(*values)
        if suffix == "_operator.getitem" and all(isinstance(value, type) for value in values):
            generic, parameter = values  # VanillaDataManager[DepthDataset]
            return generic[parameter]
        kind = _resolve(suffix, _CONFIG_MODULES)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return kind(*values)
    except (TypeError, ValueError) as error:
        raise _Refused(f"it gives {suffix} the wrong values ({error})") from error
    raise _Refused(f"it calls {suffix}, which is not allowed")


def _construct_name(loader: _ConfigLoader, suffix: str, node: yaml.Node) -> Any:
    return _resolve(suffix, _NAMED_MODULES)


def _construct_tuple(loader: _ConfigLoader, node: yaml.Node) -> tuple:
    if not isinstance(node, yaml.SequenceNode):
        raise _Refused("it has a tuple that is no list of values")
    return tuple(loader.construct_sequence(node, deep=True))


_PYTHON = "tag:yaml.org,2002:python/"
_ConfigLoader.add_multi_constructor(f"{_PYTHON}object:", _construct_object)
_ConfigLoader.add_multi_constructor(f"{_PYTHON}object/apply:", _construct_apply)
_ConfigLoader.add_multi_constructor(f"{_PYTHON}name:", _construct_name)
_ConfigLoader.add_constructor(f"{_PYTHON}tuple", _construct_tuple)


def read_config(path: Path) -> Any:
    """Read a run's `config.yml` into nerfstudio's TrainerConfig.

    Raises:
        InputError: missing, not YAML, not a run's configuration, or it names classes that are not on the list.
    """
    from nerfstudio.engine.trainer import TrainerConfig

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; pass the config.yml inside a run's folder (outputs/.../config.yml)")
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_ConfigLoader)  # a SafeLoader with an allow-list
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as a run's configuration: {reason}; restore it or train again"
        ) from error
    if not isinstance(config, TrainerConfig):
        raise InputError(f"{path} is not the configuration of a nerfstudio run; pass the config.yml in a run's folder")
    return config


def write_config(path: Path, config: Any) -> None:
    """Write a run's configuration for `read_config`, whole or not at all.

    A run may have several beside its config.yml, which show the same weights in other ways.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.dump(config), encoding="utf-8")
