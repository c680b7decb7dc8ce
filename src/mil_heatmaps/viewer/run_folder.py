"""A finished (or running, or failed) run as a catalog: its lists, score files, pictures, and where its slides
are.

Works for an experiment's folder of raw results, and for the flat folder of generate_heatmaps.py. What cannot
be found is said on the slide it concerns; the others can be looked at.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.config.input_paths import resolve_input_path
from mil_heatmaps.config.labels import class_names_by_number
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.files.names import SLIDE_EXTENSIONS
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.flat_layout import HEATMAP, FlatLayout
from mil_heatmaps.records.layout import BLOCKMAP, MASK, ExperimentLayout, SlideLayout
from mil_heatmaps.records.outcome_tables import NUMBER_PREFIX
from mil_heatmaps.slides.resolution import MPP_BELIEVED
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry, titles_for
from mil_heatmaps.viewer.run_defaults import defaults_of, fine_map_of, fine_map_words, section
from mil_heatmaps.words import number_words, one_line

logger = logging.getLogger(__name__)

PICTURE = f"{HEATMAP}.png"

Cells = dict[str, str]


def catalog_of_runs(folders: Sequence[Path], slide_dirs: Sequence[Path] = ()) -> Catalog:
    """Return the slides of one run, or of several with the scores of each, for comparison.

    Parameters
    ----------
    slide_dirs : paths
        Where to look for slides, before the folders the run's own config names.

    Raises
    ------
    ConfigError
        A folder that is missing, or holds no run.
    """
    runs = [_Run(folder, slide_dirs) for folder in folders]
    titles = titles_for([folder.absolute() for folder in folders]) if len(folders) > 1 else ["scores"]
    ids = list(dict.fromkeys(slide_id for run in runs for slide_id in run.ids))
    entries = tuple(_merged(slide_id, runs, titles) for slide_id in ids)
    columns = list(dict.fromkeys(column for run in runs for column in run.columns))
    title = " and ".join(folder.absolute().name for folder in folders)
    notes = tuple(note for run in runs for note in run.notes)
    return Catalog(title, entries, tuple(columns), defaults_of(runs[0].config), notes)


def _merged(slide_id: str, runs: Sequence["_Run"], titles: Sequence[str]) -> SlideEntry:
    """Return one slide with the score files of every run; the first run that lists it says the rest."""
    own = next(run for run in runs if slide_id in run.ids)
    cells = own.cells.get(slide_id, {})
    slide_path, problem = _first_found(slide_id, runs)
    scores, pictures = [], []
    for source, (run, title) in enumerate(zip(runs, titles, strict=True)):
        if (path := run.scores.get(slide_id)) is not None:
            scores += run.maps(slide_id, path, title if len(runs) > 1 else "", source)
        elif (path := run.pictures.get(slide_id)) is not None:
            pictures.append(NamedFile(path, title, source))
    status, failure = own.fate(slide_id)
    prediction, probability, number = _prediction(cells)
    return SlideEntry(
        slide_id,
        slide_path,
        tuple(scores),
        tuple(pictures),
        next((run.masks[slide_id] for run in runs if slide_id in run.masks), None),
        cells,
        status,
        own.class_name(cells.get("label", "")),
        own.class_name(prediction) if number is None else prediction,
        probability,
        "; ".join(text for text in (failure, problem) if text),
        number,
        mpp=_believed(cells.get("mpp", "")),
        default_mpp=_believed(str(section(own.config, "data_arguments").get("slide_mpp", ""))),
    )


def _first_found(slide_id: str, runs: Sequence["_Run"]) -> tuple[Path | None, str]:
    problem = ""
    for run in runs:
        try:
            return run.slides.find(slide_id), ""
        except HeatmapError as error:
            problem = problem or one_line(error)
    return None, problem


def _prediction(cells: Mapping[str, str]) -> tuple[str, float | None, float | None]:
    """Return what was predicted, its probability if it is a class, and the number to sort by if it is not.

    From CLAM's columns, from generate_heatmaps.py's, or from the numbers of a regression or survival model.
    """
    named = {name[len(NUMBER_PREFIX) :]: text for name, text in cells.items() if name.startswith(NUMBER_PREFIX)}
    values = {name: value for name, text in named.items() if (value := _number(text)) is not None}
    if values:
        shown = {"risk": values["risk"]} if "risk" in values else values
        words = ", ".join(f"{name} {number_words(value)}" for name, value in shown.items())
        return words, None, next(iter(shown.values()))
    name = cells.get("Pred_0") or cells.get("prediction") or ""
    text = cells.get("p_0") or ""
    if not text and (several := cells.get("probabilities")):
        numbers = [_number(part.rpartition(":")[2]) for part in several.strip("[]").replace(";", ",").split(",")]
        known = [number for number in numbers if number is not None]
        return name, max(known) if known else None, None
    return name, _number(text), None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _believed(text: str) -> float | None:
    """Return a resolution that was given by hand; None for what the run cannot have used."""
    mpp = _number(text.replace(",", "."))
    return mpp if mpp is not None and MPP_BELIEVED[0] <= mpp <= MPP_BELIEVED[1] else None


class _Run:
    """What one folder holds."""

    def __init__(self, folder: Path, slide_dirs: Sequence[Path]) -> None:
        if not folder.is_dir():
            raise ConfigError(f"no such folder: {folder}")
        self.notes: list[str] = []
        here = FinishedRun(folder)
        self.config = _config_of(here)
        self._runs = [here, *(FinishedRun(place) for place in _raw_results(folder, self.config))]
        self.scores: dict[str, Path] = {}
        self.pictures: dict[str, Path] = {}
        self.masks: dict[str, Path] = {}
        for run in self._runs:
            self._scan(run.folder)
        self.columns, self.cells = _lists_of(self._runs)
        # A dict keeps the order and is searched at once, for cohorts of many thousands.
        self.ids = dict.fromkeys((*self.cells, *self.scores, *self.pictures))
        if not self.ids:
            raise ConfigError(
                f"{folder} holds no run: no {here.process_list.path.name} or {here.results.path.name}, no *{BLOCKMAP}, "
                f"no *{PICTURE}; give the folder of raw results (<raw_save_dir>/<save_exp_code>) or the output folder "
                "of generate_heatmaps.py"
            )
        if section(self.config, "heatmap_arguments").get("scale") == "cohort":
            self.notes.append(
                "the run's pictures have one colour scale for all slides (scale: cohort); here each slide has its own "
                "until a fixed range is chosen"
            )
        self.slides = self._slide_index(slide_dirs)
        labels = section(self.config, "data_arguments").get("label_dict") or {}
        numbers = {str(name): number for name, number in labels.items()} if isinstance(labels, dict) else {}
        by_number = class_names_by_number(numbers)
        self._class_names = {str(number): name for number, name in by_number.items()}
        self._class_names |= {label: by_number[number] for label, number in numbers.items()}

    def _scan(self, place: Path) -> None:
        for here, folders, names in os.walk(place):
            folders.sort()
            for name in sorted(names):
                path = Path(here, name)
                if name.startswith("."):
                    continue
                for ending, found in ((BLOCKMAP, self.scores), (PICTURE, self.pictures), (MASK, self.masks)):
                    if name.endswith(ending):
                        found.setdefault(name[: -len(ending)], path)

    def _slide_index(self, slide_dirs: Sequence[Path]) -> SlideIndex:
        data = section(self.config, "data_arguments")
        named = data.get("data_dir")
        entries = list(named.values()) if isinstance(named, dict) else [named] if named else []
        folders = list(slide_dirs)
        for entry in (part for item in entries for part in ([item] if isinstance(item, str) else item)):
            try:
                folders.append(resolve_input_path(entry, None, "folder"))
            except ConfigError as error:
                if not slide_dirs:
                    self.notes.append(f"the run's slides: {error}; give --slide_dir")
        folders = list({folder.resolve(): folder for folder in folders}.values())
        extensions = data.get("slide_ext") or SLIDE_EXTENSIONS
        return SlideIndex(folders, (extensions,) if isinstance(extensions, str) else tuple(extensions))

    def fate(self, slide_id: str) -> tuple[str, str]:
        """Return the status of a slide and why it failed; a list that is behind gives way to the record."""
        cells = self.cells.get(slide_id, {})
        status, error = cells.get("status", ""), cells.get("error", "")
        stage = cells.get("failed_stage", "")
        if status in ("", "tbp", "running"):
            for run in self._runs:
                if (record := run.record(slide_id)) is not None:
                    status, stage, error = record.status, record.failed_stage or "", record.error or ""
                    break
        return status, f"{stage}: {error}" if stage and error else error

    def maps(self, slide_id: str, bag: Path, title: str, source: int) -> list[NamedFile]:
        """Return the scores of a slide: those of its fine map first, if the run makes one."""
        paths = SlideLayout(slide_id, bag.parent, bag.parent, bag.parent)
        key = section(self.config, "data_arguments").get("data_dir_key", "")
        fine = fine_map_of(self.config, paths, self.cells.get(slide_id, {}).get(key, ""))
        if fine is None:
            return [NamedFile(bag, title or "scores", source)]
        prefix = f"{title}: " if title else ""
        return [
            NamedFile(fine, prefix + fine_map_words(self.config), source),
            NamedFile(bag, f"{prefix}coarse map", source, bag=True),
        ]

    def class_name(self, text: str) -> str:
        """Return the name of a class given as number or as one of its labels."""
        return self._class_names.get(text.removesuffix(".0"), text)


def _config_of(run: FinishedRun) -> dict[str, Any]:
    """Return the run's config as plain data, empty when there is none that can be read."""
    from mil_heatmaps.config.yaml_lines import read_yaml

    for path in run.configs:
        try:
            return read_yaml(path)[0]
        except ConfigError as error:
            logger.warning("%s cannot be read: %s", path, error)
    return {}


def _raw_results(folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return the experiment's folder of raw results when its config names one outside of `folder`."""
    exp = section(config, "exp_arguments")
    raw, code = exp.get("raw_save_dir"), exp.get("save_exp_code")
    if not isinstance(raw, str) or not (exp.get("layout") == "flat" or isinstance(code, str)):
        return []
    here = folder.resolve()
    for root in (raw, str(folder / raw)):
        flat = exp.get("layout") == "flat"
        layout = FlatLayout.at(root, "", "") if flat else ExperimentLayout.of(root, "", "", str(code), None)
        place = layout.raw_root.resolve()
        if place.is_dir() and not place.is_relative_to(here) and not here.is_relative_to(place):
            return [place]
    return []


def _lists_of(runs: Sequence[FinishedRun]) -> tuple[list[str], dict[str, Cells]]:
    """Return the columns and rows of the first list there is, rows by slide_id."""
    for run in runs:
        if not run.columns:
            continue
        rows: dict[str, Cells] = {}
        for row in run.rows:  # a slide's second row only says that it is the second; the first one counts
            rows.setdefault(row.slide_id, row.cells)
        shown = [column for column in run.columns if any(cells[column] for cells in rows.values())]
        return [column for column in shown if column != "slide_id"], rows
    return [], {}
