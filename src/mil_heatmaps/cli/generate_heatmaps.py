"""`generate_heatmaps.py`: heatmaps from flags alone. The flags become a config, which the same pipeline runs.

Heavy imports come after the arguments are parsed, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mil_heatmaps.cli.plan import print_plan
from mil_heatmaps.cli.running import exit_code_of, print_checkpoint, run_log, write_run_report
from mil_heatmaps.cli.simple_parser import PROG, build_parser
from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.words import counted, first_of

if TYPE_CHECKING:
    from mil_heatmaps.cohort.matching import Matching
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.config.from_flags import SimpleOptions
    from mil_heatmaps.models.base import MILModel
    from mil_heatmaps.pipeline.runner import Runner

SHOWN = 5
TRIED = 3
"""How many feature files are compared with the model before any work; one that fits is enough."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = build_parser()
    arguments = sys.argv[1:] if argv is None else list(argv)
    if not arguments:
        return parser.lacking("give --checkpoint, --h5_dir (or --job_dir), --slide_dir and --output_dir")
    args = parser.parse_args(arguments)
    if args.json and not (args.dry_run or args.inspect_checkpoint):
        return parser.lacking("--json goes with --dry_run or --inspect_checkpoint")
    return exit_code_of(lambda: _chosen(args), _flag_words)


def _chosen(args: argparse.Namespace) -> int:
    """Look at a checkpoint, or run."""
    if args.inspect_checkpoint:
        return print_checkpoint(args.inspect_checkpoint, as_json=args.json)
    return _run(args)


def _flag_words(message: str) -> str:
    """Return a message with flags in place of config keys."""
    from mil_heatmaps.config.from_flags import name_flags

    return name_flags(message)


def _run(args: argparse.Namespace) -> int:
    from mil_heatmaps.cli.summary import summary_text
    from mil_heatmaps.cohort.matching import match
    from mil_heatmaps.config.from_flags import name_flags, simple_config
    from mil_heatmaps.files.atomic import write_text
    from mil_heatmaps.pipeline.runner import Runner, RunOptions, check_writable
    from mil_heatmaps.progress.bars import choose_progress

    options, notes = _options(args)
    simple_config(options, None)  # what is wrong with the flags shows before the folders are searched
    found = match(options.slides, options.features, options.slide_extensions, args.csv, options.output)
    for line in [*notes, *_found(found, args.csv)]:
        print(line, file=sys.stderr if args.json else sys.stdout)
    with ExitStack() as stack:
        process_list = options.process_list
        if not options.output.exists():
            stack.callback(_remove_beginnings, options)
        if args.dry_run:
            process_list = Path(stack.enter_context(tempfile.TemporaryDirectory())) / process_list.name
        else:
            check_writable(process_list.parent)
        write_text(process_list, found.text)
        config = simple_config(options, process_list)
        rerun = "all" if args.overwrite else None
        runner = Runner(config, RunOptions(limit=args.limit, rerun=rerun), choose_progress())
        if args.dry_run:
            return print_plan(runner, as_json=args.json)
        model = _check_width(runner)
        with run_log(runner, verbose=args.verbose):
            summary = runner.run()
        stack.pop_all()
    print(name_flags(summary_text(summary)))
    reported = write_run_report(runner)
    if model is not None and _cheap_to_measure(model, config):
        print("how far can these maps be believed? --faithfulness measures it, here in about a pass over the features")
    return summary.exit_code if reported else summary.exit_code or 1


def _options(args: argparse.Namespace) -> tuple[SimpleOptions, list[str]]:
    """Return the options with every folder found, and a line for each that was found without having been named."""
    from mil_heatmaps.config.from_flags import KEY_OF_FLAG, SimpleOptions

    features, slides, output, outlines, notes = _of_job(args) if args.job_dir is not None else _of_folders(args)
    needed = {
        "--checkpoint": args.checkpoint or args.concepts,
        "--h5_dir (or --job_dir)": features,
        "--slide_dir": slides,
        "--output_dir": output,
    }
    if missing := [flag for flag, value in needed.items() if not value]:
        raise ConfigError(f"give {', '.join(missing)}; {PROG} --help shows examples")
    assert output is not None
    _check_inputs(args.checkpoint, features, slides, args.csv)
    given = {key: getattr(args, flag) for flag, key in KEY_OF_FLAG.items()}
    if args.concepts is not None:
        given["data_arguments.concepts"] = str(args.concepts.absolute())
        given[KEY_OF_FLAG["score"]] = args.score or "similarity_to"
    given[KEY_OF_FLAG["figure"]] = _figure(args)
    if args.beside_dir is not None:
        given["data_arguments.beside_dir"] = str(args.beside_dir.absolute())
    if args.cases is not None:
        given |= {"data_arguments.cases": str(args.cases.absolute()), "data_arguments.bag": args.bag or "case"}
    options = SimpleOptions(
        checkpoint=args.checkpoint,
        output=output,
        slides=tuple(slides),
        features=tuple(features),
        outlines=outlines,
        extensions=tuple(args.slide_ext),
        class_names=tuple(args.class_names),
        classes=tuple(args.classes),
        segment=not args.no_segment,
        top_patches=args.top_patches,
        explanation=dict(args.explain_setting),
        exports=tuple(args.export),
        settings={key: value for key, value in given.items() if value is not None and value != []},
    )
    return options, notes


def _figure(args: argparse.Namespace) -> Any:
    """Return what the flags of the figure say, as the config has it; any of them asks for a figure."""
    options = {"format": args.figure_format, "width_mm": args.figure_width_mm, "dpi": args.figure_dpi}
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return args.figure or args.beside_dir is not None
    return given | ({"preset": args.figure} if isinstance(args.figure, str) else {})


class _Folders(NamedTuple):
    """Where a run's inputs and outputs are, as far as the flags say."""

    features: Sequence[Path]
    slides: Sequence[Path]
    output: Path | None
    outlines: Path | None
    notes: list[str]


def _of_job(args: argparse.Namespace) -> _Folders:
    """Return the folders of a TRIDENT job."""
    from mil_heatmaps.cohort.trident_job import find_trident_job

    if args.h5_dir:
        raise ConfigError("give --job_dir or --h5_dir, not both")
    slides = args.slide_dir or []
    job = find_trident_job(args.job_dir, args.coords_dir, args.patch_encoder, slides[0] if slides else None)
    outlines = None if args.no_segment else job.outlines
    notes = [*job.notes, *([] if outlines is None else [f"tissue outlines from {outlines}"])]
    stem = args.checkpoint.stem if args.checkpoint is not None else ""
    output = args.output_dir or job.features.parent / f"heatmaps_{stem}"
    return _Folders([job.features], slides or [job.slides], output, outlines, notes)


def _of_folders(args: argparse.Namespace) -> _Folders:
    """Return the folders that are named one by one."""
    for name in ("coords_dir", "patch_encoder"):
        if getattr(args, name):
            raise ConfigError(f"--{name} belongs to --job_dir, which is not given")
    return _Folders(args.h5_dir or [], args.slide_dir or [], args.output_dir, None, [])


def _check_inputs(
    checkpoint: Path | None, features: Sequence[Path], slides: Sequence[Path], table: Path | None
) -> None:
    """Raise for the first input that is not there, or is a file where a folder is wanted."""
    if checkpoint is not None and not checkpoint.exists():
        beside = sorted(p.name for p in checkpoint.parent.glob("*.pt*"))[:SHOWN] if checkpoint.parent.is_dir() else []
        hint = f"; {checkpoint.parent} holds {', '.join(beside)}" if beside else ""
        raise ConfigError(f"no such checkpoint: {checkpoint}{hint}")
    for flag, folders in (("--h5_dir", features), ("--slide_dir", slides)):
        for folder in folders:
            if folder.is_file():
                raise ConfigError(f"{flag} wants a folder, {folder} is a file; give {folder.parent} and name the slide "
                                  "in a --csv")  # fmt: skip
            if not folder.is_dir():
                raise ConfigError(f"no such folder: {folder} ({flag}){_nearest(folder)}")
    if table is not None and not table.is_file():
        raise ConfigError(f"no such table: {table} (--csv)")


def _nearest(folder: Path) -> str:
    """Return the deepest folder of a path that exists, and the folders in it, as the end of a message."""
    parent = next((parent for parent in folder.absolute().parents if parent.is_dir()), None)
    if parent is None:
        return ""
    try:
        inside = sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return ""
    return f"; {parent} holds {first_of(inside, SHOWN) or 'no folders'}"


def _found(found: Matching, table: Path | None) -> list[str]:
    """Return lines that say what was found and what was left out."""
    lines = list(found.notes)
    todo = len(found.rows)
    source = f"in {table.name}" if table is not None else "with features"
    lines.append(f"{counted(todo, 'slide')} {source} (found {counted(found.slides, 'slide')}, "
                 f"{counted(found.features, 'feature file')})")  # fmt: skip
    where = "" if table is None else f" of {table.name}"
    for names, one, many in (
        (found.no_slide, "feature file has no slide", "feature files have no slide"),
        (found.no_features, f"slide{where} has no features", f"slides{where} have no features"),
    ):
        if names:
            lines.append(f"  {counted(len(names), one, many)}: {first_of(names, SHOWN)}")
    return lines


def _remove_beginnings(options: SimpleOptions) -> None:
    """Remove the folders of a run that did nothing."""
    for path in (options.process_list, options.output / "run.log"):
        path.unlink(missing_ok=True)
    for folder in (options.process_list.parent, options.output):
        with suppress(OSError):  # it holds more: something was done after all
            folder.rmdir()


def _cheap_to_measure(model: MILModel, config: Config) -> bool:
    """Whether the maps were not measured, and measuring them would cost little: the model has a closed form."""
    from mil_heatmaps.models.explaining import exact_passes

    asked = config.faithfulness_arguments.wanted
    return not asked and not model.refused_explanations() and exact_passes(model, model.in_dim) is not None


def _check_width(runner: Runner) -> MILModel | None:
    """Return the model, after comparing its width with that of the first feature files; None if all are scored."""
    from mil_heatmaps.features.read import feature_info
    from mil_heatmaps.slides.slide_space import SlideSpace

    jobs = runner.chosen_jobs()
    files = [job.features_path for job in jobs if job.features_path and not job.paths.blockmap_h5.is_file()]
    if not files or not runner.model.has_model:
        return None
    model = runner.model.load()
    score = runner.config.heatmap_arguments.score or model.default_score
    print(f"model: {model.title}, features {model.in_dim} wide, {_outputs(model, runner.config)}; draws {score}: "
          f"{model.score_names().get(score, 'the similarity of patches to named vectors')}")  # fmt: skip
    wrong = None
    for path in files[:TRIED]:
        try:
            info = feature_info(path, SlideSpace(extractor=runner.config.data_arguments.feature_extractor))
        except HeatmapError:
            continue  # this slide fails by itself, with its reason
        if info.width == model.in_dim:
            return model
        wrong = info
    if wrong is not None:
        encoder = f" (made with {wrong.encoder})" if wrong.encoder else ""
        raise ConfigError(
            f"the model takes features {model.in_dim} wide, but those in {wrong.path.parent} are {wrong.width} wide"
            f"{encoder}; give the --h5_dir of the encoder the model was trained on"
        )
    return model


def _outputs(model: MILModel, config: Config) -> str:
    """Say how many outputs the model has, and what they are."""
    if not model.num_classes:
        return "no classifier"
    task = config.model_arguments.task
    if task != "classification":
        return f"{counted(model.num_classes, 'output')} ({task})"
    if model.num_classes == 1:
        return "1 output, taken as the logit of the second of two classes (--task says what else it may be)"
    return counted(model.num_classes, "class", "classes")


if __name__ == "__main__":
    sys.exit(main())
