"""How a cluster is told of in a config, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.config.config import load_config
from mil_heatmaps.config.quantities import clock, parse_duration
from mil_heatmaps.errors import ConfigError
from tests.helpers.cohort import make_small_cohort


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h30m", 12600), ("45m", 2700), ("04:00:00", 14400), ("1-12:00:00", 129600), ("90", 90), (90, 90), ("1d", 86400)],
)
def test_times_are_read_as_people_and_job_systems_write_them(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(clock(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "soon", 0, -5, True, "nan", "1:2"])
def test_what_is_no_time_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="3h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("cluster_keys", "message"),
    [
        ({"kind": "slrum"}, "did you mean 'slurm'"),
        ({"kind": "address"}, "address is needed"),
        ({"kind": "slurm", "address": "tcp://x:1"}, "address is for kind: address"),
        ({"kind": "slurm", "minimum": 5, "maximum": 2}, "more than maximum"),
        ({"kind": "slurm", "walltme": "4h"}, "did you mean 'walltime'"),
    ],
)
def test_a_cluster_that_cannot_be_is_a_config_error(
    tmp_path: Path, cluster_keys: dict[str, Any], message: str
) -> None:
    cohort = make_small_cohort(tmp_path, {"run_arguments": {"cluster": cluster_keys}})
    with pytest.raises(ConfigError, match=message):
        load_config(cohort.write())
