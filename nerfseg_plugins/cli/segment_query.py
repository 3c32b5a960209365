"""How `nerfseg segment` gets from strokes and words to an object."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from nerfseg_plugins.cli.segment_strokes import lift_strokes
from nerfseg_plugins.cli.views import Split
from nerfseg_plugins.errors import InputError
from nerfseg_plugins.segments.select_config import SelectConfig

if TYPE_CHECKING:
    from torch import Tensor

    from nerfseg_plugins.isrf.cache import VoxelCache
    from nerfseg_plugins.isrf.lifting import StrokePoints
    from nerfseg_plugins.isrf.solid import VoxelSet
    from nerfseg_plugins.scene.run import Run
    from nerfseg_plugins.segments.strokes import Stroke


@dataclass
class QueryOptions:
    """Words instead of, or beside, strokes; only for runs on features of CLIP."""

    text: list[str] = field(default_factory=list)
    """Words for the object, such as "a red chair"."""
    negative_text: list[str] = field(default_factory=list)
    """Words for what is not the object."""
    text_checkpoint: Optional[Path] = None
    """File with CLIP's weights; the published ones are fetched without it."""


@dataclass(frozen=True)
class Found:
    """An object."""

    voxels: "VoxelSet"
    """Its part of space, its inside too."""
    seed: "Optional[VoxelSet]"
    """Where growing began."""
    colors: "Tensor"
    """(N, 3) in [0, 1] of its voxels on the surface."""
    seeded: int
    """Voxels of the seed."""
    selected: int
    """Voxels of its surface."""
    total: int
    """Voxels on all surfaces of the scene."""
    resolution: int
    """Voxels along the longest side."""

    def counts(self) -> dict[str, int]:
        """Numbers of voxels."""
        return {
            "seed": self.seeded,
            "selected": self.selected,
            "scene": self.total,
            "solid": len(self.voxels),
        }

    def summary(self) -> str:
        """What was found, in a line."""
        share = self.selected / self.total
        return f"selected {self.selected} of {self.total} surface voxels ({share:.1%}), from a seed of {self.seeded}"


def open_isrf_run(load_config: Path) -> "Run":
    """Load a run whose things can be selected.

    Raises:
        InputError: there is no run, it is of another method, or its features are not trained yet.
    """
    from nerfseg_plugins import compat

    compat.apply()
    from nerfseg_plugins.isrf.model import IsrfModelConfig
    from nerfseg_plugins.scene.config_file import read_config
    from nerfseg_plugins.scene.run import load_run

    config = read_config(load_config)
    if not isinstance(config.pipeline.model, IsrfModelConfig):
        raise InputError(
            f"{load_config} is a run of {config.method_name}, which has no features to select by; train isrf on its "
            f"geometry: ns-train isrf --pipeline.pretrained {load_config}"
        )
    run = load_run(load_config)
    model: Any = run.pipeline.model
    if not model.head_trained:
        raise InputError(
            f"{load_config}: the run has reached step {run.step} and its features are not trained yet; train on with "
            "--load-dir"
        )
    return run


def select_object(
    run: "Run",
    strokes: "Sequence[Stroke]",
    split: Split,
    query: QueryOptions,
    config: SelectConfig,
    resolution: Optional[int],
    clock: "Callable[[str], AbstractContextManager[None]]",
) -> Found:
    """From strokes and words to an object.

    Args:
        run: an isrf run.
        strokes: their pixels.
        split: the views that they lie in.
        query: the words.
        config: how to select.
        resolution: voxels along the longest side; the usual number when None.
        clock: measures the steps.

    Raises:
        InputError: strokes lie on empty space, words cannot be used, or nothing or everything is selected.
    """
    from nerfseg_plugins.isrf.cache import CacheConfig
    from nerfseg_plugins.isrf.kept import kept_voxels
    from nerfseg_plugins.isrf.selection import select, solid

    with clock("lift"):
        lifted = [lift_strokes(run, [own for own in strokes if own.positive == side], split) for side in (True, False)]
    with clock("words"):
        relevancy = words_of(run, query)
    settings = CacheConfig() if resolution is None else CacheConfig(resolution=resolution)
    with clock("cache"):
        cache = kept_voxels(run.pipeline.model, run.dataset("train").cameras, settings, run.folder, print)
    with clock("select"):
        positive, negative = (
            together(points, relevancy(cache, words))
            for points, words in zip(lifted, (query.text, query.negative_text), strict=True)
        )
        assert positive is not None, "asked for before"
        found = select(cache, positive, negative, config)
    count = int(found.mask.sum())
    if found.note:
        raise InputError(f"{count} of {len(cache)} voxels would be selected: {found.note}; nothing was written")
    return Found(
        voxels=solid(cache, found.mask),
        seed=solid(cache, found.seed) if found.seed.any() else None,
        colors=cache.colors[found.mask].float() / 255,
        seeded=int(found.seed.sum()),
        selected=count,
        total=len(cache),
        resolution=settings.resolution,
    )


def together(*parts: "Optional[StrokePoints]") -> "Optional[StrokePoints]":
    """All points as one; None where there are none."""
    from nerfseg_plugins.isrf.lifting import StrokePoints

    there = [part for part in parts if part is not None]
    return StrokePoints.cat(there) if there else None


def words_of(run: "Run", query: QueryOptions) -> "Callable[[VoxelCache, list[str]], Optional[StrokePoints]]":
    """A function from voxels and words to the points that these fit; None without words.

    The network that knows the words is asked once, before the scene is searched.

    Raises:
        InputError: the run's features know no words, or CLIP cannot be had.
    """
    texts = [*query.text, *query.negative_text]
    if not texts:
        return lambda cache, words: None
    from nerfseg_plugins.features.clip import relevancy, text_queries
    from nerfseg_plugins.isrf.words import points_of_words

    device = str(run.pipeline.device)
    prompts, canonical = text_queries(features_folder_of(run), texts, query.text_checkpoint, device)
    known = dict(zip(texts, prompts, strict=True))

    def points(cache: "VoxelCache", words: list[str]) -> "Optional[StrokePoints]":
        features = cache.features.float()
        found = []
        for text in words:
            like = relevancy(features, known[text][None].to(features), canonical.to(features))[:, 0]
            found.append(points_of_words(cache, like, text))
        return together(*found) if found else None

    return points


def features_folder_of(run: "Run") -> Path:
    """The 2D features that a run learned from.

    Raises:
        InputError: they are not where they were, or it is unclear which they were.
    """
    from nerfseg_plugins.features.find import find_features

    config: Any = run.pipeline.datamanager.config
    return find_features(Path(config.data or config.dataparser.data), config.features)
