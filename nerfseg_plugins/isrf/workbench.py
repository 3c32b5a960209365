"""What the buttons of the panel do: strokes to voxels to edits to files; each call says what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.find import find_features
from nerfseg_plugins.features.queries import centroids
from nerfseg_plugins.isrf.cache import CacheConfig, VoxelCache
from nerfseg_plugins.isrf.edit_file import load_edits, save_edits, write_run_with_edit
from nerfseg_plugins.isrf.edits import Action
from nerfseg_plugins.isrf.growing import Kernel, grow
from nerfseg_plugins.isrf.interaction import DrawnStroke, Interaction, Shown, alpha_of
from nerfseg_plugins.isrf.kept import kept_voxels
from nerfseg_plugins.isrf.lifting import lift
from nerfseg_plugins.isrf.make_edit import Color, Vector, make_edit
from nerfseg_plugins.isrf.selection import select, solid
from nerfseg_plugins.isrf.solid import VoxelSet
from nerfseg_plugins.isrf.words import points_of_words
from nerfseg_plugins.scene.drawing import Rays
from nerfseg_plugins.scene.fingerprint import fingerprint
from nerfseg_plugins.scene.frames import frame_transform
from nerfseg_plugins.scene.history import History
from nerfseg_plugins.scene.names import checked_name
from nerfseg_plugins.scene.stroke_access import NEGATIVE, POSITIVE, StrokeAccess
from nerfseg_plugins.scene.workbench import BaseWorkbench
from nerfseg_plugins.segments.select_config import SelectConfig

MAX_STEPS = 1000
"""Growing ends after so many steps."""
EDITS = "edits"
"""Folder of saved edits in a run's."""


class Workbench(BaseWorkbench[Interaction]):
    """What a person has done to a model, and all that can be done next.

    Args:
        model: an `IsrfModel`.
        access: the viewer that shows it.
        doing: told what takes a while before it begins.
    """

    def __init__(self, model: Any, access: StrokeAccess, doing: Callable[[str], None]) -> None:
        super().__init__(model, access, doing, Interaction(), EDITS)
        self._kept: Optional[tuple[CacheConfig, VoxelCache]] = None
        self._solid: Optional[tuple[Tensor, VoxelSet]] = None  # the last one: it is shown, edited, shown again

    def begin(self) -> None:
        """Begin with what the run shows already."""
        self._history = History(Interaction().with_edits(self.model.edits))

    # Strokes and regions ---------------------------------------------------------------------------------------------

    def stroke(self, positive: bool, rays: Rays) -> str:
        """Look up what a stroke lies on.

        Raises:
            InputError: it lies on empty space, or the features are not trained yet.
        """
        if not self.model.head_trained:
            raise InputError("the run's features are not trained yet, so strokes mean nothing; train on")
        self._doing("Looking up what the stroke lies on")
        with self._access.alone(self.model):
            points = lift(self.model, rays.origins, rays.directions)
        self.become(self.state.with_stroke(DrawnStroke(positive, points, rays.origins[0])), "")
        kind = "Positive" if positive else "Negative"
        missed = len(rays) - len(points)
        return f"{kind} stroke: {len(points)} points" + (f"; {missed} rays met nothing" if missed else "")

    def words(self, positive: bool, words: str, checkpoint: str, voxels: CacheConfig) -> str:
        """Mark what words fit best, as a stroke would.

        Args:
            positive: whether the words say what the object is, or what it is not.
            words: such as "a red chair".
            checkpoint: file of CLIP's weights; empty for the published ones.
            voxels: of which voxels.

        Raises:
            InputError: there are no words, the features know no words, CLIP cannot be had, or nothing fits.
        """
        from nerfseg_plugins.features.clip import relevancy, text_queries

        if not words.strip():
            raise InputError("there are no words; write what the object is, such as: a red chair")
        data = self._access.datamanager.config
        folder = find_features(data.data or data.dataparser.data, data.features)
        self._doing("Asking CLIP what the words mean")
        path = Path(checkpoint) if checkpoint.strip() else None
        prompts, canonical = text_queries(folder, [words], path, str(self.model.device))
        cache = self.cache(voxels)
        features = cache.features.float()
        like = relevancy(features, prompts.to(features), canonical.to(features))[:, 0]
        points = points_of_words(cache, like, words)
        return self.become(self.state.with_stroke(DrawnStroke(positive, points)), f"{words}: {len(points)} points")

    def cache(self, config: CacheConfig) -> VoxelCache:
        """The voxels of the scene, with the present weights.

        Raises:
            InputError: no surfaces are seen.
        """
        access, trains = self._access, self._access.trains
        if self._kept is None or self._kept[0] != config or trains:
            self._doing("Looking for the surfaces of the scene")
            with access.alone(self.model, reading=True):
                if trains:  # other weights in a moment: not worth keeping
                    return self.model.voxel_cache(access.cameras, config)
                found = kept_voxels(self.model, access.cameras, config, access.folder, self._doing)
            self._kept = (config, found)
        return self._kept[1]

    def select(self, config: SelectConfig, voxels: CacheConfig, min_alpha: float) -> str:
        """Select what the strokes lie on.

        Args:
            config: how.
            voxels: of which voxels.
            min_alpha: voxels that absorb less of a ray do not take part.

        Raises:
            InputError: there is no positive stroke, or nothing or everything would be selected.
        """
        state = self.state
        positive, negative = state.points(True), state.points(False)
        if positive is None:
            raise InputError("nothing says what the object is; draw a stroke on it first")
        cache = self.cache(voxels)
        self._doing("Selecting what the strokes lie on")
        allowed = allowed_voxels(cache, min_alpha)
        found = select(cache, positive, negative, config)
        if found.note:
            raise InputError(found.note)
        region, seed = found.mask & allowed, found.seed & allowed
        if not bool(region.any()):
            raise InputError(f"no voxel of the object absorbs {min_alpha:g} of a ray; lower Least alpha")
        query = centroids(positive.features, config.clusters, config.random_seed)
        grows = config.method != "walker"  # which does not begin with the seed, nor end around it
        self.become(state.on(cache).with_region(region, seed if grows else None, query), "")
        return f"Selected {int(region.sum()):,} of {len(cache):,} voxels, from a seed of {int(seed.sum()):,}"

    def grow(self, kernel: Kernel, min_alpha: float, steps: Optional[int]) -> str:
        """Grow the region.

        Args:
            kernel: how alike two voxels count.
            min_alpha: voxels that absorb less of a ray do not join.
            steps: so many at most; to the end when None.

        Raises:
            InputError: there is no region.
        """
        state = self.state
        cache = state.cache
        if state.region is None or cache is None:
            raise InputError("there is no region to grow; draw a stroke on a thing and press Seed first")
        self._doing("Growing the region")
        grown = grow(cache, state.region, kernel, allowed_voxels(cache, min_alpha), steps or MAX_STEPS)
        before, after = int(state.region.sum()), int(grown.selected.sum())
        if after == before:
            return f"Nothing beside the region is like it: it stays at {before:,} voxels"
        self.become(state.with_region(grown.selected, state.seed), "")
        end = "nothing more joins" if grown.converged else "more may join"
        return f"Grew from {before:,} to {after:,} voxels in {grown.steps} steps; {end}"

    # Edits -----------------------------------------------------------------------------------------------------------

    def apply(
        self, name: str, action: Action, color: Color, strength: float, translation: Vector, rotation_deg: Vector
    ) -> str:
        """Do something to the region; arguments are those of `make_edit`.

        Raises:
            InputError: there is no region, or the name or a number is none.
        """
        state, manager = self.state, self._access.datamanager
        transform = frame_transform(manager.config.dataparser, manager.train_dataparser_outputs)
        colors, voxels = state.colors(), self.solid(state.region)
        assert voxels is not None  # or it would have no colours
        name = checked_name(name)
        edit = make_edit(name, voxels, action, colors, color, strength, translation, rotation_deg, transform)
        return self.become(state.with_edit(edit), f"Applied to {name}: {len(voxels):,} voxels")

    def solid(self, mask: Optional[Tensor]) -> Optional[VoxelSet]:
        """The space that belongs to the voxels of a mask (N,), which are but its surface; None where there are none."""
        cache = self.state.cache
        if cache is None or mask is None or not bool(mask.any()):
            return None
        if self._solid is None or self._solid[0] is not mask:
            self._solid = mask, solid(cache, mask)
        return self._solid[1]

    def save(self, name: str) -> str:
        """Write all edits for other commands, as `nerfseg segment` does.

        Raises:
            InputError: there is nothing to save, the run still trains, or a file cannot be written.
        """
        path = self._file_to_save(name)
        if not self.state.edits:
            raise InputError("there is no edit to save; choose an action and press Apply first")
        save_edits(path, self.state.edits, fingerprint(self.model))
        config = write_run_with_edit(self._access.folder, name, path)
        return f"Saved; show it again with --load-config {config}"

    def load(self, name: str) -> str:
        """Show a saved edit instead of what was done here.

        Raises:
            InputError: it is gone, damaged, or was made for other weights.
        """
        edits = load_edits(self._file_to_load(name), fingerprint(self.model))
        return self.become(self.state.with_edits(edits), f"Loaded {', '.join(edit.name for edit in edits)}")

    # Showing ---------------------------------------------------------------------------------------------------------

    def show(self, original: bool, what: Shown) -> None:
        """Make model and viewer show what was done.

        Args:
            original: whether to show the scene as it was trained instead.
            what: which voxels are marked.
        """
        state, model = self.state, self.model
        selected, seeded = self.solid(state.mask(what)), None
        if what == "region" and state.cache is not None and state.seed is not None:
            seeded = VoxelSet.of_coords(state.cache.grid, state.cache.coords[state.seed])
        with self._access.alone(model):
            model.edits = [] if original else list(state.edits)
            model.selected = None if original else selected
            model.seeded = None if original else seeded
            model.query = None if original else state.query
        for positive, name in ((True, "positive"), (False, "negative")):
            marks = [] if original else [own.marks() for own in state.strokes if own.positive == positive]
            self._access.mark(
                name, torch.cat(marks) if marks else torch.empty(0, 3), POSITIVE if positive else NEGATIVE
            )
        self._access.render()


def allowed_voxels(cache: VoxelCache, min_alpha: float) -> Tensor:
    """(N,) bool: the voxels that absorb at least so much of a ray that crosses them.

    Raises:
        InputError: there are none.
    """
    allowed = alpha_of(cache) >= min_alpha
    if not bool(allowed.any()):
        raise InputError(f"no voxel absorbs {min_alpha:g} of a ray that crosses it; lower Least alpha")
    return allowed
