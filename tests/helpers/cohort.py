"""A cohort small enough to run in a second: slides, features, a checkpoint, a config."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tests.helpers import features
from tests.helpers.slides import make_single_level, make_svs_like, make_tiled_pyramid

WIDTH = 16
PATCH = 128
SIZE = (1024, 768)


@dataclass
class SmallCohort:
    """Folders of a cohort, and a config that tests can change before it is written."""

    root: Path
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def slides(self) -> Path:
        return self.root / "slides"

    @property
    def features(self) -> Path:
        return self.root / "h5"

    @property
    def checkpoint(self) -> Path:
        return self.root / "abmil.pt"

    @property
    def raw(self) -> Path:
        return self.root / "raw" / "E"

    @property
    def production(self) -> Path:
        return self.root / "prod" / "E"

    def record(self, slide_id: str, group: str = "a") -> Path:
        return self.raw / group / slide_id / "record.json"

    def write(self) -> Path:
        """Write process list and config; return the config's path."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with (self.root / "list.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
        path = self.root / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return path

    def process_list(self) -> dict[str, dict[str, str]]:
        """The run's own list, by slide."""
        with (self.raw / "process_list.csv").open(newline="") as file:
            return {row["slide_id"]: row for row in csv.DictReader(file)}

    def outputs(self) -> dict[str, str]:
        """SHA-256 of every output by path, without records, logs and lists with seconds, which hold times.

        For figures it is that of the pixels: the file also holds the hash of the config, which names the run's folder.
        """
        left_out = {"record.json", "run.log", "process_list.csv", ".lock", "events.jsonl", "config.yaml", ".run_id",
                    ".cohort.h5ad.parts.json"}  # fmt: skip
        found = {}
        for folder in (self.root / "raw", self.root / "prod", self.root / "results"):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.name not in left_out and path.suffix != ".run":
                    content = Image.open(path).tobytes() if path.name.endswith("_figure.png") else path.read_bytes()
                    content = content.replace(str(self.root).encode(), b"")  # QuPath's script names the run's folder
                    found[path.relative_to(self.root).as_posix()] = hashlib.sha256(content).hexdigest()
        return found


def grid_coords(size: tuple[int, int] = SIZE, patch: int = PATCH) -> features.Array:
    """Every patch of a slide, including those that reach over its edge, (N, 2) int64."""
    return features.grid_coords(-(-size[0] // patch), -(-size[1] // patch), patch)


def write_features(path: Path, seed: int, width: int = WIDTH, **changes: Any) -> None:
    """Write a TRIDENT-like feature file; `changes` replaces datasets (`features`, `coords`)."""
    coords = changes.get("coords", grid_coords())
    values = changes.get("features", np.random.default_rng(seed).normal(size=(len(coords), width)).astype(np.float32))
    attributes = {"patch_size": PATCH, "patch_size_level0": PATCH, "overlap": 0}
    attributes |= {"level0_magnification": 20, "target_magnification": 20}
    features.write(path, values, coords, attributes)


def write_abmil(path: Path, *, seed: int = 0, classes: int = 2, width: int = WIDTH) -> None:
    """Write the state dict of a small ABMIL."""
    import torch

    from mil_heatmaps.models.abmil import ABMIL

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ABMIL(in_dim=width, embed_dim=8, attn_dim=8, num_classes=classes)
    torch.save(model.state_dict(), path)


def make_small_cohort(root: Path, changes: Mapping[str, Mapping[str, Any]] | None = None) -> SmallCohort:
    """Make three slides (tiled pyramid, SVS-like, single level), their features and a checkpoint below `root`."""
    cohort = SmallCohort(root)
    cohort.slides.mkdir(parents=True)
    make_tiled_pyramid(cohort.slides / "s1.tif", SIZE, downsamples=(1, 4))
    make_svs_like(cohort.slides / "s2.svs", SIZE, downsamples=(1, 4))
    make_single_level(cohort.slides / "s3.tif", SIZE)
    for number in (1, 2, 3):
        write_features(cohort.features / f"s{number}.h5", number)
    write_abmil(cohort.checkpoint)
    cohort.config = {
        "exp_arguments": {
            "save_exp_code": "E",
            "raw_save_dir": str(root / "raw"),
            "production_save_dir": str(root / "prod"),
            "results_dir": str(root / "results"),
        },
        "data_arguments": {
            "data_dir": str(cohort.slides),
            "process_list": str(root / "list.csv"),
            "h5_dir": str(cohort.features),
            "label_dict": {"a": 0, "b": 1},
        },
        "model_arguments": {"ckpt_path": str(cohort.checkpoint), "device": "cpu"},
        "segmentation_arguments": {"a_t": 0.1, "a_h": 0.1},
        "heatmap_arguments": {"vis_level": 0, "figure": False},
        "sample_arguments": {"samples": [{"name": "top", "k": 3}]},
    }
    for section, values in (changes or {}).items():
        cohort.config.setdefault(section, {}).update(values)
    cohort.rows = [{"slide_id": f"s{n}", "label": "a"} for n in (1, 2, 3)]
    return cohort


def make_encoded(root: Path, encoder: str, *, workers: int = 1, **heatmap: Any) -> SmallCohort:
    """Make a cohort without features, whose three slides are encoded (48 features wide) and have a fine map."""
    cohort = make_small_cohort(root, {"run_arguments": {"workers": workers}})
    write_abmil(cohort.checkpoint, width=48)
    del cohort.config["data_arguments"]["h5_dir"]
    cohort.config["encoder_arguments"] = {"model_name": encoder}
    cohort.config["patching_arguments"] = {"patch_size": 64, "overlap": 0.5}
    cohort.config["heatmap_arguments"].update(save_ext="png", **heatmap)
    return cohort
