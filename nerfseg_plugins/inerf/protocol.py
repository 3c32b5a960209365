"""The trials by which pose estimation is measured (iNeRF, arXiv 2012.05877, section 4).

Held-out views of the run itself, starts drawn around their true poses, and what goes wrong with photos outside of data
sets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from nerfseg_plugins.evaluation.poses import PoseMetrics, pose_report, rotation_error_degrees, translation_error
from nerfseg_plugins.inerf.estimate import Estimator
from nerfseg_plugins.inerf.hypotheses import perturbed
from nerfseg_plugins.inerf.lens import lens_of, make_camera
from nerfseg_plugins.inerf.of_run import background_of
from nerfseg_plugins.inerf.output.store import attempt
from nerfseg_plugins.inerf.query import Query, distinct_names
from nerfseg_plugins.inerf.result import Estimate
from nerfseg_plugins.scene.run import Run, Split


class Spread(NamedTuple):
    """How far starts lie from the truth; see `hypotheses.perturbed`."""

    degrees: float
    """Largest turn about the world's origin."""
    distance: float
    """Largest shift along each axis, scene units."""


Protocol = Literal["synthetic", "forward", "small", "category", "truth", "global"]
PROTOCOLS: dict[Protocol, Optional[Spread]] = {
    "synthetic": Spread(40.0, 0.2),
    "forward": Spread(40.0, 0.1),
    "small": Spread(10.0, 0.05),
    "category": Spread(30.0, 0.0),
    "truth": Spread(0.0, 0.0),
    "global": None,
}
"""iNeRF's own for rendered and for forward-facing scenes; starts inside the basin; cameras turned about an object of
which few views are known; the truth itself, from which nothing may drift; and no start at all."""


@dataclass(frozen=True)
class Disturbance:
    """What a photo has that the training views have not."""

    exposure: float = 1.0
    """Factor on all colours."""
    green_cast: float = 0.0
    """Green is multiplied by 1 + this, red and blue by 1 - this."""
    occluder: float = 0.0
    """Share of the photo that a textured rectangle covers."""


@dataclass(frozen=True)
class Trial:
    """One estimation whose truth is known."""

    view: str
    """Name of the query."""
    number: int
    """Of the start, from 0."""
    start: Optional[Tensor]
    """(3, 4), scene frame."""
    truth: Tensor
    """(3, 4), scene frame."""
    estimate: Estimate

    def record(self) -> dict[str, Any]:
        """What is worth keeping, as plain values: errors in degrees and scene units, poses (3, 4) in the scene frame;
        None where there is no pose."""
        turned, moved = _errors(self.estimate.c2w, self.truth)
        start = (None, None) if self.start is None else _errors(self.start, self.truth)
        return {
            "view": self.view,
            "start": self.number,
            "start_rotation_error": start[0],
            "start_translation_error": start[1],
            "rotation_error": turned,
            "translation_error": moved,
            "converged": bool(self.estimate.converged),
            "reason": self.estimate.reason,
            "residual": self.estimate.residual if np.isfinite(self.estimate.residual) else None,
            "seconds": self.estimate.seconds,
            "start_pose": None if self.start is None else self.start.tolist(),
            "pose": self.estimate.c2w.tolist() if turned is not None else None,
        }


def held_out_queries(run: Run, count: Optional[int] = None, split: Split = "val") -> list[Query]:
    """Views of a run as queries whose truth is known, spread evenly over the split.

    Args:
        run: the run.
        count: how many at most; all by default.
        split: "val" for the held-out views.
    """
    total = len(run.dataset(split))
    chosen = np.linspace(0, total - 1, min(count or total, total)).round().astype(int)
    return views_as_queries(run, split, np.unique(chosen).tolist())


def views_as_queries(run: Run, split: Split, indices: Sequence[int]) -> list[Query]:
    """Views of a run, by their places in a split, as queries whose truth is known."""
    dataset = run.dataset(split)
    names = distinct_names([Path(path) for path in dataset.image_filenames])
    device = run.pipeline.device
    background = torch.tensor(background_of(run))
    queries = []
    for index in indices:
        image = dataset[index]["image"].float().cpu()
        if image.shape[-1] == 4:
            image = image[..., :3] * image[..., 3:] + background * (1 - image[..., 3:])
        camera = make_camera(lens_of(dataset.cameras[index : index + 1])).to(device)
        mask = torch.ones(image.shape[:2], dtype=torch.bool, device=device)
        truth = dataset.cameras.camera_to_worlds[index].to(device)
        path = Path(dataset.image_filenames[index])
        queries.append(Query(names[index], path, image.to(device), mask, camera, truth=truth))
    return queries


def disturbed(query: Query, disturbance: Disturbance, seed: int) -> Query:
    """A query whose photo was taken under worse circumstances; its mask does not tell.

    The occluder stands before the camera when the photo is taken, so that exposure and cast change it as well.

    Args:
        query: with a clean photo.
        disturbance: what happens to it.
        seed: of the occluder's place and texture.
    """
    image = query.image.clone()
    if disturbance.occluder > 0:
        _occlude(image, disturbance.occluder, torch.Generator().manual_seed(seed))
    cast = disturbance.green_cast
    gain = disturbance.exposure * image.new_tensor([1 - cast, 1 + cast, 1 - cast])
    return replace(query, image=(image * gain).clamp(0, 1))


def draw_starts(queries: Sequence[Query], protocol: Protocol, count: int, seed: int) -> list[list[Optional[Tensor]]]:
    """Starts of every query, each (3, 4), scene frame; None where the protocol gives none.

    A start depends on the seed, on its number and on the place of its query alone, so that more of either change none.
    """
    spread = PROTOCOLS[protocol]
    starts: list[list[Optional[Tensor]]] = []
    for place, query in enumerate(queries):
        assert query.truth is not None, "the protocols start around the truth"
        own: list[Optional[Tensor]] = []
        for number in range(count):
            seeds = np.random.SeedSequence([seed, place, number]).generate_state(1)
            generator = torch.Generator().manual_seed(int(seeds[0]))
            own.append(None if spread is None else perturbed(query.truth, *spread, generator))
        starts.append(own)
    return starts


def trials(
    estimator: Estimator, queries: Sequence[Query], starts: Sequence[Sequence[Optional[Tensor]]]
) -> Iterator[Trial]:
    """Estimate every query from every one of its starts.

    Every start has random draws of its own (the estimator's seed plus the start's number), so that trials of one query
    differ even where nothing is given to start from.

    Args:
        estimator: finds poses.
        queries: photos with known truth.
        starts: of each query.

    Yields:
        Trials; an estimation with nothing to begin with is one that failed.
    """
    config = estimator.config
    try:
        for query, own in zip(queries, starts, strict=True):
            assert query.truth is not None
            for number, start in enumerate(own):
                estimator.config = replace(config, seed=config.seed + number)
                yield Trial(query.name, number, start, query.truth.cpu(), attempt(estimator, query, start))
    finally:
        estimator.config = config


def report(
    done: Sequence[Trial],
    scale: float,
    max_rotation: float = 5.0,
    max_translation: float = 0.05,
    unit: Literal["scene", "data"] = "scene",
) -> PoseMetrics:
    """The figures of trials: those of `evaluation.poses.pose_report`, `seconds_median` and `rotation_max`,
    `translation_max` (degrees, scene units; None where a trial has no pose).

    Args:
        done: at least one trial.
        scale: scene units per data unit.
        max_rotation: a rotation below this many degrees is right.
        max_translation: a camera closer than this is right.
        unit: the unit of `max_translation`.
    """
    poses = np.stack([trial.estimate.c2w.numpy() for trial in done])
    truths = np.stack([trial.truth.numpy() for trial in done])
    flags = np.array([trial.estimate.converged for trial in done])
    found = pose_report(poses, truths, flags, scale, max_rotation, max_translation, unit)
    found["seconds_median"] = float(np.median([trial.estimate.seconds for trial in done]))
    worst = rotation_error_degrees(poses, truths).max(), translation_error(poses, truths).max()
    for name, value in zip(("rotation_max", "translation_max"), worst, strict=True):
        found[name] = float(value) if np.isfinite(value) else None
    return found


def _errors(c2w: Tensor, truth: Tensor) -> tuple[Optional[float], Optional[float]]:
    pair = c2w.detach().cpu().numpy()[None], truth.cpu().numpy()[None]
    if not np.isfinite(pair[0]).all():
        return None, None
    return float(rotation_error_degrees(*pair)[0]), float(translation_error(*pair)[0])


def _occlude(image: Tensor, share: float, generator: torch.Generator) -> None:
    """Cover a share of a photo (H, W, 3), in place, by a rectangle of coloured patches with grain."""
    height, width = image.shape[:2]
    # Between half and twice the photo's own shape, and never beyond its sides.
    stretch = float(2 ** (2 * torch.rand((), generator=generator) - 1))
    stretch = min(max(stretch, share), 1 / share)
    tall = min(height, max(1, round(height * (share * stretch) ** 0.5)))
    wide = min(width, max(1, round(share * height * width / tall)))
    top = int(torch.randint(height - tall + 1, (), generator=generator))
    left = int(torch.randint(width - wide + 1, (), generator=generator))
    patches = torch.rand(1, 3, 6, 6, generator=generator)
    texture = torch.nn.functional.interpolate(patches, size=(tall, wide))[0].permute(1, 2, 0)
    grain = 0.1 * torch.randn(tall, wide, 1, generator=generator)
    image[top : top + tall, left : left + wide] = (texture + grain).clamp(0, 1).to(image)
