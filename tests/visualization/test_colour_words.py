"""What is said under the colour bar: what the two colours of a map mean, and what is in its middle."""

from typing import Any

import numpy as np
import pytest

from mil_heatmaps.scores.patch_scores import Explained, PatchScores, Prediction
from mil_heatmaps.visualization.colour_rule import ColourRule
from mil_heatmaps.visualization.colour_words import end_colours, group_of

VALUES = np.array([[-1.0], [0.0], [3.0]], np.float32)


def scores(kind: Any, output: str | None = "log_odds", task: Any = "classification", of: str = "tumour") -> PatchScores:
    explained = None if output is None else Explained(output, task, full=(0.5,))
    return PatchScores(None, VALUES, (of,), kind, kind, explained)


def prediction(task: Any = "classification", **known: Any) -> Prediction:
    logits = np.array([0.1, 0.4], np.float32)
    if task == "regression":
        return Prediction(("Ki-67",), logits[:1], logits[:1], task, **known)
    return Prediction(("normal", "tumour"), logits, logits, task, **known)


def words(found: PatchScores, told: Prediction | None = None, cmap: str | None = None, **asked: Any) -> str:
    rule = ColourRule.for_kind(found.kind, None, cmap or "coolwarm").of_column(found, found.names[0], told, **asked)
    return rule.shades(found.values[:, 0], of_region=False)[1].meaning


@pytest.mark.parametrize(
    ("cmap", "ends"),
    [
        ("coolwarm", ("blue", "red")), ("RdBu", ("red", "blue")), ("RdBu_r", ("blue", "red")), ("bwr", ("blue", "red")),
        ("PRGn", ("purple", "green")), ("BrBG_r", ("teal", "brown")), ("PuOr", ("brown", "purple")),
        ("gray", ("black", "white")), ("viridis", ("purple", "yellow")),
    ],
)  # fmt: skip
def test_the_ends_of_a_colormap_have_the_names_people_give_them(cmap: str, ends: tuple[str, str]) -> None:
    assert end_colours(cmap) == ends


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (scores("leave_one_out"), "red raises p(tumour), blue lowers it"),
        (scores("leave_one_out", "logit"), "red raises the logit of tumour, blue lowers it"),
        (scores("occlusion", "value", "regression", "Ki-67"), "red raises Ki-67, blue lowers it"),
        (scores("integrated_gradients", "risk", "survival", "risk"), "red raises risk, blue lowers it"),
        (scores("single"), "red: the patch alone speaks for tumour, blue: against it"),
        (scores("class_contribution", None), "red raises the logit of tumour, blue lowers it"),
        (scores("instance_logit", None), "red: the patch alone speaks for tumour, blue: against it"),
        (scores("attention_logit", None), ""),
    ],
)
def test_the_two_colours_of_a_signed_map(found: PatchScores, said: str) -> None:
    assert words(found, prediction()) == said


def test_the_words_follow_the_colormap() -> None:
    assert words(scores("leave_one_out"), cmap="RdBu") == "blue raises p(tumour), red lowers it"


def test_ranks_have_no_middle_and_so_no_words() -> None:
    found = scores("leave_one_out")
    rule = ColourRule.for_kind("leave_one_out", "percentile").of_column(found, "tumour", prediction())
    scale = rule.shades(found.values[:, 0], of_region=False)[1]
    assert (scale.center, scale.meaning) == (None, "")


def test_a_map_of_probabilities_is_around_the_slides_own() -> None:
    assert words(scores("single", "probability")) == "red: p(tumour) above the slide's own probability; blue: below"


def test_a_map_of_values_is_around_the_median_of_the_training_where_it_is_known() -> None:
    found = scores("single", "value", "regression", "Ki-67")
    told = prediction("regression", train_median=0.2)
    assert words(found, told) == "red: Ki-67 above the training median; blue: below"
    assert words(found, told, center=1.0) == "red: Ki-67 above 1; blue: below"
    assert words(found, prediction("regression")) == "red: Ki-67 above the slide's own value; blue: below"
    assert words(found, told, center="cohort_median", cohort_median=0.3) == (
        "red: Ki-67 above the cohort's median; blue: below"
    )


def test_a_value_is_high_or_low_beside_what_is_known() -> None:
    found = scores("single", "value", "regression", "Ki-67")
    assert group_of(found, "Ki-67", "auto", prediction("regression")) is None
    assert group_of(found, "Ki-67", "auto", prediction("regression", train_median=0.2)) == (
        "low", "below the training median (0.2)"
    )  # fmt: skip
    assert group_of(found, "Ki-67", 0.05, prediction("regression")) == ("high", "above 0.05")
    assert group_of(scores("leave_one_out"), "tumour", "auto", prediction()) is None
