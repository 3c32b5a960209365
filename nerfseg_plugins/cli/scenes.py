"""Which scenes a command shows with a network that belongs to none, and through which of their views."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Optional

from nerfseg_plugins.cli.image_based import DataOptions
from nerfseg_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfseg_plugins.image_based.scene import Scene
    from nerfseg_plugins.image_based.sources import Catalog, SceneRef

CACHE_MB = 256
"""Decoded images of a scene that are kept."""


class ShownScene(NamedTuple):
    """A scene, its source views and the others."""

    name: str
    sources: "Scene"
    """Through which it is seen."""
    targets: "Scene"
    """The views to render: all others."""
    source_numbers: list[int]
    """Of the sources among all views of the scene, in the order of their files."""
    target_numbers: list[int]


@dataclass
class SceneOptions(DataOptions):
    """Which scenes, and through which of their views."""

    split: Literal["train", "val", "test"] = "test"
    """Of the data set; data without a list of scenes for each split have one list alone."""
    scenes: tuple[str, ...] = ()
    """Names of scenes, or their numbers in the split, from 0; none: all."""
    views: tuple[int, ...] = ()
    """Numbers of the source views, in the order of the image files, from 0; none: those of the run, or the data's
    training views."""

    def read(self, load_config: Path) -> Any:
        """nerfstudio's TrainerConfig of a run of an image-based method, changed to read these data.

        Raises:
            InputError: there is no such run, or no such data.
        """
        from nerfseg_plugins.cli.image_based import read_run

        config = read_run(load_config)
        own = config.pipeline.datamanager.views if self.data is None else ()
        config.pipeline.datamanager = self.settings(load_config, config)
        config.pipeline.datamanager.views = own
        return config

    def find(self, config: Any) -> "list[SceneRef]":
        """The scenes, not read yet.

        Args:
            config: what `read` says.

        Raises:
            InputError: the data cannot be used, or a scene is not there.
        """
        catalog = self.catalog(config)
        listed = [
            source.reference(local)
            for source in catalog.sources
            for local in source.names(self.split if source.many else "train")
        ]
        if not self.scenes:
            if not listed:
                raise InputError(f"{catalog.where} has no scenes in its split {self.split}; choose another")
            return listed
        named = {scene.name: scene for scene in listed}
        return [named.get(name) or _numbered(name, listed, catalog, self.split) for name in self.scenes]

    def catalog(self, config: Any) -> "Catalog":
        """All scenes of the data.

        Raises:
            InputError: the data cannot be used.
        """
        from nerfseg_plugins.image_based.mixture import sources_of
        from nerfseg_plugins.image_based.sources import Catalog

        return Catalog(sources_of(config.pipeline.datamanager.dataparser))

    def source_views(self, config: Any) -> tuple[int, ...]:
        """Numbers of the source views; empty for the data's own.

        Raises:
            InputError: one is below 0, or named twice.
        """
        views = self.views or config.pipeline.datamanager.views
        if any(view < 0 for view in views) or len(set(views)) < len(views):
            raise InputError(f"--views is {' '.join(map(str, views))}; give each number once, from 0 on")
        return views


def _numbered(name: str, listed: "Sequence[SceneRef]", catalog: "Catalog", split: str) -> "SceneRef":
    if name.isdecimal():
        if int(name) >= len(listed):
            raise InputError(
                f"{catalog.where} has no scene {name} in its split {split}; its {len(listed)} scenes count from 0"
            )
        return listed[int(name)]
    return catalog.find(name)


def read_scene(reference: "SceneRef", config: Any, views: Sequence[int]) -> ShownScene:
    """A scene with its source views and the others.

    Args:
        reference: which.
        config: what `SceneOptions.read` says.
        views: numbers of the source views; empty for the data's own.

    Raises:
        InputError: it cannot be read, or has no such view.
    """
    from nerfseg_plugins.image_based.images import ImageCache
    from nerfseg_plugins.image_based.scene import Bounds, Scene, scene_bounds
    from nerfseg_plugins.image_based.shown import sources_and_targets
    from nerfseg_plugins.image_based.teacher import TeacherFeatures

    manager = config.pipeline.datamanager
    cache = ImageCache(CACHE_MB)
    few = 0 if manager.draw_sources == "near" else max(manager.view_counts)
    pair = sources_and_targets(reference, "test", views, few)
    near, far = zip(*(scene_bounds(outputs, manager.near, manager.far) for outputs in pair), strict=True)
    bounds = Bounds(min(near), max(far))

    def scene(outputs: Any, features: Optional[str]) -> Scene:
        images = outputs.image_filenames
        taught = TeacherFeatures(Path(reference.parser.data), features, images, cache) if features else None
        return Scene(reference.name, outputs, cache, bounds, manager.masked, taught)

    order = sorted({*pair[0].image_filenames, *pair[1].image_filenames}, key=str)
    sources, targets = ([order.index(path) for path in outputs.image_filenames] for outputs in pair)
    return ShownScene(reference.name, scene(pair[0], manager.features), scene(pair[1], None), sources, targets)


def read_view_list(path: Path, known: "Sequence[SceneRef]") -> dict[str, tuple[int, ...]]:
    """A list of source views, one scene a line: its name, or its category and name, and numbers.

    Args:
        path: the list; "chairs 1a2b 5 12" and "chairs/1a2b 5 12" say the same, and "1a2b 5 12" where one category
            alone has a 1a2b.
        known: all scenes of the data, which are more than those that are wanted.

    Returns:
        Full name of a scene -> numbers of its source views.

    Raises:
        InputError: the file cannot be read, or a line names no scene of the data, one a second time, or no views.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no readable list ({error}); write a scene and its views in each line") from error
    names = {name: scene.name for scene in known for name in (scene.local, scene.name)}
    short = Counter(scene.name.rpartition("/")[2] for scene in known)
    names = {**{name: scene.name for scene in known if short[name := scene.name.rpartition("/")[2]] == 1}, **names}
    found: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"line {number} of {path}"
        # A name may be a number as well: what the data have decides how many words it is.
        length = 2 if "/".join(words[:2]) in names else 1
        name = names.get("/".join(words[:length]))
        if name is None:
            raise InputError(
                f"{where} names {'/'.join(words[:2])}, which the data have not; correct or remove the line"
            )
        if name in found:
            raise InputError(f"{where} names {name} a second time; remove the line")
        if not words[length:] or not all(word.isdecimal() for word in words[length:]):
            raise InputError(f"{where} is {line.strip()!r}; after the name, write the numbers of the source views")
        found[name] = tuple(map(int, words[length:]))
    return found


def views_of(reference: "SceneRef", listed: Mapping[str, tuple[int, ...]], path: Path) -> tuple[int, ...]:
    """The source views that a list has for a scene.

    Raises:
        InputError: it has none.
    """
    if reference.name not in listed:
        raise InputError(f"{path} has no line for {reference.name}; add one with the numbers of its source views")
    return listed[reference.name]
