"""What the `nerfseg pose` commands share: which photos, how to search, and how results are shown."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.inerf.lens_config import LensConfig

if TYPE_CHECKING:
    from nerfseg_plugins.inerf.config import PoseConfig
    from nerfseg_plugins.inerf.query import Query
    from nerfseg_plugins.scene.run import Run

Preset = Literal["best", "lm", "adam", "category", "classic"]


@dataclass
class SearchChanges:
    """What to change in a preset; unset: nothing."""

    init: Optional[Literal["auto", "start", "around", "nearest", "match", "global"]] = None
    """Where to start: the given pose, the training camera whose view is most alike, matched features, hypotheses over
    the whole scene, or auto: one after the other until an estimate is confirmed."""
    rays: Optional[int] = None
    """Rays compared in a step."""
    steps: Optional[int] = None
    """Steps of Adam, or at most of Levenberg-Marquardt on the scene itself."""
    hypotheses: Optional[int] = None
    """Starts of a global search."""
    pivot: Optional[Literal["camera", "origin", "scene"]] = None
    """What a pose turns about: the camera, the scene's origin, or the point that the camera looks at."""
    references: Optional[Literal["photos", "rendered"]] = None
    """What features are matched with: the photos that the scene was trained on, or its own renderings."""
    sampling: Optional[Literal["random", "points", "regions", "gradient", "object"]] = None
    """Which pixels are compared: any, interest points (SIFT), regions around those, or those on edges."""
    loss: Optional[Literal["l2", "l1", "huber", "cauchy", "mape"]] = None
    """Cost of a residual."""
    channels: Optional[Literal["rgb", "chroma", "none"]] = None
    """Compare colours, or only their hue and saturation, or, with features, no colours."""
    features: Optional[str] = None
    """Output of the run that is compared with the photos' feature maps."""
    feature_weight: Optional[float] = None
    """Factor on features, where colours count as 1."""
    fit_exposure: Optional[bool] = None
    """Whether brightness and tint are fitted to every photo."""
    coarse: Optional[bool] = None
    """Whether to begin on coarse copies of the scene, where the start may be far off."""
    samples_per_ray: Optional[int] = None
    """Samples of a ray, where the model takes fewer; 0 keeps the model's."""
    seed: int = 0
    """Of every random draw."""

    def changed(self, preset: Preset) -> "PoseConfig":
        """A preset with the changes.

        Raises:
            InputError: a number is out of range.
        """
        from nerfseg_plugins.inerf.config import PRESETS

        for name, least in (("rays", 6), ("steps", 1), ("hypotheses", 1), ("samples_per_ray", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name.replace('_', '-')} is {value}; give {least} or more")
        config = PRESETS[preset]
        config = dataclasses.replace(
            config,
            seed=self.seed,
            sampler=_overridden(config.sampler, sampling=self.sampling),
            photometric=_overridden(
                config.photometric,
                loss=self.loss,
                channels=self.channels,
                exposure=self.fit_exposure,
                feature_weight=self.feature_weight,
            ),
            matching=_overridden(config.matching, references=self.references),
            lm=_overridden(config.lm, iterations=self.steps),
            adam=_overridden(config.adam, steps=self.steps),
        )
        names = ("init", "rays", "hypotheses", "pivot", "features", "coarse", "samples_per_ray")
        return _overridden(config, **{name: getattr(self, name) for name in names})


@dataclass
class SearchOptions(SearchChanges):
    """How poses are searched: a preset, and what to change in it."""

    preset: Preset = "best"
    """best: a given start, then feature matching, then hypotheses over the whole scene. lm, adam: from a given start,
    coarse to fine. category: an object that a network knows from a photo or two, turned by up to about 30
    degrees from a given start. classic: the recipe of the iNeRF ports, to compare with."""

    def config(self) -> "PoseConfig":
        """The preset with the changes.

        Raises:
            InputError: a number is out of range.
        """
        return self.changed(self.preset)


@dataclass
class PhotoOptions:
    """Which photos, and what is known of them."""

    images: list[Path]
    """Photos, folders of photos, or transforms.json files that list some."""
    start: Optional[Path] = None
    """JSON file with poses to start from, in the data's frame, like a transforms.json or an earlier poses.json."""
    truth: Optional[Path] = None
    """JSON file with the true poses, in the data's frame; estimates are measured against them."""
    poses_are: Literal["start", "truth"] = "start"
    """What the poses in a transforms.json among --images are."""
    masks: Optional[Path] = None
    """Id mask of the photo, or folder of masks named as the photos; 0 hides a pixel (moving things, the sky)."""
    feature_maps: Optional[Path] = None
    """Feature map of the photo, or folder of maps named as the photos, for --features: arrays (height, width, channels)
    as .npy or .npz."""
    max_side: Optional[int] = None
    """Photos whose longer side has more pixels are made smaller."""
    lens: LensConfig = field(default_factory=LensConfig)
    """The lens."""

    def read(self, run: "Run") -> "list[Query]":
        """The photos, in the scene frame of a run.

        Raises:
            InputError: a photo or what is known of it cannot be used.
        """
        from nerfseg_plugins.inerf.of_run import background_of, training_cameras
        from nerfseg_plugins.inerf.query import QueryConfig, read_poses, read_queries

        config = QueryConfig(
            lens=self.lens,
            masks=self.masks,
            start=self.start,
            features=self.feature_maps,
            poses_are=self.poses_are,
            max_side=self.max_side,
            background=background_of(run),
        )
        cameras = training_cameras(run)
        queries = read_queries(self.images, run.transform, config, cameras, run.pipeline.device)
        if self.truth is None:
            return queries
        truths = read_poses(self.truth, run.transform)
        if not any(query.path.stem in truths for query in queries):
            raise InputError(f"{self.truth} has no pose for any of the photos (first: {queries[0].path})")
        known = {stem: pose.to(run.pipeline.device) for stem, pose in truths.items()}
        return [dataclasses.replace(query, truth=known.get(query.path.stem, query.truth)) for query in queries]


def open_run(load_config: Path, test_mode: Literal["test", "val"] = "val") -> "Run":
    """Load a run whose scene can be inverted.

    Raises:
        InputError: there is no run, it cannot be loaded, or it is of a method that renders whole images.
    """
    from nerfseg_plugins import compat

    compat.apply()
    from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig

    from nerfseg_plugins.scene.config_file import read_config
    from nerfseg_plugins.scene.run import load_run

    config = read_config(load_config)
    if isinstance(config.pipeline.datamanager, FullImageDatamanagerConfig):
        raise InputError(
            f"{load_config} is a run of {config.method_name}, which renders whole images, not rays; pass a run of "
            "nerfacto or of a method built on it"
        )
    return load_run(load_config, test_mode)


def not_trusted(names: Sequence[str]) -> str:
    """A line that names the photos whose poses must not be trusted; empty without any."""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"NOT CONVERGED, do not trust the poses of: {shown}" if names else ""


def _overridden(config: Any, **values: Any) -> Any:
    """A configuration with those values that are set."""
    return dataclasses.replace(config, **{name: value for name, value in values.items() if value is not None})
