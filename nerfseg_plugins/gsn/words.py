"""Words instead of strokes, where the features are CLIP's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.clip import relevancy, text_queries
from nerfseg_plugins.features.words import fitting
from nerfseg_plugins.gsn.segmenting import Marks
from nerfseg_plugins.gsn.surfels import Surfels


class Text(NamedTuple):
    """Words in the space of a scene's features."""

    words: tuple[str, ...]
    prompts: Tensor
    """(P, C) of the words."""
    canonical: Tensor
    """(K, C) of what they compete with."""


def text_of(datamanager: Any, words: Sequence[str], checkpoint: Optional[Path], device: str) -> Text:
    """Words in the space of the features of the scene that is shown.

    Args:
        datamanager: an `ImageBasedDataManager`.
        words: P texts.
        checkpoint: CLIP's weights; None for the published ones.
        device: of the network.

    Raises:
        InputError: the scene has no features, they are not CLIP's, or CLIP cannot be had.
    """
    features = datamanager.shown.features
    if features is None:
        raise InputError("the scene has no features, so words mean nothing; make some with: nerfseg features")
    prompts, canonical = text_queries(features.folder, list(words), checkpoint, device)
    return Text(tuple(words), prompts.float().cpu(), canonical.float().cpu())


def marks_of_words(surfels: Surfels, text: Text, index: int, label: int) -> Marks:
    """What words fit best, as marks.

    Args:
        surfels: what some views see.
        text: words.
        index: which of them.
        label: of the marks.

    Raises:
        InputError: they fit nothing.
    """
    features = surfels.features.float()
    like = relevancy(features, text.prompts[index : index + 1], text.canonical)[:, 0]
    chosen = fitting(like, text.words[index])
    return Marks(surfels.points[chosen], features[chosen], torch.full((len(chosen),), label))
