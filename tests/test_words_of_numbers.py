"""Numbers on scales and captions are true, and different ones read differently."""

import numpy as np
import pytest

from mil_heatmaps.words import TickWords, fine_share, numbers_apart, percentage, share_in_words, share_words, tick_words


def _read(words: TickWords) -> list[float]:
    return [float(label.replace("\N{MINUS SIGN}", "-")) * 10.0**words.power + words.offset for label in words.labels]


@pytest.mark.parametrize(
    ("low", "high"),
    [(-25.68, -25.15), (0, 100), (1000, 1000.5), (123456.1, 123456.7), (-1e6, -999999.5), (1e-8, 4e-8), (0, 2.3e9),
     (-0.644, 0.644), (-127.3, 124), (0, 1 / 614), (-3e-9, 1e-3)],
)  # fmt: skip
def test_labels_of_ticks_read_as_what_they_are(low: float, high: float) -> None:
    ticks = np.linspace(low, high, 5)
    words = tick_words(list(ticks))
    np.testing.assert_allclose(_read(words), ticks, rtol=0, atol=(high - low) / 4 / 200 * 1.001)
    assert len(set(words.labels)) == 5
    assert all(len(label) <= 9 for label in words.labels)


def test_offset_and_power_are_written_as_matplotlib_writes_them() -> None:
    assert tick_words([0, 25, 50, 75, 100]) == TickWords(("0", "25", "50", "75", "100"))
    assert tick_words(list(np.linspace(123456.1, 123456.7, 5))).note == "+123456"
    assert tick_words([1e-8, 4e-8]).note == "×10⁻⁸"
    assert tick_words([2.5]).labels == ("2.5",)


def test_captions_of_different_scores_differ() -> None:
    assert numbers_apart([-25.3012, -25.3044, -25.3049]) == ["−25.301", "−25.304", "−25.305"]
    assert numbers_apart([1.0, 1.0]) == ["1", "1"]


@pytest.mark.parametrize(("chance", "words"), [(0.9999997, "> 99.9%"), (1.0, "> 99.9%"), (0.5, "50.0%"), (0, "< 0.1%")])
def test_a_chance_near_certainty_is_not_called_certain(chance: float, words: str) -> None:
    assert percentage(chance) == words


@pytest.mark.parametrize(
    ("share", "short", "sentence", "fine"),
    [(0, "0%", "0 %", "0 %"), (0.004, "< 1%", "less than 1 %", "0.4 %"), (0.34, "34%", "34 %", "34 %"),
     (0.996, "> 99%", "more than 99 %", "> 99 %"), (1, "100%", "100 %", "100 %"), (1.24, "124%", "124 %", "124 %")],
)  # fmt: skip
def test_a_share_is_all_or_nothing_only_where_it_is_exactly(share: float, short: str, sentence: str, fine: str) -> None:
    assert (share_words(share), share_in_words(share), fine_share(share)) == (short, sentence, fine)
