"""What measuring every map costs a run: the slides of the demo, with `faithfulness_arguments` and without.

    python benchmarks/bench_quick.py [--slides 20] [--rounds 3] [--demo FOLDER]

The demo's cohort (made anew, or FOLDER of `make demo`) is linked under as many names as there are slides. Both runs are
whole commands, one after the other in each round, with one worker; clock and CPU seconds of each, and how much longer
the run that measures takes, medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def link(demo: Path, root: Path, slides: int) -> list[str]:
    """Link slides and features under new names; return the lines of the process list."""
    lines = ["slide_id,label,process"]
    sources = sorted((demo / "slides").iterdir())
    for number in range(slides):
        source = sources[number % len(sources)]
        name = f"s{number:03}_{source.stem}"
        for folder, path in (("slides", source), ("h5_files", demo / "h5_files" / f"{source.stem}.h5")):
            (root / folder).mkdir(exist_ok=True)
            (root / folder / f"{name}{path.suffix}").symlink_to(path.resolve())
        lines.append(f"{name},{'normal' if 'no_lesion' in name else 'lesion'},1")
    return lines


def run(root: Path, config: dict[str, object], name: str) -> tuple[float, float]:
    """Run the cohort into a separate folder; return (wall-clock seconds, CPU seconds)."""
    import yaml

    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**config, "exp_arguments": {"save_exp_code": name, "raw_save_dir": str(root / "r"),
                                                                "production_save_dir": str(root / "p")}}))  # fmt: skip
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "create_heatmaps.py"), "--config", str(path)], cwd=root, check=True,
                   capture_output=True)  # fmt: skip
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run both ways in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--demo", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "src"))
    import yaml

    from mil_heatmaps.demo.cohort import make_cohort

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        demo = options.demo or root / "demo"
        make_cohort(demo, lambda words: None)
        (root / "list.csv").write_text("\n".join(link(demo, root, options.slides)) + "\n")
        config = yaml.safe_load((ROOT / "heatmaps" / "configs" / "config_demo.yaml").read_text())
        config["data_arguments"] |= {"data_dir": str(root / "slides"), "h5_dir": str(root / "h5_files"),
                                     "process_list": str(root / "list.csv")}  # fmt: skip
        config["model_arguments"]["ckpt_path"] = str((demo / "checkpoints" / "abmil_demo.pt").resolve())
        config["run_arguments"] = {"workers": 1}  # the command itself processes slides, so that its CPU seconds count
        plain = {key: value for key, value in config.items() if key != "faithfulness_arguments"}
        times: dict[str, list[tuple[float, float]]] = {"without": [], "quick": []}
        for number in range(options.rounds):
            for name, one in (("without", plain), ("quick", config)):
                times[name].append(run(root, one, f"{name}_{number}"))
    print(f"{options.slides} slides, {options.rounds} rounds, {os.environ.get('OMP_NUM_THREADS', 'all')} threads")
    for place, what in enumerate(("clock s", "CPU s")):
        without, quick = ([one[place] for one in times[name]] for name in ("without", "quick"))
        longer = statistics.median(100 * (b / a - 1) for a, b in zip(without, quick, strict=True))
        print(f"{what:8} without {statistics.median(without):6.1f}  quick {statistics.median(quick):6.1f}", end="")
        print(f"  {longer:+.0f} %")


if __name__ == "__main__":
    main()
