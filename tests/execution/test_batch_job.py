"""What a batch job may use, told by its environment and control groups, not by the size of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from mil_heatmaps.execution import executors
from mil_heatmaps.execution.batch_job import cgroup_folders, job_bytes, job_cores


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4"}, 4),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"}, 2),
        ({"PBS_JOBID": "7.pbs", "NCPUS": "6"}, 6),
        ({"JOB_ID": "7", "NSLOTS": "3"}, 3),
        ({"LSB_JOBID": "7", "LSB_DJOB_NUMPROC": "5"}, 5),
        ({"SLURM_JOB_ID": "7"}, None),
        ({"NCPUS": "6", "SLURM_CPUS_ON_NODE": "4"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4(x2)"}, None),
    ],
)
def test_a_jobs_cores_are_read_from_its_environment(environ: dict[str, str], count: int | None) -> None:
    assert job_cores(environ) == count


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({"SLURM_MEM_PER_NODE": "16384"}, 16 << 30),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "4"}, 8 << 30),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
        ({}, None),
    ],
)
def test_a_jobs_memory_is_read_from_its_environment(environ: dict[str, str], count: int | None) -> None:
    assert job_bytes(environ) == count


def test_a_job_on_a_site_that_does_not_bind_cores_still_uses_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(executors, "cgroup_folders", lambda: [])
    monkeypatch.setattr(executors, "job_cores", lambda: 4)
    monkeypatch.setattr(executors, "job_bytes", lambda: 1 << 20)
    assert (executors.cores(), executors.available_bytes()) == (4, 1 << 20)


def test_the_narrowest_control_group_around_a_job_sets_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "cgroup" / "slurmstepd.scope" / "job_7"
    job.mkdir(parents=True)
    (job / "memory.max").write_text("max\n")
    (job.parent / "memory.max").write_text("5000\n")
    (job.parent / "memory.current").write_text("1000\n")
    (job / "cpu.max").write_text("100000 100000\n")
    own = tmp_path / "own"
    own.write_text("4:memory:/elsewhere\n0::/slurmstepd.scope/job_7\n")
    folders = cgroup_folders(tmp_path / "cgroup", own)
    assert folders == [job, job.parent, tmp_path / "cgroup"]
    monkeypatch.setattr(executors, "cgroup_folders", lambda: folders)
    assert (executors.available_bytes(), executors.cores()) == (4000, 1)
    (job.parent / "memory.stat").write_text("anon 300\ninactive_file 700\n")  # what was read counts as used
    assert executors.available_bytes() == 4700


@pytest.mark.parametrize("text", ["0::/\n", "0::/../../outside\n", ""])
def test_control_groups_are_looked_for_below_their_root_alone(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own"
    own.write_text(text)
    assert all(folder.is_relative_to(tmp_path) for folder in cgroup_folders(tmp_path, own))
    assert cgroup_folders(tmp_path, tmp_path / "none") == [tmp_path]
