"""Slides on a Dask cluster: the same bytes, and workers that die, hang, wait in a queue or are not there any more."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.cluster_section import ClusterArguments
from mil_heatmaps.config.config import load_config
from mil_heatmaps.errors import ConfigError, MissingDependencyError
from mil_heatmaps.execution import dask_cluster, dask_executor, job_watch
from mil_heatmaps.files import atomic
from mil_heatmaps.files.atomic import writer
from mil_heatmaps.machine import process_lives
from mil_heatmaps.pipeline.runner import Runner, RunSummary
from tests.execution.test_executors import make_naughty
from tests.helpers.cohort import SmallCohort, make_small_cohort
from tests.helpers.progress import Leaping, Saying
from tests.helpers.waiting import LONG_S, once, wait_until

distributed = pytest.importorskip("distributed", reason=f"needs {dask_cluster.INSTALL}")

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers that every test joins, as users join one that runs already."""
    import dask

    dask_cluster.fork_from_warm_server()
    marker = str(tmp_path_factory.mktemp("marker") / "was_there")
    # Workers begin with the environment of the server they are forked from, which may have been started long ago.
    environ = {"distributed.nanny.environ.NAUGHTY_MARKER": marker}
    with (
        pytest.MonkeyPatch.context() as patch,
        dask.config.set({"distributed.scheduler.allowed-failures": 0, **environ, **dask_cluster._LOCAL}),
    ):
        patch.setenv("NAUGHTY_MARKER", marker)
        started = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50
        )
        yield started
        started.close()


@pytest.fixture
def cohort(tmp_path: Path, cluster: Any) -> SmallCohort:
    joined = {"cluster": {"kind": "address", "address": cluster.scheduler_address}}
    return make_small_cohort(tmp_path, {"run_arguments": joined})


def run(cohort: SmallCohort, progress: Any = None) -> RunSummary:
    return Runner(load_config(cohort.write()), progress=progress).run()


def pids_of(cluster: Any) -> set[int]:
    """Return the processes of a cluster's workers, once all have one: one that died may be on its way back."""
    found: set[int | None] = set()

    def all_here() -> bool:
        found.clear()
        found.update(worker.process and worker.process.pid for worker in cluster.workers.values())
        return None not in found

    wait_until(all_here)
    return {pid for pid in found if pid}


def test_a_cluster_writes_the_same_bytes_as_a_run_alone(cohort: SmallCohort, tmp_path: Path) -> None:
    alone = make_small_cohort(tmp_path / "alone", {"run_arguments": {"workers": 1}})
    run(alone)
    progress = Saying()
    summary = run(cohort, progress)
    assert (sorted(summary.processed), summary.failed) == (["s1", "s2", "s3"], {})
    assert cohort.outputs() == alone.outputs()
    assert "scheduler tcp://" in progress.lines[0]
    assert "dashboard" in progress.lines[0]


def test_a_slide_whose_message_was_lost_has_its_result_from_the_future_and_is_done_once(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    subscribe = distributed.Client.subscribe_topic

    def lossy(self: Any, topic: str, handler: Callable[[Any], None]) -> None:
        subscribe(self, topic, lambda event: None if "run" in event[1] else handler(event))

    monkeypatch.setattr(distributed.Client, "subscribe_topic", lossy)
    caplog.set_level("INFO", logger="mil_heatmaps")
    summary = run(cohort)
    assert (sorted(summary.processed), summary.failed) == (["s1", "s2", "s3"], {})
    assert "handed in again" not in caplog.text
    assert caplog.text.count("processed in") == 3


def test_a_slide_that_kills_workers_fails_after_the_retries_and_no_other_is_blamed(cohort: SmallCohort) -> None:
    make_naughty(cohort, "Killer", retries=1)
    summary = run(cohort)
    assert sorted(summary.processed) == ["s1", "s3"], summary
    assert "its worker died" in summary.failed["s2"]
    assert "2 times" in summary.failed["s2"]


def test_a_slide_whose_worker_was_killed_is_done_elsewhere(cohort: SmallCohort) -> None:
    make_naughty(cohort, "KillerOnce", retries=1)
    Path(os.environ["NAUGHTY_MARKER"]).unlink(missing_ok=True)
    summary = run(cohort)
    assert sorted(summary.processed) == ["s1", "s2", "s3"]
    assert summary.failed == {}
    assert Path(os.environ["NAUGHTY_MARKER"]).exists()


def test_half_a_file_of_a_worker_that_died_on_another_machine_is_removed_and_others_are_kept(
    cohort: SmallCohort, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_naughty(cohort, "Killer", retries=0)
    pids = pids_of(cluster)
    here = writer().partition("-")[0]
    halves = {pid: cohort.production / f".x.{here}-{pid}-0123abcd.partial.jpg" for pid in pids}
    cohort.production.mkdir(parents=True)
    for half in halves.values():
        half.touch()
    monkeypatch.setattr(atomic, "writer", lambda: "00000000-1")  # so that the workers seem to be elsewhere
    assert list(run(cohort).failed) == ["s2"]
    assert len([pid for pid, half in halves.items() if half.exists()]) == 1


def test_a_worker_that_hangs_is_restarted_and_its_slide_given_up(
    cohort: SmallCohort, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_naughty(cohort, "Sleeper", slide_timeout=500)
    before, leaping = pids_of(cluster), Leaping()
    monkeypatch.setattr(dask_executor, "time", leaping)
    summary = run(cohort, leaping)
    assert sorted(summary.processed) == ["s1", "s3"], summary
    assert "gave up after 500 s" in summary.failed["s2"]
    wait_until(lambda: pids_of(cluster) - before)
    assert not all(process_lives(pid) for pid in before if pid)


def test_a_worker_that_is_long_in_coming_back_is_waited_for(tmp_path: Path) -> None:
    import dask

    arguments = ClusterArguments(kind="local")  # type: ignore[call-arg]
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"}),  # Dask's 15 s, on a machine so busy
        dask_cluster.open_client(arguments, workers=1, log_dir=tmp_path) as (client, _),
    ):
        (first,) = pids_of(client.cluster)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pids_of(client.cluster) - {first})
        assert client.submit(abs, -3).result(timeout=LONG_S) == 3


def test_a_stop_takes_back_slides_that_wait_for_a_worker(tmp_path: Path) -> None:
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as empty:
        address = {"cluster": {"kind": "address", "address": empty.scheduler_address}}
        cohort = make_small_cohort(tmp_path, {"run_arguments": address})
        once(lambda: empty.scheduler.tasks, lambda: os.kill(os.getpid(), signal.SIGTERM))
        summary = run(cohort)
    assert (summary.processed, summary.left, summary.exit_code) == ([], 3, 3)


def test_a_lost_scheduler_ends_the_run_and_the_next_run_finishes_it(tmp_path: Path) -> None:
    code = (  # it ends, as if killed, as soon as slides wait in it
        "import distributed, os, time\nif __name__ == '__main__':\n"
        " c = distributed.LocalCluster(n_workers=0, dashboard_address=':0', silence_logs=50)\n"
        " print(c.scheduler_address, flush=True)\n"
        " while not c.scheduler.tasks: time.sleep(0.05)\n os.kill(os.getpid(), 9)\n"
    )
    scheduler = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert scheduler.stdout is not None
    address = scheduler.stdout.readline().strip()
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"cluster": {"kind": "address", "address": address}}})
    try:
        summary = run(cohort)
    finally:
        scheduler.kill()
        scheduler.wait()
    assert summary.stopped == f"lost the Dask scheduler at {address}"
    assert summary.exit_code == 3
    cohort.config["run_arguments"] = {"workers": 1}
    assert run(cohort).processed == ["s1", "s2", "s3"]


def test_workers_that_do_not_see_the_folders_end_the_run_with_the_reason(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_executor.os, "getcwd", lambda: "/nowhere/on/this/machine")
    summary = run(cohort)
    assert "does not see the folder /nowhere/on/this/machine" in (summary.stopped or "")
    assert (summary.failed, summary.exit_code) == ({}, 3)


def test_no_scheduler_at_the_address_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_WITHIN", "1s")
    arguments = ClusterArguments(kind="address", address="tcp://127.0.0.1:9")
    with (
        pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        dask_cluster.open_client(arguments, workers=1, log_dir=tmp_path),
    ):
        pass


def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install -e '\.\[distributed\]'"):
        run(cohort)
    assert not cohort.raw.exists()


def test_a_worker_lost_before_the_slide_began_counts_as_many_deaths_as_dask_tried() -> None:
    from distributed.scheduler import KilledWorker

    from mil_heatmaps.execution.dask_executor import DaskExecutor

    executor = DaskExecutor.__new__(DaskExecutor)
    error = KilledWorker("slide-1", None, 3)  # type: ignore[arg-type]
    assert (executor.failure_of(error), executor.deaths(error)) == ("died", 4)


JOB = {"cores": 8, "memory": "32GB", "walltime": "4h", "queue": "gpu", "account": "lab", "directives": ["--gres=gpu:1"]}
SCRIPTS = {
    "slurm": ["#SBATCH -p gpu", "#SBATCH -A lab", "#SBATCH --cpus-per-task=8", "#SBATCH -t 04:00:00",
              "#SBATCH --gres=gpu:1", "#SBATCH --mem=30G"],
    "pbs": ["#PBS -q gpu", "#PBS -A lab", "#PBS -l select=1:ncpus=8:mem=30517mb", "#PBS -l walltime=04:00:00"],
    "lsf": ["#BSUB -q gpu", '#BSUB -P "lab"', "#BSUB -n 8", "#BSUB -W 04:00"],
    "sge": ["#$ -q gpu", "#$ -P lab", "#$ -l h_rt=04:00:00"],
}  # fmt: skip


@pytest.mark.parametrize("kind", SCRIPTS)
def test_jobs_ask_for_what_the_config_says(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason=f"needs {dask_cluster.INSTALL}")
    arguments = ClusterArguments(kind=kind, **JOB, prologue=["module load cuda"], dashboard=":0")  # type: ignore[arg-type]
    with dask_cluster.job_cluster(arguments, tmp_path / "logs") as jobs:
        script = jobs.job_script()
    for line in [*SCRIPTS[kind], "module load cuda", "export OMP_NUM_THREADS=1"]:
        assert line in script
    assert "--nworkers 8" in script
    assert "--nthreads 1" in script
    assert "--lifetime 12960s" in script
    assert sys.executable in script


FAKE_SBATCH = """#!/bin/bash
script="${@: -1}"
cp "$script" "$FAKE_SLURM/job.sh"
setsid bash "$FAKE_SLURM/job.sh" >"$FAKE_SLURM/job.log" 2>&1 &
echo $! >>"$FAKE_SLURM/numbers"
echo "Submitted batch job $!"
"""
FAKE_SCANCEL = """#!/bin/bash
echo "$@" >>"$FAKE_SLURM/cancelled"
for job in "$@"; do kill -- "-$job" 2>/dev/null; done
true
"""


FAKE_SQUEUE = """#!/bin/bash
for job in $(cat "$FAKE_SLURM/numbers"); do kill -0 $job 2>/dev/null && echo "$job|RUNNING|None"; done
true
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for Slurm's commands that start and end the jobs' scripts on this machine; returns their notes."""
    pytest.importorskip("dask_jobqueue", reason=f"needs {dask_cluster.INSTALL}")
    for name, text in (("sbatch", FAKE_SBATCH), ("scancel", FAKE_SCANCEL), ("squeue", FAKE_SQUEUE)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT}")
    return tmp_path


def test_a_run_on_slurm_submits_jobs_and_takes_them_back(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "ADAPT_EVERY", "1s")
    job = {"kind": "slurm", "maximum": 1, "cores": 1, "memory": "2GB", "walltime": "1h", "dashboard": ":0"}
    cohort = make_small_cohort(tmp_path / "run", {"run_arguments": {"cluster": job}})
    summary = run(cohort)
    assert sorted(summary.processed) == ["s1", "s2", "s3"], (tmp_path / "job.log").read_text()
    assert (tmp_path / "cancelled").read_text().split()
    assert "--nanny" in (tmp_path / "job.sh").read_text() or "distributed.cli" in (tmp_path / "job.sh").read_text()


def test_a_job_with_an_idle_and_a_busy_worker_is_kept_and_is_replaced_when_it_ends(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "ADAPT_EVERY", "1h")  # only when told
    monkeypatch.setattr(job_watch, "LOOK_EVERY_S", 0.5)
    arguments = ClusterArguments(kind="slurm", maximum=1, cores=2, memory="2GB")  # type: ignore[arg-type]
    numbers = slurm / "numbers"
    with dask_cluster.open_client(arguments, workers=2, log_dir=slurm / "logs") as (client, watch):
        assert watch is not None
        adapt = client.cluster._adaptive.adapt

        def look() -> bool:
            return watch.look(client.cluster, print) is None

        wait_until(lambda: look() and len(client.nthreads()) == 2)
        busy = f"until [ -e {slurm}/enough ]; do sleep 0.1; done"
        last = client.submit(os.system, busy, key="sleep-last", pure=False)
        wait_until(lambda: any(client.processing().values()))
        for _ in range(20):  # idle ones go when they were so 12 times
            client.cluster.sync(adapt)
        (slurm / "enough").touch()
        assert last.result(timeout=LONG_S) == 0
        assert not (slurm / "cancelled").exists()

        wait_until(lambda: look() and watch.jobs["SLURMCluster-0"].arrived)
        os.killpg(int(numbers.read_text()), signal.SIGKILL)
        wait_until(lambda: not client.nthreads())
        waiting = [client.submit(time.sleep, 0.1, key=f"sleep-{i}", pure=False) for i in range(20)]
        client.cluster.sync(adapt)
        assert len(numbers.read_text().split()) == 1  # Dask believes it is there
        wait_until(lambda: look() and not watch.jobs)
        client.cluster.sync(adapt)
        assert client.gather(waiting) == [None] * 20
        assert len(numbers.read_text().split()) == 2
