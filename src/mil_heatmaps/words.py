"""Words for readers: counts, lists of names, corrected names, times, numbers, and what must be installed.

Tables and files that programs read keep plain numbers; these are for messages, pictures and pages.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise

from mil_heatmaps.errors import HeatmapError, MissingDependencyError
from mil_heatmaps.version import __version__

PROGRAM = f"mil-heatmaps {__version__}"
"""The name in figures and in the metadata of their files."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONG = 7
_MOST_REASON = 4000


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun; `plural` is for nouns that take more than an s.

    >>> counted(1, "slide"), counted(2, "patch", "patches")
    ('1 slide', '2 patches')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def first_of(names: Sequence[object], most: int) -> str:
    """Return the first `most` names and how many more there are.

    >>> first_of(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, characters that change the direction of text, and surrogates."""


def printable(text: str, keep: str = "") -> str:
    """Return a text with escapes for characters that control a terminal or a line of text, except those in `keep`.

    A byte of a name that is not UTF-8 is shown as ``\\xff``.
    """

    def escape(found: re.Match[str]) -> str:
        code = ord(found[0])
        if found[0] in keep:
            return found[0]
        if 0xDC80 <= code <= 0xDCFF:
            return f"\\x{code - 0xDC00:02x}"
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNSEEN.sub(escape, text)


def one_line(text: object) -> str:
    """Return a text, or an error's message, with every run of white space as one space."""
    return " ".join(str(text).split())


def said_by(error: BaseException, most: int = 200) -> str:
    """Return the message of another program's error, on one line; its kind if the message is empty or a bare name."""
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    text = one_line(error)[:most]
    return text if text and not isinstance(error, KeyError) else kind_and_text(error, most)


def kind_and_text(error: BaseException, most: int = 2000) -> str:
    """Return ``ValueError: its message`` on one line, ``MemoryError`` for an error without a message."""
    text = one_line(error)[:most]
    return type(error).__name__ + (f": {text}" if text else "")


def reason_of(error: BaseException) -> str:
    """Return an error on one line: the message of a `HeatmapError`, else its kind and message.

    A message may quote a file from elsewhere, with texts of any length: its beginning says what is wrong.
    """
    text = one_line(error)
    if isinstance(error, HeatmapError):
        return text if len(text) <= _MOST_REASON else f"{text[:_MOST_REASON]} …"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return f"unexpected {kind_and_text(error)}"


def near(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice most similar to `name`, or None when none is similar."""
    folded = {choice.lower(): choice for choice in choices}
    if found := get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6):
        return folded[found[0]]
    parts = set(name.lower().replace("-", "_").split("_"))
    inside = (c for c in folded if min(len(c), len(name)) > 2 and (c in name.lower() or name.lower() in c))
    sharing = (c for c in folded if parts & set(c.split("_")))
    alike = next(inside, None) or next(sharing, None)
    return None if alike is None else folded[alike]


def did_you_mean(name: str, choices: Iterable[str], before: str = "", after: str = " ") -> str:
    """Return ``did you mean 'x'? `` for a name that is no choice, an empty text when no choice is similar."""
    found = near(name, choices)
    return f"{before}did you mean {found!r}?{after}" if found else ""


def duration(seconds: float) -> str:
    """Return a time in at most two units.

    >>> duration(75), duration(7380)
    ('1 min 15 s', '2 h 3 min')
    """
    total = round(seconds)
    if total < 1:
        return f"{seconds:.1f} s"
    hours, rest = divmod(total, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {secs} s" if minutes else f"{secs} s"


def time_words(seconds: float) -> str:
    """Return a time in everyday words: ``0.4 s``, ``12 s``, ``40 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5700 else f"{seconds / 3600:.1f} h"


def number_words(value: float, digits: int = 4) -> str:
    """Return a number with `digits` significant digits and a true minus sign, also in its exponent."""
    return with_minus(f"{value:.{digits}g}")


@dataclass(frozen=True)
class TickWords:
    """The numbers at a scale's ticks: a tick is its label times ten to `power`, plus `offset`; `note` says so."""

    labels: tuple[str, ...]
    power: int = 0
    offset: float = 0.0

    @property
    def note(self) -> str:
        """What applies to all labels, as Matplotlib writes it at an axis: ``×10⁻⁷ +1000``; empty without any."""
        power = f"×10{str(self.power).translate(_RAISED)}" if self.power else ""
        offset = f"{with_minus(f'{self.offset:+.12g}')}" if self.offset else ""
        return " ".join(part for part in (power, offset) if part)


def tick_words(ticks: Sequence[float]) -> TickWords:
    """Return the numbers at the ticks of a scale, with as many decimals as the smallest step between them needs.

    A label is off by at most 1/200 of the step. The common part of all ticks becomes an offset if labels would be
    longer than seven digits; very small or large numbers share a power of ten.
    """
    finite = sorted({float(tick) for tick in ticks if math.isfinite(tick)})
    if len(finite) < 2:
        return TickWords(tuple(number_words(tick, 6) for tick in ticks))
    step, span = min(b - a for a, b in pairwise(finite)), finite[-1] - finite[0]
    most = max(abs(finite[0]), abs(finite[-1]))
    power, offset = 0, 0.0
    digits_before, decimals = math.floor(math.log10(most)) + 1, 2 - math.floor(math.log10(step))
    if max(digits_before, 1) + max(decimals, 0) > _LONG and most > 100 * span:
        unit = 10.0 ** math.ceil(math.log10(span))
        offset = math.floor(finite[0] / unit) * unit
        most = finite[-1] - offset
    if not 1e-3 <= most < 10.0 ** (_LONG - 1):
        power = math.floor(math.log10(most))
    shown = [(tick - offset) / 10.0**power for tick in ticks]
    return TickWords(tuple(_evenly(shown, step / 10.0**power)), power, offset)


def _evenly(numbers: Sequence[float], step: float) -> list[str]:
    """Return the numbers with the fewest decimals that put each within 1/200 of the step, at most eight."""
    for decimals in range(9):
        if all(not math.isfinite(n) or abs(round(n, decimals) - n) <= step / 200 for n in numbers):
            break
    return [with_minus(f"{round(n, decimals) or 0.0:.{decimals}f}") if math.isfinite(n) else "" for n in numbers]


def numbers_apart(values: Sequence[float], digits: int = 4) -> list[str]:
    """Return the numbers with `digits` significant digits, or more where different numbers would look the same.

    All have the same number of decimals, unless one needs an exponent.
    """
    different = len(set(values))
    for more in range(digits, 10):
        words = [number_words(value, more) for value in values]
        if len(set(words)) == different:
            break
    if any("e" in word or not math.isfinite(value) for word, value in zip(words, values, strict=True)):
        return words
    decimals = max((len(word.partition(".")[2]) for word in words), default=0)
    return [with_minus(f"{round(value, decimals) or 0.0:.{decimals}f}") for value in values]


def percentage(probability: float) -> str:
    """Return a probability as a percentage; one close to 1 is not shown as 100 %.

    >>> percentage(0.5), percentage(0.99999)
    ('50.0%', '> 99.9%')
    """
    if probability >= 0.9995:
        return "> 99.9%"
    return "< 0.1%" if probability < 0.0005 else f"{probability:.1%}"


def share_words(share: float) -> str:
    """Return a share of a count in whole percent: 0 and 100 % appear only where they are exact."""
    if 0 < share < 0.01:
        return "< 1%"
    return "> 99%" if 0.99 < share < 1 else f"{share:.0%}"


def share_in_words(share: float) -> str:
    """Return `share_words` for a sentence: ``34 %``, ``less than 1 %``, ``more than 99 %``."""
    return share_words(share).replace("%", " %").replace("<", "less than").replace(">", "more than")


def fine_share(share: float) -> str:
    """Return a share in percent with two significant digits, whole from 99 % on: 100 % appears only where it is exact.

    >>> fine_share(0.0044), fine_share(0.996), fine_share(1.24)
    ('0.44 %', '> 99 %', '124 %')
    """
    percent = 100 * share
    return "> 99 %" if 99 < percent < 100 else f"{percent:.0f} %" if percent >= 99 else f"{percent:.2g} %"


def with_minus(number: str) -> str:
    """Return the text of a number with true minus signs."""
    return number.replace("-", "\N{MINUS SIGN}")


def alike(*values: float, small: float = 0.95) -> list[str]:
    """Return numbers with the same decimals: one decimal or, if all are below `small`, two digits of the largest."""
    largest = max(map(abs, values), default=0.0)
    decimals = 1 if largest >= small or largest == 0 else min(12, 1 - math.floor(math.log10(largest)))
    return [with_minus(f"{round(value, decimals) + 0.0:.{decimals}f}") for value in values]


def repeated(names: Iterable[str]) -> list[str]:
    """Return, sorted, the names that stand more than once."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def whole_number(text: str) -> int | None:
    """Return a number of up to nine digits; None for any other text, such as ``²``, which `str.isdigit` calls a digit.

    Python refuses to read a number of thousands of digits.
    """
    text = text.strip()
    return int(text) if len(text) < 10 and text.isascii() and text.isdigit() else None


def grouped(number: int) -> str:
    """Return a whole number in groups of three digits with narrow spaces between: a comma could be a decimal sign."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def install_line(name: str) -> str:
    """Return the line that installs one of this project's extras."""
    return f"pip install -e '.[{name}]'"


def lacking(what: str, package: str, install: str, error: BaseException | None = None) -> MissingDependencyError:
    """Return the error that says what needs a package, and the line that installs it.

    `error` is the import's error, quoted because the package may be present and lack another one.
    """
    if error is None:
        return MissingDependencyError(f"{what} needs {package}, which is not installed: {install}")
    return MissingDependencyError(f"{what} needs the package {package} ({said_by(error)}): {install}")
