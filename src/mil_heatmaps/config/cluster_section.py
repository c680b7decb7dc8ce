"""The sections ``run_arguments.cluster`` and ``run_arguments.track``: a Dask cluster, an experiment tracker."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mil_heatmaps.config.quantities import Duration, Memory
from mil_heatmaps.config.section_types import Int, Section, Text

JOB_KINDS = ("slurm", "pbs", "lsf", "sge")


class ClusterArguments(Section):
    """New: work on a Dask cluster: jobs of a batch system, one that runs already, or worker processes here."""

    kind: Literal["slurm", "pbs", "lsf", "sge", "address", "local"] = Field(
        description="slurm, pbs, lsf, sge: workers are jobs of that system; address: join a Dask scheduler that runs "
        "already; local: worker processes on this machine.",
    )
    address: Text | None = Field(
        default=None,
        description="For address: tcp://HOST:8786, or the path of Dask's scheduler file.",
    )
    maximum: Int | None = Field(
        default=None,
        ge=1,
        description="Most jobs at once (local: most processes). null: 8 jobs; local: run_arguments.workers.",
    )
    minimum: Int = Field(
        default=0,
        ge=0,
        description="Jobs kept while the run is on; between this and maximum their number follows the work left.",
    )
    cores: Int = Field(default=1, ge=1, description="Cores a job asks for.")
    processes: Int | None = Field(
        default=None,
        ge=1,
        description="Worker processes in a job, each with one slide at a time. null: one per core; with a GPU use 1.",
    )
    memory: Memory = Field(
        default=4_000_000_000,
        description="Memory a job asks for, such as 32GB; its processes share it evenly.",
    )
    walltime: Duration | None = Field(default=None, description="Time a job asks for, such as 04:00:00 or 4h.")
    queue: Text | None = Field(default=None, description="Queue or partition.")
    account: Text | None = Field(default=None, description="Account or project that is charged.")
    directives: list[Text] = Field(
        default_factory=list,
        description="Further lines of the job's header, such as --gres=gpu:1 (SGE: -pe smp 8 for more than one core).",
    )
    prologue: list[Text] = Field(
        default_factory=list,
        description="Shell lines before the worker starts, such as module load cuda.",
    )
    python: Text | None = Field(
        default=None, description="Python of the workers. null: the one that runs this program."
    )
    interface: Text | None = Field(default=None, description="Network interface the workers reach, such as ib0.")
    scratch: Text | None = Field(default=None, description="Folder on a worker's own disk for Dask's files.")
    log_dir: Text | None = Field(default=None, description="Folder of the jobs' logs. null: <experiment>/dask_logs.")
    dashboard: Text | None = Field(
        default=":0", description="Address of Dask's dashboard, such as :8787; :0: any free port; null: none."
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Anything else for dask_jobqueue's cluster class (local: LocalCluster), as it stands there.",
    )

    @model_validator(mode="after")
    def _complete(self) -> ClusterArguments:
        if self.kind == "address" and not self.address:
            raise ValueError("address is needed with kind: address, such as tcp://login1:8786")
        if self.kind != "address" and self.address:
            raise ValueError(f"address is for kind: address, but kind is {self.kind}")
        if self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum is {self.minimum}, more than maximum {self.maximum}")
        return self

    @property
    def processes_per_job(self) -> int:
        """How many worker processes a job starts."""
        return self.processes or self.cores

    @property
    def most_jobs(self) -> int:
        """How many jobs there may be at once."""
        return max(self.minimum, 8) if self.maximum is None else self.maximum


class TrackArguments(Section):
    """New: tell an experiment tracker the config, the summary and some pictures at the end of the run."""

    kind: Literal["mlflow", "wandb"] = Field(description="mlflow or wandb.")
    experiment: Text | None = Field(
        default=None, description="Name of the experiment (wandb: project). null: mil-heatmaps."
    )
    run_name: Text | None = Field(
        default=None,
        description="Name of the run. null: save_exp_code; in the flat layout without one, the output folder's name.",
    )
    uri: Text | None = Field(
        default=None,
        description="mlflow: tracking server or folder, file:///...; wandb: folder of its files. null: as its own "
        "environment variables say.",
    )
    offline: bool = Field(default=False, description="wandb: keep everything on this machine, for wandb sync later.")
    slides: list[Text] = Field(
        default_factory=list, description="Slides whose pictures are sent. Empty: the first pictures of the list."
    )
    pictures: Int = Field(default=8, ge=0, description="Slides whose pictures are sent when slides is empty.")
    tags: dict[str, Text] = Field(default_factory=dict, description="Tags of the run, name to text.")

    def describe(self) -> str:
        """Return the tracker and its address, for the log."""
        return f"{self.kind} ({self.uri or 'its default place'})"
