"""Make process lists: from a folder of slides, or from what a run has left."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mil_heatmaps.cohort.cases import cases_told
from mil_heatmaps.cohort.slide_index import SlideIndex
from mil_heatmaps.config.tissue_parameters import read_preset_cells
from mil_heatmaps.errors import FeatureError, ProcessListError
from mil_heatmaps.features.find import FeatureIndex
from mil_heatmaps.files.csv_tables import csv_text, read_table
from mil_heatmaps.files.names import SLIDE_EXTENSIONS, comparable, stem_of
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.records.outcome_tables import SlideOutcome, input_columns, outcome_of_row, process_list_text
from mil_heatmaps.records.rows import ProcessList, ProcessRow
from mil_heatmaps.words import first_of, near


@dataclass
class NewList:
    """A process list to be written, and what was noticed while it was made.

    Attributes
    ----------
    columns : names, in order
    rows : one mapping from column to text a slide
    no_features, no_slide, no_label, no_case, unknown_labels, shared : lists of names
        Slides without features; features without a slide; slides without a label; labels for slides that are
        not there; slides whose name several files share.
    rival_features : folders that hold features of the same slides, each with how many; a run would take neither
    """

    columns: list[str]
    rows: list[dict[str, str]]
    no_features: list[str] = field(default_factory=list)
    no_slide: list[str] = field(default_factory=list)
    no_label: list[str] = field(default_factory=list)
    no_case: list[str] = field(default_factory=list)
    unknown_labels: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    rival_features: dict[Path, int] = field(default_factory=dict)

    @property
    def to_process(self) -> int:
        """How many rows will be done."""
        return sum(row.get("process", "1") == "1" for row in self.rows)

    @property
    def text(self) -> str:
        """The list as CSV."""
        return csv_text(self.columns, ([row.get(name, "") for name in self.columns] for row in self.rows))


def list_from_slides(
    slide_dirs: Sequence[Path],
    *,
    extensions: Sequence[str] = SLIDE_EXTENSIONS,
    recursive: bool = False,
    h5_dirs: Sequence[Path] = (),
    labels: Path | None = None,
    preset: Path | None = None,
    cases: Path | None = None,
    case_id_from: str | None = None,
) -> NewList:
    """Return a list of the slides below some folders.

    A slide without features (when `h5_dirs` are given), or whose name several files share, gets ``process``
    0, as a run could not do it.

    Raises
    ------
    ProcessListError
        When no slide is found, none has features, or the labels cannot be read.
    """
    slides = SlideIndex(slide_dirs, extensions, recursive=recursive)
    found = dict(sorted(slides.slides()))
    stems = list(found)
    if not stems:
        inside = "" if recursive else "; slides in folders inside are found with --recursive"
        raise ProcessListError(
            f"no slide in {first_of(slide_dirs, 5)}: nothing ends with {', '.join(extensions)}{inside}"
        )
    columns, extra = ["slide_id"], {}
    if preset is not None:
        # CLAM's lists have no column for these two, which its heatmaps do not use.
        unused = ("white_thresh", "black_thresh")
        extra = {name: text for name, text in read_preset_cells(preset).items() if name not in unused}
    labelled = read_labels(labels, extensions) if labels is not None else None
    if labelled is not None:
        columns.append("label")
    case_of = cases_told(stems, cases, case_id_from, extensions)
    if case_of is not None:
        columns.append("case_id")
    new = NewList([*columns, "process", *extra], [], shared=[stem for stem in stems if len(found[stem]) > 1])
    if h5_dirs:
        index = FeatureIndex(h5_dirs)
        names = {stem: slides.names_of(found[stem][0]) for stem in stems}
        own = {stem: index.stem_for(*names[stem]) for stem in stems}
        new.rival_features = _rivals(index, own.values())
        new.no_features = [stem for stem in stems if own[stem] is None]
        new.no_slide = sorted(set(index.by_stem) - set(own.values()))
        if len(new.no_features) == len(stems):
            look = (
                f"features there look like {new.no_slide[0]}"
                if new.no_slide
                else index.unused(*stems[:1]) or "there are no features there"
            )
            raise ProcessListError(
                f"none of the {len(stems)} slides has features in {first_of(h5_dirs, 5)}: "
                f"slides look like {stems[0]}, {look}"
            )
    if labelled is not None:
        new.no_label = [stem for stem in stems if not labelled.get(comparable(stem))]
        new.unknown_labels = sorted(set(labelled) - set(map(comparable, stems)))
    if case_of is not None:
        new.no_case = [stem for stem in stems if not case_of[stem]]
    left_out = {*new.no_features, *new.shared}
    for stem in stems:
        label = {"label": labelled.get(comparable(stem), "")} if labelled is not None else {}
        case = {"case_id": case_of[stem]} if case_of is not None else {}
        new.rows.append({"slide_id": stem, **label, **case, "process": "0" if stem in left_out else "1", **extra})
    return new


def _rivals(features: FeatureIndex, stems: Iterable[str | None]) -> dict[Path, int]:
    """Return the folders that hold features of the same slides, each with how many, as of several encoders."""
    folders: Counter[Path] = Counter()
    for stem in filter(None, stems):
        try:
            features.get(stem)
        except FeatureError:
            folders.update({path.parent for path in features.by_stem[stem]})
    return dict(sorted(folders.items()))


def read_labels(path: Path, extensions: Sequence[str] = SLIDE_EXTENSIONS) -> dict[str, str]:
    """Return the label of each slide_id, as `comparable` has it, in a table with the columns slide_id and label.

    Raises
    ------
    ProcessListError
        When a column is missing, a row names no slide, or a slide has two labels.
    """
    columns, records = read_table(path)
    for wanted in ("slide_id", "label"):
        if wanted not in columns:
            hint = near(wanted, columns)
            guess = f" (rename {hint!r}?)" if hint else ""
            raise ProcessListError(f"{path} has no column {wanted}{guess}; it has: {', '.join(columns)}")
    labels: dict[str, str] = {}
    for line, cells, _ in records:
        if not cells["slide_id"]:
            raise ProcessListError(f"{path} has a row without slide_id (line {line})")
        stem = comparable(stem_of(cells["slide_id"], extensions))
        if labels.setdefault(stem, cells["label"]) != cells["label"]:
            raise ProcessListError(
                f"{path} labels {stem!r} both {labels[stem]!r} and {cells['label']!r} (line {line})"
            )
    return labels


def read_run(experiment: Path) -> tuple[ProcessList, dict[str, SlideOutcome]]:
    """Return the rows of a run and what became of each, as its records say.

    The rows are those of the run's process list; without one, or for slides missing in it, they come from the
    records.

    Raises
    ------
    ProcessListError
        When the folder holds neither a list nor a record.
    """
    run = FinishedRun(experiment)
    listed = run.process_list.path.is_file()
    if not listed and not run.records:
        raise ProcessListError(
            f"{experiment} holds no process_list.csv and no record.json; give the experiment's folder, "
            "<raw_save_dir>/<save_exp_code>"
        )
    columns, table = run.process_list.read() if listed else (["slide_id", "label"], [])
    rows, outcomes = [], dict[str, SlideOutcome]()
    for row in table:
        name, told = row.cells.get("slide_id", ""), row.outcome
        slide_id = name if name in run.records else row.slide_id
        # What was wrong with the row itself is in no record: a second row of a slide shares the first's.
        problem = told.error if told.failed_stage == "process_list" else None
        rows.append(ProcessRow(slide_id, name, cells=row.cells, line=row.line, problem=problem or None))
        # A slide may have failed before it was opened, for want of a file; the list's word is all there is of that.
        known = slide_id in run.records and told.failed_stage != "files"
        unknown = told if told.status == "failed" else SlideOutcome()
        outcomes.setdefault(slide_id, run.outcome(slide_id) if known else unknown)
    for slide_id, path in run.records.items():
        if slide_id not in outcomes:
            group = path.parents[1].name if path.parents[1] != experiment else ""
            rows.append(ProcessRow(slide_id, slide_id, cells={"slide_id": slide_id, "label": group}))
            outcomes[slide_id] = run.outcome(slide_id)
    return ProcessList(rows, columns), outcomes


def list_from_run(experiment: Path, statuses: Iterable[str]) -> NewList:
    """Return a list of the slides of a run that have one of `statuses`, to be run again.

    Raises
    ------
    ProcessListError
        When the folder is not an experiment.
    """
    rows, outcomes = read_run(experiment)
    wanted = set(statuses)
    columns = input_columns(rows.columns)
    chosen = [row for row in rows if outcome_of_row(row, outcomes).status in wanted]
    cells = [{name: row.cells.get(name, "") for name in columns} for row in chosen]
    if "process" in columns:
        for row in cells:
            row["process"] = "1"
    return NewList(columns, cells)


def rebuilt_list(experiment: Path) -> tuple[str, dict[str, int]]:
    """Return the run's process list, made again from its records, and how many slides have each status."""
    rows, outcomes = read_run(experiment)
    counts: dict[str, int] = {}
    for row in rows:
        status = outcome_of_row(row, outcomes).status
        counts[status] = counts.get(status, 0) + 1
    return process_list_text(rows, outcomes), counts


