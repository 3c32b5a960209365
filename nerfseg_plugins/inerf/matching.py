"""The pose of a photo from features that it shares with views whose poses are known.

Keypoints of the reference views become scene points by the depth that the scene renders along their rays; keypoints of
the photo are matched to them, and the pose is the one that most matches agree with.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, Optional, Union

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from nerfseg_plugins.inerf.keypoints import Keypoints, find_keypoints, keypoint_rays
from nerfseg_plugins.inerf.photos import reduce_mask, reduce_photo
from nerfseg_plugins.inerf.pnp import PnPConfig, Sightings, solve_pnp
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.inerf.scene import Scene

View = tuple[Tensor, Cameras]
"""An image (H, W, 3) in [0, 1] and its camera (batch shape [1], scene frame, on the scene's device)."""

_MIN_OPACITY = 0.5
_MIN_FACTOR = 1.3
"""Photos are made smaller if their pixels are this much finer than those of the known views."""
_MIN_SIDE = 32
"""Photos are not made smaller than this many pixels."""
_CHUNK = 1 << 13
"""Rays rendered at once."""


@dataclass(frozen=True)
class MatchingConfig:
    """A start pose from features shared with known views."""

    references: Literal["photos", "rendered"] = "photos"
    """The known views: the photos that the scene was trained on, or its own renderings, where those are gone."""
    max_references: int = 100
    """Photos at most; of more, those are taken that lie furthest apart."""
    max_rendered: int = 32
    """Rendered views at most."""
    max_side: int = 200
    """Pixels of the longer side of rendered views."""
    keypoints: int = 400
    """Keypoints of an image at most, the strongest."""
    ratio: float = 0.85
    """A match must be this much nearer than the second nearest keypoint of the same view (Lowe's test)."""
    views: int = 8
    """How many known views, those with most matches, take part in finding the pose."""
    pnp: PnPConfig = field(default_factory=PnPConfig)
    """How the pose is found from the matches."""


class Match(NamedTuple):
    """A pose from matched features."""

    c2w: Tensor
    """(3, 4) float32, scene frame, on the photo's device."""
    inliers: int
    """Keypoints of the photo that agree with the pose."""
    matches: int
    """Keypoints of the photo that have matches."""
    reprojection_rms: float
    """Of the agreeing matches, pixels."""
    covariance: Tensor
    """(6, 6) of the twist (v in scene units, omega in radians; pivot at the camera, world axes) as the scatter of the
    matches has it; what the scene's depths err by in common is not in it."""


class NoMatch(NamedTuple):
    """No pose."""

    reason: str
    """Why: a clause about "the photo"."""


class Reference:
    """One known view.

    Args:
        scene: what it shows.
        keypoints: K of them.
        camera: one camera (batch shape [1]), scene frame, on the scene's device.
    """

    def __init__(self, scene: Scene, keypoints: Keypoints, camera: Cameras) -> None:
        self.descriptors = keypoints.descriptors
        """(K, 128) unit vectors."""
        self.pixel = pixel_angle(camera)
        """Angle of a pixel in the middle, radians."""
        self._scene = scene
        self._places = keypoints.places
        self._camera = camera

    @cached_property
    def points(self) -> Tensor:
        """(K, 3) where the keypoints lie, scene frame, on the CPU; not finite for those on empty space.

        Rendered when first asked for: a photo is matched with all views, but few of them take part in its pose.

        Keypoints on depth edges are not looked for: with them left out (depth differing by 2, 5 or 10 % one and a half
        pixels away, at five times the cost) poses got no better, as they agree with no pose and fall away later.
        """
        origins, directions = keypoint_rays(self._camera, self._places)
        points = torch.full((len(self._places), 3), torch.nan)
        seen = directions.isfinite().all(dim=1)
        if bool(seen.any()):
            with torch.no_grad():
                rendered = self._scene.render(origins[seen], directions[seen])
            found = origins[seen] + rendered.depth[:, None] * directions[seen]
            found[rendered.opacity <= _MIN_OPACITY] = torch.nan
            points[seen.cpu()] = found.cpu()
        return points


class References:
    """Known views of a scene, ready to be matched with.

    Args:
        views: those.
    """

    def __init__(self, views: list[Reference]) -> None:
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    @property
    def pixel(self) -> float:
        """Angle of a pixel in most views, radians; 0 without views."""
        return float(np.median([view.pixel for view in self.views])) if self.views else 0.0

    @classmethod
    def build(
        cls,
        scene: Scene,
        views: Iterable[View],
        config: MatchingConfig,
        progress: Optional[Callable[[int], None]] = None,
    ) -> "References":
        """Find the keypoints of views.

        Args:
            scene: what is rendered, later, to tell where in the scene they lie.
            views: photos, or `rendered_views`.
            config: how many keypoints.
            progress: called after each view with the number of views done.
        """
        found = []
        for image, camera in views:
            found.append(Reference(scene, find_keypoints(image, config.keypoints), camera))
            if progress is not None:
                progress(len(found))
        return cls(found)


def match(query: Query, references: References, config: MatchingConfig, seed: int = 0) -> Union[Match, NoMatch]:
    """The pose of a photo.

    Args:
        query: the photo; keypoints outside its mask are not used.
        references: known views.
        config: when a match is one.
        seed: equal seeds give equal poses.

    Returns:
        A pose, or the reason why there is none: a photo without keypoints or of something else, or matches that leave
        the pose open.
    """
    own, pixel = pixel_angle(query.camera), max(pixel_angle(query.camera), references.pixel)
    keypoints = _keypoints(query, pixel / own, config.keypoints)
    if len(keypoints) == 0:
        return NoMatch("the photo has no keypoints")
    rows, points = _nearest(keypoints, references, config)
    _, directions = keypoint_rays(query.camera, keypoints.places)
    places = _place_ids(keypoints.places)
    sightings = Sightings(directions[rows].cpu().double().numpy(), points.double().numpy(), places[rows.numpy()])
    pose = solve_pnp(sightings, pixel, config.pnp, seed)
    if isinstance(pose, str):
        return NoMatch(pose)
    return Match(
        c2w=torch.from_numpy(pose.c2w).to(query.image),
        inliers=sightings.at(pose.inliers).distinct,
        matches=sightings.distinct,
        reprojection_rms=pose.rms * pixel / own,
        covariance=torch.from_numpy(pose.covariance).to(query.image),
    )


@torch.no_grad()
def rendered_views(scene: Scene, cameras: Cameras, max_side: int) -> Iterator[View]:
    """Views as the scene renders them, one at a time.

    Args:
        scene: its first three values are colours.
        cameras: (N), scene frame, on the scene's device.
        max_side: pixels of the longer side; views with fewer keep their size.
    """
    for index in range(len(cameras)):
        camera = cameras[index : index + 1]
        factor = min(1.0, max_side / max(int(camera.width), int(camera.height)))
        camera.rescale_output_resolution(factor)
        rays = camera.generate_rays(camera_indices=0, keep_shape=True)
        origins, directions = rays.origins.view(-1, 3), rays.directions.view(-1, 3)
        parts = [
            scene.render(*part).values[:, :3]
            for part in zip(origins.split(_CHUNK), directions.split(_CHUNK), strict=True)
        ]
        yield torch.cat(parts).view(*rays.origins.shape[:2], 3).clamp(0, 1), camera


def spread_views(c2w: Tensor, count: int) -> list[int]:
    """Of N cameras, `count` that lie far apart: each next one is furthest from all chosen before.

    Distance is that of positions, in parts of their spread, plus that of viewing directions.

    Args:
        c2w: (N, 3, 4).
        count: how many.

    Returns:
        Indices in rising order; all where there are no more than `count`.
    """
    if len(c2w) <= count:
        return list(range(len(c2w)))
    positions = c2w[:, :, 3] - c2w[:, :, 3].mean(dim=0)
    scaled = positions / positions.norm(dim=1).mean().clamp_min(1e-9)
    places = torch.cat([scaled, c2w[:, :, 2]], dim=1).double().cpu()
    chosen = [int(places.sub(places.mean(dim=0)).norm(dim=1).argmin())]
    distances = (places - places[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (places - places[chosen[-1]]).norm(dim=1))
    return sorted(chosen)


def pixel_angle(camera: Cameras) -> float:
    """Angle of a pixel in the middle of an image, radians, whatever the lens; of one camera (batch shape [1])."""
    middle = torch.tensor([[float(camera.height) / 2, float(camera.width) / 2]])
    # Not at the very middle, where nerfstudio divides by zero for a fisheye.
    corners = middle + torch.tensor([[0.1, 0.1], [1.1, 0.1], [0.1, 1.1]])
    directions = keypoint_rays(camera, corners)[1].double()
    return float((directions[1:] - directions[0]).norm(dim=1).mean())


def _keypoints(query: Query, factor: float, count: int) -> Keypoints:
    """Keypoints of a photo, found where its pixels are `factor` times as large.

    The strongest keypoints are fine ones, which views of lower resolution do not show.
    """
    height, width = query.image.shape[:2]
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    if factor < _MIN_FACTOR or min(size) < _MIN_SIDE:
        return find_keypoints(query.image, count, query.mask)
    found = find_keypoints(reduce_photo(query.image, *size), count, reduce_mask(query.mask, *size))
    return Keypoints(found.places * torch.tensor([height / size[1], width / size[0]]), found.descriptors)


def _nearest(keypoints: Keypoints, references: References, config: MatchingConfig) -> tuple[Tensor, Tensor]:
    """Matches with the views that have most of them: keypoints (M,) of the photo, and points (M, 3), maybe not finite.

    The second nearest of Lowe's test is looked for in the same view: keypoints of neighbouring views show the same
    point, which is no rival.
    """
    per_view = [_mutual(keypoints.descriptors, view.descriptors, config.ratio) for view in references.views]
    order = sorted(range(len(per_view)), key=lambda index: -len(per_view[index][0]))[: config.views]
    if not order:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0, 3)
    rows = torch.cat([per_view[index][0] for index in order])
    points = torch.cat([references.views[index].points[per_view[index][1]] for index in order])
    return rows, points


def _mutual(first: Tensor, second: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Rows of two sets of unit vectors that are nearest to each other and pass Lowe's test, (M,) each."""
    if len(first) == 0 or len(second) < 2:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    alike = first @ second.T
    best, partner = alike.max(dim=1)
    mutual = alike.argmax(dim=0)[partner] == torch.arange(len(first))
    alike.scatter_(1, partner[:, None], -2.0)
    # Squared distances of unit vectors are 2 - 2 cos.
    clear = (1 - best) < ratio**2 * (1 - alike.amax(dim=1))
    rows = (mutual & clear).nonzero()[:, 0]
    return rows, partner[rows]


def _place_ids(places: Tensor) -> np.ndarray:
    """(K,) the same number for keypoints at the same place, which differ in orientation alone."""
    return torch.unique(places, dim=0, return_inverse=True)[1].numpy()
