"""The config section that says how much of the machine to use."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mil_heatmaps.choices import Isolate
from mil_heatmaps.config.cluster_section import ClusterArguments, TrackArguments
from mil_heatmaps.config.quantities import Memory
from mil_heatmaps.config.section_types import Float, Int, Section, shown
from mil_heatmaps.config.sections import check_device
from mil_heatmaps.words import whole_number


def _devices(value: Any) -> Any:
    """Check ``auto``, one device, or a list of devices."""
    if not isinstance(value, (list, tuple)):
        return check_device(value)
    if not value or "auto" in value:
        raise ValueError(f"must be auto, cpu, or a list such as [cuda:0, cuda:1]; got {shown(value)}")
    return [check_device(device) for device in value]


def _workers(value: Any) -> Any:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    if isinstance(value, str) and (number := whole_number(value)):
        return number
    raise ValueError(f"must be auto or a whole number of at least 1, got {shown(value)}")


class RunArguments(Section):
    """How much of the machine to use, and when to give up on a slide."""

    workers: Annotated[int | Literal["auto"], BeforeValidator(_workers)] = Field(
        default="auto",
        description="New: slides worked on at once; auto: by cores and memory.",
    )
    devices: Annotated[str | list[str], BeforeValidator(_devices)] = Field(
        default="auto",
        description="New: auto, cpu, or a list such as [cuda:0, cuda:1].",
    )
    memory_limit: Memory | None = Field(
        default=None,
        description="New: memory to stay under, such as 16GB. null: what the machine has.",
    )
    retries: Int = Field(
        default=1,
        ge=0,
        description="New: times a slide is tried again after its worker died.",
    )
    isolate: Isolate = Field(
        default="auto",
        description="New: process a slide in a process of its own, so that a hostile file cannot end the run. "
        "auto: unless its headers are known to be harmless; always: every slide; never: as workers says.",
    )
    partial_cases: Literal["fail", "use"] = Field(
        default="fail",
        description="New: what happens to a case (data_arguments.bag) if one of its slides cannot be read. use: the "
        "case is scored without it, and every picture says so.",
    )
    slide_timeout: Float | None = Field(
        default=None,
        gt=0,
        description="New: seconds after which a slide is given up.",
    )
    cluster: ClusterArguments | None = Field(
        default=None,
        description="New: {kind: slurm, ...}: a Dask cluster instead of this machine alone; docs/how-to/cluster.md.",
    )
    track: TrackArguments | None = Field(
        default=None,
        description="New: {kind: mlflow, ...}: tell an experiment tracker about the run.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "RunArguments":
        if self.cluster is not None and self.devices not in ("auto", "cpu"):
            raise ValueError("devices names GPUs of one machine; on a cluster each worker takes its own: leave it auto")
        return self
