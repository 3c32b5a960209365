"""Where scenes come from: one folder, a folder of folders, a data set of many objects, or a mixture of all of these."""

import dataclasses
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs

from nerfseg_plugins.errors import InputError

SPLITS = ("train", "val", "test")
MARKS = re.compile(
    r"(.*transforms.*\.json|poses_bounds\.npy|cameras.*\.npz|intrinsics\.txt|(images?|rgb)(_\d+)?|colmap|sparse|view-\d+"
    r"|.*\.ply|meta_data\.json)"
)
"""Names of files and folders by which the parsers, ours and nerfstudio's, know a scene."""


@dataclass(frozen=True)
class SceneRef:
    """One scene, not read yet."""

    name: str
    """Unique among all scenes of the data."""
    local: str
    """Its name in its own source."""
    parser: DataParserConfig
    """Reads this scene alone."""
    many: bool
    """Whether the parser gives all views in every split, since its data are made of many scenes."""

    def read(self, split: str) -> DataparserOutputs:
        """What the parser says.

        Raises:
            InputError: the scene cannot be read.
        """
        try:
            return self.parser.setup().get_dataparser_outputs(split=split)
        except InputError:
            raise
        # nerfstudio's own parsers say what is wrong with data by errors of any kind.
        except (OSError, AssertionError, LookupError, ValueError, TypeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"the scene {self.name} cannot be read from {self.parser.data} ({reason}); correct it, or say with "
                "what it is to be read"
            ) from error


@dataclass
class Source:
    """Scenes that one parser reads."""

    parser: DataParserConfig
    weight: float = 1.0
    """How often scenes of this source are drawn, in proportion to others."""
    exclude: tuple[str, ...] = ()
    """Names of scenes that are not trained on."""
    prefix: str = ""
    """Put before the names of its scenes; empty where there is only one source."""

    @property
    def data(self) -> Path:
        """Where its scenes lie."""
        return Path(self.parser.data)

    @property
    def many(self) -> bool:
        """Whether its parser reads a data set of many scenes."""
        return hasattr(self.parser._target, "scene_names")

    def names(self, split: str) -> list[str]:
        """Local names of the scenes of a split; without splits of scenes, all are in "train".

        Raises:
            InputError: the parser cannot list them.
        """
        return self._names[split]

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        chosen = getattr(self.parser, "scene", None)
        if self.many and chosen is not None:
            return {split: [chosen] for split in SPLITS}
        if self.many:
            parser: Any = self.parser.setup()
            return {split: list(parser.scene_names(split)) for split in SPLITS}
        return {"train": [folder.name for folder in self._folders] or [name_of(self.data)], "val": [], "test": []}

    @cached_property
    def _folders(self) -> list[Path]:
        return [] if self.many else scene_folders(self.data)

    def reference(self, local: str) -> SceneRef:
        """One of the scenes, by its local name."""
        if self.many:
            parser: Any = self.parser.setup()
            return SceneRef(f"{self.prefix}/{local}" if self.prefix else local, local, parser.of_scene(local), True)
        if not self._folders:
            return SceneRef(self.prefix or local, local, self.parser, False)
        parser = dataclasses.replace(self.parser, data=self.data / local)
        return SceneRef(f"{self.prefix}/{local}" if self.prefix else local, local, parser, False)

    def holds_out(self, scene: SceneRef, exclude: Collection[str]) -> bool:
        """Whether a scene is excluded, here or by `exclude`, which may give it by either name."""
        return scene.local in self.exclude or scene.local in exclude or scene.name in exclude


def name_of(data: Path) -> str:
    """Name of a scene that is named by its folder, or by a file in it."""
    path = Path(data).absolute()
    return path.parent.name if path.is_file() else path.name


def scene_folders(data: Path) -> list[Path]:
    """The scenes in a folder of scenes, by name; none where the folder itself is a scene.

    A folder is a scene where it holds a file or folder by which a parser knows one (`MARKS`).
    """
    if not data.is_dir() or _is_scene(data):
        return []
    return sorted(path for path in data.iterdir() if path.is_dir() and path.name[0] != "." and _is_scene(path))


def _is_scene(folder: Path) -> bool:
    return any(MARKS.fullmatch(path.name) for path in folder.iterdir())


class Catalog:
    """All scenes of some sources, listed but not read.

    Args:
        sources: one or more.
        exclude: names of scenes, local or full, that are never trained on.
    """

    def __init__(self, sources: Iterable[Source], exclude: Collection[str] = ()) -> None:
        self.sources = list(sources)
        self.exclude = tuple(exclude)

    def find(self, name: str) -> SceneRef:
        """The scene of a name, of any split, excluded or not.

        Raises:
            InputError: there is none, or several sources have one.
        """
        found: dict[str, SceneRef] = {}
        for source in self.sources:
            for split in SPLITS:
                for local in source.names(split):
                    scene = source.reference(local) if name.endswith(local) else None
                    if scene is not None and scene.name == name:
                        return scene
                    if scene is not None and local == name:
                        found.setdefault(scene.name, scene)
        if len(found) > 1:
            raise InputError(f"several scenes are named {name!r}; say {' or '.join(found)}")
        if not found:
            there = [source.reference(local).name for source in self.sources for local in source.names("train")[:4]]
            more = " ..." if len(there) > 4 else ""
            raise InputError(f"{self.where} has no scene {name!r}; there are {', '.join(there[:4]) or 'none'}{more}")
        return next(iter(found.values()))

    def shown(self, name: Optional[str] = None) -> SceneRef:
        """The scene to show: that of a name; else the first that is not trained on, in val before test; else the first.

        Raises:
            InputError: there is no such scene, or none at all.
        """
        if name is not None:
            return self.find(name)
        for source in self.sources:
            if source.many and (held_out := source.names("val") or source.names("test")):
                return source.reference(held_out[0])
            for local in source.names("train"):
                if source.holds_out(scene := source.reference(local), self.exclude):
                    return scene
        for source in self.sources:
            if names := source.names("train"):
                return source.reference(names[0])
        raise InputError(f"{self.where} has no scenes; check the path")

    def training(self, only: Collection[str] = ()) -> list[tuple[Source, list[SceneRef]]]:
        """The scenes to train on by source, without those that are excluded; sources that have none left out.

        Args:
            only: names of scenes, local or full; empty for all.

        Raises:
            InputError: none is left, one of `only` is excluded or not there, or a source excludes what it has not.
        """
        for name in only:
            self._check_allowed(self.find(name))
        groups = []
        for source in self.sources:
            scenes = [source.reference(local) for local in source.names("train")]
            everything = {local for split in SPLITS for local in source.names(split)} if source.exclude else set()
            if unknown := [name for name in source.exclude if name not in everything]:
                raise InputError(f"{source.data} has no scene {unknown[0]!r} to exclude; correct its name")
            if only:
                scenes = [scene for scene in scenes if scene.name in only or scene.local in only]
            allowed = [scene for scene in scenes if not source.holds_out(scene, self.exclude)]
            if allowed:
                groups.append((source, allowed))
        if not groups:
            for source in self.sources:
                for local in source.names("train")[:1]:
                    self._check_allowed(source.reference(local))
            raise InputError(f"{self.where} has no scenes to train on; check the path")
        return groups

    @property
    def num_excluded(self) -> int:
        """How many scenes are not trained on because they are excluded."""
        return sum(
            source.holds_out(source.reference(local), self.exclude)
            for source in self.sources
            for local in source.names("train")
        )

    def _check_allowed(self, scene: SceneRef) -> None:
        for source in self.sources:
            if scene.local in source.names("train") and source.holds_out(scene, self.exclude):
                raise InputError(
                    f"the scene {scene.name} is excluded from training, so that results on it are those of a scene "
                    "never seen; train on others, or take it off --pipeline.datamanager.exclude"
                )

    @property
    def where(self) -> str:
        """The data's paths, for messages."""
        return ", ".join(str(source.data) for source in self.sources)
