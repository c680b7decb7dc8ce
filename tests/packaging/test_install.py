"""What an install puts where: a lab keeps its own `src` and `utils`, and a checkout runs its own code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from mil_heatmaps.scores.score_schema import read_scores
from tests.helpers.cohort import make_small_cohort
from tests.helpers.places import ROOT

pytestmark = pytest.mark.slow

NO_NPM = {"HEATMAPS_BUILD_WITHOUT_VIEWER": "1"}
"""The viewer's library is taken as it lies there, or left out."""

COMMANDS = ("generate-heatmaps", "create-heatmaps", "create-process-list", "view-heatmap-sync")
DRAWING = "WholeSlideImage, draw_heatmap, sample_top_patches, MILLabVisualizer, to_percentiles"
FACES = {
    "src.builder": "create_model, create_clam",
    "src.visualization": DRAWING,
    "src.visualization.heatmap_utils": DRAWING,
    "utils.file_utils": "save_hdf5, load_hdf5, save_pkl, load_pkl",
}


class Environment:
    """A Python of its own that has what the program needs, but not the program."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.bin / "python"
        self.packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
        # The .pth files in there are not read, so an editable install in it is not seen.
        (self.packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, *command: str | Path, cwd: Path) -> str:
        """Run a command with nothing of this process's paths; return what it printed, fail with what it said."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | NO_NPM
        done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def say(self, code: str, cwd: Path) -> str:
        """Run code; return what it printed."""
        return self.run(self.python, "-c", code, cwd=cwd)

    def install(self, *what: str | Path) -> None:
        pip = [sys.executable, "-m", "pip", f"--python={self.python}", "install", "--quiet"]
        self.run(*pip, "--no-deps", "--no-index", "--no-build-isolation", *what, cwd=self.packages)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment without the program."""
    return Environment(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def builder() -> None:
    """Skip where neither wheel nor editable install can be built."""
    pytest.importorskip("hatchling", reason="hatchling is not installed (make install)")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, builder: None) -> Environment:
    """Packages `src` and `utils` of a lab, and then the program's wheel."""
    made = Environment(tmp_path_factory.mktemp("lab"))
    for name in ("src", "utils"):
        (made.packages / name).mkdir()
        (made.packages / name / "__init__.py").write_text(f"WHOSE = 'the lab, {name}'\n")
    made.install(ROOT)
    return made


def test_a_lab_keeps_its_own_src_and_utils(lab: Environment, tmp_path: Path) -> None:
    code = (
        "import mil_heatmaps, mil_heatmaps.cli.create_heatmaps, mil_heatmaps.checkpoints.builder as builder\n"
        "import src, utils\n"
        "print(src.WHOSE, utils.WHOSE, builder.create_model.__module__, mil_heatmaps.__file__, sep='|')\n"
    )
    *said, place = lab.say(code, tmp_path).split("|")
    assert said == ["the lab, src", "the lab, utils", "mil_heatmaps.checkpoints.builder"]
    assert Path(place).is_relative_to(lab.packages)
    files = {path.name for path in lab.packages.iterdir()} - {"src", "utils", "needed.pth", "__pycache__"}
    assert {name.partition("-")[0] for name in files} == {"mil_heatmaps"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run_in_any_folder(lab: Environment, tmp_path: Path, command: str) -> None:
    said = lab.run(lab.bin / command, "--help", cwd=tmp_path)
    assert said.startswith(f"usage: {command.replace('-', '_')}.py ")


def test_a_run_of_the_wheel_needs_nothing_of_the_checkout(lab: Environment, tmp_path: Path) -> None:
    cohort = make_small_cohort(tmp_path / "cohort", {"run_arguments": {"workers": 2}})
    lab.run(lab.bin / "create-heatmaps", "--config", cohort.write(), cwd=tmp_path)
    assert {row["status"] for row in cohort.process_list().values()} == {"processed"}


def test_the_wheel_brings_the_viewers_page(lab: Environment) -> None:
    page = ROOT / "src" / "mil_heatmaps" / "viewer" / "page"
    here = {path.relative_to(page) for path in page.rglob("*") if path.is_file()}
    there = lab.packages / "mil_heatmaps" / "viewer" / "page"
    assert {path.relative_to(there) for path in there.rglob("*") if path.is_file()} == here


def test_an_editable_install_offers_one_name(builder: None, tmp_path: Path) -> None:
    made = Environment(tmp_path / "venv")
    made.install("-e", ROOT)
    names = ("mil_heatmaps", "builder", "visualization", "src", "utils", "tests", "benchmarks")
    code = f"from importlib.util import find_spec; print(*[name for name in {names} if find_spec(name)])"
    assert made.say(code, tmp_path) == "mil_heatmaps"
    code = "import mil_heatmaps; print(mil_heatmaps.__file__)"
    assert Path(made.say(code, tmp_path)) == ROOT / "src" / "mil_heatmaps" / "__init__.py"


@pytest.mark.parametrize("module", FACES)
def test_the_faces_work_in_a_checkout_that_is_not_installed(bare: Environment, module: str) -> None:
    names = FACES[module]
    code = (
        f"from {module} import {names}; print(*{{x.__module__.partition('.')[0] for x in ({names})}})\n"
        "import mil_heatmaps; print(mil_heatmaps.__file__)"
    )
    assert bare.say(code, ROOT).split() == ["mil_heatmaps", str(ROOT / "src" / "mil_heatmaps" / "__init__.py")]


def test_the_jobs_of_a_checkout_run_its_own_code(bare: Environment, lab: Environment, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="the extra 'distributed' is not installed")
    script = (
        "from pathlib import Path\n"
        "from mil_heatmaps.config.cluster_section import ClusterArguments\n"
        "from mil_heatmaps.execution.dask_cluster import job_cluster\n"
        f"with job_cluster(ClusterArguments(kind='slurm', cores=1, memory='2GB'), Path({str(tmp_path)!r})) as jobs:\n"
        "    print(jobs.job_script())\n"
    )
    (line,) = re.findall("^export PYTHONPATH.*", bare.say(f"import src\n{script}", ROOT), flags=re.MULTILINE)
    found = f"{line}; {lab.python} -c 'import mil_heatmaps; print(mil_heatmaps.__file__)'"
    assert lab.run("bash", "-c", found, cwd=tmp_path) == str(ROOT / "src" / "mil_heatmaps" / "__init__.py")
    assert "PYTHONPATH" not in lab.say(script, tmp_path)


@pytest.mark.parametrize(("name", "workers"), [("bare", 1), ("lab", 2)])
def test_a_script_runs_the_code_of_its_own_checkout(
    name: str, workers: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "src", checkout / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "create_heatmaps.py", checkout)
    (checkout / "src" / "mil_heatmaps" / "version.py").write_text('__version__ = "9.9.9"\n')
    cohort = make_small_cohort(tmp_path / "cohort", {"run_arguments": {"workers": workers}})
    environment: Environment = request.getfixturevalue(name)
    environment.run(environment.python, checkout / "create_heatmaps.py", "--config", cohort.write(), cwd=tmp_path)
    written = [read_scores(path).program_version for path in cohort.raw.rglob("*_blockmap.h5")]
    assert written == ["9.9.9"] * 3
