"""The patch encoder of a run, shared by the coarse and the fine features."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.devices import choose_device
from mil_heatmaps.errors import ConfigError
from mil_heatmaps.files.digests import fingerprint
from mil_heatmaps.notices import Notice
from mil_heatmaps.stages.last_loaded import LastLoaded
from mil_heatmaps.words import counted

if TYPE_CHECKING:
    from mil_heatmaps.config.config import Config
    from mil_heatmaps.encoders.base import PatchEncoder
    from mil_heatmaps.encoders.extract import Extraction
    from mil_heatmaps.slides.patch_grid import PatchGrid
    from mil_heatmaps.slides.read_plan import PatchReading
    from mil_heatmaps.stages.base import SlideWork

GPU_READERS = 4
"""Least number of reading threads that feed a GPU."""

_LAST: LastLoaded[PatchEncoder] = LastLoaded()


def encoder_identity(config: Config) -> dict[str, Any]:
    """Return what features depend on in the encoder: name, input size, weights, the user's code. Loads nothing."""
    from mil_heatmaps.encoders.identity import describe_encoder

    arguments, weights = config.encoder_arguments, config.inputs.encoder_weights
    return {
        "name": arguments.model_name,
        "target_img_size": arguments.target_img_size,
        **describe_encoder(arguments.model_name or "", weights),
    }


def encoder_bytes(config: Config) -> int:
    """Return about how many bytes an encoder takes per process, by its weights; 0 without encoding or local weights."""
    name, data = config.encoder_arguments.model_name, config.data_arguments
    encodes = data.h5_dir is None or config.heatmap_arguments.calc_heatmap
    if name is None or not encodes or data.scores_dir is not None:
        return 0
    return _weights_bytes(name, config.inputs.encoder_weights)


@lru_cache(maxsize=8)
def _weights_bytes(name: str, weights: Path | None) -> int:
    from mil_heatmaps.encoders.identity import weights_at
    from mil_heatmaps.encoders.weight_files import bytes_at

    path = weights_at(name, weights)
    return 0 if path is None else bytes_at(path)


def load_encoder(config: Config, device: str | None = None) -> PatchEncoder:
    """Return the encoder the config names; a process keeps the last one.

    Raises
    ------
    ConfigError
        When no encoder is named.
    ModelError, CheckpointError, MissingDependencyError
        The encoder is unknown, its weights are missing or do not fit, or a package is missing.
    """
    from mil_heatmaps.encoders.create import create_encoder

    arguments = config.encoder_arguments
    if (name := arguments.model_name) is None:
        raise ConfigError("encoder_arguments.model_name names no encoder; give the one the model was trained on")
    where = choose_device(device or config.model_arguments.device)
    return _LAST.get(
        lambda: fingerprint({**encoder_identity(config), "device": where}),
        lambda: create_encoder(
            name,
            weights=config.inputs.encoder_weights,
            device=where,
            target_img_size=arguments.target_img_size,
        ),
    )


def encode(
    work: SlideWork, grid: PatchGrid, out: Path, reading: PatchReading, others: Iterable[Path] = ()
) -> list[Notice]:
    """Write the features of `grid`, read as `reading` says, to `out`, resuming a killed run; return notices.

    Features of the same patches by the same encoder are copied if one of the `others` or, from another run, the cache
    has them.
    """
    from mil_heatmaps.encoders.extract import extract_features
    from mil_heatmaps.encoders.feature_cache import FeatureCache

    config = work.config
    encoder = load_encoder(config, work.settings.device)
    given = config.exp_arguments.model_fields_set
    done = extract_features(
        work.slide,
        grid,
        encoder,
        out,
        reading=reading,
        batch_size=config.exp_arguments.batch_size if "batch_size" in given else "auto",
        threads=reading_threads(encoder, work.settings.threads),
        code=encoder_identity(config).get("code_sha256"),
        others=others,
        cache=None if (folder := config.features_cache) is None else FeatureCache(folder),
        progress=work.on_encoding,
    )
    if done.copied_from is not None:
        work.lines.append(f"took the features of the same {done.n} patches from {done.copied_from.name}")
        return _left_out(done)
    rate = done.encoded / done.seconds if done.seconds > 0 else 0.0
    work.lines.append(
        f"encoded {done.encoded} patches, {done.resumed} from before, {rate:.0f} patches/s, "
        f"batches of {done.batch_size}"
    )
    return _left_out(done)


def _left_out(done: Extraction) -> list[Notice]:
    """Return a note when patches have no features because they cannot be read."""
    if not done.unreadable:
        return []
    patches = counted(done.n, "patch", "patches")
    words = f"{done.unreadable} of {patches} left out, for they lie on tiles that cannot be read"
    return [Notice("unreadable_patches", words, unreadable=done.unreadable, patches=done.n)]


def reading_threads(encoder: PatchEncoder, cores: int) -> int:
    """Return how many threads read patches: one per core, and at least `GPU_READERS` for a GPU."""
    on_gpu = getattr(getattr(encoder, "device", None), "type", "cpu") == "cuda"
    return max(cores, GPU_READERS) if on_gpu else cores
