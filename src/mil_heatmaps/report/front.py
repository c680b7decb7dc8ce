"""The front of a report: what was run, with which settings, what failed and why, and each notice with its slides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mil_heatmaps.config.config import effective_yaml
from mil_heatmaps.report.slides import ReportedSlide
from mil_heatmaps.version import __version__
from mil_heatmaps.words import counted, first_of, printable

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config

SHOWN_SLIDES = 12
_OF_THE_RUN = (
    ("Model", "model"), ("Checkpoint (SHA-256)", "checkpoint_sha256"), ("Encoder", "encoder"), ("Score", "title"),
    ("Scores written by", "program_version"),
)  # fmt: skip


@dataclass
class Front:
    """The content of the front; filled slide by slide, so that no slide stays in memory.

    Attributes
    ----------
    facts : facts of the run, by name; for several values of a fact, the number of slides of each
    statuses, verdicts : number of slides of each
    failures : (slide, reason) of every slide that failed
    notices : the words with the slides they concern
    """

    config: Config
    slides: int = 0
    parts: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    notices: dict[str, list[str]] = field(default_factory=dict)
    _facts: dict[str, Counter[str]] = field(default_factory=dict)
    _last_ns: int = 0

    def add(self, slide: ReportedSlide, part: Mapping[str, Any] | None) -> None:
        """Add a slide."""
        self.slides += 1
        self.statuses[slide.status] += 1
        if slide.outcome.faithfulness:
            self.verdicts[slide.outcome.faithfulness[0]] += 1
        if slide.failure:
            self.failures.append((slide.slide_id, slide.failure))
        for notice in slide.notices:
            self.notices.setdefault(printable(notice), []).append(slide.slide_id)
        if slide.record is not None:
            times = (output.mtime_ns for stage in slide.record.stages.values() for output in stage.outputs.values())
            self._last_ns = max((self._last_ns, *times))
        if part is not None:
            self.parts += 1
            for name, key in _OF_THE_RUN:
                value = part.get(key)
                self._facts.setdefault(name, Counter())[printable(str(value)) if value else "not told"] += 1

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The facts of the run. With several models, or several attempts, each value has its number of slides."""
        found = []
        for name, values in self._facts.items():
            several = len(values) > 1
            said = "; ".join(f"{value} ({counted(n, 'slide')})" if several else value for value, n in values.items())
            found.append((name, f"mil-heatmaps {said}" if name == "Scores written by" and said != "not told" else said))
        found.append(("Task", self.config.model_arguments.task))
        found.append(("Report written by", f"mil-heatmaps {__version__}"))
        if self._last_ns:
            day = datetime.fromtimestamp(self._last_ns / 1e9, UTC)
            found.append(("Last result", f"{day.day} {day:%B %Y, %H:%M} UTC"))
        return found

    @property
    def status_words(self) -> str:
        """The number of slides, and their outcomes."""
        parts = [f"{number} {status}" for status, number in self.statuses.most_common()]
        return f"{counted(self.slides, 'slide')}: {', '.join(parts)}"

    @property
    def config_text(self) -> str:
        """The whole config, as YAML."""
        return printable(effective_yaml(self.config), keep="\n")

    def told_notices(self) -> list[tuple[str, str]]:
        """Return each notice once with the slides it concerns, those with the most slides first."""
        found = sorted(self.notices.items(), key=lambda item: -len(item[1]))
        return [(words, printable(first_of(slides, SHOWN_SLIDES))) for words, slides in found]


