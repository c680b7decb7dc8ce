"""Find the folder of an experiment that is given by folder, by config, or by name below the usual place."""

from pathlib import Path

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.records.finished_run import FinishedRun
from mil_heatmaps.words import first_of

MOST_NAMED = 20


def usual_place() -> Path:
    """Return the folder of raw results of a config that names none."""
    from mil_heatmaps.config.sections import ExpArguments

    return Path(ExpArguments().raw_save_dir)


def find_experiment(name: str | Path, *, any_folder: bool = False) -> Path:
    """Return the folder of an experiment: the one named, that of the config named, or of this name in `usual_place`.

    Parameters
    ----------
    any_folder : bool
        Take an existing folder though no table and no events of a run lie in it.

    Raises
    ------
    ConfigError
        When there is no such folder, or it is not an experiment's; says where it was looked for and what is there.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        from mil_heatmaps.cohort.jobs import layout_of
        from mil_heatmaps.config.config import load_config

        path = layout_of(load_config(path, check_files=False)).raw_root
    place = usual_place()
    candidates = [path] if path.is_absolute() else [path, place / path]
    for candidate in candidates:
        if FinishedRun(candidate).is_there:
            return candidate
    if any_folder and path.is_dir():
        return path
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise ConfigError(
        f"no experiment in {looked}: give <raw_save_dir>/<save_exp_code>, its name below {place}, or the config "
        f"of the run; {_what_there_is(place)}"
    )


def _what_there_is(place: Path) -> str:
    """Say which experiments could have been named, those used last first."""
    folders = [folder for folder in place.iterdir() if FinishedRun(folder).is_there] if place.is_dir() else []
    folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    names = first_of([folder.name for folder in folders], MOST_NAMED)
    return f"in {place} there is {names}" if names else f"there is none in {place}"
