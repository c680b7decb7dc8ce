"""Every package that `make install` brings has its version in constraints.txt, and one oldest Python is named."""

import re
import tomllib
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mil_heatmaps.cli.doctor_checks import OLDEST_PYTHON
from tests.helpers.places import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INSTALLED = {canonicalize_name(found.metadata["Name"]): found for found in metadata.distributions()}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines if x[0] != "#")}


def needed_by(requirements: list[str], extras: set[str]) -> list[Requirement]:
    """Return the requirements that hold on this machine with these extras."""
    parsed = [Requirement(text) for text in requirements]
    return [r for r in parsed if not r.marker or any(r.marker.evaluate({"extra": extra}) for extra in extras or {""})]


def brought_by_install() -> tuple[set[str], set[str]]:
    """Return the names `.[dev]` brings, directly or not, and those of them that a package needs at one version."""
    found: set[tuple[str, frozenset[str]]] = set()
    exact: set[str] = set()
    project = PROJECT["project"]
    mine = [*project["dependencies"], *project["optional-dependencies"]["dev"], "editables"]  # hatchling's, for -e
    waiting = needed_by(mine, set())
    while waiting:
        needed = waiting.pop()
        name, extras = canonicalize_name(needed.name), frozenset(needed.extras)
        if any(specifier.operator == "==" for specifier in needed.specifier):
            exact.add(name)
        if (name, extras) not in found and name in INSTALLED:
            found.add((name, extras))
            waiting += needed_by(INSTALLED[name].requires or [], set(extras))
    return {name for name, _ in found}, exact


def test_everything_that_make_install_brings_is_pinned() -> None:
    pinned = pins()
    brought, exact = brought_by_install()
    assert len(brought) > len(PROJECT["project"]["dependencies"])
    other = {
        name: INSTALLED[name].version
        for name in brought & pinned.keys()
        if INSTALLED[name].version.partition("+")[0] != pinned[name]
    }
    if other:
        pytest.skip(f"not an environment of `make install`: it has other versions than constraints.txt of {other}")
    # torch's own libraries for GPUs are pinned by torch.
    assert sorted(brought - pinned.keys() - exact) == []


def test_every_direct_requirement_of_every_extra_is_pinned_and_the_pin_is_allowed() -> None:
    project, pinned = PROJECT["project"], pins()
    extras = project["optional-dependencies"]
    for needed in map(Requirement, [*project["dependencies"], *(line for extra in extras.values() for line in extra)]):
        assert pinned[canonicalize_name(needed.name)] in needed.specifier, needed


def test_dev_holds_every_extra_but_timm_and_the_tools_of_documents_and_releases() -> None:
    extras = {
        name: {Requirement(line).name for line in lines}
        for name, lines in PROJECT["project"]["optional-dependencies"].items()
    }
    of_releases, of_documents = {"cyclonedx-bom", "pip-audit", "twine"}, {"mkdocs-material", "mkdocstrings"}
    left_out = {"timm", "atheris", *of_releases, *of_documents}
    assert set().union(*extras.values()) - extras["dev"] == left_out


def test_one_oldest_python_is_named_everywhere() -> None:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert PROJECT["project"]["classifiers"][0] == f"Programming Language :: Python :: {oldest}"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"Python (\d\.\d+) or later", readme)) == {oldest}


def test_what_is_claimed_is_what_ci_tests() -> None:
    """CI runs `make test` with one Python on Linux."""
    assert PROJECT["project"]["classifiers"] == [
        f"Programming Language :: Python :: {'.'.join(map(str, OLDEST_PYTHON))}",
        "Operating System :: POSIX :: Linux",
    ]
    page = (ROOT / "docs" / "how-to" / "installation.md").read_text(encoding="utf-8")
    told = page.partition("## Tested versions")[2].partition("\n## ")[0]
    assert re.findall(r"(\w+) with Python (\d\.\d+)", told) == [("Linux", ".".join(map(str, OLDEST_PYTHON)))]
