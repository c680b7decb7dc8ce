"""A finished, running or failed run as a catalog: its lists, score files, pictures, and the places of its
slides.

Works for an experiment's folder of raw results, and for the flat folder of generate_heatmaps.py. A missing file is
reported on its slide; the other slides can be viewed.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from mil_heatmaps.choices import CASE_COLUMNS, SUM
from mil_heatmaps.cohort.cases import by_case
from mil_heatmaps.cohort.jobs import RoiIndex
from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.config.input_paths import resolve_input_path
from mil_heatmaps.config.labels import class_names_by_number
from mil_heatmaps.errors import ConfigError, HeatmapError, SlideError
from mil_heatmaps.files.names import SLIDE_EXTENSIONS
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.flat_layout import HEATMAP, FlatLayout
from mil_heatmaps.records.layout import BLOCKMAP, MASK, ExperimentLayout, SlideLayout
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, Region, RunAnswer, SlideEntry, titles_for
from mil_heatmaps.viewer.explanations import verdict_of
from mil_heatmaps.viewer.patch_lists import list_folders, study_layers
from mil_heatmaps.viewer.run_cells import believed_mpp, box_of, lists_of, prediction_of
from mil_heatmaps.viewer.run_defaults import bags_of, defaults_of, fine_map_of, fine_map_words, section, sound
from mil_heatmaps.viewer.stamps import fresh_stamp
from mil_heatmaps.words import one_line

logger = logging.getLogger(__name__)

_MOST_GROUPS = 256
"""Maximum number of folders of a run that are checked to see whether it is still in progress."""

PICTURE = f"{HEATMAP}.png"

def catalog_of_runs(folders: Sequence[Path], slide_dirs: Sequence[Path] = ()) -> Catalog:
    """Return the slides of one run, or of several runs with the scores of each, for comparison.

    Parameters
    ----------
    slide_dirs : paths
        Where to look for slides, before the folders in the run's config.

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
    lists = dict.fromkeys(path for run in runs for path in run.lists)
    return Catalog(title, entries, tuple(columns), defaults_of(runs[0].config), notes, lists=tuple(lists))


def sign_of_runs(folders: Sequence[Path]) -> str:
    """Return a value that changes as runs go on: the stamps of their lists, events and folders; reads none of them."""
    stamps = []
    for folder in folders:
        run = FinishedRun(folder)
        files = (run.process_list.path, run.results.path, run.layout.events_jsonl, folder)
        stamps += [fresh_stamp(path) for path in files]
        with suppress(OSError), os.scandir(folder) as entries:
            groups = islice((entry.path for entry in entries if entry.is_dir()), _MOST_GROUPS)
            stamps += [fresh_stamp(path) for path in groups]
    return " ".join(stamps)


def _merged(slide_id: str, runs: Sequence["_Run"], titles: Sequence[str]) -> SlideEntry:
    """Return one slide with the score files of every run; everything else comes from the first run that lists it."""
    own = next(run for run in runs if slide_id in run.ids)
    cells = own.cells.get(slide_id, {})
    slide_path, problem = _first_found(slide_id, runs)
    scores: list[NamedFile] = []
    pictures, answers = [], []
    for source, (run, title) in enumerate(zip(runs, titles, strict=True)):
        if (path := run.scores.get(slide_id)) is not None:
            scores += run.maps(slide_id, path, title if len(runs) > 1 else "", source)
        elif (path := run.pictures.get(slide_id)) is not None:
            pictures.append(NamedFile(path, title, source, run=run.name))
        if len(runs) > 1 and slide_id in run.ids:
            answers.append(RunAnswer(title, *run.answer(slide_id), run.fate(slide_id)[0]))
    status, failure = own.fate(slide_id)
    prediction, probability, number = own.answer(slide_id)
    return SlideEntry(
        slide_id,
        slide_path,
        tuple(scores),
        tuple(pictures),
        next((run.masks[slide_id] for run in runs if slide_id in run.masks), None),
        cells,
        status,
        own.class_name(cells.get("label", "")),
        prediction,
        probability,
        "; ".join(text for text in (failure, problem) if text),
        number,
        mpp=believed_mpp(cells.get("mpp", "")),
        default_mpp=believed_mpp(str(section(own.config, "data_arguments").get("slide_mpp", ""))),
        answers=tuple(answers),
        verdict=next((said for named in scores if (said := verdict_of(named.faithfulness))), ""),
    )


def _first_found(slide_id: str, runs: Sequence["_Run"]) -> tuple[Path | None, str]:
    problem = ""
    for run in runs:
        try:
            return run.slides.find(slide_id), ""
        except HeatmapError as error:
            problem = problem or one_line(error)
    return None, problem


class _Slides:
    """Where slides are: the folders given come before those in the run's config."""

    def __init__(self, given: Sequence[Path], named: Sequence[Path], extensions: tuple[str, ...]) -> None:
        self._given = SlideIndex(_once(given), extensions) if given else None
        self._all = SlideIndex(_once((*given, *named)), extensions)

    def find(self, slide_id: str) -> Path:
        """Return the file of a slide; SlideError when there is none, or several."""
        if self._given is not None and (path := self._given.get(slide_id)) is not None:
            return path
        if not self._all.folders:
            raise SlideError(f"no slide for {slide_id!r}: no folder of slides is known; give --slide_dir")
        return self._all.find(slide_id)


def _once(folders: Iterable[Path]) -> list[Path]:
    return list({folder.resolve(): folder for folder in folders}.values())


class _Run:
    """The contents of one run folder."""

    def __init__(self, folder: Path, slide_dirs: Sequence[Path]) -> None:
        if not folder.is_dir():
            raise ConfigError(f"no such folder: {folder}")
        self.notes: list[str] = []
        self.name = folder.absolute().name
        here = FinishedRun(folder)
        self.config = _config_of(here)
        self._runs = [here]
        self.scores: dict[str, Path] = {}
        self.pictures: dict[str, Path] = {}
        self.masks: dict[str, Path] = {}
        self._scan(folder)
        if not self.scores and not here.process_list.path.is_file():  # only the folder of the pictures
            for place in _raw_results(folder, self.config):
                self._runs.append(FinishedRun(place))
                self._scan(place)
                self.notes.append(
                    f"scores, outlines and lists are taken from {place}, which the config in {folder} names"
                )
        self.columns, self.cells = lists_of(self._runs)
        # A dict keeps the order and looks up at once, for cohorts of many thousands.
        self.ids = dict.fromkeys((*self.cells, *self.scores, *self.pictures))
        if not self.ids:
            raise ConfigError(
                f"{folder} holds no run: no {here.process_list.path.name} or {here.results.path.name}, no *{BLOCKMAP}, "
                f"no *{PICTURE}; give the folder of raw results (<raw_save_dir>/<save_exp_code>) or the output folder "
                "of generate_heatmaps.py"
            )
        if section(self.config, "data_arguments").get("bag") == "case":
            cases = [self.cells.get(slide_id, {}).get(CASE_COLUMNS[0], "") for slide_id in self.ids]
            self.ids = dict.fromkeys(by_case(list(self.ids), cases))
        scale = section(self.config, "heatmap_arguments").get("scale")
        if scale in ("cohort", "case"):
            whose = "all slides" if scale == "cohort" else "the slides of a case"
            self.notes.append(
                f"the run's pictures have one colour scale for {whose} (scale: {scale}); here each slide has its own "
                f"until a fixed range is chosen{'; Case shows them on one' if scale == 'case' else ''}"
            )
        self.lists = list_folders(folder, self.config)
        self.studies = [found for run in self._runs for found in study_layers(run.folder)]
        self.slides = self._slide_index(slide_dirs)
        self._outlines: RoiIndex | None = None
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

    def _slide_index(self, slide_dirs: Sequence[Path]) -> "_Slides":
        data = section(self.config, "data_arguments")
        named = data.get("data_dir")
        entries = list(named.values()) if isinstance(named, dict) else [named] if named else []
        folders: list[Path] = []
        for entry in (part for item in entries for part in ([item] if isinstance(item, str) else item)):
            try:
                folders.append(resolve_input_path(entry, None, "folder"))
            except ConfigError as error:
                if not slide_dirs:
                    self.notes.append(f"the run's slides: {error}; give --slide_dir")
        extensions = data.get("slide_ext") or SLIDE_EXTENSIONS
        return _Slides(slide_dirs, folders, (extensions,) if isinstance(extensions, str) else tuple(extensions))

    def answer(self, slide_id: str) -> tuple[str, float | None, float | None]:
        """Return the prediction, its probability, and the number where there is no class; see `prediction_of`."""
        prediction, probability, number = prediction_of(self.cells.get(slide_id, {}))
        return self.class_name(prediction) if number is None else prediction, probability, number

    def _region(self, slide_id: str, *, fine: bool) -> Region | None:
        """Return the part of a slide that the run's pictures show, if it draws a part."""
        if section(self.config, "heatmap_arguments").get("use_roi") is not True:
            return None
        data, patching = (section(self.config, name) for name in ("data_arguments", "patching_arguments"))
        by_features = data.get("h5_dir") or data.get("coords_dir")
        grid = patching.get("grid") or ("features" if by_features else "clam")
        named = data.get("roi_dir")
        if named is None:
            box = box_of(self.cells.get(slide_id, {}))
            return None if box is None else Region(box, reaching=fine and grid == "features")
        if self._outlines is None:
            places = [part for item in ([named] if isinstance(named, str) else named) for part in [item]]
            self._outlines = RoiIndex(
                tuple(Path(place) for place in places if Path(place).is_dir()), recursive=True
            )
        with suppress(HeatmapError):
            if (path := self._outlines.get(slide_id)) is not None:
                return Region(outlines=path)
        self.notes.append(f"{slide_id}: the outlines of its region of interest were not found in {named}")
        return None

    def fate(self, slide_id: str) -> tuple[str, str]:
        """Return the status of a slide and why it failed; the record overrides a list that is out of date."""
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
        region = self._region(slide_id, fine=fine is not None)
        prefix = f"{title}: " if title else ""
        beside = [
            NamedFile(path, prefix + words, source, run=self.name)
            for folder, words in self.studies
            if (path := folder / f"{slide_id}.h5").is_file()
        ]
        if names := bags_of(self.config):
            ends = [(name, paths.blockmap_of(name)) for name in (*names[1:], SUM)]
            found = [(names[0], bag), *((name, path) for name, path in ends if path.is_file())]
            return [NamedFile(path, prefix + name, source, False, self.name, region, self._features(name))
                    for name, path in found]  # fmt: skip
        features = self._features("")
        if fine is None:
            return [NamedFile(bag, title or "scores", source, False, self.name, region, features), *beside]
        return [
            NamedFile(fine, prefix + fine_map_words(self.config), source, run=self.name, region=region),
            NamedFile(bag, f"{prefix}coarse map", source, bag=True, run=self.name, feature_dirs=features),
            *beside,
        ]

    def _features(self, bag: str) -> tuple[Path, ...]:
        """Return where features may be: the folder of one bag by its name, else all folders."""
        named = section(self.config, "data_arguments").get("h5_dir")
        if bag == SUM or named is None:
            return ()
        values = [named] if not isinstance(named, dict) else [named[bag]] if bag in named else list(named.values())
        found = []
        for entry in (part for item in values for part in ([item] if isinstance(item, str) else item)):
            with suppress(ConfigError):
                found.append(resolve_input_path(entry, None, "folder"))
        return tuple(found)

    def class_name(self, text: str) -> str:
        """Return the name of a class given by number or by one of its labels."""
        return self._class_names.get(text.removesuffix(".0"), text)


def _config_of(run: FinishedRun) -> dict[str, Any]:
    """Return the run's config as plain data, empty when there is no readable config."""
    from mil_heatmaps.config.yaml_lines import read_yaml

    for path in run.configs:
        try:
            return sound(read_yaml(path)[0])
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
