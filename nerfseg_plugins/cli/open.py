"""`nerfseg open`: another scene for a network that belongs to none."""

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from nerfseg_plugins.cli.image_based import read_run
from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.image_based.datamanager import ImageBasedDataManager


@dataclass
class Open:
    """Show another scene with the weights of a run of pixelnerf, gnt or gsn.

    Writes a configuration beside that of the run, which every command takes in its place: ns-viewer, ns-render,
    nerfseg eval, nerfseg pose and others. The weights stay where they are.
    """

    load_config: Path
    """config.yml of the run."""
    data: Optional[Path] = None
    """The scene's data, a folder of scenes or a data set of many objects; unset: what the run was trained on."""
    dataparser: Optional[str] = None
    """How to read the data, such as llff-data, srn-data or nerfstudio-data; unset: as in training."""
    scene: Optional[str] = None
    """Name of the scene, where the data have several; unset: the first that the run was not trained on."""
    views: tuple[int, ...] = ()
    """Numbers of the source views, in the order of the image files, from 0; all others are rendered. Unset: the data's
    training views, or a few that are spread over all."""
    near: Optional[float] = None
    """Distance along rays at which the scene begins, in its units; unset: what the data say."""
    far: Optional[float] = None
    """Distance along rays at which the scene ends, in its units; unset: what the data say."""
    set: tuple[str, ...] = ()
    """Options of the parser, as NAME=VALUE; values are words, numbers, true, false, null, or lists in JSON."""
    name: Optional[str] = None
    """Of the configuration, which becomes RUN/NAME.yml; unset: the scene's."""
    overwrite: bool = False
    """Replace a configuration of this name."""

    def main(self) -> None:
        """Check that the scene can be shown, and write its configuration.

        Raises:
            InputError: the run, the data or an option cannot be used.
        """
        from nerfseg_plugins.scene.config_file import write_config

        config = read_run(self.load_config)
        config.pipeline.datamanager = self._settings(config)
        manager = self._try(config)
        path = self.load_config.parent / f"{self._file_name(manager.shown.name)}.yml"
        if path.exists() and not self.overwrite:
            raise InputError(f"{path} exists; give another --name, or --overwrite to replace it")
        # A whole scene; what was asked for by a name of many stays that one, whatever is added to the data.
        config.pipeline.datamanager.scene = self.scene
        config.data = config.pipeline.datamanager.data
        write_config(path, config)
        sources, targets = len(manager.shown), len(manager.held_out)
        print(f"wrote {path}: {manager.shown.name} from {sources} source views, {targets} views to be rendered")
        print(f"look at it with: ns-viewer --load-config {shlex.quote(str(path))}")

    def _settings(self, config: Any) -> Any:
        """The run's datamanager configuration for this scene."""
        from nerfseg_plugins.image_based.mixture import is_mixture
        from nerfseg_plugins.image_based.options import parser_named, with_options

        settings = config.pipeline.datamanager
        trained_on = Path(settings.data or settings.dataparser.data)
        data = trained_on if self.data is None else self.data
        if self.dataparser is not None:
            parser = parser_named(self.dataparser, "--dataparser")
        elif self.data is not None and _is_json_of(trained_on, is_mixture):
            raise InputError(
                f"{self.load_config} was trained on a mixture of data; say how to read --data: --dataparser"
            )
        else:
            parser = dataclasses.replace(settings.dataparser)
            if hasattr(parser, "scene"):
                parser = dataclasses.replace(parser, scene=None)  # type: ignore[call-arg]
        parser = with_options(parser, dict(_option(text) for text in self.set), "--set")
        parser.data = Path(data).absolute()
        changes: dict[str, Any] = {"data": parser.data, "dataparser": parser, "scene": self.scene, "views": self.views}
        if self.data is not None or self.near is not None or self.far is not None:
            changes |= {"near": self.near, "far": self.far}
        return dataclasses.replace(settings, **changes, only=())

    def _try(self, config: Any) -> "ImageBasedDataManager":
        """The data as they will be opened.

        Raises:
            InputError: the scene cannot be read, or has too few views.
        """
        from nerfseg_plugins.image_based.choice import check_count

        settings = config.pipeline.datamanager
        if not _may_exist(settings.data):
            raise InputError(f"{settings.data} does not exist; give --data the folder of the scene")
        manager = settings.setup(device="cpu", test_mode="inference")
        wanted = config.pipeline.model.num_source_views
        if wanted is not None:
            check_count(len(manager.shown), wanted, manager.shown.name)
        manager.shown.take([0])  # its image and features can be read, and its camera is one that can be used
        return manager

    def _file_name(self, scene: str) -> str:
        name = scene.replace("/", "-") if self.name is None else self.name
        if not name or name == "config" or Path(name).name != name or name[0] == ".":
            raise InputError(f"--name is {name!r}; give a plain name, other than config")
        return name


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE as a name and a plain value."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--set {text} is no option; write NAME=VALUE")
    try:
        return name.replace("-", "_"), json.loads(value)
    except json.JSONDecodeError:
        return name.replace("-", "_"), value  # a word


def _is_json_of(path: Path, kind: Any) -> bool:
    from nerfseg_plugins.files import read_json

    return path.suffix == ".json" and path.is_file() and kind(read_json(path))


def _may_exist(data: Path) -> bool:
    """Whether data are there; DATA/chairs stands for DATA/chairs_train and so on."""
    return data.exists() or (data.parent.is_dir() and any(data.parent.glob(f"{data.name}_*")))
