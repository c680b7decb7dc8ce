"""Make the release sets: every package of a release with the SHA-256 of the file pip chooses on this platform.

    python release/release_set.py            # requirements-release.txt: program, viewer and hub
    python release/release_set.py --pypi     # requirements-release-encoders.txt: `encoders` as well, all from PyPI

The first lines of a file say how it is installed. Hashes stand in files of their own: in constraints.txt they would
forbid `pip install -e` and the CPU build of torch. The extra `encoders` has a set of its own: its torchvision must be
of the build of torch (`+cpu`, `+cu130`), and PyPI has one build of each, that for NVIDIA GPUs, which runs on CPUs too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETS = {
    False: ("hub,viewer", "requirements-release.txt"),
    True: ("encoders,hub,viewer", "requirements-release-encoders.txt"),
}
"""Whether all comes from PyPI -> the extras and the file."""
HEAD = (
    "# Made by release/release_set.py from constraints.txt, for {platform}. Not to be edited.\n"
    "# pip install --require-hashes -r {file}{index} && pip install --no-deps .\n"
)
WHEELS = "https://download.pytorch.org/whl"


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


def build_of(lines: list[str], package: str) -> str | None:
    """Return the build of a package, such as ``cpu``; empty for PyPI's, None for a package that is not in the set."""
    versions = [line.split()[0].partition("==")[2] for line in lines if line.startswith(f"{package}==")]
    return versions[0].partition("+")[2] if versions else None


def mixed_builds(lines: list[str]) -> str | None:
    """Return what is wrong when torch and torchvision are of different builds: importing torchvision would fail."""
    torch, torchvision = build_of(lines, "torch"), build_of(lines, "torchvision")
    if torchvision is None or torch == torchvision:
        return None
    return (
        f"torch is the build {torch or 'of PyPI'} and torchvision the build {torchvision or 'of PyPI'}, which do not "
        "work together: leave the extra encoders out, or let pip find both of one build "
        f"(PIP_EXTRA_INDEX_URL={WHEELS}/{torch or torchvision})"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pypi", action="store_true", help="no other index and no wheels of this machine")
    parser.add_argument("--extras")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    extras, name = SETS[args.pypi]
    output = args.output or ROOT / name
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-",
        "-c", str(ROOT / "constraints.txt"), f"{ROOT}[{args.extras or extras}]",
    ]  # fmt: skip
    elsewhere = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT") if args.pypi else ()
    environ = {key: value for key, value in os.environ.items() if key not in elsewhere}
    environ |= {"PIP_CONFIG_FILE": os.devnull} if args.pypi else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return done.returncode
    report = json.loads(done.stdout[done.stdout.index("{") :])
    machine = report["environment"]
    platform = f"Python {machine['python_version']} on {machine['sys_platform']} {machine['platform_machine']}"
    lines = release_lines(report)
    if wrong := mixed_builds(lines):
        print(wrong, file=sys.stderr)
        return 1
    build = build_of(lines, "torch")
    index = f" --extra-index-url {WHEELS}/{build}" if build else ""
    head = HEAD.format(platform=platform, file=output.name, index=index)
    output.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{output}: {len(lines)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
