"""What is shown of the instances: which are visible, in which colours, and which one a ray meets.

The state is immutable and the functions are pure; the viewer's panel only calls them, so all that it does can be done
without a window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union, overload

import numpy as np
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.models.base_model import Model
from torch import Tensor

from nerfseg_plugins.errors import InputError

MIN_ACCUMULATION = 0.2
"""A ray that absorbs less meets nothing: where walls are hidden, what is left is thin fog nearly everywhere."""
MAX_NAME = 32
"""Names are cut to so many characters where they are shown."""
MAX_ROWS = 100
"""So many instances are listed one by one."""


@dataclass(frozen=True)
class InstanceDisplay:
    """What is shown of the instances 0..K-1 (0 is background). Every method returns a new state.

    Two states are equal when they are the same object: colours are arrays.
    """

    colors: np.ndarray
    """uint8 (K, 3): the colour that each id is shown in."""
    hidden: frozenset[int] = frozenset()
    """Ids that are not shown."""
    isolated: Optional[int] = None
    """The only id that is shown, whatever is hidden otherwise."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def num_ids(self) -> int:
        """Number of ids K, background included."""
        return len(self.colors)

    @property
    def shows_all(self) -> bool:
        """Whether nothing is left out."""
        return self.isolated is None and not self.hidden

    def shows(self, instance: int) -> bool:
        """Whether an id is visible."""
        self._check(instance)
        return instance == self.isolated if self.isolated is not None else instance not in self.hidden

    def hide(self, instance: int) -> "InstanceDisplay":
        """Leave an id out; if it was isolated, the others come back."""
        self._check(instance)
        isolated = None if self.isolated == instance else self.isolated
        return replace(self, hidden=self.hidden | {instance}, isolated=isolated)

    def show(self, instance: int) -> "InstanceDisplay":
        """Bring an id back; an isolation of another one ends."""
        self._check(instance)
        isolated = self.isolated if self.isolated == instance else None
        return replace(self, hidden=self.hidden - {instance}, isolated=isolated)

    def isolate(self, instance: int) -> "InstanceDisplay":
        """Show nothing but this id."""
        self._check(instance)
        return replace(self, hidden=self.hidden - {instance}, isolated=instance)

    def show_all(self) -> "InstanceDisplay":
        """Leave nothing out; colours stay."""
        return replace(self, hidden=frozenset(), isolated=None)

    def recolor(self, instance: int, color: Sequence[int]) -> "InstanceDisplay":
        """Show an id in another colour.

        Args:
            instance: the id.
            color: red, green, blue, 0..255.

        Raises:
            InputError: not such an id, or not such a colour.
        """
        self._check(instance)
        if len(color) != 3 or any(value != int(value) or not 0 <= value <= 255 for value in color):
            raise InputError(f"{tuple(color)} is no colour; give red, green and blue as whole numbers from 0 to 255")
        colors = self.colors.copy()
        colors[instance] = color
        return replace(self, colors=colors)

    def _check(self, instance: int) -> None:
        if not 0 <= instance < self.num_ids:
            raise InputError(f"there is no instance {instance}; ids go from 0 (background) to {self.num_ids - 1}")


def visible_ids(display: InstanceDisplay) -> list[int]:
    """The ids that are visible, ascending."""
    return [instance for instance in range(display.num_ids) if display.shows(instance)]


@overload
def visible_mask(display: InstanceDisplay, ids: Tensor) -> Tensor: ...
@overload
def visible_mask(display: InstanceDisplay, ids: np.ndarray) -> np.ndarray: ...
def visible_mask(display: InstanceDisplay, ids: Union[Tensor, np.ndarray]) -> Union[Tensor, np.ndarray]:
    """Which ids are visible.

    Args:
        display: what is shown.
        ids: integers 0..K-1 of any shape (...).

    Returns:
        bool (...), of the kind and on the device of `ids`.
    """
    table = np.zeros(display.num_ids, bool)
    table[visible_ids(display)] = True
    if isinstance(ids, Tensor):
        return torch.from_numpy(table).to(ids.device)[ids.long()]
    return table[ids]


def shown_ids(display: InstanceDisplay, ids: Tensor, accumulation: Tensor) -> Tensor:
    """Rendered ids (...) as they are painted: while something is hidden, rays that meet nothing are background.

    Args:
        display: what is shown.
        ids: integers (...).
        accumulation: (..., 1), what each ray absorbs.
    """
    return ids if display.shows_all else ids * (accumulation[..., 0] >= MIN_ACCUMULATION)


@torch.no_grad()
def pick(model: Model, origin: Sequence[float], direction: Sequence[float]) -> Optional[int]:
    """The instance that a ray meets, as the model shows it: what is hidden is looked through.

    Args:
        model: a trained `InstanceModel`; its mode (training or evaluation) is left as it was.
        origin: (3,) start of the ray, scene frame.
        direction: (3,) its direction, scene frame, of any length.

    Returns:
        The id of the surface (0 is background), or None where there is none or the instances are not trained yet.

    Raises:
        InputError: the ray is not finite or has no direction.
    """
    ray = torch.tensor([[*origin], [*direction]], dtype=torch.float32)
    length = ray[1].norm()
    if ray.shape != (2, 3) or not torch.isfinite(ray).all() or length == 0:
        raise InputError(f"a ray from {tuple(origin)} towards {tuple(direction)} cannot be cast; give finite vectors")
    bundle = RayBundle(
        origins=ray[:1],
        directions=ray[1:] / length,
        pixel_area=torch.full((1, 1), 1e-6),
        camera_indices=torch.zeros((1, 1), dtype=torch.long),
        metadata={"directions_norm": torch.ones((1, 1))},
    ).to(model.device)
    was_training = model.training
    model.eval()
    try:
        outputs: dict[str, Any] = model(bundle)
    finally:
        model.train(was_training)
    if "instance_logits" not in outputs:
        return None
    accumulation = outputs["accumulation"]
    instance = int(shown_ids(model.display, model.predict_ids(outputs), accumulation))  # type: ignore[operator,arg-type]
    return instance if instance or float(accumulation) >= MIN_ACCUMULATION else None


def label(instance: int, names: Mapping[int, str]) -> str:
    """How an instance is called where people read it: its id and its name, such as "3 chair".

    Names come from data sets and the viewer compiles what it shows, so all but letters, digits and a few marks are
    dropped.
    """
    name = names.get(instance, "background" if instance == 0 else "")
    plain = "".join(c if c.isalnum() or c in " -.," else " " for c in name)
    return f"{instance} {' '.join(plain.split())[:MAX_NAME]}".strip()


def legend(display: InstanceDisplay, names: Mapping[int, str], picked: Optional[int] = None) -> str:
    """The list of instances as Markdown: colour chip, id and name; the picked one bold, hidden ones struck through."""
    rows = []
    for instance in range(min(display.num_ids, MAX_ROWS)):
        text = label(instance, names)
        text = text if display.shows(instance) else f"~~{text}~~"
        text = f"**{text}**" if instance == picked else text
        red, green, blue = display.colors[instance]
        rows.append(f"`#{red:02x}{green:02x}{blue:02x}` {text}")
    if display.num_ids > MAX_ROWS:
        rows.append(f"and {display.num_ids - MAX_ROWS} more")
    return "  \n".join(rows)
