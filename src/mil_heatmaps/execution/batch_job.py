"""What a batch system gave the job that this process runs in; a machine may have more, which belongs to others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_CORES = {
    "SLURM_JOB_ID": ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"),
    "PBS_JOBID": ("NCPUS",),
    "LSB_JOBID": ("LSB_DJOB_NUMPROC",),
    "JOB_ID": ("NSLOTS",),  # SGE
}
"""What is set within a job, and where it then says how many cores the job has on this machine."""


def job_cores(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return how many cores the job has; None outside a job, or when it does not say.

    Not every site binds a job to its cores, and without that the process sees all of the machine's.
    """
    names = [name for job, told_by in _CORES.items() if job in environ for name in told_by]
    return min((number for name in names if (number := _number(environ.get(name)))), default=None)


def job_bytes(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return how much memory Slurm gave the job on this machine; None when it does not say."""
    if megabytes := _number(environ.get("SLURM_MEM_PER_NODE")):
        return megabytes << 20
    each, cores = _number(environ.get("SLURM_MEM_PER_CPU")), _number(environ.get("SLURM_CPUS_ON_NODE"))
    return (each * cores) << 20 if each and cores else None


def cgroup_folders(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Return the control groups (version 2) this process is in, its own first: each may set limits.

    In a container its own is `root`; a job of a batch system is further down, where its limits are.
    """
    try:
        lines = own.read_text().split("\n")
    except OSError:
        return [root]
    inside = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = root.joinpath(*(part for part in inside.split("/") if part not in ("", "..")))
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
