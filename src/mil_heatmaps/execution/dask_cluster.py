"""Start or join a Dask cluster as ``run_arguments.cluster`` says."""

from __future__ import annotations

import importlib.util
import logging
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps import machine
from mil_heatmaps.config.cluster_section import JOB_KINDS, ClusterArguments
from mil_heatmaps.config.quantities import clock
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.execution.adaptive_jobs import adaptive_of, job_of_worker
from mil_heatmaps.execution.job_watch import JobWatch
from mil_heatmaps.words import install_line, kind_and_text, lacking, said_by

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

INSTALL = install_line("distributed")

# With Dask's default of three allowed failures a slide could kill four workers unnoticed. Deaths are counted here.
_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": True,
}
_LOCAL = {"distributed.deploy.lost-worker-timeout": "10 minutes"}
"""Dask gives up a lost worker after 15 s. Its nanny restarts it, which takes longer on a busy machine: the run would go
on with fewer workers, or wait forever if the worker was the last. Dask reads this value at each loss."""

CONNECT_WITHIN = "20s"
ADAPT_EVERY = "5s"
"""How often the number of jobs is adjusted to the work left."""

_LEAST_WALLTIME_S = 600.0
_CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}


def check_installed(kind: str) -> None:
    """Raise a MissingDependencyError that names what is missing and the line that installs it."""
    wanted = {"distributed": "dask.distributed", **({"dask_jobqueue": "dask-jobqueue"} if kind in JOB_KINDS else {})}
    for module, name in wanted.items():
        if importlib.util.find_spec(module) is None:
            raise lacking(f"run_arguments.cluster (kind: {kind})", name, INSTALL)


@contextmanager
def open_client(
    arguments: ClusterArguments, *, workers: int, log_dir: Path
) -> Iterator[tuple[Client, JobWatch | None]]:
    """Yield a client of the cluster, and the watch over its jobs if it has any. A cluster started here ends with it.

    Parameters
    ----------
    workers : int
        Worker processes of ``kind: local`` when `arguments` give no `maximum`.
    log_dir : Path
        Where jobs write their logs when `arguments` give no `log_dir`.

    Raises
    ------
    ConfigError
        When the cluster cannot be reached or started, or its workers run another version of this program.
    """
    check_installed(arguments.kind)
    import dask
    from distributed import Client

    _log_with_the_run()
    cluster: Any = None
    watch: JobWatch | None = None
    with dask.config.set(_SETTINGS | (_LOCAL if arguments.kind == "local" else {})):
        try:
            if arguments.kind == "address":
                client = _join(str(arguments.address))
            else:
                if arguments.kind == "local":
                    cluster = _local(arguments, workers)
                else:
                    watch = JobWatch(arguments.kind, Path(arguments.log_dir or log_dir), arguments.most_jobs)
                    cluster = job_cluster(arguments, log_dir, watch)
                    _submit(cluster, arguments, watch)
                client = Client(cluster, set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            if cluster is not None:
                cluster.close()
            raise ConfigError(f"run_arguments.cluster: {_cause(arguments, error)}") from error
        try:
            if cluster is None:
                _check_versions(client)
            yield client, watch
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def _join(address: str) -> Client:
    from distributed import Client

    if "://" not in address and (path := Path(address).expanduser()).is_file():
        return Client(scheduler_file=str(path), set_as_default=False, timeout=CONNECT_WITHIN)
    return Client(address, set_as_default=False, timeout=CONNECT_WITHIN)


def _local(arguments: ClusterArguments, workers: int) -> Any:
    """Return a cluster of processes here: `workers` of them, or between `minimum` and `maximum` where that is given."""
    from distributed import Client, LocalCluster, WorkerPlugin

    fork_from_warm_server()

    class IgnoreCtrlC(WorkerPlugin):  # type: ignore[misc]
        """Ctrl-C goes to the whole terminal; the coordinator alone answers it."""

        def setup(self, worker: Any) -> None:
            with suppress(ValueError):  # not the main thread: then it gets no signals either
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    given = arguments.maximum
    first = workers if given is None else max(1, arguments.minimum)
    settings: dict[str, Any] = {
        "n_workers": first,
        "threads_per_worker": 1,
        "processes": True,
        "memory_limit": arguments.memory if "memory" in arguments.model_fields_set else 0,
        "dashboard_address": arguments.dashboard or ":0",
        "scheduler_kwargs": {"dashboard": arguments.dashboard is not None},
        "silence_logs": logging.CRITICAL,
        **({"local_directory": arguments.scratch} if arguments.scratch else {}),
        **({"interface": arguments.interface} if arguments.interface else {}),
        **arguments.options,
    }
    cluster = LocalCluster(**settings)
    with Client(cluster, set_as_default=False) as client:
        client.register_plugin(IgnoreCtrlC(), name="ignore-ctrl-c")
    if given is not None and arguments.minimum < given:
        cluster.adapt(minimum=arguments.minimum, maximum=given, interval="1s")
    return cluster


def fork_from_warm_server() -> None:
    """Have Dask's local workers begin with everything imported, as those of `LocalPool` do."""
    import dask

    from mil_heatmaps.execution.worker_server import start_server

    if start_server(also=["distributed"]):
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})


def _submit(cluster: Any, arguments: ClusterArguments, watch: JobWatch) -> None:
    """Submit a first job and have the number of jobs follow the work. RuntimeError when the job is refused."""
    cluster.scale(jobs=1)
    watch.check_first()
    settings: dict[str, Any] = {"minimum": arguments.minimum, "maximum": arguments.most_jobs}
    if arguments.processes_per_job > 1:
        settings |= {"Adaptive": adaptive_of(arguments.processes_per_job), "worker_key": job_of_worker}
    # Also for a fixed number of jobs: nothing else replaces jobs that end. A new job would wait in its queue for
    # minutes, so idle ones are kept for one minute.
    cluster.adapt(**settings, interval=ADAPT_EVERY, wait_count=12)


def job_cluster(arguments: ClusterArguments, log_dir: Path, watch: JobWatch | None = None) -> Any:
    """Return the dask_jobqueue cluster with no job submitted yet; its ``job_script()`` shows a job's script."""
    with _own_ctrl_c():
        import dask_jobqueue

    settings = job_settings(arguments, log_dir)
    Path(settings["log_directory"]).mkdir(parents=True, exist_ok=True)
    cluster_class = getattr(dask_jobqueue, _CLASSES[arguments.kind])
    if watch is not None:
        settings["job_cls"] = watch.class_of(cluster_class.job_cls)
    return cluster_class(**settings)


@contextmanager
def _own_ctrl_c() -> Iterator[None]:
    """Keep Ctrl-C with the run: dask_jobqueue takes it over on import, and would end the program with exit code 0."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)


def job_settings(arguments: ClusterArguments, log_dir: Path) -> dict[str, Any]:
    """Return the arguments of dask_jobqueue's cluster class."""
    kind = arguments.kind
    settings: dict[str, Any] = {
        "cores": arguments.processes_per_job,  # Dask's word for threads in all; a slide takes one
        "processes": arguments.processes_per_job,
        "memory": f"{arguments.memory} B",
        "job_name": "mil-heatmaps",
        "python": arguments.python or sys.executable,
        "log_directory": arguments.log_dir or str(log_dir),
        "job_script_prologue": ["export OMP_NUM_THREADS=1", *_path_of_checkout(), *arguments.prologue],
        "job_extra_directives": list(arguments.directives),
        "scheduler_options": _dashboard_settings(arguments),
    }
    optional = {
        "queue": arguments.queue,
        "interface": arguments.interface,
        "local_directory": arguments.scratch,
        ("account" if kind in ("slurm", "pbs") else "project"): arguments.account,
    }
    settings |= {key: value for key, value in optional.items() if value is not None}
    if arguments.walltime is not None:
        text = clock(arguments.walltime)
        settings["walltime"] = text.rpartition(":")[0] if kind == "lsf" else text  # LSF: hours and minutes
        if arguments.walltime >= _LEAST_WALLTIME_S:
            # A worker that leaves before its job is ended returns its slide, which is then not blamed.
            life, spread = int(arguments.walltime * 0.9), int(arguments.walltime * 0.05)
            settings["worker_extra_args"] = ["--lifetime", f"{life}s", "--lifetime-stagger", f"{spread}s"]
    if kind == "slurm":
        settings["job_cpu"] = arguments.cores
    elif kind == "lsf":
        settings |= {"ncpus": arguments.cores, "mem": arguments.memory}
    elif kind == "pbs":
        settings["resource_spec"] = f"select=1:ncpus={arguments.cores}:mem={arguments.memory // 2**20}mb"
    return settings | arguments.options


def _path_of_checkout() -> list[str]:
    """Return the line that makes a job use a checkout's code, installed or not; empty for an installed package."""
    home = Path(__file__).resolve().parents[2]
    if not (home / "__init__.py").is_file():
        return []
    return [f"export PYTHONPATH={shlex.quote(str(home))}${{PYTHONPATH:+:$PYTHONPATH}}"]


def _dashboard_settings(arguments: ClusterArguments) -> dict[str, Any]:
    """Return the scheduler's settings: any free port if no address is given, as Dask's default may be in use."""
    return {"dashboard_address": arguments.dashboard or ":0", "dashboard": arguments.dashboard is not None}


def _check_versions(client: Client) -> None:
    """Raise a ConfigError unless the workers that are there already run this version of the program."""
    from mil_heatmaps.version import __version__

    try:
        found = client.run(_version_here, on_error="return")
    except (OSError, ValueError) as error:
        raise ConfigError(f"run_arguments.cluster: the workers do not answer: {said_by(error)}") from error
    for address, version in found.items():
        if isinstance(version, BaseException):
            raise ConfigError(
                f"run_arguments.cluster: the worker at {address} cannot run this program "
                f"({kind_and_text(version)}); start it in the same Python environment"
            )
        if version != __version__:
            raise ConfigError(
                f"run_arguments.cluster: the worker at {address} has version {version} of this program, "
                f"here it is {__version__}; results would not be the same"
            )


def _version_here() -> str:
    from mil_heatmaps.version import __version__

    return __version__


def _cause(arguments: ClusterArguments, error: BaseException) -> str:
    text = said_by(error, 2000)
    if arguments.kind == "address":
        return f"no Dask scheduler answers at {arguments.address}: {text}"
    return f"cannot start a cluster of kind {arguments.kind}: {text}"


def _log_with_the_run() -> None:
    """Send Dask's own log lines where the run's go, not across the progress bar."""
    log = logging.getLogger("distributed")
    log.handlers[:] = logging.getLogger("mil_heatmaps").handlers or [logging.NullHandler()]
    log.propagate = False


def processes_at_most(arguments: ClusterArguments, workers: int) -> int | None:
    """Return the most slides the cluster can work on at once; None when others run it."""
    if arguments.kind == "address":
        return None
    if arguments.kind == "local":
        return workers if arguments.maximum is None else arguments.maximum
    return arguments.most_jobs * arguments.processes_per_job


def cores_of_worker(arguments: ClusterArguments, workers: int) -> int:
    """Return how many cores a worker process may use; one where others run the cluster."""
    if arguments.kind == "address":
        return 1
    if arguments.kind == "local":
        return machine.cores_each(workers if arguments.maximum is None else arguments.maximum)
    return max(1, arguments.cores // arguments.processes_per_job)


def dashboard(client: Client) -> str:
    """Return the dashboard's address, "none", or what it needs."""
    if importlib.util.find_spec("bokeh") is None:
        return "none, it needs bokeh: pip install bokeh"
    try:
        return str(client.dashboard_link or "none")
    except (KeyError, ValueError, OSError):
        return "none"
