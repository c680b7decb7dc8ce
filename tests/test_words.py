"""Words for people."""

import pytest

from mil_heatmaps.errors import FeatureError, MissingDependencyError
from mil_heatmaps.words import (
    counted,
    did_you_mean,
    duration,
    first_of,
    grouped,
    kind_and_text,
    lacking,
    near,
    number_words,
    one_line,
    reason_of,
    said_by,
)


def test_a_noun_follows_its_number() -> None:
    assert [counted(n, "slide") for n in (0, 1, 2)] == ["0 slides", "1 slide", "2 slides"]
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_a_long_list_ends_with_how_many_more_there_are() -> None:
    assert first_of([], 3) == ""
    assert first_of(["a", "b", "c"], 3) == "a, b, c"
    assert first_of(["a", "b", "c", "d", "e"], 3) == "a, b, c and 2 more"


def test_texts_and_errors_become_one_line() -> None:
    assert one_line("  two\n lines ") == "two lines"
    assert reason_of(FeatureError("no\nfeatures")) == "no features"
    assert reason_of(FileNotFoundError(2, "No such file", "a.h5")) == "No such file (a.h5)"
    assert reason_of(KeyError("x")) == "unexpected KeyError: 'x'"
    assert reason_of(ValueError()) == "unexpected ValueError"


@pytest.mark.parametrize(
    ("name", "choices", "expected"),
    [
        ("LUDA", ["LSCC", "LUAD"], "LUAD"),
        ("Vis_Level", ["vis_level", "alpha"], "vis_level"),
        ("the_alpha_of_the_heatmap", ["vis_level", "alpha"], "alpha"),
        ("max-number", ["alpha", "max_n_holes"], "max_n_holes"),
        ("zzz", ["vis_level", "alpha"], None),
    ],
)
def test_the_name_that_was_meant_is_found(name: str, choices: list[str], expected: str | None) -> None:
    assert near(name, choices) == expected
    assert did_you_mean(name, choices) == (f"did you mean {expected!r}? " if expected else "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (0.4, "0.4 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")]
)
def test_a_time_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_have_a_true_minus_and_narrow_spaces() -> None:
    assert number_words(-1.23456e-7) == "\N{MINUS SIGN}1.235e\N{MINUS SIGN}07"
    assert grouped(1234567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"


def test_what_is_lacking_is_said_with_the_line_that_installs_it() -> None:
    absent = lacking("the viewer", "starlette", "pip install x")
    broken = lacking("encoder uni", "timm", "pip install x", ImportError("no module torchvision"))
    assert isinstance(absent, MissingDependencyError)
    assert str(absent) == "the viewer needs starlette, which is not installed: pip install x"
    assert str(broken) == "encoder uni needs the package timm (no module torchvision): pip install x"


def test_an_error_that_says_nothing_is_told_by_its_kind() -> None:
    assert said_by(MemoryError()) == "there is not enough memory for it"
    assert said_by(ValueError("two\n lines")) == "two lines"
    assert said_by(KeyError("a")) == "KeyError: 'a'"
    assert len(said_by(ValueError("x" * 999))) == 200
    assert kind_and_text(OSError(" ")) == "OSError"
