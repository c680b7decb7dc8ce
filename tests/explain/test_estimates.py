"""What explanations cost, in forwards and in time, is told as it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mil_heatmaps.explain.estimates import cost_of
from mil_heatmaps.explain.remarks import remarks
from mil_heatmaps.explain.settings import Settings
from mil_heatmaps.explain.watch import Watch
from mil_heatmaps.models.transformer import Transformer
from tests.helpers.mil_lab_checks import random_features


@pytest.mark.parametrize(
    ("score", "passes", "words"),
    [
        ("leave_one_out", 1, "exact, about one forward pass"),
        ("mask_regression", 3, "exact, about 3 forward passes"),
        ("leave_one_out", None, "1,000 forward passes, about 8 min"),
        ("single", None, "1,000 forward passes, of one patch each"),
        ("mask_regression", None, "512 forward passes, about 4 min"),
        ("gradient_x_input", None, "1 forward and backward pass, about 0.5 s"),
        ("integrated_gradients", None, "32 to 992 forward and backward passes, about 16 s to 8 min"),
    ],
)
def test_costs_in_words(score: str, passes: int | None, words: str) -> None:
    assert cost_of(score, 1000, Settings(), passes=passes).with_time(0.5) == words


def test_an_occlusion_whose_window_is_chosen_stays_below_what_is_allowed() -> None:
    assert cost_of("occlusion", 10_000, Settings(), passes=None).forwards == 625
    assert cost_of("occlusion", 10_000, Settings(window=4), passes=None).forwards == 2500


def test_the_time_of_a_forward_is_measured_before_anything_begins() -> None:
    torch.manual_seed(0)
    model = Transformer(12, 16, num_heads=2, num_classes=2).eval()
    seen: list[Any] = []

    def foresee(costs: Sequence[Any], seconds: float) -> None:
        seen.append(([cost.forwards for cost in costs], seconds))

    watch = Watch(tell=lambda what, done, total: seen.append(what), foresee=foresee)
    model.explain(random_features(30, 12), ["leave_one_out"], watch=watch)
    forwards, seconds = seen[0]
    assert forwards == [30]
    assert seconds > 1e-5  # that of a forward, not of a look at a number that is kept
    assert set(seen[1:]) == {"leave_one_out"}


def test_remarks() -> None:
    values = np.array([[0.0], [2.0], [0.0]])
    (notice,) = remarks("gradient_x_input", ["tumour"], {}, values)
    assert notice.code == "one_patch_decides"
    assert remarks("single", ["tumour"], {}, values) == []
    (notice,) = remarks("leave_one_out", ["tumour"], {}, np.array([[np.nan]]))
    assert notice.code == "nothing_left"
    checks = {"complete": [True, False], "residual": [0.001, 0.23]}
    (notice,) = remarks("integrated_gradients", ["a", "b"], checks, np.ones((3, 2)))
    assert (notice.code, str(notice)) == (
        "explanation_check", "integrated_gradients of b: the map adds up to within 23 % only"
    )  # fmt: skip
    (notice,) = remarks("mask_regression", ["a"], {"r2": [0.41]}, np.ones((3, 1)))
    assert str(notice) == "mask_regression of a: a sum over patches explains only 41 % of the model here"
