"""Time and memory of every model: one slide's prediction and default score, each run in a process of its own.

    python benchmarks/bench_models.py [--models abmil wikg] [--patches 1000 10000] [--device cuda] [--all_scores]
    python benchmarks/bench_models.py --full      # to 100,000 patches: wikg and transformer take minutes
    python benchmarks/bench_models.py --public --patches 10000 100000

Peak is the process's own (``ru_maxrss``), of which Python, torch and the float16 features, made in place, are in column
`before`; `estimate` is what the model itself says it needs on top. For transformer and wikg a second line gives the
plain N x N implementation (`naive_models`) with the same weights, the ratios, and how far its logits are.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
MODELS = ("abmil", "clam", "dsmil", "dftd", "ilra", "rrt", "transformer", "transmil", "wikg", "clam_sb", "clam_mb")
PUBLIC_MODELS: dict[str, dict[str, Any]] = {
    "abmil_general": {"attention_dim": 384},
    "dsmil_original": {"query_dim": 384, "hidden_dim": 384},
    "acmil_ga": {"attention_dim": 384},
    "acmil_mha": {},
    "dtfd_original": {"first_dim": 384, "second_dim": 384},
    "abmil_general_adaptor": {},
    "attrimil": {"adaptor_dim": 384},
    "additive_mil": {},
    "torchmil_abmil": {"attention_dim": 384},
    "torchmil_dsmil": {"query_dim": 384},
    "stamp_linear": {},
    "stamp_mlp": {},
    "transmil_original": {},
    "torchmil_transmil": {},
    "stamp_vit": {},
    "stamp_vit_alibi": {"head_dim": 64, "value_dim": 64},
    "torchmil_transformer_abmil": {},
    "histobistro_transformer": {},
}
"""Families of other repositories, with the widths of `abmil` where they have such a layer.

A name that is not a type, such as the one with ALiBi, stands for the type it begins with.
"""
BESIDE = {"attrimil": "abmil_general_adaptor"}
"""Families without `abmil`'s widths: their CPU is compared with attention pooling behind the same adaptor."""
NAIVE_MODELS = ("transformer", "wikg")
SIZES, FULL_SIZES = (1000, 10_000), (1000, 10_000, 100_000)
NAIVE_LIMIT = 10_000
"""Above this, the plain versions need tens of GB (wikg 120 GB, transformer 320 GB and more at 100,000)."""
WIDTH = 1536


def peak_mb() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, patches: int, device: str, every: bool, naive: bool) -> dict[str, Any]:
    """Return seconds, memory and logits of one pass; runs in a child process."""
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]
    import numpy as np
    import torch

    from mil_heatmaps.checkpoints.builder import create_model
    from mil_heatmaps.models.registry import config_names, model_types

    torch.manual_seed(0)
    if name == "abmil_general_adaptor":
        from mil_heatmaps.models.abmil_general import ABMILGeneral

        model: Any = ABMILGeneral(in_dim=WIDTH, embed=(), adaptor=384, attention_dim=256).eval().to(device)
    else:
        kind = next(each for each in (name, name.removesuffix("_alibi")) if each in model_types())
        model = create_model(f"{kind}.{config_names(kind)[0]}.uni_v2.none", **PUBLIC_MODELS.get(name, {})).to(device)
    side = int(patches**0.5) + 1
    corners = np.stack([np.arange(patches) % side, np.arange(patches) // side], axis=1) * 512
    told = {"mpp": 0.25} if name.endswith("_alibi") else {}
    features, rng = np.empty((patches, WIDTH), np.float16), np.random.default_rng(0)
    for start in range(0, patches, 4096):
        rows = features[start : start + 4096]
        rows[:] = rng.standard_normal(rows.shape, np.float32)
    scores = list(model.score_specs()) if every else None
    model.explain(features[:64], scores, coords_l0=corners[:64], **told)
    before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    if naive:
        from naive_models import NAIVE

        with torch.inference_mode():
            logits = NAIVE[name](model, torch.from_numpy(features).to(device).float())[0].tolist()
    else:
        logits = model.explain(features, scores, coords_l0=corners, **told).logits.tolist()
    if device != "cpu":
        torch.cuda.synchronize()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "before": before,
        "peak": peak_mb(),
        "gpu": torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else 0,
        "estimate": float("nan") if naive else (model.memory_estimate(patches) / 2**20 or float("nan")),
        "logits": logits,
    }


def run_child(name: str, patches: int, args: argparse.Namespace, naive: bool) -> dict[str, Any] | str:
    """Return the result of `measure` in a fresh process, or the last line of its error."""
    job = json.dumps([name, patches, args.device, args.all_scores, naive])
    done = subprocess.run(
        [sys.executable, __file__, "--child", job], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(title: str, patches: int, found: dict[str, Any]) -> str:
    """Return one row of the table."""
    return (
        f"{title:<19} {patches:>8,} {found['wall']:>8.2f} {found['cpu']:>8.2f} {found['peak']:>8.0f} "
        f"{found['before']:>8.0f} {found['estimate']:>9.0f} {found['gpu']:>8.0f}"
    )


def main() -> int:
    """Print the table; return how many runs failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="TYPE")
    parser.add_argument("--patches", nargs="+", type=int, metavar="N")
    parser.add_argument("--public", action="store_true", help="abmil, and the families of other repositories beside it")
    parser.add_argument("--full", action="store_true", help="up to 100,000 patches")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--all_scores", action="store_true", help="every score the model has, not only its default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(*json.loads(args.child))))
        return 0
    failed = 0
    head = ("patches", "wall s", "CPU s", "peak MB", "before", "estimate", "GPU MB")
    print(f"{'model':<19} {head[0]:>8} {head[1]:>8} {head[2]:>8} {head[3]:>8} {head[4]:>8} {head[5]:>9} {head[6]:>8}")
    beside: dict[tuple[str, int], dict[str, Any]] = {}
    for name in ("abmil", *PUBLIC_MODELS) if args.public else args.models:
        for patches in args.patches or (FULL_SIZES if args.full else SIZES):
            ours = run_child(name, patches, args, naive=False)
            if isinstance(ours, str):
                failed += 1
                print(f"{name:<19} {patches:>8,} failed: {ours}", flush=True)
                continue
            beside[name, patches] = ours
            other = BESIDE.get(name, "abmil")
            ratio = f"   {ours['cpu'] / beside[other, patches]['cpu']:.2f} x {other}'s CPU" if args.public else ""
            print(line(name, patches, ours) + ratio, flush=True)
            if name not in NAIVE_MODELS or patches > NAIVE_LIMIT or args.all_scores:
                continue
            plain = run_child(name, patches, args, naive=True)
            if isinstance(plain, str):
                print(f"{'  plain N x N':<19} {patches:>8,} failed: {plain}", flush=True)
                continue
            apart = max(abs(a - b) for a, b in zip(ours["logits"], plain["logits"], strict=True))
            extra = [max(found["peak"] - found["before"], 1) for found in (plain, ours)]
            print(
                f"{line('  plain N x N', patches, plain)}   {plain['cpu'] / ours['cpu']:.1f} x the time, "
                f"{extra[0] / extra[1]:.1f} x the memory, logits {apart:.0e} apart",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
