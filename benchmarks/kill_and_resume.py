"""Kill `create_heatmaps.py` at random moments and run it again: nothing may be lost, changed, or done twice.

    python benchmarks/kill_and_resume.py --config heatmaps/configs/config_demo.yaml --kills 20

Runs the config once undisturbed (experiment ``<name>_calm``), then kills a second run (``<name>_killed``) with SIGKILL
`--kills` times at random moments and lets it finish. Compares every output byte for byte, and checks that files of
stages recorded as finished before a kill were not written again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mil_heatmaps.config.config import load_config

LEFT_OUT = {"record.json", "run.log", "process_list.csv", "config.yaml", ".lock", "events.jsonl"}


def outputs(folders: list[Path]) -> dict[str, str]:
    """SHA-256 of each output by name, without files that hold times and the experiment's own name."""
    return {
        f"{number}/{path.relative_to(folder).as_posix()}": hashlib.sha256(path.read_bytes()).hexdigest()
        for number, folder in enumerate(folders)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in LEFT_OUT
    }


def finished_files(raw: Path) -> dict[Path, int]:
    """Files of finished stages with the times when they were written."""
    found: dict[Path, int] = {}
    for record in raw.rglob("record.json"):
        for stage in json.loads(record.read_text())["stages"].values():
            for key, output in stage["outputs"].items():
                found[(record.parent / key).resolve()] = output["mtime_ns"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = load_config(args.config)
    exp = config.exp_arguments
    names = {kind: f"{exp.save_exp_code}_{kind}" for kind in ("calm", "killed")}
    folders = {
        kind: [Path(exp.raw_save_dir) / name, Path(exp.production_save_dir) / name] for kind, name in names.items()
    }
    for pair in folders.values():
        for folder in pair:
            shutil.rmtree(folder, ignore_errors=True)

    def command(kind: str) -> list[str]:
        program = Path(__file__).resolve().parents[1] / "create_heatmaps.py"
        return [sys.executable, str(program), "--config", args.config, "--save_exp_code", names[kind]]

    started = time.perf_counter()
    subprocess.run(command("calm"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole = time.perf_counter() - started
    print(f"undisturbed run: {whole:.1f} s")

    rng = random.Random(args.seed)
    rewritten = kills = started_over = 0
    raw = folders["killed"][0]
    while kills < args.kills:
        before = finished_files(raw) if raw.exists() else {}
        process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=rng.uniform(0.3, whole))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        after = finished_files(raw) if raw.exists() else {}
        rewritten += sum(1 for path, written in before.items() if after.get(path, written) != written)
        if process.returncode == 0:  # the run finished; start again for the remaining kills
            started_over += 1
            if outputs(folders["killed"]) != outputs(folders["calm"]):
                break
            for folder in folders["killed"]:
                shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(command("killed"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    calm, killed = outputs(folders["calm"]), outputs(folders["killed"])
    differing = sorted(name for name in calm.keys() | killed.keys() if calm.get(name) != killed.get(name))
    print(f"{kills} kills, {started_over} runs that got through between them")
    print(f"{len(calm)} outputs, {len(differing)} differ {differing[:5] or ''}")
    print(f"{rewritten} files of finished stages were written again")
    return 1 if differing or rewritten else 0


if __name__ == "__main__":
    sys.exit(main())
