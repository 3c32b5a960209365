"""What the viewer shows of an inversion: frustums, a text, a picture. No viewer is needed to make them."""

import base64
import io
import math
from typing import NamedTuple

import numpy as np
from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO
from PIL import Image
from torch import Tensor

from nerfseg_plugins.evaluation.poses import rotation_error_degrees, translation_error
from nerfseg_plugins.inerf.lens import lens_of
from nerfseg_plugins.inerf.method.inversion import Inversion
from nerfseg_plugins.inerf.output.report import overlay
from nerfseg_plugins.inerf.query import Query
from nerfseg_plugins.scene.elements import plain

Color = tuple[int, int, int]

START, HYPOTHESIS, CULLED = (220, 50, 47), (70, 130, 255), (120, 120, 120)
ESTIMATE, OTHER, TRUTH = (60, 220, 90), (30, 110, 45), (255, 255, 255)
FADING = 20
"""Steps over which a culled hypothesis turns grey."""
_WIDEST = math.radians(120)
"""Field of view beyond which a frustum is no pyramid any more."""


class Frustum(NamedTuple):
    """A camera in the viewer."""

    name: str
    """Unique."""
    c2w: Tensor
    """(3, 4), scene frame."""
    color: Color
    scale: float
    """Height of the pyramid, as a share of an ordinary one's."""


def reach(inversion: Inversion) -> float:
    """Distance from the cameras to what they see, viewer's units; the measure of all that is drawn."""
    depth = inversion.depth[inversion.alive]
    return float(depth.median()) * VISER_NERFSTUDIO_SCALE_RATIO if len(depth) else VISER_NERFSTUDIO_SCALE_RATIO


def overview(inversion: Inversion, photo: int) -> tuple[np.ndarray, np.ndarray]:
    """Where to look from, and at, to see a photo's cameras and what they see: (3,) each, viewer's units."""
    pose = pose_at(inversion, photo, last_iteration(inversion, photo)).double().numpy()
    right, up, back, centre = (pose[:, column] for column in range(4))
    centre, far = centre * VISER_NERFSTUDIO_SCALE_RATIO, reach(inversion)
    return centre + far * (0.7 * back + 0.35 * up + 0.35 * right), centre - far * 0.5 * back


def view_of(query: Query) -> tuple[float, float]:
    """Vertical field of view, radians, and width over height."""
    lens = lens_of(query.camera)
    return min(2 * math.atan(lens.height / (2 * lens.fy)), _WIDEST), lens.width / lens.height


def last_iteration(inversion: Inversion, photo: int) -> int:
    """The newest iteration there is of a photo; 0 before the first."""
    if inversion.estimates:
        return max(len(inversion.estimates[photo].trajectory) - 1, 0)
    return max(len(inversion.history) - 1, 0)


def pose_at(inversion: Inversion, photo: int, iteration: int) -> Tensor:
    """(3, 4) the best pose of an iteration; of the newest one, where there have not been as many."""
    history = inversion.history
    if inversion.estimates and iteration >= last_iteration(inversion, photo):
        return inversion.estimates[photo].c2w
    if iteration < len(history):
        return history.poses[iteration][photo, history.leader(photo, iteration)]
    if inversion.estimates:
        return inversion.estimates[photo].trajectory[iteration].c2w
    return inversion.best()[photo].cpu()


def frustums(inversion: Inversion, photo: int, iteration: int) -> list[Frustum]:
    """The cameras to show at an iteration: those of one photo, and of the others the newest estimates.

    The start is red, further hypotheses are blue and turn grey when they are culled, the estimate is green, a known
    true pose white.
    """
    best = pose_at(inversion, photo, iteration)
    found = [Frustum("estimate", best, ESTIMATE, 1.0), *_hypotheses(inversion, photo, iteration)]
    truth = inversion.queries[photo].truth
    if truth is not None:
        found.append(Frustum("truth", truth, TRUTH, 1.1))  # seen where the estimate lies in it
    others = inversion.best()
    found += [Frustum(f"photo {other}", others[other], OTHER, 0.6) for other in range(len(others)) if other != photo]
    return found


def hypothesis_color(culled: int) -> Color:
    """Blue, and grey from `FADING` steps after it was culled."""
    share = min(culled / FADING, 1.0)
    mixed = [round((1 - share) * alive + share * dead) for alive, dead in zip(HYPOTHESIS, CULLED, strict=True)]
    return (mixed[0], mixed[1], mixed[2])


def describe(inversion: Inversion, photo: int, iteration: int) -> str:
    """Markdown: what is shown, and once it is known whether the pose may be trusted."""
    history = inversion.history
    lines = []
    if not len(history):
        lines.append(f"{int(inversion.alive[photo].sum())} poses to start from")
    elif iteration < len(history):
        alive = int(history.costs[iteration][photo].isfinite().sum())
        cost = float(history.costs[iteration][photo].min())
        many = "1 hypothesis" if alive == 1 else f"{alive} hypotheses"
        lines.append(f"Step {iteration + 1}, {history.phases[iteration]}: {many}, cost {cost:.2g}")
    else:
        last = min(iteration, last_iteration(inversion, photo))
        lines.append(f"Step {last + 1}, polished by Levenberg-Marquardt")
    truth = inversion.queries[photo].truth
    if truth is not None and inversion.begun:
        pair = pose_at(inversion, photo, iteration).numpy()[None], truth.cpu().numpy()[None]
        turn, shift = rotation_error_degrees(*pair)[0], translation_error(*pair)[0]
        lines.append(f"Off by {turn:.2g}° and {shift:.2g} scene units")
    if inversion.estimates:
        estimate = inversion.estimates[photo]
        verdict = "Converged" if estimate.converged else "NOT converged"
        lines.append(f"**{verdict}**, residual {estimate.residual:.3g}: {plain(estimate.reason)}")
    return "\n\n".join(lines)


def picture(photo: Tensor, rendering: Tensor, share: float) -> str:
    """Markdown that shows the photo shining through a rendering, both (H, W, 3) in [0, 1].

    Args:
        photo: of the query.
        rendering: from the pose.
        share: of the photo.
    """
    packed = io.BytesIO()
    image = Image.fromarray(overlay(photo.cpu(), rendering.cpu(), share))
    width = 240  # of the viewer's side panel, about
    if image.width < width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.BICUBIC)
    image.save(packed, "jpeg", quality=85)
    return f"![photo over rendering](data:image/jpeg;base64,{base64.b64encode(packed.getvalue()).decode()})"


def _hypotheses(inversion: Inversion, photo: int, iteration: int) -> list[Frustum]:
    history = inversion.history
    if not len(history):
        poses, alive = inversion.c2w()[photo].detach().cpu(), inversion.alive[photo].nonzero()[:, 0].tolist()
        return [Frustum(f"hypothesis {slot}", poses[slot], HYPOTHESIS, 0.7) for slot in alive[1:]]
    step = min(iteration, len(history) - 1)
    leader = history.leader(photo, step)
    found = [Frustum("start", history.poses[0][photo, leader], START, 0.8)]
    for slot, past in history.at(photo, step).items():
        if slot != leader:
            found.append(Frustum(f"hypothesis {slot}", past.c2w, hypothesis_color(past.culled), 0.7))
    return found
