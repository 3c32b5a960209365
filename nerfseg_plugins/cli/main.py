"""`nerfseg`: the command line. A subcommand is a dataclass with `main()`; heavy imports happen inside `main`."""

import importlib
import sys
from typing import Annotated, Union

import tyro

from nerfseg_plugins.errors import InputError

SUBCOMMANDS = {
    "demo": "Demo",
    "room": "Room",
    "masks": "Masks",
    "features": "Features",
    "segment": "Segment",
    "hierarchy": "Hierarchy",
    "match": "Match",
    "refine": "Refine",
    "eval": "Eval",
    "export": "Export",
    "pose": "Pose",
    "open": "Open",
    "turntable": "Turntable",
    "objects": "Objects",
    "photo": "Photo",
}
"""Subcommand -> its class in the module of the same name."""


def _union() -> object:
    kinds = []
    for name, class_name in SUBCOMMANDS.items():
        module = importlib.import_module(f"nerfseg_plugins.cli.{name}")
        kind = getattr(module, class_name)
        kinds.append(Annotated[kind, tyro.conf.subcommand(name)])
    return Union[tuple(kinds)]


def entrypoint() -> None:
    """Parse the arguments and run; bad input ends in one sentence and exit code 1, an interrupt in 130."""
    command = tyro.cli(_union(), prog="nerfseg", description="Find things in radiance fields.")  # type: ignore
    try:
        command.main()  # type: ignore[attr-defined]
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    entrypoint()
