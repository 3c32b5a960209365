"""Names of what is saved beside a run."""

import re

from nerfseg_plugins.errors import InputError

_NAME = re.compile(r"\w[\w.\- ]*")


def checked_name(name: str) -> str:
    """A name under which something can be saved beside a run, as NAME.yml among others.

    Raises:
        InputError: it would be no file name, leave the folder, or overwrite the run's own configuration.
    """
    if not _NAME.fullmatch(name) or name.lower().removesuffix(".yml") == "config":
        raise InputError(
            f"{name!r} is no name for what is saved; take letters, digits, '-', '_' and '.', but not 'config', which "
            "is the run's own"
        )
    return name
