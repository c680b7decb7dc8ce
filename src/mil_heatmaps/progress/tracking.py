"""Send a run's config, numbers and pictures to an experiment tracker, MLflow or Weights & Biases."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.words import install_line, lacking

if TYPE_CHECKING:
    from mil_heatmaps.cohort.run_options import RunSummary
    from mil_heatmaps.config.cluster_section import TrackArguments
    from mil_heatmaps.config.config import Config

logger = logging.getLogger(__name__)

INSTALL = install_line("tracking")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MOST_BYTES = 20 << 20
"""Larger pictures are left out: trackers are looked at in a browser."""


def check_installed(kind: str) -> None:
    """Raise a MissingDependencyError with the line that installs the tracker."""
    if importlib.util.find_spec(kind) is None:
        raise lacking(f"run_arguments.track (kind: {kind})", kind, INSTALL)


def track(arguments: TrackArguments, config: Config, summary: RunSummary) -> bool:
    """Send config, numbers and pictures of one run; return whether that went well, with all data on disk or sent.

    An error of the tracker only gives a line in the log: the run itself is done by then.
    """
    try:
        send = {"mlflow": _to_mlflow, "wandb": _to_wandb}[arguments.kind]
        send(arguments, config, summary)
    except Exception as error:
        logger.error("the run could not be told to %s: %s: %s", arguments.describe(), type(error).__name__, error)
        return False
    logger.info("told %s", arguments.describe())
    return True


def numbers(summary: RunSummary) -> dict[str, float]:
    """Return the numbers of a run that are worth a plot: counts, seconds in all and by stage, slides per minute."""
    found: dict[str, float] = {
        "slides_processed": len(summary.processed),
        "slides_reused": len(summary.reused),
        "slides_failed": len(summary.failed),
        "slides_left": summary.left,
        "seconds": round(summary.seconds, 3),
    }
    if summary.seconds > 0:
        found["slides_per_minute"] = round(60 * len(summary.processed) / summary.seconds, 3)
    found |= {f"seconds_{stage}": round(seconds, 3) for stage, seconds in summary.stage_seconds.items()}
    return found


def flat_config(config: Config) -> dict[str, str]:
    """Return the config as ``section.key`` to text, defaults included."""
    plain = config.model_dump(mode="json")
    return {
        f"{section}.{key}": str(value) for section, values in plain.items() for key, value in (values or {}).items()
    }


def pictures(arguments: TrackArguments, summary: RunSummary) -> Iterator[tuple[str, Path]]:
    """Yield slide_id and file of each picture to send: of the slides asked for, or of the first ones of the list."""
    from mil_heatmaps.records.slide_record import SlideRecord, output_path

    cohort = summary.cohort
    done = {*summary.processed, *summary.reused}
    if arguments.slides:
        for slide_id in arguments.slides:
            if slide_id not in done:
                logger.warning("run_arguments.track: %s has no pictures in this run", slide_id)
        chosen = [slide_id for slide_id in arguments.slides if slide_id in done]
    else:
        chosen = [slide_id for slide_id in cohort.jobs if slide_id in done][: arguments.pictures]
    for slide_id in chosen:
        job = cohort.jobs[slide_id]
        stage = SlideRecord.load(job.paths.record, slide_id).stages.get("heatmap")
        for key in stage.outputs if stage else ():
            path = Path(output_path(str(job.paths.raw), key))
            if path.suffix.lower() in PICTURES and path.is_file() and path.stat().st_size <= MOST_BYTES:
                yield slide_id, path


def _to_mlflow(arguments: TrackArguments, config: Config, summary: RunSummary) -> None:
    """Send to MLflow through a client and by run id, so that the caller's own MLflow state stays as it is."""
    from mlflow.tracking import MlflowClient

    with mlflow_file_store(arguments.uri):
        client = MlflowClient(tracking_uri=arguments.uri)
        name = arguments.experiment or "mil-heatmaps"
        known = client.get_experiment_by_name(name)
        experiment = known.experiment_id if known is not None else client.create_experiment(name)
        run_name = arguments.run_name or config.run_name
        run_id = client.create_run(experiment, tags=dict(arguments.tags), run_name=run_name).info.run_id
        for key, value in flat_config(config).items():
            client.log_param(run_id, key, value[:500])  # MLflow's limit
        for key, number in numbers(summary).items():
            client.log_metric(run_id, key, number)
        layout = summary.cohort.layout
        for path in (layout.config_yaml, layout.process_list, layout.results_csv):
            if path.is_file():
                client.log_artifact(run_id, str(path))
        for slide_id, path in pictures(arguments, summary):
            client.log_artifact(run_id, str(path), artifact_path=f"slides/{slide_id}")
        client.set_terminated(run_id, "FINISHED" if summary.exit_code == 0 else "FAILED")


@contextmanager
def mlflow_file_store(uri: str | None) -> Iterator[None]:
    """Allow MLflow to write to a plain folder, which version 3 refuses unless told."""
    name = "MLFLOW_ALLOW_FILE_STORE"
    before = os.environ.get(name)
    if uri is not None and (uri.startswith("file:") or "://" not in uri):
        os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _to_wandb(arguments: TrackArguments, config: Config, summary: RunSummary) -> None:
    import wandb

    layout = summary.cohort.layout
    folder = Path(arguments.uri) if arguments.uri else layout.raw_root
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"silent": True, "console": "off", "disable_git": True}
    alone = wandb.run is None  # otherwise the caller has a wandb run, which goes on
    run = wandb.init(
        project=arguments.experiment or "mil-heatmaps",
        name=arguments.run_name or config.run_name,
        dir=str(folder),
        mode="offline" if arguments.offline else None,
        config=config.model_dump(mode="json"),
        tags=[f"{key}:{value}"[:64] for key, value in arguments.tags.items()],
        settings=wandb.Settings(**settings),
    )
    try:
        chosen = pictures(arguments, summary)
        run.log({f"slides/{slide_id}/{path.name}": wandb.Image(str(path)) for slide_id, path in chosen})
        run.summary.update(numbers(summary))
        for path in (layout.config_yaml, layout.process_list, layout.results_csv):
            if path.is_file():
                run.save(str(path), base_path=str(path.parent), policy="now")
    finally:
        run.finish(exit_code=summary.exit_code)
        if alone:
            _wait_until_written()


def _wait_until_written() -> None:
    """End wandb's own process: it writes the last data after `finish` has returned."""
    import wandb

    try:
        wandb.teardown()
    except SystemExit as error:  # which would end the run as well
        raise RuntimeError(f"wandb's own process ended with exit code {error.code}") from error
