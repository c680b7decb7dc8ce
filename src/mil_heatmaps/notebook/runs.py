"""Run a cohort from Python and get its table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from mil_heatmaps.config.config import Config


def run(config: str | os.PathLike[str] | Mapping[str, Any] | Config, **options: Any) -> pd.DataFrame:
    """Run a config as ``create_heatmaps.py`` does, and return one row per slide.

    An error ends only its slide and is in the slide's row. In a script, put the call under
    ``if __name__ == "__main__":``, because slides are processed in separate processes.

    Parameters
    ----------
    config : path, mapping of sections, or Config
    options
        Those of `RunOptions`: ``limit``, ``slides``, ``rerun``, ``stages``, ``from_stage``, ``time_limit``, ``shard``.

    Returns
    -------
    DataFrame
        ``slide_id``, ``group``, ``status``, ``failed_stage``, ``error``, ``seconds``, ``patches``, ``prediction`` (a
        class by name), ``probability``, one column per number of a regression or survival model, ``notices`` and
        ``record`` (the path of the slide's record). ``attrs["exit_code"]`` is that of the command line.

    Raises
    ------
    ConfigError
        The config is wrong; lists every problem, before any work.
    TypeError
        There is no such option.
    """
    import pandas as pd

    from mil_heatmaps.config.config import Config, load_config, make_config
    from mil_heatmaps.pipeline.runner import Runner, RunOptions
    from mil_heatmaps.records.outcome_tables import outcome_of
    from mil_heatmaps.records.slide_record import SlideRecord

    if isinstance(config, Config):
        loaded = config
    else:
        loaded = make_config(dict(config)) if isinstance(config, Mapping) else load_config(config)
    runner = Runner(loaded, RunOptions(**options))
    exit_code = runner.run().exit_code
    rows: list[dict[str, Any]] = []
    for slide_id, job in runner.cohort.jobs.items():
        outcome = outcome_of(SlideRecord.load(job.paths.record, slide_id))
        known = bool(outcome.classes)
        rows.append({
            "slide_id": slide_id,
            "group": job.row.group,
            "status": outcome.status,
            "failed_stage": outcome.failed_stage,
            "error": outcome.error,
            "seconds": outcome.seconds,
            "patches": outcome.bag_size,
            "prediction": outcome.classes[0] if known else None,
            "probability": outcome.probabilities[0] if known else None,
            **dict(outcome.numbers),
            "notices": outcome.notes,
            "record": str(job.paths.record),
        })  # fmt: skip
    for slide_id, reason in runner.problems().items():
        rows.append({"slide_id": slide_id, "status": "failed", "failed_stage": "files", "error": reason})
    table = pd.DataFrame(rows)
    table.attrs["exit_code"] = exit_code
    return table
