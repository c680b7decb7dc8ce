"""Run the program's scripts in processes forked from one that has already imported their modules.

Each run is a separate process with its own folder, environment and output, like a user's; only the seconds of
importing are saved. Tests of the program's start run it in full.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.helpers.places import ROOT

SERVER = """
import json, os, runpy, sys, traceback
import cv2, h5py, openslide, pandas, PIL.Image, matplotlib.figure, torch
import mil_heatmaps.checkpoints.builder, mil_heatmaps.cli.create_heatmaps, mil_heatmaps.pipeline.runner

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
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
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmProgram:
    """A process that has imported the program of this checkout; close it after use."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=ROOT, env=environ, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, script: str, arguments: Sequence[str], cwd: Path, output: Path) -> int:
        """Run a script of the checkout in `cwd`; its output goes into `output`. Return its exit code."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        asked = {"argv": [str(ROOT / script), *arguments], "cwd": str(cwd), "output": str(output)}
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._server.communicate()
