"""How many cores and how much memory this process may use, when it collects garbage, whether a process is alive.

A container or a batch job has only a part of the machine.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_JOB_CORES = {
    "SLURM_JOB_ID": ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
    "PBS_JOBID": ("NCPUS",),
    "LSB_JOBID": ("LSB_DJOB_NUMPROC",),
    "JOB_ID": ("NSLOTS",),  # SGE
}
"""For each batch system: a variable set within a job, and the variables for its number of cores on this machine."""

_GROUP_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Names of limit, use and file cache in a control group, for version 2 and version 1."""


def cores() -> int:
    """Return how many cores this process may use, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [job_cores(), *map(_group_cores, control_groups())]
    return max(1, min([count, *(limit for limit in limits if limit is not None)]))


def cores_each(processes: int) -> int:
    """Return how many cores each of `processes` may use, at least 1."""
    return max(1, cores() // max(1, processes))


def available_bytes() -> int | None:
    """Return how much more memory this process may use; None where the system does not tell."""
    limits = [_free_bytes(), job_bytes(), *map(_group_bytes, [*control_groups(), Path("/sys/fs/cgroup/memory")])]
    return max(0, min(known)) if (known := [limit for limit in limits if limit is not None]) else None


def job_cores(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return how many cores the batch job has; None outside a job, or when the job does not tell.

    Not every site binds a job to its cores; a process would otherwise use all cores of the machine.
    """
    names = [name for job, told_by in _JOB_CORES.items() if job in environ for name in told_by]
    return min((number for name in names if (number := _number(environ.get(name)))), default=None)


def job_bytes(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return how much memory Slurm gave the job on this machine; None when it does not tell."""
    if megabytes := _number(environ.get("SLURM_MEM_PER_NODE")):
        return megabytes << 20
    each, count = _number(environ.get("SLURM_MEM_PER_CPU")), _number(environ.get("SLURM_CPUS_ON_NODE"))
    return (each * count) << 20 if each and count else None


def control_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Return the folders of the control groups (version 2) of this process, innermost first: each may set limits.

    In a container the only one is `root`. The group of a batch job is further down, with its limits.
    """
    try:
        lines = own.read_text().split("\n")
    except OSError:
        return [root]
    inside = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = root.joinpath(*(part for part in inside.split("/") if part not in ("", "..")))
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def process_lives(pid: int) -> bool:
    """Whether a process with this number exists on this machine, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process belongs to another user
        return True
    return True


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def _free_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def _group_cores(folder: Path) -> int | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def _group_bytes(folder: Path) -> int | None:
    """Return what is left below the group's limit. File cache counts as used, but the system frees it on demand."""
    for limit, used, cache in _GROUP_MEMORY:
        try:
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
        try:
            told = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return left + int(told[cache])
        except (OSError, ValueError, KeyError):
            return left
    return None


@contextmanager
def no_collection() -> Iterator[None]:
    """Disable garbage collection while hundreds of thousands of long-lived objects are created."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def kept_from_collection() -> Iterator[None]:
    """Exempt all existing objects, such as the slides of a long list, from garbage collection within the block."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
