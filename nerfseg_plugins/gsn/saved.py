"""Saved selections beside a run, and configurations that show them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.config_file import read_config, write_config
from nerfseg_plugins.scene.names import checked_name

FOLDER = "segments"
"""Folder of saved selections in a run's."""


def write_run_with_segments(run: Path, pipeline: Any, name: str, segments: Path) -> Path:
    """Write RUN/NAME.yml: the scene that is shown, with a saved selection, for every command with --load-config.

    Args:
        run: the run's folder.
        pipeline: configuration of the pipeline that shows the scene.
        name: what the file is called, without .yml.
        segments: what `Query.save` wrote.

    Returns:
        RUN/NAME.yml.

    Raises:
        InputError: no such run, no such file, or a name that is none.
    """
    path = run / f"{checked_name(name)}.yml"
    config = read_config(run / "config.yml")
    if not segments.is_file():
        raise InputError(f"{segments} does not exist; save the selection first")
    config.pipeline = replace(pipeline, model=replace(pipeline.model, segments=segments.resolve()))
    config.data = pipeline.datamanager.data
    write_config(path, config)
    return path
