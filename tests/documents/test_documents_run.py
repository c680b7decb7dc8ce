"""The commands and Python of tutorials, how-to pages and automation run on the demo cohort, and print what is shown.

A page is run from top to bottom in one folder. Not run: blocks below `<!--- not run: reason -->`, blocks with paths of
a reader's own data (`/data/…`), and commands that install or wait for a browser; test_documents.py parses those.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from mil_heatmaps.demo.cohort import make_cohort

pytest.importorskip("sybil", reason="sybil is not installed (make install)")
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["docs/automation.md", *sorted(path.relative_to(ROOT).as_posix() for kind in ("tutorials", "how-to")
                                       for path in (ROOT / "docs" / kind).glob("*.md"))]  # fmt: skip
RUN_WHOLE = ("docs/tutorials/first_heatmap.md", "docs/tutorials/cohort.md", "docs/tutorials/looking.md",
             "docs/tutorials/five_folds.md")  # fmt: skip
"""Pages of which blocks must run; of the others those run that can."""

OWN_CONTRACT = ("docs/how-to/own_model.md", "docs/how-to/scores_of_other_programs.md", "docs/how-to/insight.md",
                "docs/how-to/slide_encoders.md")  # fmt: skip
"""Pages whose code has a test of its own, with the small files it needs."""

NOT_RUN = re.compile(r"<!--- not run: .+? -->\s*\Z")
YOURS = ("/data/", "/shared/", "my.yaml", "#SBATCH", "EXP")
WAITING = ("make", "source", "pip", "view_heatmap_sync.py", "test_heatmap_setup.py", "docker", "apptainer", "ssh", "cp",
           "git")  # fmt: skip
LOOP = re.compile(r"for (\w+) in ([^;]+); do\n(.*?)\ndone", re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a reader has after `make demo`: the templates, the cohort and the demo's run.

    It is made once for all test processes; each works in a copy of its own, in which large files are links.
    """
    mine = tmp_path_factory.mktemp("checkout")
    made = tmp_path_factory.getbasetemp()
    made = (made.parent if "PYTEST_XDIST_WORKER" in os.environ else made) / "after_make_demo"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            make_demo(mine)
            shutil.copytree(mine, made, copy_function=link_or_copy)
            return mine
    shutil.copytree(made, mine, copy_function=link_or_copy, dirs_exist_ok=True)
    return mine


def link_or_copy(source: str, target: str) -> None:
    """Link what is large, which nothing writes into, and copy the rest."""
    (os.link if os.path.getsize(source) > 1_000_000 else shutil.copy2)(source, target)


def make_demo(place: Path) -> None:
    """Do what `make demo` does."""
    shutil.copytree(ROOT / "heatmaps" / "configs", place / "heatmaps" / "configs")
    shutil.copytree(ROOT / "presets", place / "presets")
    (place / "heatmaps" / "process_lists").mkdir()
    make_cohort(place / "heatmaps" / "demo", lambda words: None)
    with contextlib.chdir(place):
        run(["create_heatmaps.py", "--config", "config_demo.yaml"])


def run(words: list[str]) -> str:
    """Run a command of the project in this process; return what it prints. An exit code other than 0 fails."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            code = import_module(f"mil_heatmaps.cli.{words[0].removesuffix('.py')}").main(words[1:])
        except SystemExit as left:  # of --version; argparse leaves with 2
            if left.code:
                raise
            code = 0
    assert code == 0, f"{shlex.join(words)} left with {code}\n{printed.getvalue()}"
    if "--json" in words:
        json.loads(printed.getvalue())
    return printed.getvalue()


class Page:
    """Runs the blocks of one page, and remembers what the last one printed."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "page"}
        self.printed: str | None = None
        self.ran = 0
        languages = ("bash", "python", "yaml", "text")
        parsers = [CodeBlockParser(language, getattr(self, language)) for language in languages]
        self.sybil = Sybil(parsers=parsers, encoding="utf-8")

    def can_run(self, example: Example) -> bool:
        """Whether a block is run here; a block that is not leaves nothing to compare with."""
        text = example.document.text[: example.region.start]
        skipped = NOT_RUN.search(text) or any(word in example.parsed for word in YOURS)
        if skipped:
            self.printed = None
        return not skipped

    def bash(self, example: Example) -> None:
        if self.can_run(example):
            self.printed = "".join(run(words) for words in self.commands(example.parsed))

    def commands(self, block: str) -> Iterator[list[str]]:
        """Yield the commands to run, loops written out."""
        unrolled = LOOP.sub(lambda loop: "\n".join(loop[3].replace(f"${loop[1]}", value) for value in loop[2].split()),
                            block)  # fmt: skip
        for line in unrolled.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            words = words[1:] if words and words[0] == "python" else words
            if words and words[0] not in WAITING:
                self.ran += 1
                yield words

    def python(self, example: Example) -> None:
        if self.can_run(example):
            self.ran += 1
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(example.parsed, example.path, "exec"), self.names)
            self.printed = printed.getvalue()

    def yaml(self, example: Example) -> None:
        """Save a config under the name that the sentence before it gives."""
        before = example.document.text[: example.region.start]
        named = re.search(r"as\s+`([\w./]+\.yaml)`:\s*\Z", before)
        if named and self.can_run(example) and not named[1].startswith("heatmaps/"):
            Path(named[1]).write_text(example.parsed)

    def text(self, example: Example) -> None:
        """Compare what a page shows with what was printed; `...` stands for anything."""
        if self.printed is None:
            return
        wanted, got = (" ".join(text.split()) for text in (example.parsed, self.printed))
        wanted = re.sub(r" ?\.\.\. ?", "...", wanted)
        assert doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS), (
            f"line {example.line} shows\n{example.parsed}\nbut it printed\n{self.printed}"
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", [page for page in PAGES if page not in OWN_CONTRACT])
def test_the_code_of_a_page_runs(name: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.syspath_prepend(str(checkout))  # `python create_heatmaps.py` has its own folder there
    page = Page()
    for example in page.sybil.parse(ROOT / name).examples():
        example.evaluate()
    if name in RUN_WHOLE:
        assert page.ran >= 3


def test_a_page_that_shows_what_is_not_printed_fails(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    shown, output = Page().sybil.parse(path).examples()
    shown.evaluate()
    with pytest.raises(AssertionError, match="shows"):
        output.evaluate()


def test_a_page_that_names_a_flag_which_is_gone_fails(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```bash\npython create_heatmaps.py --no_such_flag\n```\n")
    (example,) = Page().sybil.parse(path).examples()
    with pytest.raises(SystemExit):
        example.evaluate()
