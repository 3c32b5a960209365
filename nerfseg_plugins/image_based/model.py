"""Base of the models that render a scene from source views of it.

Such a model belongs to no scene: its weights say how views become a rendering. A scene is opened in it, and from then
on it renders that one, in nerfstudio's viewer and commands as any other model does.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.model_components.renderers import RGBRenderer
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils import colormaps
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.image_based.choice import Nearness, check_count, choose_views
from nerfseg_plugins.image_based.views import SceneViews, SourceViews


@dataclass
class ImageBasedModelConfig(ModelConfig):
    """Configuration of a model that renders from source views."""

    _target: type = field(default_factory=lambda: ImageBasedModel)
    """target class to instantiate"""
    eval_num_rays_per_chunk: int = 2048
    """Rays times source views rendered at once; memory grows with it, however many views there are."""
    num_source_views: Optional[int] = None
    """Source views of a rendering, the nearest to its camera; unset: all views of the scene that may be sources."""
    choose_by: Nearness = "center"
    """Which views are near: by the distance of the cameras' centres, or by the angle between their viewing
    directions."""
    encoded_views: int = 64
    """Source views whose encoding is kept for the next rendering."""


class ImageBasedModel(Model):
    """What methods that render from source views share; a method brings `encode` and `render`.

    Rays of several scenes come one scene after another, as many of each.
    """

    config: ImageBasedModelConfig

    def populate_modules(self) -> None:
        """Metrics and the background; networks are the technique's."""
        super().populate_modules()
        # Here, for compat.apply() puts its lazy LPIPS in place only before models are built.
        from torchmetrics.functional import structural_similarity_index_measure
        from torchmetrics.image import PeakSignalNoiseRatio
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.ssim = structural_similarity_index_measure
        self.lpips = LearnedPerceptualImagePatchSimilarity(normalize=True)
        self.renderer_rgb = RGBRenderer(background_color="black")
        self._scene: Optional[SceneViews] = None
        self._encoded: OrderedDict[int, tuple[SourceViews, Tensor]] = OrderedDict()
        self._chosen: Optional[tuple[tuple[int, ...], SourceViews]] = None
        self._held = False

    # What a technique brings ------------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Tensor:
        """Feature maps of images, each by itself.

        Args:
            images: (N, 3, H, W) in [0, 1].

        Returns:
            (N, D, h, w), spanning the images.
        """
        raise NotImplementedError

    def render(self, rays: RayBundle, views: SourceViews) -> dict[str, Tensor]:
        """Render rays.

        Args:
            rays: B * R rays, scene by scene, with nears and fars.
            views: source views of the B scenes, with maps.

        Returns:
            Outputs (B * R, C), among them `rgb`, `depth` (distance along the unit ray) and `accumulation`.
        """
        raise NotImplementedError

    def adopts(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What to take over from another run (`pretrained`), with the keys that it has in this model.

        The modules that the keys belong to are then taken over whole, or not at all.

        Args:
            state: weights of the other run's model, by its keys.
        """
        own = self.state_dict()
        return {key: value for key, value in state.items() if key in own}

    def check_state(self, state: Mapping[str, Tensor]) -> None:
        """Refuse weights of another run that do not fit where a method can say why, and what to do.

        Args:
            state: weights by this model's keys.

        Raises:
            InputError: they do not fit.
        """

    def load_published(self, path: Path) -> None:
        """Take over a checkpoint that the method's authors published.

        Raises:
            InputError: it cannot be read or does not fit, or the method reads none.
        """
        raise InputError(f"{path} is no run, and this method reads no published checkpoints; pass a run's config.yml")

    # The scene --------------------------------------------------------------------------------------------------------

    @property
    def scene(self) -> Optional[SceneViews]:
        """The scene that is rendered when no source views are given."""
        return self._scene

    def open_scene(self, scene: Optional[SceneViews]) -> None:
        """Render this scene from now on.

        Raises:
            InputError: it has fewer views than `num_source_views`.
        """
        if scene is not None and self.config.num_source_views is not None:
            check_count(len(scene.cameras), self.config.num_source_views, scene.name)
        self._scene = scene
        self._forget()
        background = None if scene is None else scene.background
        self.renderer_rgb.background_color = "black" if background is None else torch.tensor(background).float()

    def after_loading(self) -> None:
        """Called once weights are loaded and the scene is open."""

    def choose(self, target: Tensor) -> list[int]:
        """The source views of the opened scene for a camera (3, 4), nearest first.

        Raises:
            InputError: no scene is open.
        """
        if self._scene is None:
            raise InputError("no scene is open in this model, so there are no source views to render from")
        poses = self._scene.cameras.camera_to_worlds.to(target)
        count = self.config.num_source_views
        if count is None or count >= len(poses):
            return list(range(len(poses)))
        return choose_views(target, poses, count, self.config.choose_by, self._scene.name)

    def sources(self, indices: list[int]) -> SourceViews:
        """Views of the opened scene with their encodings, on the model's device; each is encoded once."""
        key = tuple(indices)
        if self._chosen is None or self._chosen[0] != key:
            views = [self._source(index) for index in indices]
            stacked = {
                name: torch.cat([getattr(view, name) for view, _ in views], dim=1)
                for name in ("images", "c2w", "focal", "center")
            }
            described = [view.features for view, _ in views if view.features is not None]
            features = torch.cat(described, dim=1) if described else None
            # As lookups want them, once instead of in each.
            maps = torch.cat([maps[0] for _, maps in views]).contiguous(memory_format=torch.channels_last)
            self._chosen = key, replace(views[0][0], **stacked, features=features, maps=maps[None])
        return self._chosen[1]

    def _source(self, index: int) -> tuple[SourceViews, Tensor]:
        assert self._scene is not None
        if index in self._encoded:
            self._encoded.move_to_end(index)
            return self._encoded[index]
        view = self._scene.take([index]).to(self.device)
        with torch.no_grad():
            found = view, self.encode(view.images[0])[None]
        self._encoded[index] = found
        while len(self._encoded) > max(self.config.encoded_views, 1):
            self._encoded.popitem(last=False)
        return found

    def _forget(self) -> None:
        self._encoded.clear()
        self._chosen = None

    def train(self, mode: bool = True) -> "ImageBasedModel":
        """Switch the mode; encodings of weights that are about to change are forgotten."""
        if mode:
            self._forget()
        super().train(mode)
        return self

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Take weights; encodings by the former ones are forgotten."""
        self._forget()
        return super().load_state_dict(*args, **kwargs)

    # Rendering --------------------------------------------------------------------------------------------------------

    def forward(self, ray_bundle: RayBundle, views: Optional[SourceViews] = None) -> dict[str, Tensor]:  # type: ignore[override]
        """Render rays (R,).

        Args:
            ray_bundle: of one scene; with `views`, of all their scenes, one after another and as many of each.
            views: source views without maps, as in training; by default those of the opened scene are used.

        Raises:
            InputError: no scene is open and no views are given.
        """
        if views is None:
            views = self._sources_of(ray_bundle)
        elif views.maps is None:
            maps = self.encode(views.images.flatten(0, 1))
            views = views.with_maps(maps.unflatten(0, (views.num_scenes, views.num_views)))
        rays = bounded(ray_bundle, views)
        if self.training or views.num_scenes > 1:
            return self.render(rays, views)
        size = rays_at_once(self.config.eval_num_rays_per_chunk, views.num_views)
        parts = [self.render(rays[start : start + size], views) for start in range(0, max(len(rays), 1), size)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:  # type: ignore[override]
        """nerfstudio's name for `forward`."""
        return self.forward(ray_bundle)

    @torch.no_grad()
    def get_outputs_for_camera(self, camera: Cameras, obb_box: Optional[OrientedBox] = None) -> dict[str, Tensor]:
        """Render a camera from the source views that are nearest to it, in chunks of rays."""
        with self._sources_for(camera.camera_to_worlds.reshape(-1, *camera.camera_to_worlds.shape[-2:])[0]):
            return super().get_outputs_for_camera(camera, obb_box)

    @contextmanager
    def _sources_for(self, c2w: Tensor) -> Iterator[None]:
        """Inside, all rays are rendered from the same views: those for this camera (3, 4)."""
        self.sources(self.choose(c2w.to(self.device)))
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def _sources_of(self, rays: RayBundle) -> SourceViews:
        if self._held and self._chosen is not None:
            return self._chosen[1]
        return self.sources(self.choose(mean_pose(rays)))

    # Measuring --------------------------------------------------------------------------------------------------------

    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """PSNR of a batch of rays."""
        return {"psnr": self.psnr(outputs["rgb"].detach(), self.photo(batch))}

    def photo(self, batch: dict[str, Any]) -> Tensor:
        """The true colours (..., 3) of a batch, in front of the background, on the model's device."""
        return self.renderer_rgb.blend_background(batch["image"].to(self.device).float())

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR, SSIM and LPIPS of a view (LPIPS where its weights are), and pictures of it."""
        true, predicted = self.photo(batch), outputs["rgb"].to(self.device).clamp(0, 1)
        accumulation = outputs["accumulation"].to(self.device)
        images = {
            "img": torch.cat([true, predicted], dim=1),
            "accumulation": colormaps.apply_colormap(accumulation),
            "depth": colormaps.apply_depth_colormap(outputs["depth"].to(self.device), accumulation=accumulation),
        }
        pair = true.movedim(-1, 0)[None], predicted.movedim(-1, 0)[None]
        ssim = self.ssim(*pair)
        assert isinstance(ssim, Tensor)
        metrics = {"psnr": float(self.psnr(*pair)), "ssim": float(ssim)}
        lpips = float(self.lpips(*pair))
        if lpips == lpips:  # NaN without weights
            metrics["lpips"] = lpips
        return metrics, images


def bounded(rays: RayBundle, views: SourceViews) -> RayBundle:
    """Rays (B * R,) with the bounds of their scenes where they have none of their own."""
    if rays.nears is not None and rays.fars is not None:
        return rays
    each = len(rays) // views.num_scenes
    near, far = (bound.to(rays.origins).repeat_interleave(each)[:, None] for bound in (views.near, views.far))
    return replace(rays, nears=near, fars=far)


def rays_at_once(chunk: int, num_views: int) -> int:
    """How many rays are rendered at once; with more views fewer, so that what that computes stays as large."""
    return max(1, chunk // num_views)


def mean_pose(rays: RayBundle) -> Tensor:
    """(3, 4) a camera in the middle of some rays that looks along their mean direction; its roll is arbitrary."""
    back = torch.nn.functional.normalize(-rays.directions.detach().reshape(-1, 3).mean(0), dim=0)
    side = torch.eye(3).to(back)[int(back.abs().argmin())]
    right = torch.nn.functional.normalize(torch.linalg.cross(side, back), dim=0)
    up = torch.linalg.cross(back, right)
    return torch.stack([right, up, back, rays.origins.detach().reshape(-1, 3).mean(0)], dim=1)
