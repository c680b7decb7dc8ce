"""Jobs that are refused, wait, or end before their worker comes: told soon, replaced, and never waited for forever.

With stand-ins for `sbatch`, `squeue` and `scancel`; what they print is what Slurm 22.05 prints.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.cluster_section import ClusterArguments
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.execution import dask_cluster, job_watch
from mil_heatmaps.execution.job_watch import JobWatch, last_words, what_it_said
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from tests.helpers.cohort import make_small_cohort
from tests.helpers.progress import Saying
from tests.helpers.waiting import once, wait_until

pytest.importorskip("dask_jobqueue", reason=f"needs {dask_cluster.INSTALL}")

ROOT = Path(__file__).resolve().parents[2]
REFUSED = """echo "sbatch: error: invalid partition specified: nosuch" >&2
echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2
exit 1"""
TAKEN = """number=$(( $(cat "$FAKE/number" 2>/dev/null || echo 6) + 1 )); echo $number >"$FAKE/number"
echo "Submitted batch job $number" """
ENDS = TAKEN + """
log=$(sed -n 's/^#SBATCH -e //p' "${@: -1}"); echo "module: command not found" >"${log/\\%J/$number}" """


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what writes the stand-ins, each a line of shell."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    for name, seconds in (("LOOK_EVERY_S", 0.2), ("TELL_AFTER_S", 0.4)):
        monkeypatch.setattr(job_watch, name, seconds)

    def write(**commands: str) -> None:
        for name, text in ({"scancel": 'echo "$@" >>"$FAKE/cancelled"', "squeue": "true"} | commands).items():
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/bash\n{text}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return write


def run(tmp_path: Path, progress: Saying | None = None, **keys: Any) -> RunSummary:
    job = {"kind": "slurm", "maximum": 1, "memory": "2GB", "queue": "nosuch", **keys}
    cohort = make_small_cohort(tmp_path / "run", {"run_arguments": {"cluster": job}})
    return Runner(load_config(cohort.write()), progress=progress).run()


def test_a_refused_first_job_is_a_config_error_in_the_batch_systems_words(
    tmp_path: Path, slurm: Callable[..., None]
) -> None:
    slurm(sbatch=REFUSED)
    with pytest.raises(ConfigError, match=r"kind slurm: sbatch refused the job: .*invalid partition specified: nosuch"):
        run(tmp_path)


def test_no_batch_system_here_is_a_config_error(
    tmp_path: Path, slurm: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ConfigError, match="sbatch"):
        run(tmp_path)


@pytest.mark.parametrize("least", [0, 1])
def test_jobs_that_end_before_a_worker_comes_are_replaced_and_then_end_the_run(
    tmp_path: Path, slurm: Callable[..., None], monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(dask_cluster, "ADAPT_EVERY", "200ms")
    slurm(sbatch=ENDS)
    summary = run(tmp_path, minimum=least)
    stopped = summary.stopped or ""
    assert stopped.startswith("3 jobs ended before a worker came, the last 9 ("), stopped
    assert stopped.endswith("mil-heatmaps-9.err: module: command not found)")
    assert (summary.exit_code, summary.left, summary.failed) == (3, 3, {})


@pytest.mark.slow
def test_a_job_that_waits_is_told_with_its_reason_and_cancelled_at_a_stop(
    tmp_path: Path, slurm: Callable[..., None]
) -> None:
    slurm(sbatch=TAKEN, squeue='echo >>"$FAKE/asked"; echo "7|PENDING|Priority"')
    progress, told, asked = Saying(), "no worker yet: job 7 is pending (Priority)", tmp_path / "asked"

    def told_and_asked_again() -> bool:
        if told not in progress.lines:
            asked.unlink(missing_ok=True)
        return asked.exists() and asked.stat().st_size > 5

    once(told_and_asked_again, lambda: os.kill(os.getpid(), signal.SIGINT))
    summary = run(tmp_path, progress)
    assert progress.lines.count(told) == 1
    assert (summary.stopped, summary.exit_code) == ("SIGINT received", 3)
    assert "7" in (tmp_path / "cancelled").read_text().split()


class Here:
    """A cluster with workers."""

    def __init__(self, *observed: str) -> None:
        self.observed = set(observed)
        self.dropped: list[str] = []

    def scale_down(self, names: list[str]) -> None:
        self.dropped += names

    def sync(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)


class Queue:
    """A batch system's list of jobs, and a clock that goes on by `step_s` whenever it is read."""

    def __init__(self) -> None:
        self.listed: str | None = ""
        self.asked: list[list[str]] = []
        self.step_s = 100.0  # longer than anything is waited for
        self._now = 0.0

    def run_command(self, command: list[str]) -> str | None:
        self.asked.append(command)
        return self.listed

    def clock(self) -> float:
        self._now += self.step_s
        return self._now


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def watch(tmp_path: Path, queue: Queue) -> JobWatch:
    return JobWatch("slurm", tmp_path, most_jobs=1, run_command=queue.run_command, clock=queue.clock)


def test_a_job_whose_workers_are_here_is_kept_also_when_the_queue_does_not_list_it(watch: JobWatch) -> None:
    watch.accepted("SLURMCluster-1", "7")
    watch.accepted("SLURMCluster-10", "8")
    cluster = Here("SLURMCluster-1-1")
    assert watch.look(cluster, pytest.fail) is None
    assert cluster.dropped == ["SLURMCluster-10"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_job_of_several_workers_that_ends_after_they_came_is_replaced_and_counts_as_no_early_end(
    watch: JobWatch, queue: Queue, asked: bool
) -> None:
    queue.listed = "7|RUNNING|None\n" if asked else None
    queue.step_s = 0.75 * job_watch.GONE_AFTER_S
    watch.accepted("J-1", "7")
    assert watch.look(Here("J-1-0", "J-1-1"), pytest.fail) is None
    cluster = Here()
    assert watch.look(cluster, lambda line: None) is None
    assert cluster.dropped == []  # its workers may be between two lives
    if asked:
        queue.listed = ""
    assert watch.look(cluster, lambda line: None) is None
    assert cluster.dropped == ["J-1"]
    assert watch.early_ends == 0


def test_a_job_with_one_worker_that_came_is_dasks_to_replace(watch: JobWatch) -> None:
    watch.accepted("J-1", "7")
    assert watch.look(Here("J-1"), pytest.fail) is None
    cluster = Here()
    assert watch.look(cluster, lambda line: None) is None
    assert cluster.dropped == []


def test_a_job_that_dask_takes_back_is_no_early_end(
    tmp_path: Path, slurm: Callable[..., None], watch: JobWatch
) -> None:
    slurm(sbatch=TAKEN)
    arguments = ClusterArguments(kind="slurm", maximum=1, memory="2GB")  # type: ignore[arg-type]
    with dask_cluster.job_cluster(arguments, tmp_path / "logs", watch) as jobs:
        jobs.scale(jobs=1)
        watch.check_first()
        jobs.sync(jobs.scale_down, list(jobs.worker_spec))
        assert (tmp_path / "cancelled").read_text().split() == ["7"]
        assert watch.look(jobs, pytest.fail) is None
        assert watch.early_ends == 0


def test_a_job_that_is_taken_back_leaves_another_of_its_name(watch: JobWatch) -> None:
    watch.accepted("J-1", "8")
    watch.taken_back("J-1", "7")
    cluster = Here()
    watch.look(cluster, lambda line: None)
    assert cluster.dropped == ["J-1"]


def test_a_second_job_that_is_refused_does_not_end_a_run_that_has_one(
    tmp_path: Path, slurm: Callable[..., None]
) -> None:
    slurm(sbatch=f'if mkdir "$FAKE/first" 2>/dev/null; then sleep 0.3; {TAKEN}; else {REFUSED}; fi')
    arguments = ClusterArguments(kind="slurm", minimum=2, maximum=3, memory="2GB")  # type: ignore[arg-type]
    with dask_cluster.open_client(arguments, workers=1, log_dir=tmp_path / "logs") as (client, watch):
        assert watch is not None
        client.cluster.sync(client.cluster._adaptive.adapt)
        wait_until(lambda: watch.refusal is not None)
        assert "invalid partition" in (watch.refusal or "")
        assert watch.jobs["SLURMCluster-0"].number == "7"


def test_a_job_of_four_workers_that_waits_keeps_its_place_for_two_slides_and_goes_without_any(
    tmp_path: Path, slurm: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "ADAPT_EVERY", "1h")  # only when told
    slurm(sbatch=TAKEN)
    arguments = ClusterArguments(kind="slurm", maximum=2, cores=4, memory="2GB")  # type: ignore[arg-type]
    with dask_cluster.open_client(arguments, workers=1, log_dir=tmp_path / "logs") as (client, _):

        def adapt() -> None:
            for _ in range(14):  # what is not needed goes when it was so 12 times
                client.cluster.sync(client.cluster._adaptive.adapt)

        slides = [client.submit(time.sleep, 0, key=f"sleep-{number}", pure=False) for number in range(2)]
        wait_until(lambda: client.cluster.sync(client.cluster._adaptive.target) > 0)
        adapt()
        assert not (tmp_path / "cancelled").exists()
        client.cancel(slides)
        wait_until(lambda: client.cluster.sync(client.cluster._adaptive.target) == 0)
        adapt()
        assert (tmp_path / "cancelled").read_text().split() == ["7"]
        assert list(client.cluster.worker_spec) == []


@pytest.mark.parametrize(
    ("kind", "mine", "other"),
    [
        ("slurm", "mil-heatmaps-7.err", "mil-heatmaps-17.err"),
        ("lsf", "LSFCluster-1-7.err", "LSFCluster-7-12.err"),
        ("pbs", "mil-heatmaps.e7", "mil-heatmaps.e17"),
        ("pbs", "7.server.ER", "17.server.ER"),
        ("sge", "mil-heatmaps.o7", "mil-heatmaps.o70"),
    ],
)
def test_the_last_words_are_the_jobs_own(tmp_path: Path, kind: str, mine: str, other: str) -> None:
    (tmp_path / other).write_text("of another\n")
    assert "it wrote nothing" in last_words(kind, tmp_path, "7")
    (tmp_path / mine).write_text("mine\n")
    assert last_words(kind, tmp_path, "7") == f" ({tmp_path / mine}: mine)"


def test_the_queue_is_asked_for_who_runs_this_whatever_logname_says(
    watch: JobWatch, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    watch.accepted("J-1", "7")
    watch.look(Here(), lambda line: None)
    assert [command[2:4] for command in queue.asked] == [["--user", str(os.getuid())]]


@pytest.mark.parametrize(
    ("command", "printed"),
    [(["sh", "-c", "echo 7"], "7\n"), (["sh", "-c", "echo 7; exit 1"], None), (["/no/such/squeue"], None)],
)
def test_a_command_that_fails_tells_nothing(command: list[str], printed: str | None) -> None:
    assert job_watch.run_command(command) == printed


def test_early_ends_count_from_the_last_worker_that_came(watch: JobWatch) -> None:
    told: list[str] = []
    for number in range(2):
        watch.accepted(f"J-{number}", str(number))
        assert watch.look(Here(), told.append) is None
    watch.accepted("J-2", "2")
    assert watch.look(Here("J-2"), told.append) is None
    for number in range(3, 5):
        watch.accepted(f"J-{number}", str(number))
        assert watch.look(Here(), told.append) is None
    watch.accepted("J-5", "5")
    assert "3 jobs ended before a worker came, the last 5" in (watch.look(Here(), told.append) or "")


def test_a_queue_that_does_not_answer_ends_no_job(watch: JobWatch, queue: Queue) -> None:
    queue.listed = None
    watch.accepted("J-1", "7")
    cluster, told = Here(), list[str]()
    assert watch.look(cluster, told.append) is None
    assert cluster.dropped == []
    assert told[0].startswith("no worker yet: waiting for job 7; see squeue, logs in ")


def test_a_job_refused_later_is_tried_again_and_ends_nothing(watch: JobWatch) -> None:
    watch.accepted("J-1", "7")
    watch.refused("J-2", RuntimeError("Command:\nsbatch x.sh\nstdout:\n\nstderr:\nsbatch: error: QOSMaxSubmitJob\n"))
    cluster = Here("J-1")
    assert watch.look(cluster, pytest.fail) is None
    assert cluster.dropped == ["J-2"]


def test_the_batch_systems_words_are_found_in_dask_jobqueues_report() -> None:
    report = "Exit code: 1\nCommand:\nqsub /tmp/x.sh\nstdout:\n\nstderr:\nno\nsuch queue\n"
    assert what_it_said(RuntimeError(report)) == "qsub refused the job: no such queue"
    assert what_it_said(FileNotFoundError(2, "No such file", "sbatch")) == "[Errno 2] No such file: 'sbatch'"


@pytest.mark.slow
def test_ctrl_c_stays_with_the_run_when_dask_jobqueue_is_imported(tmp_path: Path) -> None:
    code = (
        "import signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGINT, mine := lambda *_: None)\n"
        "from mil_heatmaps.config.cluster_section import ClusterArguments\n"
        "from mil_heatmaps.execution.dask_cluster import job_cluster\n"
        "with job_cluster(ClusterArguments(kind='slurm'), Path(sys.argv[1])):\n"
        "    print('dask_jobqueue' in sys.modules, signal.getsignal(signal.SIGINT) is mine)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
