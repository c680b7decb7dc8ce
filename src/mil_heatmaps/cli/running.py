"""What the commands that run the pipeline share: the run's log, exit codes."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.cli.terminal import escaped_terminal
from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.atomic import open_to_append
from mil_heatmaps.words import printable, reason_of

if TYPE_CHECKING:
    from mil_heatmaps.pipeline.runner import Runner


def exit_code_of(command: Callable[[], int], words: Callable[[str], str] = str) -> int:
    """Run `command` and return its exit code. A HeatmapError, or an OSError of a file, gives 2 and one line.

    `words` rewrites the message in the terms of this command line.
    """
    # Pydantic would look for plugins in every installed package, which takes longer than reading a config.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Cleaning up torch at exit would take half a second; the system gets the memory back anyway.
    atexit.register(gc.freeze)
    try:
        with escaped_terminal():
            return command()
    except HeatmapError as error:
        print(printable(f"error: {words(str(error))}", keep="\n"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if not error.strerror:  # not an error of the system: a mistake of this program, which keeps its traceback
            raise
        print(printable(f"error: {reason_of(error)}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues from here", file=sys.stderr)
        return 130


def print_checkpoint(path: str, *, as_json: bool) -> int:
    """Print what a checkpoint holds, in words or as JSON; return the exit code."""
    if as_json:
        from mil_heatmaps.checkpoints.report_json import checkpoint_facts

        print(json.dumps(checkpoint_facts(path), ensure_ascii=False, indent=1, allow_nan=False))
    else:
        from mil_heatmaps.checkpoints.report import describe_checkpoint

        print(describe_checkpoint(path))
    return 0


def write_run_report(runner: Runner) -> bool:
    """Write the report if the run asks for one, and print its path; return whether all went well."""
    if not runner.config.report_arguments.wanted:
        return True
    from mil_heatmaps.report.write import write_report

    try:
        written = write_report(runner.cohort, runner.config, lambda line: print(printable(line)))
    except (HeatmapError, OSError) as error:
        print(printable(f"no report: {reason_of(error)}"), file=sys.stderr)
        return False
    as_it_was = "" if written.changed else " (nothing changed)"
    print(printable(f"report        {written.path}{as_it_was}"))
    return True


class _LogFile(logging.FileHandler):
    """Appends to a log, but never through a link to a file somewhere else."""

    def _open(self) -> TextIOWrapper:
        return open(open_to_append(Path(self.baseFilename)), "a", encoding=self.encoding, errors=self.errors)


@contextmanager
def run_log(runner: Runner, *, verbose: bool) -> Iterator[None]:
    """Log the run into its folder; the terminal shows warnings only through the summary."""
    from mil_heatmaps.pipeline.runner import check_writable

    path: Path = runner.cohort.layout.run_log
    check_writable(path.parent)
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("mil_heatmaps")
    before = root.level, root.propagate
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.addHandler(handler)
    root.propagate = False
    root.info("start: %s", " ".join(sys.argv))
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(before[0])
        root.propagate = before[1]
