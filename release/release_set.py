"""Make requirements-release.txt: every package of a release with the SHA-256 of the file pip chooses on this platform.

    python release/release_set.py                 # writes requirements-release.txt from constraints.txt
    pip install --require-hashes -r requirements-release.txt && pip install --no-deps .

Hashes stand in a file of their own: in constraints.txt they would forbid `pip install -e` and the CPU build of torch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "hub,viewer,encoders"
HEAD = (
    "# Made by release/release_set.py from constraints.txt, for {platform}. Not to be edited.\n"
    "# pip install --require-hashes -r requirements-release.txt && pip install --no-deps .\n"
)


def release_lines(report: dict[str, object], name: str = "mil-heatmaps") -> list[str]:
    """Return a line a package, by name, from pip's installation report; ValueError for a file without a hash."""
    lines = []
    for item in report["install"]:  # type: ignore[attr-defined]
        about = item["metadata"]
        if about["name"].lower() == name:
            continue
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise ValueError(f"{about['name']} {about['version']}: pip knows no SHA-256 of its file")
        lines.append(f"{about['name'].lower()}=={about['version']} --hash=sha256:{digest}")
    return sorted(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default=EXTRAS)
    parser.add_argument("--output", type=Path, default=ROOT / "requirements-release.txt")
    args = parser.parse_args()
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-",
        "-c", str(ROOT / "constraints.txt"), f"{ROOT}[{args.extras}]",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return done.returncode
    report = json.loads(done.stdout[done.stdout.index("{") :])
    machine = report["environment"]
    platform = f"Python {machine['python_version']} on {machine['sys_platform']} {machine['platform_machine']}"
    lines = release_lines(report)
    args.output.write_text(HEAD.format(platform=platform) + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{args.output}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
