"""The flags of `generate_heatmaps.py`. Only argparse is loaded, so that ``--help`` is instant."""

from __future__ import annotations

import argparse
from pathlib import Path

from mil_heatmaps.choices import (
    BAGS,
    COLOR_PROFILES,
    COORDS_FRAMES,
    COORDS_UNITS,
    EXPORTS,
    FIGURE_FORMATS,
    FIGURE_PRESETS,
    FILM_MODES,
    METHODS,
    TASKS,
)
from mil_heatmaps.cli.parsing import CommandParser, count, count_or_none

PROG = "generate_heatmaps.py"

EPILOG = """examples:
  python generate_heatmaps.py --checkpoint M.pt --h5_dir features_uni_v2 --slide_dir slides --output_dir O
  python generate_heatmaps.py --checkpoint M.pt --h5_dir H --slide_dir S --output_dir O --limit 3 --dry_run
  python generate_heatmaps.py --checkpoint M.pt --h5_dir H --slide_dir S --output_dir O --csv slides.csv \\
      --class_names LUAD LUSC --figure --top_patches 10 --export geojson csv
  python generate_heatmaps.py --checkpoint M.pt --job_dir J --coords_dir 20x_256px_0px_overlap \\
      --patch_encoder uni_v2 --wsi_dir slides
  python generate_heatmaps.py --inspect_checkpoint M.pt

Slides and features belong together when their names are equal up to the extension. The same command continues
where it stopped and redoes only what changed. O/run.yaml holds every setting: create_heatmaps.py --config
O/run.yaml does the same work. HEATMAPS_README.md explains options, colours and outputs.
exit codes: 0 all well, 1 some slides failed (with --dry_run: would fail), 2 nothing done (wrong flags or inputs),
            3 stopped before the end"""

NORMALIZE = tuple(method for method in METHODS if method != "percentile_ref")
"""All methods but the one that needs a fine map, which this command does not make."""


def _path(text: str) -> Path:
    """Return a path, for argparse; an empty one, as from an unset variable, would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: give a path")
    return Path(text)


def build_parser() -> CommandParser:
    """Return the command line's parser."""
    parser = CommandParser(
        PROG,
        "--checkpoint M.pt --h5_dir H --slide_dir S --output_dir O [options]",
        "Draw an attention heatmap of every slide: features, slides and a checkpoint in, pictures out.",
        EPILOG,
    )
    _inputs(parser)
    _model(parser)
    _picture(parser)
    _explanations(parser)
    _more(parser)
    _what(parser)
    return parser


def _inputs(parser: argparse.ArgumentParser) -> None:
    needed = parser.add_argument_group("inputs and output")
    needed.add_argument("--checkpoint", type=_path, metavar="M.pt", help="the trained model")
    needed.add_argument("--h5_dir", nargs="+", type=_path, metavar="H", help="folder of features: TRIDENT, CLAM, .pt")
    needed.add_argument(
        "--slide_dir", "--wsi_dir", dest="slide_dir", nargs="+", type=_path, metavar="S",
        help="folder of slides; folders inside are searched, too",
    )  # fmt: skip
    needed.add_argument("--output_dir", type=_path, metavar="O", help="folder for everything that is written")
    needed.add_argument(
        "--slide_ext", "--wsi_ext", dest="slide_ext", nargs="+", default=[], metavar="EXT",
        help="only slides with these extensions, such as .svs .tiff; default: all that can be opened",
    )  # fmt: skip
    needed.add_argument(
        "--csv", type=_path, metavar="FILE",
        help="only the slides in its column slide_id; its column label is used, if there is one",
    )  # fmt: skip
    needed.add_argument(
        "--cases", type=_path, metavar="FILE",
        help="CSV with slide_id and case_id (or patient_id, patient): the model is asked about all slides of a case",
    )  # fmt: skip
    needed.add_argument(
        "--concepts", type=_path, metavar="FILE",
        help="named vectors (CSV, .npz, .npy, .safetensors) to compare patches with; needs no --checkpoint",
    )  # fmt: skip
    needed.add_argument(
        "--bag", choices=BAGS, help="what the model is asked about at once; case: by the column case_id of the --csv"
    )
    needed.add_argument(
        "--partial_cases", choices=("fail", "use"), help="a case of which a slide cannot be read; default fail"
    )
    needed.add_argument(
        "--coords_frame", choices=COORDS_FRAMES,
        help="where coordinates count from if only an area of a slide was scanned: the corner of the slide or of that "
        "area (bounds); default auto: as each file shows",
    )  # fmt: skip
    needed.add_argument(
        "--coords_unit", choices=COORDS_UNITS,
        help="what coordinates are in where a file does not say: level-0 pixels or micrometres; default auto",
    )  # fmt: skip
    needed.add_argument(
        "--slide_mpp", type=float, metavar="MPP",
        help="µm per pixel of slides that do not say it; a column mpp of the --csv says it slide by slide",
    )  # fmt: skip
    job = parser.add_argument_group("a TRIDENT job in place of --h5_dir")
    job.add_argument("--job_dir", type=_path, metavar="J", help="the job's folder; its tissue outlines are used, too")
    job.add_argument("--coords_dir", metavar="NAME", help="such as 20x_256px_0px_overlap; found if there is one")
    job.add_argument("--patch_encoder", metavar="NAME", help="such as uni_v2; found if there is one")


def _model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model (the checkpoint tells most of it)")
    model.add_argument("--model_name", metavar="NAME", help="MIL-Lab's name, such as abmil.base.uni_v2.none")
    model.add_argument("--num_classes", type=count, metavar="N", help="outputs of the model")
    model.add_argument(
        "--class_names", nargs="+", default=[], metavar="NAME", help="names of the classes, in the model's order"
    )
    model.add_argument(
        "--task", choices=TASKS,
        help="what the outputs are; default: as the checkpoint says, else classification",
    )  # fmt: skip
    model.add_argument(
        "--output_names", nargs="+", default=[], metavar="NAME",
        help="of a regression's outputs or a survival model's intervals, in the model's order",
    )  # fmt: skip
    model.add_argument("--device", metavar="D", help="auto (default), cpu, cuda or cuda:N")
    model.add_argument(
        "--inspect_checkpoint", type=_path, metavar="M.pt", help="print what a checkpoint holds, and its scores; no run"
    )


def _picture(parser: argparse.ArgumentParser) -> None:
    picture = parser.add_argument_group("picture")
    picture.add_argument(
        "--cmap", metavar="NAME",
        help="Matplotlib colormap, or auto: viridis; default jet. Signed scores take one with a middle: BrBG_r",
    )  # fmt: skip
    picture.add_argument("--cmap_signed", metavar="NAME", help="colormap of scores that speak for or against a class")
    picture.add_argument(
        "--color_profile", choices=COLOR_PROFILES,
        help="a slide's ICC profile: convert pictures for people to sRGB (default), only embed it, or ignore it",
    )  # fmt: skip
    picture.add_argument("--alpha", type=float, metavar="A", help="weight of the colours, 0 to 1; default 0.4")
    picture.add_argument(
        "--vis_level", type=int, metavar="L", help="pyramid level of the picture; default -1: about 1/32 of the slide"
    )
    picture.add_argument(
        "--normalize", choices=NORMALIZE,
        help="how scores become colours; default percentile: rank within the slide; scores with a sign: around zero",
    )  # fmt: skip
    picture.add_argument(
        "--score", metavar="NAME",
        help="which score of the model; default its attention. --inspect_checkpoint lists them: leave_one_out, ... ask "
        "the model what moved the prediction",
    )  # fmt: skip
    picture.add_argument(
        "--center", metavar="C",
        help="middle of the colours of a score with a sign: auto (default), cohort_median, or a number",
    )  # fmt: skip
    picture.add_argument(
        "--evidence", choices=("none", "outline"),
        help="outline the evidence set: the fewest patches that are sufficient for this model",
    )  # fmt: skip
    picture.add_argument(
        "--classes", nargs="+", default=[], metavar="C",
        help="for scores with one column per class or output: predicted (default), label, all, or names",
    )  # fmt: skip
    picture.add_argument("--no_segment", action="store_true", help="colour whole patches, on glass as well")


def _explanations(parser: argparse.ArgumentParser) -> None:
    explain = parser.add_argument_group("explanations: scores that ask the model itself")
    explain.add_argument(
        "--explain", nargs="+", default=[], metavar="NAME", help="scores that are kept beside the drawn one"
    )
    explain.add_argument(
        "--explain_targets", nargs="+", default=[], metavar="T",
        help="which outputs are explained: drawn (default: as --classes), all, predicted, or names",
    )  # fmt: skip
    explain.add_argument(
        "--explain_setting", nargs="+", default=[], type=_setting, metavar="KEY=VALUE",
        help="keys of the config's explanation_arguments: output=probability steps=64 baseline=mean masks=1024 ...",
    )  # fmt: skip


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"must read KEY=VALUE, got {text!r}")
    return key.strip(), value.strip()


def _more(parser: argparse.ArgumentParser) -> None:
    more = parser.add_argument_group("more outputs")
    more.add_argument(
        "--figure", nargs="?", const=True, default=False, choices=(True, *FIGURE_PRESETS), metavar="PRESET",
        help="also a figure: slide and map with colour and scale bar; for print " + ", ".join(FIGURE_PRESETS),
    )  # fmt: skip
    more.add_argument(
        "--figure_format", choices=FIGURE_FORMATS, help="of the figure; in pdf and svg, text and boxes are vectors"
    )
    more.add_argument(
        "--figure_width_mm", type=float, metavar="MM", help="exact width of the figure; default: as its content needs"
    )
    more.add_argument(
        "--figure_dpi", type=count, metavar="DPI", help="resolution of the figure's pictures; default 300 for print"
    )
    more.add_argument(
        "--beside_dir", type=Path, metavar="B",
        help="folder of second slides (another stain) that the figures show beside the first: S.svs and S.npy, 3 x 3",
    )  # fmt: skip
    more.add_argument(
        "--faithfulness", nargs="?", const="quick", choices=("none", "quick", "full"), metavar="LEVEL",
        help="measure how far each map can be believed: quick (default) or full; the figure says it",
    )  # fmt: skip
    more.add_argument(
        "--faithfulness_scores", nargs="+", default=[], metavar="NAME",
        help="maps to measure besides the drawn one, by name; default the model's usual one and the explanations",
    )  # fmt: skip
    more.add_argument(
        "--video", nargs="?", const="tour", choices=FILM_MODES, metavar="MODE",
        help="a film of every slide: tour (default) to its highest regions, sweep over the tissue, or fade",
    )  # fmt: skip
    more.add_argument(
        "--report", action="store_const", const=True, help="a report as HTML to hand on: O/report.html"
    )
    more.add_argument(
        "--top_patches", type=count_or_none, default=0, metavar="K", help="save the K highest patches of every slide"
    )
    more.add_argument(
        "--export", nargs="+", default=[], choices=EXPORTS, metavar="FORMAT", help=f"any of {', '.join(EXPORTS)}"
    )


def _what(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to do")
    what.add_argument("--limit", type=count, metavar="N", help="at most N slides")
    what.add_argument("--overwrite", action="store_true", help="do everything again")
    what.add_argument(
        "--dry_run", "--dry-run", dest="dry_run", action="store_true",
        help="print what would be done and why; writes nothing",
    )  # fmt: skip
    what.add_argument(
        "--json", action="store_true",
        help="for programs: --dry_run and --inspect_checkpoint print JSON (docs/automation.md)",
    )  # fmt: skip
    what.add_argument("--verbose", action="store_true", help="log every decision into O/run.log")
