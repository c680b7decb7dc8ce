"""How concentrated attention is."""

import numpy as np
import pytest

from mil_heatmaps.scores.concentration import concentration


def test_equal_weights_are_as_many_patches_as_there_are_and_nearly_even() -> None:
    found = concentration(np.full(20, 3.0), "attention_logit")
    assert found is not None
    assert (found.effective, found.top_tenth, found.ratio, found.nearly_even) == pytest.approx((20, 0.1, 1, True))
    assert found.words.startswith("attention is spread over 20 of 20 patches (nearly even); the top tenth holds 10%")
    assert found.words.endswith("; all weights are equal")


def test_the_spread_is_told_in_words_that_fit_its_size() -> None:
    def told(*weights: float) -> str:
        found = concentration(weights, "attention_softmax")
        assert found is not None
        return found.words

    assert told(1, 1.01).endswith("the highest weight is less than 5% above the lowest")
    assert told(1, 1.06).endswith("the highest weight is 1.1 times the lowest")
    assert told(1, 3) == (
        "attention is spread over 1.6 of 2 patches (nearly even); the highest patch holds 75%; "
        "the highest weight is 3 times the lowest"
    )


def test_of_one_patch_no_spread_is_claimed() -> None:
    found = concentration([0.3], "attention_logit")
    assert found is not None
    assert (found.words, found.nearly_even) == ("the slide has one patch, which holds all attention", False)


def test_one_patch_that_holds_all_counts_as_one() -> None:
    shares = np.zeros(10)
    shares[3] = 2.0
    found = concentration(shares, "attention_softmax")
    assert found is not None
    assert (found.effective, found.top_tenth, found.nearly_even) == (1, 1, False)
    assert found.plain() == {"effective_patches": 1.0, "top_tenth_share": 1.0}


def test_weights_of_logits_are_their_softmax_and_scores_that_are_none_have_no_numbers() -> None:
    logits = np.array([0.0, np.log(3.0), np.nan])
    found = concentration(logits, "attention_logit")
    assert found is not None
    assert found.effective == pytest.approx(1 / (0.25**2 + 0.75**2))
    assert found.ratio == pytest.approx(3)
    assert concentration(logits, "class_contribution") is None
    assert concentration([np.nan], "attention_logit") is None
    assert concentration([-1.0, 2.0], "attention_softmax") is None
