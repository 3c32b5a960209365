"""Which places words fit, by hand."""

import pytest
import torch

from nerfseg_plugins.errors import InputError
from nerfseg_plugins.features.words import MOST, fitting


def test_words_fit_what_is_near_the_best():
    """The best has 0.9, so that from 0.5 + 0.75 * 0.4 = 0.8 on it counts."""
    assert fitting(torch.tensor([0.5, 0.9, 0.1, 0.79, 0.81]), "a chair").tolist() == [1, 4]


@pytest.mark.parametrize("relevancy", [torch.full((5,), 0.5), torch.zeros(5), torch.zeros(0)])
def test_words_that_fit_nothing_are_refused(relevancy: torch.Tensor):
    with pytest.raises(InputError, match="nothing in the scene is like 'a unicorn'"):
        fitting(relevancy, "a unicorn")


def test_words_fit_no_more_than_a_long_stroke_marks():
    found = fitting(torch.full((MOST + 100,), 0.7), "anything")
    assert len(found) == MOST and found[[0, -1]].tolist() == [0, MOST + 99]
