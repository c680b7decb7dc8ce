"""Lists of patches over a cohort that a study of the run wrote: phenotypes, and similar patches on other slides.

The study writes them as JSON beside its tables; the page shows pictures of the patches and flies to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mil_heatmaps.config.input_paths import resolve_input_path
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.json_files import read_json
from mil_heatmaps.files.names import comparable
from mil_heatmaps.records.layout import ExperimentLayout
from mil_heatmaps.viewer.catalog import SlideEntry
from mil_heatmaps.viewer.run_defaults import section

PHENOTYPES, WHERE_ELSE = "phenotypes.json", "where_else_*.json"

_MOST_FILES, _MOST_PATCHES, _MOST_BYTES = 200, 2000, 4 << 20


def list_folders(folder: Path, config: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the existing folders in which a study of a run may have written lists."""
    found = [folder / "insight"]
    exp = section(config, "exp_arguments")
    production, code = exp.get("production_save_dir"), exp.get("save_exp_code")
    if isinstance(production, str) and isinstance(code, str):
        try:
            home = resolve_input_path(production, None, "folder")
            found.append(ExperimentLayout.of("", str(home), "", code, None).insight)
        except ConfigError:
            pass  # the run was moved: the folders beside the scores are shown
    return tuple(dict.fromkeys(path for path in found if path.is_dir()))


def study_layers(raw_root: Path) -> list[tuple[Path, str]]:
    """Return the folders in which a study wrote one score file per slide, ``S.h5``, with their names."""
    layout = ExperimentLayout(raw_root, raw_root, raw_root)
    layers = ((layout.clusters, "phenotypes"), (layout.spots, "spots and cells"))
    return [(folder, words) for folder, words in layers if folder.is_dir()]


def list_files(folders: Sequence[Path]) -> list[Path]:
    """Return the files of lists: phenotypes first, then the newest first."""
    found = [folder / PHENOTYPES for folder in folders if (folder / PHENOTYPES).is_file()]
    others = [path for folder in folders for path in folder.glob(WHERE_ELSE)]
    return [*found, *sorted(others, key=lambda path: (-path.stat().st_mtime_ns, path.name))][:_MOST_FILES]


def patch_lists(folders: Sequence[Path], slides: Sequence[SlideEntry]) -> list[dict[str, Any]]:
    """Return the lists as the page shows them: title, notes, and patches by the places of their slides.

    Patches of slides that are not among `slides` are left out. Unreadable files are skipped.
    """
    places = {comparable(entry.slide_id): place for place, entry in enumerate(slides)}
    found = []
    for path in list_files(folders):
        try:
            told = read_json(path, ConfigError, most_bytes=_MOST_BYTES)
            found += list(_phenotypes(told, places) if path.name == PHENOTYPES else _where_else(told, places))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    return found


def _phenotypes(told: Any, places: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for cluster in told["clusters"]:
        shares = f"{cluster['share_high']:.0%} of the high patches, {cluster['share_low']:.0%} of the low ones"
        yield {
            "title": f"phenotype {int(cluster['number'])}",
            "words": f"{shares}; the patches nearest its centre. {told['how']}",
            "colour": [int(part) for part in cluster["colour"]],
            "patches": _patches(cluster["patches"], places, lambda patch: f"rank {patch['rank']:.2f}"),
        }


def _where_else(told: Any, places: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    query = told["query"]
    yield {
        "title": f"like {query['slide_id']} ({int(query['x'])}, {int(query['y'])})",
        "words": "the first patch is the one that was asked for; by cosine, at most three a slide",
        "patches": _patches(
            [query, *told["patches"]], places,
            lambda patch: f"{patch['cosine']:.4f}" + (f" {patch['label']}" if patch["label"] else ""),
        ),
    }  # fmt: skip


def _patches(told: Any, places: Mapping[str, int], words: Any) -> list[dict[str, Any]]:
    return [
        {
            "slide": places[name], "name": str(patch["slide_id"]), "words": words(patch),
            "box": [int(patch[key]) for key in ("x", "y", "width", "height")],
        }
        for patch in told[:_MOST_PATCHES]
        if (name := comparable(str(patch["slide_id"]))) in places
    ]  # fmt: skip
