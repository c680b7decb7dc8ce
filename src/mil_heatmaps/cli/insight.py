"""The parts of `create_heatmaps.py` that make numbers over a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mil_heatmaps.words import counted, first_of

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config


def consensus(
    experiments: Sequence[str], config_file: str | None, overrides: Mapping[str, Any], *, dry_run: bool
) -> tuple[Config, list[str], int]:
    """Make the score files of a consensus; return the config that draws them, the slides, and how many failed."""
    from mil_heatmaps.config.input_paths import resolve_input_path
    from mil_heatmaps.config.yaml_lines import read_yaml
    from mil_heatmaps.insight.runs import common_slides
    from mil_heatmaps.pipeline.consensus_run import consensus_config, make

    values = source = None
    if config_file is not None:
        source = resolve_input_path(config_file, None, "config")
        values = read_yaml(source)[0]
    config, runs = consensus_config(experiments, values, overrides, source=source)
    if dry_run:
        common = common_slides(runs)
        print(f"would make the consensus of {first_of(list(runs), 8)} on {counted(len(common), 'slide')}, and draw it")
        return config, common, 0
    done = make(config, runs, print)
    print(f"{done.words}; {', '.join(path.name for path in done.tables)} in {done.tables[0].parent}")
    return config, done.made, len(done.failed)
