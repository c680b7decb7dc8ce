"""PathForge's model packages: a state dict beside a pickled object, with facts about both."""

from collections.abc import Mapping
from typing import Any

from mil_heatmaps.errors import CheckpointError

MODEL = "pathforge_model"
"""Name of the setting that holds the model's name in PathForge, for files that are its packages."""

_FORMAT, _VERSION = "pathforge_model_package", 1
_KEPT = ("config", "task", "input_dim", "output_dim", "inference_metadata")


def is_package(content: Any) -> bool:
    """Say whether a file's content is a package with a state dict."""
    return isinstance(content, Mapping) and content.get("format") == _FORMAT and isinstance(
        content.get("state_dict"), Mapping
    )


def package_settings(content: Any) -> dict[str, Any]:
    """Return the settings of a package, with its model's name as `MODEL`; empty for any other file.

    The pickled object in it is never used.

    Raises
    ------
    CheckpointError
        The package has an unknown version.
    """
    if not is_package(content):
        return {}
    version = content.get("format_version")
    if version != _VERSION:
        raise CheckpointError(
            f"the file is a PathForge package of format_version {version!r}, and version {_VERSION} is read: save its "
            "state_dict alone, torch.save(package['state_dict'], 'weights.pt')"
        )
    return {MODEL: str(content.get("model_name")), **{key: content[key] for key in _KEPT if key in content}}


def check_package(settings: Mapping[str, Any], in_dim: int, num_classes: int) -> None:
    """Raise a `CheckpointError` if a package contradicts its own tensors."""
    if MODEL not in settings:
        return
    for key, found in (("input_dim", in_dim), ("output_dim", num_classes)):
        said = settings.get(key)
        if isinstance(said, int) and found and said != found:
            raise CheckpointError(
                f"the PathForge package says {key} {said}, and its tensors have {found}: it was put together of two "
                "models; export it again"
            )


def unknown_package(settings: Mapping[str, Any]) -> str:
    """Return the start of messages about an unknown model, with its PathForge name; "" if the file is no package."""
    return f"is a PathForge package of the model {settings[MODEL]!r} and " if MODEL in settings else ""


def package_lines(settings: Mapping[str, Any]) -> list[str]:
    """Return a readable line on a package's model and the features it was trained on; empty for other files."""
    if MODEL not in settings:
        return []
    told = {"feature_extractor": "features of {}", "tile_px": "tiles of {} px", "tile_mpp": "at {} µm per pixel"}
    parts = [words.format(settings[key]) for key, words in told.items() if settings.get(key) is not None]
    bag = [f"exported with the bag {settings['bag_id']}"] if settings.get("bag_id") is not None else []
    return [", ".join([f"PathForge's, model {settings[MODEL]}", *parts, *bag])]
