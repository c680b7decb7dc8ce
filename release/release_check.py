"""What is looked at before a release: `make release-check`. Exit code 1 when something must not go out.

Advisories of the pinned versions (pip-audit), licences, pre-releases among the pins, the release set against
constraints.txt, the JavaScript library's integrity, and a CycloneDX bill of materials, dist/sbom.json. What cannot be
looked at, for want of a tool or of the internet, is said, and is no pass.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

from release_set import SETS, mixed_builds

ROOT = Path(__file__).resolve().parents[1]
COPYLEFT = re.compile(r"(?<!L)GPL|AGPL|GNU General", re.IGNORECASE)
LESSER = re.compile(r"LGPL|Lesser", re.IGNORECASE)
PRE_RELEASE = re.compile(r"\d(a|b|rc|\.dev)\d")

ONLY_AS_PRE_RELEASE = {
    "cwevals": "needed by wandb, which is optional",
    "opentelemetry-exporter-http-transport": "needed by mlflow-skinny, which is optional",
    "opentelemetry-exporter-otlp-common": "needed by mlflow-skinny, which is optional",
    "opentelemetry-semantic-conventions": "needed by mlflow-skinny, which is optional",
}
"""Pins that no final release could take the place of: they have none."""

NOT_HANDED_ON = {"docutils": "needed by twine, which uploads the release and is in no other extra"}
"""Packages under the GPL in part that users do not get."""


OF_TORCH = ("nvidia-", "cuda-", "triton")
"""Beginnings of the names of packages that PyPI's torch brings, which no version is tested of here."""


def pins(text: str) -> dict[str, str]:
    """Return version by package of a file of requirements."""
    lines = (line.split("#")[0].split(" --hash")[0].strip() for line in text.splitlines())
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}


def pre_releases(pinned: dict[str, str]) -> list[str]:
    """Return the pins that are pre-releases although the package has final ones."""
    return [
        f"{name}=={version}"
        for name, version in pinned.items()
        if PRE_RELEASE.search(version) and name not in ONLY_AS_PRE_RELEASE
    ]


def licence_of(package: importlib.metadata.Distribution) -> str:
    """Return what a package says of its licence."""
    about = package.metadata
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if "License" in line]
    said = about.get("License-Expression") or "; ".join(classified) or (about.get("License") or "").split("\n")[0]
    return said[:60] or "none stated"


def licences() -> tuple[list[str], list[str]]:
    """Return a line a package installed here, and those under the GPL."""
    lines, bad = [], []
    for package in sorted(importlib.metadata.distributions(), key=lambda item: item.metadata["Name"].lower()):
        said = licence_of(package)
        lines.append(f"{package.metadata['Name']} {package.version}: {said}")
        handed_on = package.metadata["Name"].lower() not in NOT_HANDED_ON
        if handed_on and COPYLEFT.search(said) and not LESSER.search(said):
            bad.append(lines[-1])
    return lines, bad


def integrity_problems(lock: dict[str, object]) -> list[str]:
    """Return what is not pinned with a SHA-512 in package-lock.json."""
    packages: dict[str, dict[str, str]] = lock["packages"]  # type: ignore[assignment]
    return [
        name for name, about in packages.items() if name and not about.get("integrity", "").startswith("sha512-")
    ]


def set_problems(text: str, pinned: dict[str, str]) -> list[str]:
    """Return what is wrong with a release set: two builds of torch, or another version than the tested one.

    The libraries of NVIDIA that PyPI's torch needs are pinned by torch itself.
    """
    there = {name: version for name, version in pins(text).items() if not name.startswith(OF_TORCH)}
    return [
        *([wrong] if (wrong := mixed_builds(text.splitlines())) else []),
        *(
            f"{name} {version}, where constraints.txt has {pinned.get(name, 'none')}: make release-set"
            for name, version in there.items()
            if pinned.get(name) != version.split("+")[0]
        ),
    ]


def main() -> int:
    bad: list[str] = []
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    bad += [f"pre-release pinned: {line}" for line in pre_releases(pinned)]
    sets = [ROOT / name for _, name in SETS.values()]
    for release in sets:
        bad += [f"{release.name}: {wrong}" for wrong in set_problems(release.read_text(encoding="utf-8"), pinned)]
    bad += [f"package-lock.json: {name} has no integrity" for name in integrity_problems(
        json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8")))]  # fmt: skip
    lines, copyleft = licences()
    out = ROOT / "dist"
    out.mkdir(exist_ok=True)
    (out / "licences.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    bad += [f"licence: {line}" for line in copyleft]
    print(f"licences of {len(lines)} installed packages: {out / 'licences.txt'}")
    for module, what, command in (
        *(("pip_audit", f"advisories of {release.name}",
           ["pip_audit", "--progress-spinner", "off", "-r", str(release), "--disable-pip"]) for release in sets),
        ("cyclonedx_py", "bill of materials", ["cyclonedx_py", "requirements", str(sets[0]), "--of", "JSON", "-o",
                                               str(out / "sbom.json")]),
    ):  # fmt: skip
        if importlib.util.find_spec(module) is None:
            print(f"NOT LOOKED AT, {what}: {module} is not installed (pip install -e '.[release]')")
            continue
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        told = (done.stdout + done.stderr).strip().splitlines()
        if done.returncode == 0:
            print(f"{what}: {told[-1] if told else 'done'}")
        elif module == "pip_audit" and "Found" not in " ".join(told):
            print(f"NOT LOOKED AT, {what}: {told[-1][:200] if told else 'no answer'}")
        else:
            bad += [f"{what}: {line}" for line in told[-20:]]
    for line in bad:
        print(f"BAD {line}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
