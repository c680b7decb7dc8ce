"""A GPU against the processor: the same numbers, how near encoding is to the bare network, time and GPU memory.

    python benchmarks/bench_gpu.py                    all parts, at most ten minutes on a GPU; JSON at the end
    python benchmarks/bench_gpu.py --only same        the first part alone
    python benchmarks/bench_gpu.py --device cpu       small, to see that the script runs; its figures say nothing

same      logits, scores and explanations of every model, float32, on the GPU and on the processor: the largest
          difference over the largest number; at most 1e-4 is wanted
encoding  patches a second of ViT-L/16 and ViT-H/14 with random weights over a slide with 6,000 patches, beside the bare
          forward of the same network, precision and batch with data on the GPU; at least 0.9 is wanted
memory    seconds and most GPU memory of every model with 100,000 patches, of gated ABMIL's explanations and of quick
          faithfulness; at most 8 GB are wanted
shared    two processes that encode on one GPU at once, then one with most of the memory held: it halves its batches
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import torch
from torch import nn

from benchmarks.bench_explain import features_of, lattice_coords
from benchmarks.bench_models import MODELS, PUBLIC_MODELS
from benchmarks.big_slide import make_big_slide
from mil_heatmaps.checkpoints.builder import create_model
from mil_heatmaps.encoders.base import ModuleEncoder
from mil_heatmaps.encoders.extract import extract_features
from mil_heatmaps.encoders.preprocessing import Preprocessing
from mil_heatmaps.explain.settings import EXPLANATIONS
from mil_heatmaps.models.registry import config_names
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.slides.reader import open_slide

WIDTH, MODEL = 1536, "abmil"
PATCH = 256
NETWORKS = {"ViT-L/16": (24, 1024, 16, 16), "ViT-H/14": (32, 1280, 16, 14), "tiny": (2, 64, 2, 16)}
"""Name -> depth, width, heads, side of a patch in pixels."""
QUICK = {"max_minutes": 60.0}


def model_of(name: str) -> Any:
    """Return a model of a family on the CPU, with the same random weights each time."""
    torch.manual_seed(0)
    kind = name.removesuffix("_alibi")
    return create_model(f"{kind}.{config_names(kind)[0]}.uni_v2.none", **PUBLIC_MODELS.get(name, {})).eval()


def apart(one: Any, other: Any) -> float:
    """Return the largest difference of two arrays over the largest number in the first."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    there = np.isfinite(first)
    if not np.array_equal(there, np.isfinite(second)):
        return float("inf")
    return float(np.abs(first - second)[there].max(initial=0) / max(np.abs(first[there]).max(initial=0), 1e-12))


def same(device: str, small: bool) -> dict[str, Any]:
    """Return, for every model, how far logits, scores and explanations differ from the CPU's."""
    patches = 300 if small else 5000
    features, coords = features_of(patches, WIDTH), lattice_coords(patches)
    names = [name for name in (*MODELS, *PUBLIC_MODELS) if name != "abmil_general_adaptor"]
    rows: dict[str, Any] = {}
    settings = {"masks": 128, "steps": 8, "max_steps": 8, "max_forwards": 64}
    for name in names:
        model = model_of(name)
        told = {"mpp": 0.25} if name.endswith("_alibi") else {}
        asked = [score for score in model.score_names() if score not in EXPLANATIONS]
        more = [] if name != MODEL else list(EXPLANATIONS)

        def answers(model: Any = model, asked: Any = asked, more: Any = more, told: Any = told) -> list[Any]:
            found = [model.explain(features, asked, coords_l0=coords, **told)]
            explain = {"targets": model.num_classes - 1, "settings": settings, "coords_l0": coords, "step_l0": PATCH}
            return found + [model.explain(features, each, **explain) for each in more]

        here = answers()
        model.to(device)
        there = answers()
        row = {"logits": apart(here[0].logits, there[0].logits)}
        for mine, theirs in zip(here, there, strict=True):
            row |= {score: apart(mine.scores[score].values, theirs.scores[score].values) for score in mine.scores}
        rows[name] = row
    worst = max((value, f"{name} {score}") for name, row in rows.items() for score, value in row.items())
    return {"worst": worst, "wanted": 1e-4, "models": rows}


class ViT(nn.Module):
    """A vision transformer from torch's layers: (B, 3, 224, 224) -> (B, width)."""

    def __init__(self, depth: int, width: int, heads: int, patch: int) -> None:
        super().__init__()
        self.width = width
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (224 // patch) ** 2 + 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(patches), -1, -1), patches], dim=1) + self.places
        return torch.as_tensor(self.norm(self.blocks(tokens))[:, 0])


def encoder_of(architecture: str, device: str) -> ModuleEncoder:
    """Return a network of `NETWORKS` as an encoder, with the same random weights each time."""
    torch.manual_seed(0)
    network = ViT(*NETWORKS[architecture])
    return ModuleEncoder(architecture, network, network.width, Preprocessing(resize_px=224), device=device, weights="0")


def encode(slide: Path, architecture: str, device: str, out: Path, most: int) -> dict[str, Any]:
    """Return patches per second, and the batch, for encoding the first `most` patches of a slide."""
    encoder = encoder_of(architecture, device)
    with open_slide(slide) as opened:
        width, height = opened.dimensions_l0
        x, y = np.meshgrid(np.arange(0, width - PATCH + 1, PATCH), np.arange(0, height - PATCH + 1, PATCH))
        corners = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64)[:most]
        began = time.perf_counter()
        done = extract_features(opened, PatchGrid(corners, (PATCH, PATCH), (PATCH, PATCH)), encoder, out)
        seconds = time.perf_counter() - began
    return {"patches": len(corners), "a_second": len(corners) / seconds, "batch": done.batch_size, "seconds": seconds}


def bare_forward(architecture: str, device: str, batch: int, rounds: int) -> float:
    """Return patches per second of the network alone, in the encoder's precision, with data on the device."""
    encoder = encoder_of(architecture, device)
    pixels = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8, device=device)
    for _ in range(2):
        encoder.encode(pixels)
    wait(device)
    began = time.perf_counter()
    for _ in range(rounds):
        encoder.encode(pixels)
    wait(device)
    return batch * rounds / (time.perf_counter() - began)


def wait(device: str) -> None:
    """Wait until the GPU is idle."""
    if device != "cpu":
        torch.cuda.synchronize()


def encoding(device: str, small: bool) -> dict[str, Any]:
    """Return how close extraction is to the bare forward, for each network."""
    networks = ["tiny"] if small else ["ViT-L/16", "ViT-H/14"]
    found: dict[str, Any] = {"wanted": 0.9}
    with tempfile.TemporaryDirectory() as folder:
        slide = make_big_slide(Path(folder) / "s.tif", (2048, 2048) if small else (24_576, 16_384))
        for number, name in enumerate(networks):
            out = Path(folder) / f"{number}.h5"
            ours = encode(slide, name, device, out, 64 if small else 6000)
            bare = bare_forward(name, device, ours["batch"], 4 if small else 12)
            found[name] = ours | {"bare_a_second": bare, "share": ours["a_second"] / bare}
    return found


def taken(device: str, work: Callable[[], Any]) -> dict[str, float]:
    """Return seconds, and the peak GPU memory in GB (0 on the CPU)."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    work()
    wait(device)
    gigabytes = torch.cuda.max_memory_allocated() / 1e9 if device != "cpu" else 0.0
    return {"seconds": time.perf_counter() - began, "gpu_gb": gigabytes}


def memory(device: str, small: bool) -> dict[str, Any]:
    """Return seconds and GPU memory of every model, of gated ABMIL's explanations and of quick faithfulness."""
    patches = 500 if small else 100_000
    features, coords = features_of(patches, WIDTH), lattice_coords(patches)
    found: dict[str, Any] = {"wanted_gb": 8}
    for name in MODELS:
        model = model_of(name).to(device)
        model.explain(features[:64], None, coords_l0=coords[:64])
        found[name] = taken(device, lambda model=model: model.explain(features, None, coords_l0=coords))
    model = model_of(MODEL).to(device)
    target = {"targets": model.num_classes - 1, "coords_l0": coords, "step_l0": PATCH}
    for name in EXPLANATIONS:
        found[name] = taken(device, lambda name=name: model.explain(features, name, **target))
    maps = {"a": features[:, 0], "b": features[:, 1]}
    found["faithfulness"] = taken(device, lambda: model.faithfulness(features, maps, settings=QUICK))
    return found


def shared(device: str, small: bool) -> dict[str, Any]:
    """Return patches per second of two processes on one GPU, and the batch of one that finds little free memory."""
    name, most = ("tiny", 32) if small else ("ViT-L/16", 1500)
    with tempfile.TemporaryDirectory() as folder:
        slide = make_big_slide(Path(folder) / "s.tif", (2048, 2048) if small else (16_384, 8192))

        def start(number: int) -> subprocess.Popen[bytes]:
            job = json.dumps([str(slide), name, device, str(Path(folder) / f"{number}.h5"), most])
            return subprocess.Popen([sys.executable, __file__, "--child", job], stdout=subprocess.PIPE)

        both = [json.loads(each.communicate()[0].splitlines()[-1]) for each in [start(0), start(1)]]
        found: dict[str, Any] = {"two_at_once": both}
        if device != "cpu":
            free = torch.cuda.mem_get_info()[0]
            held = torch.empty(int(free - (3 << 30)), dtype=torch.uint8, device=device)
            found["three_gb_free"] = json.loads(start(2).communicate()[0].splitlines()[-1])
            del held
            torch.cuda.empty_cache()
    return found


PARTS: dict[str, Callable[[str, bool], dict[str, Any]]] = {
    "same": same, "encoding": encoding, "memory": memory, "shared": shared,
}  # fmt: skip


def main() -> int:
    """Run the parts; return 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, help="also write the JSON to this file, after every part")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        slide, name, device, out, most = json.loads(options.child)
        print(json.dumps(encode(Path(slide), name, device, Path(out), most)))
        return 0
    small = options.device == "cpu"
    card = "no GPU is at hand: small, on the processor" if small else torch.cuda.get_device_name()
    told: dict[str, Any] = {"card": card, "date": time.strftime("%Y-%m-%d"), "torch": torch.__version__}
    for name in options.only:
        began = time.perf_counter()
        try:
            told[name] = PARTS[name](options.device, small)
        except Exception as error:  # the results of the other parts are still useful
            told[name] = {"failed": f"{type(error).__name__}: {error}"}
        told[name]["took_s"] = time.perf_counter() - began
        print(name, json.dumps(told[name], default=str), flush=True)
        if options.out is not None:
            options.out.write_text(json.dumps(told, indent=1, default=str))
    print(json.dumps(told, indent=1, default=str))
    return int(any("failed" in told[name] for name in options.only))


if __name__ == "__main__":
    sys.exit(main())
