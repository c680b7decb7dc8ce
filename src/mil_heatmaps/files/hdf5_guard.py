"""Have another process check an HDF5 file first, for a limited time, so that this one opens only harmless files.

One checking process, started with the first file, serves this process; it checks each file once.
"""

import atexit
import json
import logging
import os
import select
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

LIMIT_S = 30.0
"""A file whose structure takes longer is given up."""

_MOST_KNOWN = 4096
_Key = tuple[str, int, int, int]
_STRUCTURE = str(Path(__file__).with_name("hdf5_structure.py"))


class _Looker:
    """The checking process; started when it is first needed, and again after a file has ended it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._known: dict[_Key, str | None] = {}
        self._asked: tuple[_Key, subprocess.Popen[str]] | None = None

    def refusal(self, path: Path) -> str | None:
        """Return why a file must not be read, None if it is harmless or h5py itself will report the error."""
        key = _key(path)
        with self._lock:
            self._take_answer()
            if key not in self._known:
                process = self._running()
                if process is None:
                    from mil_heatmaps.files import hdf5_structure  # it imports h5py, which the process beside has

                    self._know(key, hdf5_structure.answer(str(path)).get("refused"))
                else:
                    self._ask(process, path)
                    self._know(key, self._answer(process))
            return self._known[key]

    def ask_ahead(self, path: Path) -> None:
        """Have a file checked while this process goes on."""
        key = _key(path)
        with self._lock:
            self._take_answer()
            if key not in self._known and (process := self._running()) is not None:
                self._ask(process, path)
                self._asked = key, process

    def _take_answer(self) -> None:
        """Wait for the answer about the file that was asked about ahead, unless its process has been replaced."""
        asked, self._asked = self._asked, None
        if asked is not None and asked[1] is self._process and self._owner == os.getpid():
            self._know(asked[0], self._answer(asked[1]))

    def _know(self, key: _Key, refused: str | None) -> None:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = refused

    @staticmethod
    def _ask(process: "subprocess.Popen[str]", path: Path) -> None:
        assert process.stdin is not None
        with suppress(OSError):  # a process that has ended does not answer either
            process.stdin.write(json.dumps(os.path.abspath(path)) + "\n")
            process.stdin.flush()

    def _answer(self, process: "subprocess.Popen[str]") -> str | None:
        assert process.stdout is not None
        line = ""
        with suppress(OSError):
            if not select.select([process.stdout], [], [], LIMIT_S)[0]:
                self.stop()
                return f"to read its structure takes longer than {LIMIT_S:g} s, as with a damaged or hostile file"
            line = process.stdout.readline()
        if line:
            told: dict[str, str | None] = json.loads(line)
            return told.get("refused")
        code = process.wait()
        self.stop()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the HDF5 library crashes on it ({how}): the file is damaged or hostile"

    def _running(self) -> "subprocess.Popen[str] | None":
        """Return the process; None if none can be started: the file is then checked here."""
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        command = [sys.executable, "-P", _STRUCTURE]
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        pipe, void = subprocess.PIPE, subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=void, text=True, env=os.environ | one_thread
            )
        except OSError as error:
            logger.debug("no process to look at HDF5 files: %s", error)
            return None
        self._owner = os.getpid()
        return self._process

    def stop(self) -> None:
        """End the process, if this one started it."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        with suppress(OSError):
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()


def _key(path: Path) -> _Key:
    """Return what a checked file is known by."""
    found = path.stat()
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns


_LOOKER = _Looker()
atexit.register(_LOOKER.stop)


def refusal(path: Path) -> str | None:
    """Return why an HDF5 file must not be opened, in words that follow its name; None if it may be opened.

    This refuses links into other files, links in circles, datasets whose numbers lie in other files, and files on which
    the HDF5 library hangs, crashes, or takes memory without bound. Raises an OSError if there is no such file.
    """
    return _LOOKER.refusal(path)


def ask_ahead(path: Path) -> None:
    """Have a file that will be opened soon checked while this process does something else."""
    _LOOKER.ask_ahead(path)
