"""The parts of `create_heatmaps.py` that make numbers over a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.words import counted, first_of

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config


def asked_experiments(config_file: str) -> list[str]:
    """Return the experiments that `insight_arguments.consensus` of a config names; the model they need not have.

    ConfigError where it is not a list of at least two.
    """
    from mil_heatmaps.config.config import load_config
    from mil_heatmaps.config.input_paths import resolve_input_path
    from mil_heatmaps.config.yaml_lines import read_yaml

    asked = read_yaml(resolve_input_path(config_file, None, "config"))[0].get("insight_arguments")
    told = asked.get("consensus") if isinstance(asked, Mapping) else None
    if isinstance(told, list) and len(told) > 1 and all(isinstance(name, str) and name for name in told):
        return told
    # Everything else is no consensus, or a mistake that is said with its line.
    return [] if told is None else load_config(config_file, check_files=False).insight_arguments.consensus or []


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


def insight(experiment: str, config_file: str | None, where_else: Sequence[str] | None = None) -> int:
    """Make what a config asks for of an experiment's finished slides; return the exit code."""
    from mil_heatmaps.config.config import make_config
    from mil_heatmaps.config.input_paths import resolve_input_path
    from mil_heatmaps.config.yaml_lines import read_yaml
    from mil_heatmaps.errors import ConfigError
    from mil_heatmaps.insight.runs import StudyRun

    run = StudyRun(experiment)
    own = run.run.configs
    if not own:
        raise ConfigError(f"{run.folder} keeps no config (config.yaml or run.yaml): was it made by this program?")
    values, source = dict(read_yaml(own[0].resolve())[0]), own[0].resolve()
    if config_file is not None:  # which need not hold anything else
        source = resolve_input_path(config_file, None, "config")
        values["insight_arguments"] = read_yaml(source)[0].get("insight_arguments") or {}
    config = make_config(values, source=source, check_files=False)
    if where_else is None:
        return 1 if insight_of_run(config, run.folder) else 0
    from mil_heatmaps.pipeline.search_run import search_run

    slide_id, *place = where_else
    if not all(number.isdigit() for number in place):
        raise ConfigError(f"--where_else wants a slide and two whole numbers x y, got {' '.join(where_else)}")
    paths = search_run(config, run.folder, slide_id, (int(place[0]), int(place[1])))
    print(f"where else    {paths[0].parent}: {', '.join(path.name for path in paths)}")
    return 0


def insight_of_run(config: Config, folder: Path) -> int:
    """Make numbers and sheets of a run; print what was written; return how many parts failed."""
    from mil_heatmaps.pipeline.insight_run import make_insight

    done = make_insight(config, folder, say=print)
    if done.paths:
        print(f"insight       {done.folder}: {', '.join(path.name for path in done.paths)}")
    return len(done.failed)
