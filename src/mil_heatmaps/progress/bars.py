"""Show a cohort's progress: a bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
import time
from typing import Any

from mil_heatmaps.records.slide_run import SlideRun
from mil_heatmaps.words import counted, duration

STILL_AT_IT_S = 60.0
"""In a log file, the stage of a slide is written if the slide takes longer than this."""
LOG_LINE_EVERY_S = 10.0
"""In a log file, slides with nothing to do get a line no more often than this."""


class Progress:
    """Receives what the runner reports. This class shows nothing: it is for Python callers, and a base class."""

    def start(self, total: int) -> None:
        """The run begins, with `total` slides to go."""

    def say(self, line: str) -> None:
        """There is a line to show that is not about a slide."""

    def slide(self, slide_id: str) -> None:
        """A slide begins."""

    def stage(self, name: str) -> None:
        """The slide's next stage begins; workers do not report it."""

    def encoding(self, told: str) -> None:
        """Workers are encoding, with this progress; an empty text when they are done."""

    def finished(self, slide_id: str, run: SlideRun) -> None:
        """A slide is done or has failed."""

    def close(self) -> None:
        """The run ends."""


def describe(run: SlideRun) -> str:
    """Return in a few words what happened to a slide."""
    if run.failed:
        return f"FAILED in {run.record.failed_stage}: {run.record.error}"
    if not run.done:
        return "nothing to do"
    return f"{', '.join(run.done)} in {duration(run.seconds)}"


class TerminalBar(Progress):
    """A tqdm bar over slides that names the slide and its stage and estimates what is left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._slide = ""
        self._failed = 0

    def start(self, total: int) -> None:
        """Open the bar."""
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="slide", dynamic_ncols=True, smoothing=0.1, file=sys.stderr)

    def say(self, line: str) -> None:
        """Put a line above the bar."""
        self._bar.write(line, file=sys.stderr)

    def slide(self, slide_id: str) -> None:
        """Name the slide."""
        self._slide = slide_id if len(slide_id) <= 32 else slide_id[:15] + "…" + slide_id[-16:]
        self._bar.set_description_str(self._slide, refresh=True)

    def stage(self, name: str) -> None:
        """Name its stage."""
        failed = f"{self._failed} failed" if self._failed else ""
        self._bar.set_postfix_str(", ".join(filter(None, (name, failed))), refresh=True)

    def encoding(self, told: str) -> None:
        """Show the encoding progress of other processes; an empty text when they are done."""
        self.stage(told)

    def finished(self, slide_id: str, run: SlideRun) -> None:
        """Count the slide; failures stay on the screen above the bar."""
        if run.failed:
            self._failed += 1
            self._bar.write(f"{slide_id}: {describe(run)}", file=sys.stderr)
            self._bar.set_postfix_str(f"{self._failed} failed", refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.set_description_str("")
            self._bar.set_postfix_str("")
            self._bar.close()


class LogLines(Progress):
    """Writes one line per slide: its number, what was done, how much is left; slides with nothing to do are grouped."""

    def __init__(self) -> None:
        self._total = self._count = self._worked = self._failed = 0
        self._began = self._last_line = 0.0
        self._slide = ""

    def start(self, total: int) -> None:
        """Write how many slides there are."""
        self._total, self._began = total, time.monotonic()
        self._write(f"{counted(total, 'slide')} to go")

    def say(self, line: str) -> None:
        """Write a line."""
        self._write(line)

    def slide(self, slide_id: str) -> None:
        """Remember the slide: its line comes when it is done."""
        self._slide = slide_id

    def stage(self, name: str) -> None:
        """Write the stage of a slide that takes long; other slides get a line when they are done."""
        if time.monotonic() - self._last_line >= STILL_AT_IT_S:
            self._write(f"[{self._count + 1}/{self._total}] {self._slide}: {name}")

    def encoding(self, told: str) -> None:
        """Write the encoding progress of other processes, as a sign of life."""
        if told and time.monotonic() - self._last_line >= STILL_AT_IT_S:
            self._write(f"[{self._count} of {self._total} done] {told}")

    def finished(self, slide_id: str, run: SlideRun) -> None:
        """Write the slide's line."""
        self._count += 1
        self._failed += run.failed
        if not run.done and not run.failed:
            if self._count < self._total and time.monotonic() - self._last_line < LOG_LINE_EVERY_S:
                return
        else:
            self._worked += 1
        self._write(f"[{self._count}/{self._total}] {slide_id}: {describe(run)}{self._outlook()}")

    def _outlook(self) -> str:
        """Return speed, time left and number of failures; empty after the last slide."""
        if self._count == self._total or not self._worked:
            return ""
        each = (time.monotonic() - self._began) / self._worked  # by the clock: several slides are processed at once
        failed = f", {self._failed} failed" if self._failed else ""
        return f" - {60 / each:.1f} slides/min, about {duration(each * (self._total - self._count))} left{failed}"

    def _write(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
        self._last_line = time.monotonic()


def choose_progress() -> Progress:
    """Return a bar on a terminal, lines elsewhere."""
    return TerminalBar() if sys.stderr.isatty() else LogLines()
