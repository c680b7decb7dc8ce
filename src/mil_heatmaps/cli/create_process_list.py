"""`create_process_list.py`: a process list from a folder of slides, or from the folder of a run.

Heavy imports come after the arguments are parsed, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.choices import STATUSES
from mil_heatmaps.cli.parsing import CommandParser
from mil_heatmaps.cli.running import exit_code_of
from mil_heatmaps.errors import ProcessListError
from mil_heatmaps.words import counted, first_of

if TYPE_CHECKING:
    from mil_heatmaps.cohort.make_process_list import NewList

EPILOG = """examples:
  python create_process_list.py --slide_dir slides --slide_ext .svs --output heatmaps/process_lists/my.csv
  python create_process_list.py --slide_dir slides --recursive --labels labels.csv \\
      --h5_dir job/20x_256px_0px_overlap/features_uni_v2 --preset presets/bwh_biopsy.csv --output my.csv
  python create_process_list.py --from_run heatmaps/heatmap_raw_results/EXP --status failed --output again.csv
  python create_process_list.py --from_run heatmaps/heatmap_raw_results/EXP     rebuild the run's own list

exit codes: 0 written, 2 nothing written"""

SHOWN = 5


def build_parser() -> CommandParser:
    """Return the command line's parser."""
    parser = CommandParser(
        "create_process_list.py",
        "--slide_dir DIR [options] | --from_run EXPERIMENT [--status STATUS]",
        "Write the list of slides for create_heatmaps.py, one row per slide.",
        EPILOG,
    )
    new = parser.add_argument_group("a new list")
    new.add_argument("--slide_dir", nargs="+", metavar="DIR", help="folder of the slides, or several")
    new.add_argument("--recursive", action="store_true", help="look in folders inside, too")
    new.add_argument(
        "--slide_ext", nargs="+", metavar="EXT", help="only these extensions, such as .svs .tiff"
    )
    new.add_argument(
        "--h5_dir", nargs="+", metavar="DIR", help="folder of features; slides without any get process 0"
    )
    new.add_argument("--labels", metavar="CSV", help="table with the columns slide_id and label")
    new.add_argument("--cases", metavar="CSV", help="table with slide_id and case_id (or patient_id, patient)")
    new.add_argument(
        "--case_id_from", metavar="REGEX",
        help="take the case from the slide's name: the expression's first group, or all of it; tcga: 12 letters",
    )  # fmt: skip
    new.add_argument(
        "--preset", metavar="CSV", help="write a preset's parameters into every row, to be edited there"
    )
    old = parser.add_argument_group("from a run")
    old.add_argument(
        "--from_run", metavar="DIR", help="the experiment's folder, <raw_save_dir>/<save_exp_code>"
    )
    old.add_argument(
        "--status",
        nargs="+",
        choices=STATUSES,
        metavar="STATUS",
        help=f"only slides with this status ({', '.join(STATUSES)}); without it the run's list is rebuilt",
    )
    parser.add_argument("--output", metavar="CSV", help="where to write; default in heatmaps/process_lists")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if (options.slide_dir is None) == (options.from_run is None):
        parser.error("give --slide_dir for a new list, or --from_run for one from a run")
    unfitting = ("status",) if options.slide_dir else ("recursive", "slide_ext", "h5_dir", "labels", "preset", "cases",
                                                               "case_id_from")  # fmt: skip
    for name in unfitting:
        if getattr(options, name):
            parser.error(f"--{name} does not go with {'--slide_dir' if options.slide_dir else '--from_run'}")
    return exit_code_of(lambda: _from_slides(options) if options.slide_dir else _from_run(options))


def _from_slides(options: argparse.Namespace) -> int:
    from mil_heatmaps.cohort.make_process_list import list_from_slides
    from mil_heatmaps.config.input_paths import resolve_input_path
    from mil_heatmaps.files.names import SLIDE_EXTENSIONS

    output = _output(options, "process_list.csv")
    extensions = tuple("." + ext.strip().lstrip(".") for ext in options.slide_ext or SLIDE_EXTENSIONS)
    new = list_from_slides(
        [resolve_input_path(folder, None, "folder") for folder in options.slide_dir],
        extensions=extensions,
        recursive=options.recursive,
        h5_dirs=[resolve_input_path(folder, None, "folder") for folder in options.h5_dir or ()],
        labels=resolve_input_path(options.labels) if options.labels else None,
        cases=resolve_input_path(options.cases) if options.cases else None,
        case_id_from=options.case_id_from,
        preset=resolve_input_path(options.preset, None, "preset") if options.preset else None,
    )
    print(f"found {counted(len(new.rows), 'slide')} in {', '.join(options.slide_dir)}")
    if options.h5_dir:
        print(f"  {len(new.rows) - len(new.no_features)} of them with features")
    if new.rival_features:
        found = ", ".join(f"{folder} ({counted(n, 'slide')})" for folder, n in new.rival_features.items())
        print(
            f"  warning: the same slides have features in several folders: {found}; a run cannot choose between them: "
            "name the one of the model's encoder here (--h5_dir) and in the config (data_arguments.h5_dir)"
        )
    _say("have no features (process 0)", "has no features (process 0)", new.no_features)
    _say("have features but no slide", "has features but no slide", new.no_slide)
    _say(
        "share their name with another file (process 0)",
        "is the name of several files (process 0)",
        new.shared,
    )
    _say("have no case, and are one each", "has no case, and is one of its own", new.no_case)
    _say("have no label", "has no label", new.no_label)
    _say("have a label but no slide", "has a label but no slide", new.unknown_labels)
    if "label" in new.columns:
        counts = Counter(row["label"] for row in new.rows if row["label"])
        print(
            "labels: "
            + (", ".join(f"{name} {count}" for name, count in sorted(counts.items())[:20]) or "none")
        )
    _write(output, new)
    return 0


def _from_run(options: argparse.Namespace) -> int:
    from mil_heatmaps.cohort.make_process_list import list_from_run, rebuilt_list
    from mil_heatmaps.config.input_paths import resolve_input_path
    from mil_heatmaps.files.atomic import write_text

    experiment = resolve_input_path(options.from_run, None, "folder")
    if options.status:
        output = _output(options, f"{experiment.name}_{'_'.join(options.status)}.csv")
        new = list_from_run(experiment, options.status)
        if not new.rows:
            raise ProcessListError(
                f"no slide of {options.from_run} is {' or '.join(options.status)}; nothing written"
            )
        _write(output, new)
        return 0
    text, counts = rebuilt_list(experiment)
    # The run's own list is made from its records, so overwriting it loses nothing of the user's.
    output = _output(options, "") if options.output else experiment / "process_list.csv"
    write_text(output, text)
    total = counted(sum(counts.values()), "slide")
    print(f"wrote {output}: {total} ({', '.join(f'{status} {n}' for status, n in sorted(counts.items()))})")
    return 0


def _output(options: argparse.Namespace, default: str) -> Path:
    """Return where to write; refuse a file that must not be replaced before any work is done."""
    output = Path(options.output) if options.output else Path("heatmaps/process_lists") / default
    if output.is_dir():
        raise ProcessListError(f"{output} is a folder; --output needs a file name")
    if output.exists() and not options.overwrite:
        raise ProcessListError(f"{output} exists; give another --output, or --overwrite")
    if file := next((place for place in output.parents if place.is_file()), None):
        raise ProcessListError(f"cannot write {output}: {file} is a file, not a folder")
    return output


def _write(output: Path, new: NewList) -> None:
    from mil_heatmaps.files.atomic import write_text

    write_text(output, new.text)
    print(f"wrote {output}: {counted(len(new.rows), 'row')}, {new.to_process} to process")
    where = f"data_arguments.process_list: {output.as_posix()}"
    print(f"next: put {where} into the config, then run create_heatmaps.py --config")


def _say(many: str, one: str, names: Sequence[str]) -> None:
    """Print how many names there are, and the first of them."""
    if names:
        print(f"  {counted(len(names), one, many)}: {first_of(names, SHOWN)}")


if __name__ == "__main__":
    sys.exit(main())
