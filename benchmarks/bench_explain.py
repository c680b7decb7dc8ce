"""Time and memory of explanations beside one prediction, and beside their definitions.

    python benchmarks/bench_explain.py [--patches 100000] [--width 1536] [--model abmil] [--device cuda]
                                       [--only NAME ...]

Every line runs in a process of its own, with two threads. On a machine that others use, --cpu_time counts the time
of the CPU instead of the clock's. `ratio` is against one prediction in the same process,
`more MB` the peak memory above that prediction's. The brute-force definition is extrapolated from the stated number of
forwards of a bag with one patch fewer (of half the bag for masks and curves). `autograd` is the bare cost of a forward
and a pass back by autograd on a bag of 20,000 patches, scaled to the number of patches. Captum's IntegratedGradients is
timed on that bag too, where captum is installed.
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
FITS = 20_000
TRIED = 3
CASES: dict[str, dict[str, Any]] = {
    "leave_one_out": {},
    "single": {},
    "gradient_x_input": {},
    "integrated_gradients": {"steps": 32, "max_steps": 32},
    "occlusion": {},
    "mask_regression": {"masks": 512},
    "faithfulness": {},
}
"""Timed score -> its settings."""


def peak_mb() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def features_of(patches: int, width: int) -> Any:
    """Return random float32 features, generated in place."""
    import numpy as np

    features, rng = np.empty((patches, width), np.float32), np.random.default_rng(0)
    for start in range(0, patches, 4096):
        rows = features[start : start + 4096]
        rows[:] = rng.standard_normal(rows.shape, np.float32)
    return features


def lattice_coords(patches: int) -> Any:
    """Return corners of patches on a square."""
    import numpy as np

    side = int(np.ceil(np.sqrt(patches)))
    return np.stack([np.arange(patches) % side, np.arange(patches) // side], axis=1) * 256


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and memory of one case; runs in a child process."""
    import torch

    from mil_heatmaps.checkpoints.builder import create_model
    from mil_heatmaps.models.registry import config_names

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    name = options.model
    model = create_model(f"{name}.{config_names(name)[0]}.{options.width}.none").to(options.device)
    features, coords = features_of(options.patches, options.width), lattice_coords(options.patches)
    target = model.num_classes - 1
    model.explain(features[:64], [])
    predictions = [timed(lambda: model.explain(features, []))[0] for _ in range(3)]
    base, before = min(predictions), peak_mb()
    if case == "faithfulness":
        maps = {"a": features[:, 0], "b": features[:, 1], "c": features[:, 2]}
        seconds, found = timed(lambda: model.faithfulness(features, maps, settings={"max_minutes": 60.0}))
    else:
        seconds, found = timed(
            lambda: model.explain(
                features, case, targets=target, settings=CASES[case] | {"max_forwards": 10**9},
                coords_l0=coords, step_l0=256,
            )
        )
    more = peak_mb() - before
    made = {"case": case, "seconds": seconds, "prediction": base, "ratio": seconds / base, "more_mb": more}
    return made | {"brute": brute(case, model, features, found, options)}


def brute(case: str, model: Any, features: Any, found: Any, options: argparse.Namespace) -> float | None:
    """Return the seconds of the definition, extrapolated from `TRIED` forwards or one backward pass."""
    n = len(features)
    if case == "faithfulness":
        return timed(lambda: [model.explain(features[: n // 2], []) for _ in range(TRIED)])[0] / TRIED * 494
    if case in ("gradient_x_input", "integrated_gradients"):
        import torch

        x = torch.from_numpy(features[:FITS]).to(options.device).requires_grad_()
        torch.autograd.grad(model.differentiable_logits(x)[-1], x)
        seconds, _ = timed(lambda: torch.autograd.grad(model.differentiable_logits(x)[-1], x))
        return seconds * n / min(n, FITS) * (32 if case == "integrated_gradients" else 1)
    if case == "single":
        return timed(lambda: [model.explain(features[i : i + 1], []) for i in range(100)])[0] / 100 * n
    count = {"leave_one_out": n, "mask_regression": 512}.get(case)
    count = found.checks["occlusion"]["windows"] if count is None else count
    kept = n // 2 if case == "mask_regression" else n - 1
    return timed(lambda: [model.explain(features[:kept], []) for _ in range(TRIED)])[0] / TRIED * count


def captum_seconds(model: Any, features: Any) -> float | None:
    """Return Captum's seconds for 32 steps of integrated gradients, None where it is not installed."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        return None
    import torch

    x = torch.from_numpy(features[:FITS])[None]
    rule = IntegratedGradients(lambda h: model(h)[0]["logits"])
    return timed(lambda: rule.attribute(x, target=model.num_classes - 1, n_steps=32, internal_batch_size=1))[0]


def timed(work: Any) -> tuple[float, Any]:
    """Return the seconds that `work` takes, and its result: CPU seconds with --cpu_time, else wall-clock."""
    clock = time.process_time if "--cpu_time" in sys.argv else time.perf_counter
    start = clock()
    result = work()
    return clock() - start, result


def main() -> None:
    """Time every case in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1536)
    parser.add_argument("--model", default="abmil")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu_time", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*CASES, "captum"], default=[*CASES, "captum"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options)))
        return
    print(f"{options.model}, {options.patches:,} x {options.width}, {options.device}, {options.threads} threads")
    print(f"{'':22}{'s':>9}{'one pred.':>11}{'ratio':>8}{'more MB':>9}{'definition s':>14}{'ratio':>10}")
    for case in options.only:
        line = [sys.executable, __file__, *sys.argv[1:], "--child", case]
        print(row(json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)))


def child(options: argparse.Namespace) -> dict[str, Any]:
    """Return the measurements of one child process."""
    sys.path[:0] = [str(REPOSITORY / "src")]
    if options.child != "captum":
        return measure(options.child, options)
    import torch

    from mil_heatmaps.checkpoints.builder import create_model
    from mil_heatmaps.models.registry import config_names

    torch.set_num_threads(options.threads)
    model = create_model(f"{options.model}.{config_names(options.model)[0]}.{options.width}.none")
    features = features_of(FITS, options.width)
    theirs = captum_seconds(model, features)
    rule = CASES["integrated_gradients"]
    last = model.num_classes - 1
    ours, _ = timed(lambda: model.explain(features, "integrated_gradients", targets=last, settings=rule))
    return {"case": "captum", "theirs": theirs, "ours": ours}


def row(found: dict[str, Any]) -> str:
    """Return one line of the table."""
    if found["case"] == "captum":
        theirs = found["theirs"]
        words = "captum is not installed" if theirs is None else f"{theirs:.1f} s, {theirs / found['ours']:.1f} times"
        return f"captum, {FITS:,} patches, 32 steps: ours {found['ours']:.1f} s, theirs {words}"
    text = f"{found['case']:22}{found['seconds']:9.2f}{found['prediction']:11.2f}{found['ratio']:8.2f}"
    return f"{text}{found['more_mb']:9.0f}{found['brute']:14.1f}{found['brute'] / found['seconds']:10.1f}"


if __name__ == "__main__":
    main()
