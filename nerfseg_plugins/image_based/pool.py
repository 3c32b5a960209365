"""The scenes that training draws from: listed at first, read when they are drawn."""

from collections.abc import Callable, Sequence

import numpy as np

from nerfseg_plugins.image_based.scene import Scene
from nerfseg_plugins.image_based.sources import SceneRef, Source


def share_of(scenes: Sequence[SceneRef], rank: int, world_size: int) -> list[SceneRef]:
    """The scenes of one process: every `world_size`-th; with fewer scenes than processes some share one."""
    return list(scenes[rank::world_size]) or [scenes[rank % len(scenes)]]


class Pool:
    """Training scenes of one process.

    Args:
        groups: scenes by source, see `Catalog.training`.
        read: makes a scene of a reference.
        rank: number of this process.
        world_size: number of processes; each has its own share of every source, so that weights hold on all of them.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Source, list[SceneRef]]],
        read: Callable[[SceneRef], Scene],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._scenes = [share_of(scenes, rank, world_size) for _, scenes in groups]
        weights = np.array([source.weight for source, _ in groups])
        self._odds = weights / weights.sum()
        self._read = read
        self._known: dict[str, Scene] = {}

    @property
    def names(self) -> list[str]:
        """Names of all scenes."""
        return [scene.name for group in self._scenes for scene in group]

    @property
    def num_read(self) -> int:
        """How many have been read so far."""
        return len(self._known)

    def scene(self, reference: SceneRef) -> Scene:
        """One of the scenes, read once; its images stay on disk.

        Raises:
            InputError: it cannot be read.
        """
        if reference.name not in self._known:
            self._known[reference.name] = self._read(reference)
        return self._known[reference.name]

    def check(self) -> None:
        """Read one scene of each source, so that what is wrong with all of them shows before training.

        Raises:
            InputError: one cannot be read.
        """
        for group in self._scenes:
            self.scene(group[0])

    def draw(self, rng: np.random.Generator, count: int) -> list[Scene]:
        """Scenes for a step: each of a source by the sources' weights; distinct ones as long as the source has more.

        Raises:
            InputError: one cannot be read.
        """
        drawn: dict[tuple[int, int], None] = {}
        scenes = []
        for group in rng.choice(len(self._scenes), count, p=self._odds).tolist():
            references = self._scenes[group]
            taken = [place for source, place in drawn if source == group]
            fresh = np.setdiff1d(np.arange(len(references)), taken)
            place = int(rng.choice(fresh)) if len(fresh) else int(rng.integers(len(references)))
            drawn[group, place] = None
            scenes.append(self.scene(references[place]))
        return scenes
