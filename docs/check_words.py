"""Look for words that make a reader stop, in documents, messages and docstrings: part of `make lint`.

The list holds what readers of this project stumbled over, each with what to write instead. Headings are nouns, so that
a search of the table of contents finds them; only the title of a how-to page is a question. Exit code 1 if something is
found.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOOKED_AT = ("*.md", "docs/**/*.md", "changes/*.md", "src/mil_heatmaps/**/*.py", "heatmaps/configs/*.yaml", "*.sh",
             "*.py", "Makefile")  # fmt: skip

_COUNTED = ("class|slide|patch|map|head|score|check|set|column|row|file|job|target|stage|step|run|label|token|output|"
            "worker|square|head")  # fmt: skip
_THINGS = ("line|column|number|row|picture|file|folder|pass|scale|sigmoid|lock|value|score|map|figure|process|task|"
           "branch|name|one|page|bar|entry|colour|table|contribution|logit|curve")  # fmt: skip
WORDS = {
    rf"\b(?:(?:an?|one) (?:{_THINGS})|have one|has one|are one|one) an? (?:{_COUNTED})\b": "per: 'one row per slide'",
    r"\bmend(?:s|ed|ing)?\b": "fix, correct",
    r"\bamiss\b": "wrong",
    r"\b(?:one|single)-command face\b": "single-command interface",
    r"\bby falling\b": "in descending order of",
    r"\bstages? at hand\b": "the stages in progress",
    r"\bhot(?:test)? (?:patch(?:es)?|region|regions|area|areas|tenth|place|spot)\b": "high-attention, highest",
    r"\bthe picture without colours\b": "the slide image",
    r"\bGiven again\b": "run again",
    r"\bgive it once more\b": "run it again",
    r"\bcan be done\b": "can be processed",
    r"\blook before you leap\b": "dry run",
    r"\bof a stranger\b|\bfiles of strangers\b": "untrusted files",
    r"\bwhat mends\b": "how to fix",
    r"\butili[sz]e\b": "use",
    r"\bin order to\b": "to",
    r"\bcolor(?:s|ed|ing|less)?\b(?![_\w.:-])(?=[^`]*$)": "colour (in prose)",
}
_PROSE_ONLY = "colour (in prose)"
_FENCE = re.compile(r"^\s*```.*?^\s*```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^(#+) (.+\?)$", re.MULTILINE)


def words_of_python(source: str) -> str:
    """Return Python with everything but its comments and sentences in strings blanked; lines stay where they are."""
    lines = source.splitlines(keepends=True)
    kept = [re.sub(r"[^\n]", " ", line) for line in lines]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.STRING) or " " not in token.string:
            continue
        text = re.sub(r"\{[^{}\n]*\}", lambda match: " " * len(match[0]), token.string)
        row, column = token.start[0] - 1, token.start[1]
        for number, line in enumerate(text.split("\n")):
            begin = column if number == 0 else 0
            kept[row + number] = kept[row + number][:begin] + line + kept[row + number][begin + len(line) :]
    return "".join(kept)


def faults(name: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what stands there, what to write instead) of one file; `name` is its path in the repository."""
    prose = name.endswith(".md")
    if prose:
        for part in (_FENCE, _CODE):
            text = part.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
        for heading in HEADING.finditer(text):
            if not (heading[1] == "#" and name.startswith("docs/how-to/")):
                line = text.count("\n", 0, heading.start()) + 1
                yield line, heading[2], "a noun; questions are titles of how-to pages"
    if name.endswith(".py"):
        text = words_of_python(text)
    flat = text.replace("\n", " ")
    for pattern, instead in WORDS.items():
        if instead == _PROSE_ONLY and not prose:
            continue
        for found in re.finditer(pattern, flat, re.IGNORECASE):
            yield text.count("\n", 0, found.start()) + 1, found[0], instead


def main() -> int:
    """Print every fault; return 1 if there is one."""
    count = 0
    for pattern in LOOKED_AT:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if name == "docs/reference/command_line.md":  # made of the parsers, which are looked at themselves
                continue
            for line, found, instead in faults(name, path.read_text(encoding="utf-8")):
                count += 1
                print(f"{name}:{line}: {found!r}: write {instead}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
