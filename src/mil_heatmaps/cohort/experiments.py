"""Find the folder of an experiment that is given by folder, by config, or by name below the usual place."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.words import first_of

RUN_FILES = ("process_list.csv", "events.jsonl", "heatmap_results.csv")
"""One of these lies in the folder of every run: raw results, or the flat folder of generate_heatmaps.py."""

MOST_NAMED = 20


def usual_place() -> Path:
    """Return the folder of raw results of a config that names none."""
    from mil_heatmaps.config.sections import ExpArguments

    return Path(ExpArguments().raw_save_dir)


def find_experiment(
    name: str | Path, places: Sequence[Path] | None = None, *, any_folder: bool = False
) -> Path:
    """Return the folder of an experiment.

    Parameters
    ----------
    places : folders, optional
        Where experiments are looked for by name; left out: `usual_place`.
    any_folder : bool
        Take a folder that is given as it is though none of `RUN_FILES` lies in it.

    Raises
    ------
    ConfigError
        When there is no such folder, or it is no experiment's; says where it was looked for and what is there.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        from mil_heatmaps.cohort.jobs import layout_of
        from mil_heatmaps.config.config import load_config

        path = layout_of(load_config(path, check_files=False)).raw_root
    places = [usual_place()] if places is None else places
    candidates = [path, *(place / path for place in places if not path.is_absolute())]
    for candidate in candidates:
        if _holds_a_run(candidate):
            return candidate
    if any_folder and path.is_dir():
        return path
    looked = " or ".join(str(candidate) for candidate in candidates)
    raise ConfigError(
        f"no experiment in {looked}: give <raw_save_dir>/<save_exp_code>, its name below {places[0]}, or the config "
        f"of the run; {_what_there_is(places)}"
    )


def _holds_a_run(folder: Path) -> bool:
    return any((folder / file).is_file() for file in RUN_FILES)


def _what_there_is(places: Iterable[Path]) -> str:
    """Say which experiments could have been named, those used last first."""
    words = []
    for place in places:
        folders = [folder for folder in place.iterdir() if _holds_a_run(folder)] if place.is_dir() else []
        folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        names = first_of([folder.name for folder in folders], MOST_NAMED)
        words.append(f"in {place} there is {names}" if names else f"there is none in {place}")
    return "; ".join(words)
