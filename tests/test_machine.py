"""What a process may use: a batch job's and a container's share, not the size of the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mil_heatmaps import machine
from mil_heatmaps.errors import ModelError
from mil_heatmaps.machine import control_groups, job_bytes, job_cores, process_lives
from mil_heatmaps.models.memory import require_memory
from mil_heatmaps.slides.patch_reader import MOST_THREADS, default_threads
from mil_heatmaps.slides.reader import open_slide


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
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(machine, "control_groups", lambda: [])
    monkeypatch.setattr(machine, "job_cores", lambda: 4)
    monkeypatch.setattr(machine, "job_bytes", lambda: 1 << 20)
    assert (machine.cores(), machine.available_bytes()) == (4, 1 << 20)


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
    folders = control_groups(tmp_path / "cgroup", own)
    assert folders == [job, job.parent, tmp_path / "cgroup"]
    monkeypatch.setattr(machine, "control_groups", lambda: folders)
    assert (machine.available_bytes(), machine.cores()) == (4000, 1)
    (job.parent / "memory.stat").write_text("anon 300\ninactive_file 700\n")  # what was read counts as used
    assert machine.available_bytes() == 4700


def test_a_bag_is_not_refused_because_of_file_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("max", "5000"), ("current", "4000"), ("stat", "inactive_file 3500")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    monkeypatch.setattr(machine, "control_groups", lambda: [tmp_path])
    require_memory(4500, torch.device("cpu"), "a bag")
    with pytest.raises(ModelError, match="a bag needs about"):
        require_memory(4501, torch.device("cpu"), "a bag")


def test_control_groups_of_the_first_version_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.limit_in_bytes").write_text("5000\n")
    (tmp_path / "memory.usage_in_bytes").write_text("1500\n")
    (tmp_path / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 300\n")
    monkeypatch.setattr(machine, "control_groups", lambda: [tmp_path])
    assert machine.available_bytes() == 3800


def test_reading_slides_takes_the_cores_of_the_job_not_of_the_machine(
    tiny_slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # for numerical libraries alone
    for cores, decoding in ((1, 1), (3, 3), (64, 4)):
        monkeypatch.setattr(machine, "cores", lambda cores=cores: cores)
        with open_slide(tiny_slide) as slide, open_slide(tiny_slide, threads=2) as given:
            assert (slide.threads, given.threads) == (decoding, 2)
        assert default_threads() == min(cores, MOST_THREADS)


def test_a_process_lives_until_it_ends() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process_lives(child.pid)
    child.communicate(b"\n")
    assert not process_lives(child.pid)


@pytest.mark.parametrize("text", ["0::/\n", "0::/../../outside\n", ""])
def test_control_groups_are_looked_for_below_their_root_alone(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own"
    own.write_text(text)
    assert all(folder.is_relative_to(tmp_path) for folder in control_groups(tmp_path, own))
    assert control_groups(tmp_path, tmp_path / "none") == [tmp_path]
