"""What all slides of a run share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mil_heatmaps.records.slide_record import folder_of

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.scores.scale import CohortScale
    from mil_heatmaps.stages.model_source import ModelSource

Seen = tuple[int, int, int]
"""Size, mtime and ctime of a file."""

T = TypeVar("T")


def state_of(path: Path) -> Seen | None:
    """Return the state of a file now, None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True)
class RunSettings:
    """What all slides of a run share."""

    config: Config
    model: ModelSource
    cohort_scale: CohortScale | None = None
    cohort_bag_scales: Mapping[str, CohortScale] = field(default_factory=dict)  # of all bags but the first
    cohort_scale_digest: str | None = None
    cohort_medians: Mapping[str, float] | None = None  # by column, for maps centred there
    device: str | None = None  # where the model runs, if not on the config's device
    threads: int = 1  # cores that reading and encoding may use
    slide_threads: int | None = None  # threads that decode the slide for drawing; None: `open_slide` chooses
    token: str = field(default_factory=lambda: secrets.token_hex(8), repr=False, compare=False)  # of this run
    _dumps: dict[tuple[str, tuple[str, ...], bool], Any] = field(default_factory=dict, repr=False, compare=False)
    _folders: dict[tuple[str, Path | None], list[str]] = field(default_factory=dict, repr=False, compare=False)
    _told: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)
    case_inputs: dict[str, tuple[Seen | None, Any]] = field(default_factory=dict, repr=False, compare=False)
    """What is known of the files of a case's slides, by file, with the file's size and times then: every slide of the
    case asks for each file."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "case_inputs": {}}  # no worker needs those of all cases

    def known_of(self, path: Path, now: Seen | None, find: Callable[[], T]) -> T:
        """Return what `find` found of a file in the state `now`; it is asked where that is not known yet."""
        key = str(path)
        last = self.case_inputs.get(key)
        if last is None or last[0] is None or last[0] != now:
            last = self.case_inputs[key] = now, find()
        found: T = last[1]
        return found

    def section(self, name: str, *, exclude: tuple[str, ...] = (), filled: bool = False) -> dict[str, Any]:
        """Return a section of the config as JSON values, for a stage's inputs; computed once per run.

        `filled` leaves out what is None.
        """
        key = name, exclude, filled
        if key not in self._dumps:
            out = {*exclude, *getattr(self.config, name).not_on_record()}
            # By the whole config, which can: a section would first build a validator of its own.
            dump = self.config.model_dump(mode="json", include={name}, exclude={name: out}, exclude_none=filled)
            self._dumps[key] = dump[name]
        return dict(self._dumps[key])

    def told_space(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return those settings of coordinates that the config does not leave at their defaults."""
        if names not in self._told:
            said = {name: getattr(self.config.data_arguments, name) for name in names}
            self._told[names] = {name: value for name, value in said.items() if value not in ("auto", None)}
        return self._told[names]

    def coords_file(self, features: Path, coords_dir: Path | None) -> Path | None:
        """Return the file with the coordinates of features, if there is one; each folder is listed once per run."""
        from mil_heatmaps.features.find import coords_folders, find_coords_file

        key = folder_of(str(features)), coords_dir
        if key not in self._folders:
            self._folders[key] = coords_folders(*key)
        return find_coords_file(features, coords_dir, self._folders[key])
