"""`nerfseg open`: another scene for a network that belongs to none."""

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import tyro

from nerfseg_plugins.cli.image_based import DataOptions, read_run
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
    where: Annotated[DataOptions, tyro.conf.arg(name="")] = field(default_factory=DataOptions)
    """The data."""
    scene: Optional[str] = None
    """Name of the scene, where the data have several; unset: the first that the run was not trained on."""
    views: tuple[int, ...] = ()
    """Numbers of the source views, in the order of the image files, from 0; all others are rendered. Unset: the data's
    training views, or a few that are spread over all."""
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
        settings = self.where.settings(self.load_config, config)
        config.pipeline.datamanager = dataclasses.replace(settings, scene=self.scene, views=self.views)
        manager = self._try(config)
        path = self.load_config.parent / f"{self._file_name(manager.shown.name)}.yml"
        if path.exists() and not self.overwrite:
            raise InputError(f"{path} exists; give another --name, or --overwrite to replace it")
        # A whole scene; what was asked for by a name of many stays that one, whatever is added to the data.
        config.pipeline.datamanager.scene = self.scene
        config.data = config.pipeline.datamanager.data
        if hasattr(config.pipeline.model, "segments"):
            config.pipeline.model.segments = None  # what was selected belongs to the scene that it was selected in
        write_config(path, config)
        sources, targets = len(manager.shown), len(manager.held_out)
        print(f"wrote {path}: {manager.shown.name} from {sources} source views, {targets} views to be rendered")
        print(f"look at it with: ns-viewer --load-config {shlex.quote(str(path))}")

    def _try(self, config: Any) -> "ImageBasedDataManager":
        """The data as they will be opened.

        Raises:
            InputError: the scene cannot be read, or has too few views.
        """
        from nerfseg_plugins.image_based.choice import check_count

        manager = config.pipeline.datamanager.setup(device="cpu", test_mode="inference")
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
