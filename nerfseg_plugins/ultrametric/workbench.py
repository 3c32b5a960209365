"""What the panel's buttons do: to the model, to the files of the run, and to what the viewer shows."""

import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Optional

import numpy as np
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.scene.frames import frame_transform, points_to_data
from nerfseg_plugins.scene.viewer_access import ViewerAccess
from nerfseg_plugins.ultrametric.dendrogram import Dendrogram
from nerfseg_plugins.ultrametric.hierarchy_config import HierarchyConfig
from nerfseg_plugins.ultrametric.kept import HIERARCHY, kept_hierarchy
from nerfseg_plugins.ultrametric.picking import Pick, clicked, narrower, place_under, wider
from nerfseg_plugins.ultrametric.points_view import segment_point_colors
from nerfseg_plugins.ultrametric.segment_file import SEGMENTS, save_segment

POINT = 0.7
"""Size of a point, as a part of the distance between points."""


class Workbench:
    """The hierarchy of a model that is shown in a viewer. What steps return is said to the person.

    Numbers of the model are set without any lock: a rendering that is on its way may show the old ones or the new
    ones, and is followed by another.

    Args:
        model: an `UltrametricModel`; it is held weakly.
        access: to the viewer.
        doing: is told what takes long.
    """

    def __init__(self, model: Any, access: ViewerAccess, doing: Callable[[str], None]) -> None:
        self._model = weakref.ref(model)
        self._access = access
        self._doing = doing
        self.pick: Optional[Pick] = None
        """What is picked."""

    @property
    def model(self) -> Any:
        """The model."""
        found = self._model()
        assert found is not None, "the panel outlived its model"
        return found

    @property
    def dendrogram(self) -> Dendrogram:
        """The hierarchy.

        Raises:
            InputError: there is none yet.
        """
        if self.model.hierarchy is None:
            raise InputError("there is no hierarchy yet; press Build hierarchy first")
        return self.model.hierarchy

    # The hierarchy ---------------------------------------------------------------------------------------------------

    @property
    def kept(self) -> bool:
        """Whether there is a hierarchy in the run's folder, be it of these weights or not."""
        return (self._access.folder / HIERARCHY).is_file()

    def build(self) -> str:
        """Read the run's hierarchy, or make it.

        Raises:
            InputError: the run is not trained, no surface is seen, or the file cannot be written.
        """
        model, access = self.model, self._access
        if not model.head_trained:
            raise InputError("the run's features are not trained yet, so there is nothing to make a hierarchy of")
        if access.trains:
            raise InputError("the run still trains, so a hierarchy would fit none of its checkpoints; wait for its end")
        with access.alone(model, reading=True):
            found = kept_hierarchy(
                model, access.cameras, HierarchyConfig(), access.folder, self._doing, partial(_counted, self._doing)
            )
        self._doing("Preparing the segments")
        _ = found.nodes, found.kd_tree, found.spacing  # or the first click and the first picture would wait for them
        with access.alone(model):  # a picture that is on its way must not meet two hierarchies
            self.pick, model.picked, model.hierarchy = None, None, found
        return self.summary()

    def summary(self) -> str:
        """What is shown."""
        if self.model.hierarchy is None:
            return "There is no hierarchy yet; press Build hierarchy"
        model, number = self.model, len(self.model.cut())
        return (
            f"{number:,} segments of at least {model.min_size:,} points at granularity {model.granularity:.3f}, "
            f"of {len(self.dendrogram):,} points"
        )

    def set_granularity(self, granularity: float) -> str:
        """Show the segments at a granularity, or once there is a hierarchy."""
        self.model.granularity = float(granularity)
        return self.summary()

    def set_min_size(self, min_size: int) -> str:
        """Dissolve segments of fewer points, or once there is a hierarchy.

        Raises:
            InputError: the size is none.
        """
        if min_size < 1:
            raise InputError(f"the minimum size is {min_size}; it must be 1 or more")
        self.model.min_size = int(min_size)
        return self.summary()

    def granularity_for(self, num_segments: int) -> float:
        """The granularity with so many segments.

        Raises:
            InputError: there is no hierarchy, or the number is below 1.
        """
        return self.dendrogram.granularity_for(int(num_segments), self.model.min_size)

    # Picking ---------------------------------------------------------------------------------------------------------

    def click(self, origin: tuple[float, ...], direction: tuple[float, ...]) -> str:
        """Pick what a ray meets, scene frame; see `clicked`.

        Raises:
            InputError: there is no hierarchy, or nothing to be picked there.
        """
        model, dendrogram = self.model, self.dendrogram
        with self._access.alone(model, reading=True):
            place = place_under(model, origin, direction)
        return self._become(clicked(dendrogram, model.cut(), self.pick, place, model.min_size))

    def parent(self) -> str:
        """Pick what the picked segment is a part of.

        Raises:
            InputError: nothing is picked, or it is part of nothing.
        """
        return self._become(wider(self.dendrogram, self._picked(), self.model.min_size))

    def child(self) -> str:
        """Pick what was picked before, or the part around the click.

        Raises:
            InputError: nothing is picked, or it has no parts.
        """
        return self._become(narrower(self.dendrogram, self._picked(), self.model.min_size))

    def forget(self) -> str:
        """Pick nothing."""
        return self._become(None)

    def save(self, name: str) -> str:
        """Write the picked segment into the run's folder.

        Raises:
            InputError: nothing is picked, the name is none, or a file cannot be written.
        """
        model, manager = self.model, self._access.datamanager
        transform = frame_transform(manager.config.dataparser, manager.train_dataparser_outputs)
        files = save_segment(
            self._access.folder / SEGMENTS,
            name,
            self.dendrogram,
            self._picked(),
            model.granularity,
            model.min_size,
            lambda points: points_to_data(points, *transform),
        )
        return f"Saved {files[0]} and {files[1].name}"

    def _picked(self) -> Pick:
        if self.pick is None:
            raise InputError("nothing is picked; press Pick by clicks and click on a segment")
        return self.pick

    def _become(self, pick: Optional[Pick]) -> str:
        self.pick, self.model.picked = pick, None if pick is None else pick.node
        return "Picked nothing" if pick is None else "Picked a segment"

    # Showing ---------------------------------------------------------------------------------------------------------

    def show(self, points: bool) -> None:
        """Make the viewer show what was done.

        Args:
            points: whether as points too.
        """
        dendrogram = self.model.hierarchy
        if dendrogram is not None and points:
            apart = dendrogram.spacing[np.isfinite(dendrogram.spacing)]
            colors = segment_point_colors(dendrogram, self.model.cut(), self.model.picked)
            places = torch.from_numpy(dendrogram.points)
            self._access.draw_points("points", places, colors, POINT * float(np.median(apart)) if len(apart) else POINT)
        else:
            self._access.draw_points("points", torch.empty(0, 3), (0, 0, 0), POINT)
        self._access.render()


def _counted(doing: Callable[[str], None], views: Iterator[Any], total: int) -> Iterator[Any]:
    """Pass views on and tell how many are done."""
    for done, view in enumerate(views, 1):
        doing(f"Looking for the surface of the scene: {done} of {total} views")
        yield view
