"""The input of every part of `insight_run`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mil_heatmaps.config.config import Config
from mil_heatmaps.config.input_paths import resolve_input_path
from mil_heatmaps.config.insight_section import InsightArguments
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import frame_text
from mil_heatmaps.insight.runs import StudyRun


def asked_folder(config: Config, key: str) -> Path:
    """Return a folder that `insight_arguments` names. ConfigError when it is not there."""
    try:
        source = config.source
        return resolve_input_path(getattr(config.insight_arguments, key), source.parent if source else None, "folder")
    except ConfigError as error:
        raise ConfigError(f"insight_arguments.{key} names {error}") from error


@dataclass(frozen=True)
class Study:
    """A run, what is asked of it, and where results go."""

    config: Config
    run: StudyRun
    asked: InsightArguments
    out: Path
    say: Callable[[str], None]

    def input_folder(self, key: str) -> Path:
        """Return a folder that `insight_arguments` names. ConfigError when it is not there."""
        return asked_folder(self.config, key)

    def write(self, name: str, table: Any, **options: Any) -> Path:
        """Write a pandas table as CSV; return its path."""
        path = self.out / name
        write_text(path, frame_text(table, **options))
        return path
