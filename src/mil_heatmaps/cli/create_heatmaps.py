"""`create_heatmaps.py`: heatmaps of a cohort from one YAML config and one process list.

Heavy imports come after the arguments are parsed, so that ``--help`` is instant.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mil_heatmaps.choices import FILM_MODES, STAGE_NAMES
from mil_heatmaps.cli.parsing import CommandParser, count
from mil_heatmaps.cli.plan import print_plan
from mil_heatmaps.cli.running import exit_code_of, print_checkpoint, run_log, write_run_report
from mil_heatmaps.cohort.shards import Shard
from mil_heatmaps.machine import no_collection
from mil_heatmaps.words import counted

EPILOG = """examples:
  python create_heatmaps.py --config heatmaps/configs/config_demo.yaml
  python create_heatmaps.py --config my.yaml --dry-run          what would be done, slide by slide, and why
  python create_heatmaps.py --config my.yaml --rerun failed     only the slides that failed
  python create_heatmaps.py --config my.yaml --from_stage heatmap --slides S1 S2
  python create_heatmaps.py --config my.yaml --shard $SLURM_ARRAY_TASK_ID/16 --time_limit 3h30m
  python create_heatmaps.py --consensus fold0 fold1 fold2 --save_exp_code folds      what the folds agree on
  python create_heatmaps.py --watch EXP                         how far a run is, from another terminal

Rerunning the same command continues where it stopped: only what changed is done again.
exit codes: 0 all well, 1 some slides failed (with --dry-run: would fail), 2 bad config or command
            (nothing was done), 3 asked to stop before all slides were done, 130 stopped at once (Ctrl-C twice)"""


def build_parser() -> CommandParser:
    """Return the command line's parser."""
    parser = CommandParser(
        "create_heatmaps.py",
        "--config X.yaml [options]",
        "Draw attention heatmaps, top patches and numbers for a cohort of slides.",
        EPILOG,
    )
    parser.add_argument(
        "--config",
        "--config_file",
        dest="config",
        metavar="X.yaml",
        help="the config; also looked for in heatmaps/configs",
    )
    change = parser.add_argument_group("change the config for this run")
    change.add_argument("--save_exp_code", metavar="NAME", help="name of the experiment, the folder of its results")
    change.add_argument("--overlap", type=float, metavar="F", help="overlap of the fine map's patches, 0 up to 1")
    change.add_argument("--score", metavar="NAME", help="which score of the model to draw")
    change.add_argument(
        "--faithfulness", nargs="?", const="quick", choices=("none", "quick", "full"), metavar="LEVEL",
        help="measure how far each map can be believed: quick (default), full, or none",
    )  # fmt: skip
    change.add_argument(
        "--video", nargs="?", const="tour", choices=FILM_MODES, metavar="MODE",
        help="a film of every slide: tour (default) to its highest regions, sweep over the tissue, fade, or none",
    )  # fmt: skip
    change.add_argument(
        "--report", action="store_true", help="a report as HTML to hand on; with --compare one of both runs"
    )
    change.add_argument("--device", metavar="D", help="auto, cpu, cuda or cuda:N")
    change.add_argument("--workers", metavar="N", help="slides worked on at once; auto: by cores and memory")
    change.add_argument("--devices", nargs="+", metavar="D", help="auto, cpu, or GPUs such as cuda:0 cuda:1")
    change.add_argument("--memory_limit", metavar="SIZE", help="memory to stay under, such as 16GB")
    what = parser.add_argument_group("what to do")
    what.add_argument("--limit", type=count, metavar="N", help="at most N slides")
    what.add_argument("--slides", nargs="+", default=[], metavar="ID", help="only these slides")
    what.add_argument(
        "--rerun",
        metavar="STATUS",
        help="only slides with this status (failed, running, ...); all: do every stage again",
    )
    what.add_argument(
        "--stages", metavar="A,B", help="only these, such as segment,coords; in order: " + ", ".join(STAGE_NAMES)
    )
    what.add_argument("--from_stage", metavar="S", help="this stage and the later ones")
    what.add_argument(
        "--shard", metavar="I/N", type=_shard, help="only part I of N, such as 3/16: for job arrays, all at once"
    )
    what.add_argument(
        "--time_limit",
        metavar="TIME",
        type=_seconds,
        help="begin no slide that would not be done after this long, such as 3h30m or seconds",
    )
    what.add_argument(
        "--consensus",
        nargs="+",
        metavar="EXP",
        help="draw what finished experiments of the same slides agree on, as the experiment --save_exp_code",
    )
    what.add_argument(
        "--insight",
        metavar="EXP",
        help="numbers and sheets over what an experiment has finished, as insight_arguments (of --config) ask",
    )
    what.add_argument(
        "--where_else",
        nargs=3,
        metavar=("SLIDE", "X", "Y"),
        help="with --insight: patches like the one at X, Y (level-0 pixels), over all slides with features",
    )
    look = parser.add_argument_group("show without running")
    look.add_argument("--dry-run", "--dry_run", action="store_true", help="print what would be done, and why")
    look.add_argument("--schema", action="store_true", help="print the JSON Schema of the config")
    look.add_argument(
        "--compare",
        nargs=2,
        metavar=("EXP_A", "EXP_B"),
        help="draw two finished experiments on one scale beside their difference; rank correlation to a CSV",
    )
    look.add_argument("--output_dir", metavar="DIR", help="where --compare writes; left out: compare_A_B")
    look.add_argument(
        "--sheet", metavar="EXP",
        help="draw slides of a finished experiment (--slides; left out: all) on one sheet with one scale and one bar",
    )  # fmt: skip
    look.add_argument("--scores", nargs="+", default=[], metavar="NAME", help="with --sheet: a map of each of these")
    look.add_argument(
        "--sheet_file", type=Path, metavar="FILE",
        help="what --sheet writes, .png, .pdf or .svg; left out: sheet_EXP.png",
    )  # fmt: skip
    look.add_argument("--sheet_width_mm", type=float, metavar="MM", help="exact width of the sheet")
    look.add_argument("--inspect_checkpoint", metavar="FILE", help="print what a checkpoint holds")
    look.add_argument(
        "--watch", metavar="EXPERIMENT", help="show a run, at work or finished, from its name, folder or config"
    )
    look.add_argument("--once", action="store_true", help="with --watch: show it once")
    look.add_argument("--every", type=float, default=5.0, metavar="S", help="with --watch: look every S seconds")
    look.add_argument(
        "--json", action="store_true",
        help="for programs: --dry-run, --watch and --inspect_checkpoint print JSON (docs/automation.md)",
    )  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="log every decision")
    return parser


def _shard(text: str) -> Shard:
    """Return the part of ``3/16``, for argparse."""
    try:
        return Shard.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    """Return the seconds of ``3h30m``, for argparse."""
    from mil_heatmaps.config.quantities import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    return exit_code_of(lambda: _chosen(parser, args))


def _chosen(parser: CommandParser, args: argparse.Namespace) -> int:
    """Do what the arguments ask for: show something, or run."""
    if args.json and not (args.dry_run or args.watch or args.inspect_checkpoint):
        return parser.lacking("--json goes with --dry-run, --watch or --inspect_checkpoint")
    if args.schema:
        from mil_heatmaps.config.schema import config_schema

        print(json.dumps(config_schema(), indent=2))
        return 0
    if args.inspect_checkpoint:
        return print_checkpoint(args.inspect_checkpoint, as_json=args.json)
    if args.compare:
        return _compare(args.compare, args.output_dir, report=args.report)
    if args.sheet:
        return _sheet(args)
    if args.insight:
        from mil_heatmaps.cli.insight import insight

        return insight(args.insight, args.config, args.where_else)
    if args.watch:
        from mil_heatmaps.cli.watch import watch

        return watch(args.watch, once=args.once, every=max(0.2, args.every), as_json=args.json)
    if not args.config and not args.consensus:
        return parser.lacking("give --config X.yaml; heatmaps/configs holds templates")
    return _run(args)


def _compare(folders: Sequence[str], output_dir: str | None, *, report: bool = False) -> int:
    from mil_heatmaps.cohort.experiments import find_experiment
    from mil_heatmaps.pipeline.compare_runs import SENTENCE, compare_runs

    first, second = (find_experiment(folder, any_folder=True) for folder in folders)
    out = Path(output_dir or f"compare_{first.resolve().name}_{second.resolve().name}")
    drawn = failed = 0
    left_out: list[str] = []
    slides = []
    for slide in compare_runs(first, second, out):
        slides.append(slide)
        failed += slide.error is not None
        drawn += slide.error is None
        numbers = ", ".join(f"{key} {value}" for key, value in slide.row.items() if not key.startswith(SENTENCE))
        print(f"{slide.slide_id}: {slide.error or numbers}")
        left_out += [f"  {slide.slide_id}: {slide.error}"] if slide.error is not None else []
        for key, value in slide.row.items():
            if key.startswith(SENTENCE):
                print(f"  {key.removeprefix(SENTENCE).strip('_')}: {value}")
    if left_out:
        print("\n".join(["not compared:", *left_out]))
    pictures = f"{counted(drawn, 'picture')} and" if drawn else "no picture was drawn;"
    print(f"{pictures} comparison.csv in {out}" + (f"; {failed} could not be compared" if failed else ""))
    if report:
        from mil_heatmaps.report.compare import write_comparison_report

        print(f"report: {write_comparison_report(first, second, slides, out)}")
    return 1 if failed else 0


def _sheet(args: argparse.Namespace) -> int:
    """Write the sheet that the arguments ask for; return 1 if a slide is not on it."""
    from mil_heatmaps.cohort.experiments import find_experiment
    from mil_heatmaps.pipeline.sheet import make_sheet

    folder = find_experiment(args.sheet, any_folder=True)
    out = args.sheet_file or Path(f"sheet_{folder.resolve().name}.png")
    sheet = make_sheet(folder, out, slides=args.slides, scores=args.scores, width_mm=args.sheet_width_mm)
    for name, reason in sheet.left_out.items():
        print(f"not on the sheet: {name}: {reason}")
    print(f"{counted(sheet.shown, 'map')} on {out}")
    return 1 if sheet.left_out else 0


def _devices(names: list[str] | None) -> str | list[str] | None:
    """Return devices as the config expects them: ``cuda:0,cuda:1`` and ``cuda:0 cuda:1`` become a list."""
    parts = [part for name in names or () for part in name.split(",") if part]
    return parts[0] if len(parts) == 1 else parts or None


def _run(args: argparse.Namespace) -> int:
    with no_collection():  # what is imported stays
        from mil_heatmaps.config.config import load_config
        from mil_heatmaps.pipeline.runner import Runner, RunOptions
        from mil_heatmaps.progress.bars import choose_progress

    overrides: dict[str, Any] = {
        key: value
        for key, value in (
            ("exp_arguments.save_exp_code", args.save_exp_code),
            ("patching_arguments.overlap", args.overlap),
            ("heatmap_arguments.score", args.score),
            ("faithfulness_arguments.level", args.faithfulness),
            ("video_arguments.mode", args.video),
            ("report_arguments.write", True if args.report else None),
            ("model_arguments.device", args.device),
            ("run_arguments.workers", args.workers),
            ("run_arguments.devices", _devices(args.devices)),
            ("run_arguments.memory_limit", args.memory_limit),
        )
        if value is not None
    }
    slides, failed = tuple(args.slides), 0
    if experiments := _experiments(args):
        from mil_heatmaps.cli.insight import consensus

        config, made, failed = consensus(experiments, args.config, overrides, dry_run=args.dry_run)
        slides = tuple(name for name in made if not slides or name in slides)
        if args.dry_run or not slides:
            return 1 if failed else 0
    else:
        config = load_config(args.config, overrides)
    options = RunOptions(
        limit=args.limit,
        slides=slides,
        rerun=args.rerun,
        stages=tuple(name.strip() for name in args.stages.split(",") if name.strip()) if args.stages else (),
        from_stage=args.from_stage,
        time_limit=args.time_limit,
        shard=args.shard,
    )
    runner = Runner(config, options, choose_progress())
    if args.overlap is not None and not config.heatmap_arguments.calc_heatmap:
        runner.cohort.notes.append("--overlap has no effect: no fine map is made (heatmap_arguments.calc_heatmap)")
    if args.dry_run:
        return print_plan(runner, as_json=args.json)
    with run_log(runner, verbose=args.verbose):
        summary = runner.run()
    from mil_heatmaps.cli.summary import summary_text

    print(summary_text(summary, only_failed="--rerun failed"))
    if config.insight_arguments.asks and not summary.stopped:
        from mil_heatmaps.cli.insight import insight_of_run

        failed += insight_of_run(config, runner.cohort.layout.raw_root)
    failed += not write_run_report(runner)
    return summary.exit_code or (1 if failed else 0)


def _experiments(args: argparse.Namespace) -> list[str]:
    """Return the experiments for a consensus, from the command line or the config."""
    if args.consensus or not args.config:
        return list(args.consensus or ())
    from mil_heatmaps.cli.insight import asked_experiments

    return asked_experiments(args.config)
