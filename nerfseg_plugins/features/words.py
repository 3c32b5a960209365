"""What of a scene words fit."""

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError

UNDECIDED = 0.5
"""Relevancy of what is as much like anything as like the words."""
NEAR_BEST = 0.75
"""Words fit what lies so far on the way from undecided to the best of the scene."""
MOST = 4096
"""As many points as a long stroke has."""


def fitting(relevancy: Tensor, words: str) -> Tensor:
    """The places that words fit best.

    How high the best of a scene is depends on the words, so that what counts is relative to it, as in LERF
    (arXiv 2303.09553, section 3.4).

    Args:
        relevancy: (N,) in [0, 1] of places of one scene; 0.5 is undecided.
        words: for messages.

    Returns:
        (K,) long, ascending, at most `MOST` of them, evenly chosen.

    Raises:
        InputError: the words fit nothing.
    """
    best = float(relevancy.max()) if len(relevancy) else 0.0
    if not best > UNDECIDED:
        raise InputError(
            f"nothing in the scene is like {words!r} (relevancy {best:.2f}, more than {UNDECIDED} is needed); try "
            "other words, or draw a stroke"
        )
    chosen = (relevancy >= UNDECIDED + NEAR_BEST * (best - UNDECIDED)).nonzero()[:, 0]
    if len(chosen) > MOST:
        chosen = chosen[torch.linspace(0, len(chosen) - 1, MOST, dtype=torch.float64).round().long()]
    return chosen
