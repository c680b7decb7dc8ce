"""An experiment that draws what other experiments agree on: score files first, then an ordinary run that draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mil_heatmaps.cohort.jobs import layout_of
from mil_heatmaps.config.config import Config, make_config
from mil_heatmaps.config.insight_section import InsightArguments
from mil_heatmaps.config.yaml_lines import read_yaml
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.atomic import write_text
from mil_heatmaps.files.csv_tables import frame_text
from mil_heatmaps.insight.agreement_sheet import cohort_table, write_agreement_sheet
from mil_heatmaps.insight.consensus_files import ConsensusSlide, agreement_table, left_out, make_consensus
from mil_heatmaps.insight.runs import StudyRun, open_runs
from mil_heatmaps.words import counted, first_of

_OF_A_MODEL = ("encoder_arguments", "patching_arguments")
_INPUTS = ("h5_dir", "coords_dir", "scores_dir", "patch_size_level0", "features_cache")
_OF_SCORES = ("calc_heatmap", "score", "head", "normalize", "vmin", "vmax", "cmap", "threshold", "scale",
              "use_ref_scores")  # fmt: skip


@dataclass
class ConsensusRun:
    """The files that are made before anything is drawn.

    Attributes
    ----------
    config : Config
        Config of the run that draws the score files.
    slides : list of ConsensusSlide
    left_out : slide_id -> why, for slides without scores in some experiment
    tables : list of Path
        Files about the whole cohort.
    """

    config: Config
    slides: list[ConsensusSlide] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)

    @property
    def made(self) -> list[str]:
        """Slides that can be drawn."""
        return [slide.slide_id for slide in self.slides if not slide.error]

    @property
    def failed(self) -> dict[str, str]:
        """Slides that have no consensus, with the reason."""
        return {slide.slide_id: slide.error for slide in self.slides if slide.error}

    @property
    def words(self) -> str:
        """One line on what was made."""
        reused = sum(slide.reused for slide in self.slides)
        said = f"consensus of {counted(len(self.made), 'slide')}" + (f", {reused} of them reused" if reused else "")
        return f"{said}; {counted(len(self.failed), 'slide')} failed" if self.failed else said


def consensus_config(
    experiments: Sequence[str | Path],
    values: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    source: Path | None = None,
) -> tuple[Config, dict[str, StudyRun]]:
    """Return the config of a run that draws the consensus, and its experiments by name.

    Parameters
    ----------
    values : mapping, optional
        A config to draw by; by default, that of the first experiment without the colour settings of its score.

    Raises
    ------
    ConfigError
        A folder is not an experiment; the experiments have no slide in common; there is no config; or the name is that
        of one of the experiments.
    """
    runs = open_runs(experiments)
    changed, drop_colours = dict(overrides or {}), False
    if values is None:
        configs = next(iter(runs.values())).run.configs
        if not configs:
            raise ConfigError(f"{next(iter(runs.values())).folder} keeps no config to draw by: give --config X.yaml")
        source = configs[0].resolve()
        values = read_yaml(source)[0]
        drop_colours = True
        name = changed.get("exp_arguments.save_exp_code")
        if not name:
            raise ConfigError("--consensus needs --save_exp_code NAME: the name of the experiment that is made")
    measured = not drop_colours and _is_measured(values)
    plain = _drawn_whole(values) if measured else _without_model(values, drop_colours=drop_colours)
    plain.setdefault("insight_arguments", {})["consensus"] = [str(run.folder.resolve()) for run in runs.values()]
    changed["heatmap_arguments.calc_heatmap"] = False
    plain.setdefault("data_arguments", {})["scores_dir"] = "."  # the rest of the config decides where they will be
    early = make_config(plain, changed, source=source, check_files=False)
    place = layout_of(early)
    if any(run.folder.resolve() == place.raw_root.resolve() for run in runs.values()):
        raise ConfigError(f"{place.raw_root} is one of the experiments: give the consensus a name of its own")
    place.consensus.mkdir(parents=True, exist_ok=True)
    changed["data_arguments.scores_dir"] = str(place.consensus.resolve())
    return make_config(plain, changed, source=source), runs


def _is_measured(values: Mapping[str, Any]) -> bool:
    """Whether a config asks how faithful the consensus is to a model that it names, with that model's features."""
    model, inputs, measure = (
        dict(values.get(key) or {}) for key in ("model_arguments", "data_arguments", "faithfulness_arguments")
    )
    named = model.get("ckpt_path") or model.get("model_class") or model.get("slide_encoder")
    return measure.get("level") in ("quick", "full") and bool(named and inputs.get("h5_dir"))


def _drawn_whole(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a config that keeps its model, with every column of the consensus drawn unless it says otherwise."""
    kept = {key: dict(section or {}) for key, section in values.items()}
    drawing = {key: value for key, value in kept.get("heatmap_arguments", {}).items() if key != "score"}
    kept["heatmap_arguments"] = drawing | {"classes": drawing.get("classes") or "all"}
    return kept


def _without_model(values: Mapping[str, Any], *, drop_colours: bool) -> dict[str, dict[str, Any]]:
    """Return a config without the keys for a model's scores; with `drop_colours`, without colours for them either.

    Every column of the consensus is drawn, unless the config given for it says otherwise.
    """
    kept = {key: dict(section or {}) for key, section in values.items() if key not in _OF_A_MODEL}
    model = kept.pop("model_arguments", {})
    kept["model_arguments"] = {key: model[key] for key in ("task", "output_names") if model.get(key) is not None}
    of_scores = _OF_SCORES if drop_colours else ("calc_heatmap", "score")
    for section, keys in (("data_arguments", _INPUTS), ("heatmap_arguments", of_scores)):
        kept[section] = {key: value for key, value in kept.get(section, {}).items() if key not in keys}
    if drop_colours or not kept["heatmap_arguments"].get("classes"):
        kept["heatmap_arguments"]["classes"] = "all"
    for section in ("faithfulness_arguments", "explanation_arguments", *(("insight_arguments",) * drop_colours)):
        kept.pop(section, None)
    return kept


def make(config: Config, runs: Mapping[str, StudyRun], say: Callable[[str], None] = lambda _: None) -> ConsensusRun:
    """Write score files and tables of the consensus; files that are up to date are kept."""
    asked, layout = config.insight_arguments, layout_of(config)
    done = ConsensusRun(config, left_out=left_out(runs))
    layout.clear_beside_slides()
    for slide in make_consensus(runs, layout.consensus, top=asked.top, at_least=asked.at_least):
        done.slides.append(slide)
        if slide.error:
            say(f"{slide.slide_id}: {slide.error}")
    for why in dict.fromkeys(done.left_out.values()):
        some = [slide_id for slide_id, own in done.left_out.items() if own == why]
        say(f"{first_of(some, 5)}: left out, {why}")
    done.tables = _write_tables(done, runs, layout.insight, asked)
    return done


def _write_tables(
    done: ConsensusRun, runs: Mapping[str, StudyRun], out: Path, asked: InsightArguments
) -> list[Path]:
    patients = next(iter(runs.values())).patients
    agreement = agreement_table(done.slides)
    paths = [out / "agreement.csv"]
    write_text(paths[0], frame_text(agreement))
    if done.made:
        cohort = cohort_table(agreement, patients)
        paths += [out / "agreement_cohort.csv", out / "agreement.png"]
        write_text(paths[1], frame_text(cohort))
        write_agreement_sheet(
            paths[2], cohort, list(runs), slides=len(done.made), top=asked.top, patients=patients
        )
    return paths
