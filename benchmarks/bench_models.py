"""Time and memory of every model: one slide's prediction and default score, each run in a process of its own.

    python benchmarks/bench_models.py [--models abmil wikg] [--patches 1000 10000 100000] [--device cuda] [--all_scores]

Peak is the process's own (``ru_maxrss``), of which Python and torch take about 240 MB; the features are float16,
made in place. For comparison, dense N x N attention over 100,000 patches is 40 GB a head in float32.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
MODELS = ("abmil", "clam", "dsmil", "dftd", "ilra", "rrt", "transformer", "transmil", "wikg", "clam_sb", "clam_mb")

RUN = """
import json, resource, sys, time
import numpy as np
import torch
from src.builder import create_model
from src.models.registry import config_names

name, patches, device, every = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "True"
torch.manual_seed(0)
model = create_model(f"{name}.{config_names(name)[0]}.uni_v2.none").to(device)
features, rng = np.empty((patches, 1536), np.float16), np.random.default_rng(0)
for start in range(0, patches, 4096):
    rows = features[start : start + 4096]
    rows[:] = rng.standard_normal(rows.shape, np.float32)
scores = list(model.score_names()) if every else None
model.explain(features[:64], scores)
wall, cpu = time.perf_counter(), time.process_time()
model.explain(features, scores)
if device != "cpu":
    torch.cuda.synchronize()
print(json.dumps({
    "wall": time.perf_counter() - wall,
    "cpu": time.process_time() - cpu,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "gpu": torch.cuda.max_memory_allocated() / 2**20 if device != "cpu" else 0,
}))
"""


def main() -> int:
    """Print a line a model and size; return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="TYPE")
    parser.add_argument("--patches", nargs="+", type=int, default=(1000, 10000), metavar="N")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--all_scores", action="store_true", help="every score the model has, not only its default")
    args = parser.parse_args()
    failed = 0
    print(f"{'model':<12} {'patches':>8} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'GPU MB':>8}")
    for name in args.models:
        for patches in args.patches:
            command = [sys.executable, "-c", RUN, name, str(patches), args.device, str(args.all_scores)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
            if done.returncode:
                failed += 1
                print(f"{name:<12} {patches:>8} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{name:<12} {patches:>8} {found['wall']:>8.2f} {found['cpu']:>8.2f} {found['peak']:>8.0f} "
                f"{found['gpu']:>8.0f}",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
