"""Datamanager of image-based methods: one scene that is shown, and in training a pool of scenes to learn from."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional, Union

import numpy as np
import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.datamanagers.base_datamanager import DataManager, VanillaDataManager, VanillaDataManagerConfig
from nerfstudio.data.pixel_samplers import PixelSamplerConfig
from nerfstudio.data.utils.dataloaders import FixedIndicesEvalDataloader, RandIndicesEvalDataloader
from nerfstudio.utils.rich_utils import CONSOLE

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.batches import Drawn, DrawRule, batch_of, draw_batch, rays_of
from nerfseg_plugins.image_based.choice import Nearness, PoolRule
from nerfseg_plugins.image_based.dataset import SceneDataset
from nerfseg_plugins.image_based.images import ImageCache
from nerfseg_plugins.image_based.mixture import sources_of
from nerfseg_plugins.image_based.pool import Pool
from nerfseg_plugins.image_based.processes import world
from nerfseg_plugins.image_based.reshape import ReshapeRule
from nerfseg_plugins.image_based.scene import Bounds, Scene, scene_bounds
from nerfseg_plugins.image_based.shown import sources_and_targets
from nerfseg_plugins.image_based.sources import Catalog, SceneRef
from nerfseg_plugins.image_based.teacher import TeacherFeatures

EVALUATING = 1 << 32
"""Added to the step in the seed of what is drawn for evaluation."""


@dataclass
class ImageBasedDataManagerConfig(VanillaDataManagerConfig):
    """Configuration of the data of an image-based method.

    `data` names a scene, a folder of scenes, a data set of many objects, or a JSON file that mixes several of these.
    """

    _target: type = field(default_factory=lambda: ImageBasedDataManager)
    """target class to instantiate"""
    scenes_per_batch: int = 4
    """Scenes of a step."""
    rays_per_scene: int = 128
    """Rays of each of them."""
    target: Literal["view", "scene"] = "scene"
    """Where the rays of a scene come from: all from one view, or from any of its views."""
    views_per_scene: Optional[int] = None
    """With target scene, from how many of a scene's views at most the rays of a step come; unset: any number. Few spare
    decoding where the images of all scenes are more than image_cache_mb."""
    draw_sources: Literal["any", "near"] = "any"
    """How source views are drawn in training: any views of a scene, or with target view some of those near it."""
    view_counts: tuple[int, ...] = (1,)
    """With draw_sources any, numbers of source views; each step takes one of them."""
    pool: PoolRule = field(default_factory=PoolRule)
    """With draw_sources near, which views may be drawn, and how many are."""
    choose_by: Nearness = "center"
    """With draw_sources near, which views are near: by the distance of the cameras' centres, or by the angle between
    their viewing directions."""
    rays_by_views: bool = False
    """Whether a step with more source views than usual draws fewer rays, so that all cost the same."""
    scene: Optional[str] = None
    """Name of the scene that is shown and evaluated; unset: the first that is not trained on, if there is one."""
    views: tuple[int, ...] = ()
    """Numbers of its source views; all others are then rendered. Empty: the data's training views, or a few that are
    spread over all where the data have no held-out views."""
    only: tuple[str, ...] = ()
    """Names of the scenes to train on; empty: all that are not excluded."""
    exclude: tuple[str, ...] = ()
    """Names of scenes that are never trained on."""
    near: Optional[float] = None
    """Distance along rays at which scenes begin, scene units; unset: what the data say, or where the scene's box
    begins."""
    far: Optional[float] = None
    """Distance along rays at which scenes end, scene units; unset: what the data say, or where the scene's box ends."""
    masked: bool = False
    """Whether the background's colour is painted over what the masks of objects leave out."""
    features: Optional[str] = None
    """2D features of the views: a name in DATA/features, a path, or auto for the only ones there; unset: none."""
    box_sampling_steps: int = 0
    """Up to this step rays go only through the boxes around the objects."""
    jitter: float = 0.0
    """Strength of the colour jitter in training, the same for all views of a scene; 0 for none."""
    swap_channels: bool = False
    """Whether red, green and blue change places by chance in training, for all views of a scene alike: objects then
    have more colours than the data, and a black or white background keeps its own."""
    gamma: float = 0.0
    """How far the logarithm of the exponent of each channel of colour is from 0 at most in training, by chance, for all
    views of a scene alike; black and white stay."""
    mirror: bool = False
    """Whether by chance left and right are exchanged in training: x of the scene becomes -x. Of objects that all face
    along y."""
    stretch: float = 0.0
    """By how much scenes are stretched and pressed along x, y and z at most in training, the logarithm of the factor;
    few objects then have more shapes than they have."""
    shear: float = 0.0
    """By how much of z, their height, y is moved at most in training."""
    image_cache_mb: float = 2048
    """Decoded images that are kept in memory, in megabytes."""
    seed: Optional[int] = None
    """Of what is drawn; unset: --machine.seed."""
    # What nerfstudio's own drawing of rays takes is of no use.
    train_num_rays_per_batch: tyro.conf.Suppress[int] = 0
    """Not used."""
    train_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    """Not used."""
    train_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    """Not used."""
    eval_num_images_to_sample_from: tyro.conf.Suppress[int] = -1
    """Not used."""
    eval_num_times_to_repeat_images: tyro.conf.Suppress[int] = -1
    """Not used."""
    eval_image_indices: tyro.conf.Suppress[Optional[tuple[int, ...]]] = None
    """Not used."""
    patch_size: tyro.conf.Suppress[int] = 1
    """Not used."""
    pixel_sampler: tyro.conf.Suppress[PixelSamplerConfig] = field(default_factory=PixelSamplerConfig)
    """Not used."""


class ImageBasedDataManager(VanillaDataManager):
    """Serves the shown scene as any datamanager serves its scene, and in training batches of many scenes.

    `train_dataset` holds the source views of the shown scene, `eval_dataset` those to be rendered. The scenes to train
    on are listed, read and decoded only when training asks for them. What a step draws depends on the seed, the process
    and the step alone, so a resumed run goes on as if it had not been interrupted.

    Raises:
        InputError: the data or an option cannot be used.
    """

    config: ImageBasedDataManagerConfig
    train_dataset: SceneDataset
    eval_dataset: SceneDataset

    def __init__(
        self,
        config: ImageBasedDataManagerConfig,
        device: Union[torch.device, str] = "cpu",
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        **kwargs: Any,
    ) -> None:
        check_config(config)
        parser = config.dataparser if config.data is None else dataclasses.replace(config.dataparser, data=config.data)
        self.device, self.test_mode = device, test_mode
        self.world_size, self.local_rank = world_size, local_rank
        self.rank = world().rank if world_size > 1 else 0
        self.test_split = "test" if test_mode in ("test", "inference") else "val"
        self.includes_time = False
        self.cache = ImageCache(config.image_cache_mb)
        self.catalog = Catalog(sources_of(parser), config.exclude)
        self._pool: Optional[Pool] = None
        shown = self.catalog.shown(config.scene)
        # Whoever asks for the parser means that of the shown scene. The configuration of the run stays as it is.
        self.config = dataclasses.replace(config, dataparser=shown.parser, data=Path(shown.parser.data))
        self.dataparser_config, self.dataparser = shown.parser, shown.parser.setup()
        few = 0 if config.draw_sources == "near" else max(config.view_counts)
        sources, targets = sources_and_targets(shown, self.test_split, config.views, few)
        first, second = (scene_bounds(outputs, config.near, config.far) for outputs in (sources, targets))
        bounds = Bounds(min(first.near, second.near), max(first.far, second.far))
        self.shown = self._scene(shown, sources, bounds)
        """Source views of the shown scene."""
        self.held_out = self._scene(shown, targets, bounds)
        """The views of it that are to be rendered."""
        self.train_dataparser_outputs = sources
        DataManager.__init__(self)  # sets nothing up before there are data sets
        self.train_dataset, self.eval_dataset = self.create_train_dataset(), self.create_eval_dataset()
        self.exclude_batch_keys_from_device = self.train_dataset.exclude_batch_keys_from_device
        if test_mode != "inference":
            self.setup_train()
            self.setup_eval()

    def _scene(self, reference: SceneRef, outputs: Any, bounds: Optional[Bounds] = None) -> Scene:
        config = self.config
        features = None
        if config.features is not None:
            data = Path(reference.parser.data)
            features = TeacherFeatures(data, config.features, outputs.image_filenames, self.cache)
        bounds = bounds or scene_bounds(outputs, config.near, config.far)
        return Scene(reference.name, outputs, self.cache, bounds, config.masked, features)

    def create_train_dataset(self) -> SceneDataset:
        """The source views of the shown scene; its metadata say how many channels their features have."""
        dataset = SceneDataset(self.shown, self.config.camera_res_scale_factor)
        if self.shown.features is not None:
            dataset.metadata["feature_channels"] = self.shown.features.channels
        return dataset

    def create_eval_dataset(self) -> SceneDataset:
        """The views of the shown scene that are to be rendered."""
        return SceneDataset(self.held_out, self.config.camera_res_scale_factor)

    def setup_train(self) -> None:
        """Nothing: scenes to train on are opened when training begins."""

    def setup_eval(self) -> None:
        """What nerfstudio takes whole views from."""
        dataset, device = self.eval_dataset, self.device
        self.fixed_indices_eval_dataloader = FixedIndicesEvalDataloader(dataset, device=device, num_workers=1)
        self.eval_dataloader = RandIndicesEvalDataloader(dataset, device=device, num_workers=1)

    # Training ---------------------------------------------------------------------------------------------------------

    def open_pool(self) -> Pool:
        """The scenes to train on; listed now, if they were not, and one of each source read.

        Raises:
            InputError: there are none, or one is excluded from training, or the first of a source cannot be read.
        """
        if self._pool is None:
            groups = self.catalog.training(self.config.only)
            pool = Pool(groups, self._training_scene, self.rank, self.world_size)
            pool.check()
            total, left_out = sum(len(scenes) for _, scenes in groups), self.catalog.num_excluded
            here = "" if self.world_size == 1 else f", {len(pool.names)} of them in process {self.rank}"
            excluded = f" ({left_out} are excluded)" if self.config.exclude or left_out else ""
            CONSOLE.print(f"Training on {total} scenes{here}{excluded}; showing {self.shown.name}.")
            self._pool = pool
        return self._pool

    def _training_scene(self, reference: SceneRef) -> Scene:
        scene = self._scene(reference, reference.read("train"))
        ours, theirs = self.shown.features, scene.features
        if ours is not None and theirs is not None and ours.channels != theirs.channels:
            raise InputError(
                f"the features of {scene.name} in {theirs.folder} have {theirs.channels} channels, those of "
                f"{self.shown.name} {ours.channels}; make them alike with: {theirs.command}"
            )
        return scene

    def next_train(self, step: int) -> tuple[RayBundle, dict]:
        """A batch of a step: B * R rays, scene by scene, with bounds.

        Returns:
            Rays, and {"image": (B * R, 3), "views": `SourceViews` of the B scenes, "scenes": their names, "features":
            (B * R, C) where there are any}, on the device.

        Raises:
            InputError: a scene cannot be used.
        """
        self.train_count += 1
        rng = self.rng_of(step)
        scenes = self.open_pool().draw(rng, self.config.scenes_per_batch)
        common = np.random.default_rng([self.config.seed or 0, step]) if self.world_size > 1 else None
        rays, batch = draw_batch(scenes, self._rule(), rng, step < self.config.box_sampling_steps, common)
        return rays.to(self.device), _to_device(batch, self.device)

    def next_eval(self, step: int) -> tuple[RayBundle, dict]:
        """Rays of one of the views to be rendered; to be rendered from the shown scene's source views.

        Raises:
            InputError: an image cannot be read.
        """
        self.eval_count += 1
        rng, scene = self.rng_of(step + EVALUATING), self.held_out
        views = np.full(self.config.eval_num_rays_per_batch, int(rng.integers(len(scene))))
        drawn = [Drawn(scene, [], views, *scene.draw_pixels(views, rng, in_boxes=False))]
        return rays_of(drawn).to(self.device), _to_device(batch_of(drawn), self.device)

    def rng_of(self, step: int) -> np.random.Generator:
        """Draws of a step in this process."""
        return np.random.default_rng([self.config.seed or 0, self.rank, step])

    def _rule(self) -> DrawRule:
        config = self.config
        return DrawRule(
            target=config.target,
            rays=config.rays_per_scene,
            counts=config.view_counts,
            pool=config.pool if config.draw_sources == "near" else None,
            choose_by=config.choose_by,
            rays_by_views=config.rays_by_views,
            views_per_scene=config.views_per_scene,
            jitter=config.jitter,
            swap_channels=config.swap_channels,
            gamma=config.gamma,
            reshape=ReshapeRule(config.mirror, config.stretch, config.shear),
        )

    def get_train_rays_per_batch(self) -> int:
        """Rays of a step."""
        return self.config.scenes_per_batch * self.config.rays_per_scene

    def get_eval_rays_per_batch(self) -> int:
        """Rays of an evaluation."""
        return self.config.eval_num_rays_per_batch

    def get_datapath(self) -> Path:
        """The shown scene's data."""
        data = Path(self.dataparser_config.data)
        return data if data.is_dir() else data.parent


def check_config(config: ImageBasedDataManagerConfig) -> None:
    """Refuse options that make no sense.

    Raises:
        InputError: names the option.
    """
    for name in ("scenes_per_batch", "rays_per_scene", "eval_num_rays_per_batch", "views_per_scene"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; give 1 or more")
    if not config.view_counts or min(config.view_counts) < 1:
        raise InputError(f"view_counts is {config.view_counts}; give numbers of source views, each 1 or more")
    if config.draw_sources == "near" and config.target != "view":
        raise InputError("draw_sources near needs a view that sources can be near to; set target to view")
    for name in ("jitter", "gamma", "stretch", "shear"):
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"{name} is {getattr(config, name)}; give 0 or more, below 1")


def _to_device(batch: dict[str, Any], device: Union[torch.device, str]) -> dict[str, Any]:
    return {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}
