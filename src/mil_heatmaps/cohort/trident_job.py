"""Find slides, features and tissue outlines in the folders of a TRIDENT job.

The contents decide, not the names of folders: v0.2.4 and v0.2.5 wrote ``20.0x_…`` where others write
``20x_…``, and features may lie directly below the job's folder.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mil_heatmaps.errors import ConfigError, ProcessListError
from mil_heatmaps.files.json_files import read_json

_FEATURES = "features_"
_OUTLINES = "contours_geojson"
_CONFIGS = ("_config_segmentation.json", "_config_coords.json")
_SLIDE_KEYS = ("wsi_source", "wsi_dir")


@dataclass(frozen=True)
class TridentJob:
    """The folders of one encoder's features.

    Attributes
    ----------
    features, slides : Path
    outlines : Path or None
        Tissue as GeoJSON, where the job still has it.
    notes : what was chosen without being named
    """

    features: Path
    slides: Path
    outlines: Path | None
    notes: tuple[str, ...] = ()


def find_trident_job(
    job_dir: Path, coords_dir: str | None = None, patch_encoder: str | None = None, wsi_dir: Path | None = None
) -> TridentJob:
    """Return the folders of a job. A name may be left out where there is only one to choose.

    Parameters
    ----------
    job_dir : Path
        What TRIDENT was given as ``--job_dir``.
    coords_dir : str, optional
        Folder of the coordinates below it, such as ``20x_256px_0px_overlap``.
    patch_encoder : str, optional
        Such as ``uni_v2``.
    wsi_dir : Path, optional
        Folder of the slides; by default, the one that the job's own configs name, if it still exists.

    Raises
    ------
    ConfigError
        A folder is missing, or there are several to choose from; lists them.
    """
    if not job_dir.is_dir():
        raise ConfigError(f"no such folder: {job_dir} (--job_dir)")
    notes: list[str] = []
    features = _features(job_dir, coords_dir, patch_encoder, notes)
    slides = wsi_dir or _slides_of(job_dir, features.parent)
    if slides is None:
        raise ConfigError(f"the slides of {job_dir} are not where the job found them; give --wsi_dir")
    if wsi_dir is None:
        notes.append(f"slides in {slides}, as the job's config says")
    outlines = job_dir / _OUTLINES
    return TridentJob(features, slides, outlines if outlines.is_dir() else None, tuple(notes))


def _features(job_dir: Path, coords_dir: str | None, encoder: str | None, notes: list[str]) -> Path:
    places = _feature_folders(job_dir)
    if not places:
        raise ConfigError(
            f"{job_dir} holds no patch features (no folder {_FEATURES}<encoder>); run TRIDENT's --task feat, "
            "or give the job's own folder"
        )
    wanted = places
    if coords_dir is not None:
        wanted = [place for place in places if _plain(_below(job_dir, place.parent)) == _plain(coords_dir)]
        if not wanted:
            there = ", ".join(dict.fromkeys(_below(job_dir, place.parent) for place in places))
            raise ConfigError(f"{job_dir} has no features in --coords_dir {coords_dir!r}; it has some in: {there}")
    if encoder is not None:
        name = encoder.removeprefix(_FEATURES)
        matching = [place for place in wanted if place.name == _FEATURES + name]
        if not matching:
            there = ", ".join(dict.fromkeys(place.name.removeprefix(_FEATURES) for place in wanted))
            raise ConfigError(f"no features of --patch_encoder {name!r} in {job_dir}; there are some of: {there}")
        wanted = matching
    if len(wanted) > 1:
        there = ", ".join(_below(job_dir, place) for place in wanted)
        raise ConfigError(f"{job_dir} has several folders of features: {there}; give --coords_dir and --patch_encoder")
    if coords_dir is None or encoder is None:
        notes.append(f"features in {_below(job_dir, wanted[0])}, the only ones that fit")
    return wanted[0]


def _feature_folders(job_dir: Path) -> list[Path]:
    """Return every folder of patch features, directly below the job or below a folder of coordinates."""
    found = [*job_dir.glob(f"{_FEATURES}*"), *job_dir.glob(f"*/{_FEATURES}*")]
    return sorted(place for place in found if place.is_dir())


def _below(job_dir: Path, place: Path) -> str:
    return place.relative_to(job_dir).as_posix()


def _plain(name: str) -> str:
    """Return a folder's name with ``20.0x`` written as ``20x``."""
    return re.sub(r"^(\d+)\.0x", r"\1x", name.strip("/"))


def _slides_of(job_dir: Path, coords_dir: Path) -> Path | None:
    """Return the folder of slides that the job's configs name, if it is there."""
    for path in (job_dir / _CONFIGS[0], coords_dir / _CONFIGS[1]):
        try:
            settings = read_json(path, ProcessListError)
        except ProcessListError:
            continue
        for key in _SLIDE_KEYS:
            value = settings.get(key) if isinstance(settings, dict) else None
            if isinstance(value, str) and os.path.isdir(value):
                return Path(value)
    return None
