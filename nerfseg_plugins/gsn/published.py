"""Weights as GNT and GSN publish them: one file with the state dicts of several networks.

GNT (VITA-Group/GNT, gnt/model.py) saves `net_coarse`, `feature_net` and, of older settings, `net_fine`; GSN
(Vinayak-VG/GSN, ibrnet/model.py) calls the transformers otherwise and adds `dino`. Optimisers in the file are left
alone.
"""

from pathlib import Path
from typing import NamedTuple, Optional

from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.weights import load_states

TRUNK, ENCODER, SEMANTICS = "net_coarse", "feature_net", "dino"
FINE = "net_fine"
_NAMES = {"view_crosstrans.": "view_trans.", "view_selftrans.": "ray_trans.", "dinofc.": "feature_fc."}
"""GSN's names, and those used here and by GNT."""


class Published(NamedTuple):
    """Weights by network, under the names used here."""

    trunk: dict[str, Tensor]
    encoder: dict[str, Tensor]
    semantics: Optional[dict[str, Tensor]]
    """None where the file is of the first stage."""

    @property
    def direction(self) -> str:
        """Where the viewing direction enters: see `transformer.Direction`."""
        return "last" if any(name.startswith("hviews_fc.") for name in self.trunk) else "blocks"

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len({name.split(".")[1] for name in self.trunk if name.startswith("view_trans.")})


def read_published(path: Path) -> Published:
    """Read a checkpoint of GNT or GSN; nothing in it is run.

    Raises:
        InputError: it is damaged, holds other things, or two trunks for two passes over a ray.
    """
    states = load_states(path, "GNT")
    for name in (TRUNK, ENCODER):
        if name not in states:
            raise InputError(f"{path} has no {name}, so it is no checkpoint of GNT or GSN; give the right file")
    if FINE in states:
        raise InputError(
            f"{path} holds a second network for fine samples ({FINE}), which there is none of here; give a checkpoint "
            "trained with single_net"
        )
    semantics = _renamed(states[SEMANTICS]) if SEMANTICS in states else None
    return Published(_renamed(states[TRUNK]), _renamed(states[ENCODER]), semantics)


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under the names used here; without the prefix that a network wrapped for several GPUs has."""
    found = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        for theirs, ours in _NAMES.items():
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
        found[name] = value
    return found
