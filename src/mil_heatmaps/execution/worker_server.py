"""The process that workers are forked from: it imports once what every one of them needs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORKER_IMPORTS = "mil_heatmaps.execution.worker_imports"


def fresh_processes() -> Any:
    """Return a way to start workers without inherited threads, locks or CUDA state: fork from a server, or spawn."""
    return multiprocessing.get_context("forkserver" if start_server() else "spawn")


def start_server(also: Sequence[str] = ()) -> bool:
    """Start the fork server unless it runs; it imports `WORKER_IMPORTS` and `also` while this process goes on.

    Returns False, with nothing done, where there is no fork server (Windows).
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return False
    from multiprocessing import forkserver

    # The server silently skips a module that it cannot import: a test imports this one.
    multiprocessing.get_context("forkserver").set_forkserver_preload([WORKER_IMPORTS, *also])
    # The server first looks for modules in the folder it is started in, and the user's folder may hold a package of
    # the same name. The workers themselves change to the user's folder.
    before = os.getcwd()
    os.chdir(Path(__file__).resolve().parents[2])
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(before)
    return True
