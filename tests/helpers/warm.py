"""Run the program's scripts in processes forked from one that has already imported their modules.

Each run is a separate process with its own folder, environment and output, like a user's; only the seconds of
importing are saved. Tests of the program's start run it in full.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.places import ROOT
from tests.helpers.waiting import wait_until

SERVER = """
import gc, json, os, runpy, sys, traceback
gc.disable()
import cv2, h5py, openslide, pandas, PIL.Image, matplotlib.figure, torch
import mil_heatmaps.checkpoints.builder, mil_heatmaps.cli.create_heatmaps, mil_heatmaps.pipeline.runner

os.fsync = lambda descriptor: None  # nobody cuts the power
gc.freeze()  # a search for garbage among what all runs share would copy its memory into each
gc.enable()

def run(asked):
    code = 1
    try:
        os.setsid()
        out = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(asked["cwd"])
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
        sys.argv = asked["argv"]
        sys.path.insert(0, os.path.dirname(sys.argv[0]))
        exec(asked["before"], {})
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

for line in sys.stdin:
    asked = json.loads(line)
    if isinstance(asked, int):
        pid, status, used = os.wait4(asked, os.WNOHANG)
        print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_maxrss] if pid else None), flush=True)
        continue
    child = os.fork()
    if child == 0:
        run(asked)
    print(child, flush=True)
"""


class Ended(NamedTuple):
    """How a run ended: exit code, -N for signal N, and the most memory that it, or a process it waited for, had."""

    code: int
    most_kb: int


class WarmRun:
    """A run of a script in a forked process."""

    def __init__(self, program: WarmProgram, pid: int, output: Path) -> None:
        self.pid, self.output = pid, output
        self._program = program
        self._ended: Ended | None = None

    def ended(self) -> Ended | None:
        """Return how it ended, None while it lives."""
        if self._ended is None and (told := self._program.ask(self.pid)) is not None:
            self._ended = Ended(*told)
        return self._ended

    def wait(self) -> Ended:
        """Return how it ended, once it has."""
        wait_until(self.ended, f"the end of a run that said {self.said()}", every_s=0.01)
        assert self._ended is not None
        return self._ended

    def said(self) -> str:
        """Return all that it printed."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def signal(self, number: int) -> None:
        """Send it a signal, as its terminal would."""
        os.kill(self.pid, number)


class WarmProgram:
    """A process that has imported the program of this checkout; close it after use."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=ROOT, env=environ, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, asked: Any) -> Any:
        """Return the server's answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())

    def start(self, script: str, arguments: Sequence[object], cwd: Path, output: Path, before: str = "") -> WarmRun:
        """Start a script of the checkout in `cwd`; its output goes into `output`. Code in `before` runs first."""
        argv = [str(ROOT / script), *map(str, arguments)]
        pid = self.ask({"argv": argv, "cwd": str(cwd), "output": str(output), "before": before})
        return WarmRun(self, pid, output)

    def close(self) -> None:
        """End the process."""
        self._server.communicate()
