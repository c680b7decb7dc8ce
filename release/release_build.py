"""Build what is published and try it as a new user gets it: part of `make release-check`. Exit code 1 at a failure.

sdist and wheel (from the sdist, so that it holds all that building needs), `twine check --strict`, then the wheel in a
fresh environment and an empty folder: the demo cohort is painted and drawn by the installed command, with nothing of
the checkout at hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "demo,viewer"
COHORT = "from pathlib import Path; from mil_heatmaps.demo.cohort import make_cohort; make_cohort(Path('demo'), print)"
DRAW = ("--checkpoint", "demo/checkpoints/abmil_demo.pt", "--h5_dir", "demo/h5_files", "--slide_dir", "demo/slides",
        "--output_dir", "maps", "--class_names", "normal", "lesion", "--figure")  # fmt: skip


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command without this checkout on its path; leave at once when it fails."""
    print("+", *(str(word) for word in command), flush=True)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PIP_CONSTRAINT")}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"BAD {' '.join(str(word) for word in command)}: exit code {done.returncode}")


def build(out: Path, work: Path) -> tuple[Path, Path]:
    """Return the sdist, made of the checkout, and the wheel, made of the sdist alone."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", out, cwd=ROOT)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    (source,) = work.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out, cwd=source)
    (wheel,) = out.glob("*.whl")
    return sdist, wheel


def demo_of(wheel: Path, place: Path, python: Path | None = None) -> int:
    """Install a wheel into a fresh environment and draw the demo with it; return how many figures there are.

    `python` is an environment that is used as it is, in place of a fresh one.
    """
    if python is None:
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        constraints = ROOT / "constraints.txt"
        run(python, "-m", "pip", "install", "--quiet", "-c", constraints, f"{wheel}[{EXTRAS}]", cwd=place)
    empty = place / "empty"
    empty.mkdir()
    run(python, "-c", COHORT, cwd=empty)
    run(python, "-m", "mil_heatmaps.cli.generate_heatmaps", *DRAW, cwd=empty)
    return len(list((empty / "maps").glob("*_figure.png")))


def main() -> int:
    """Build, check, install, draw; return 0 when all of it works."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("dist", "source"):
            (place / name).mkdir()
        sdist, wheel = build(place / "dist", place / "source")
        run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel, cwd=place)
        figures = demo_of(wheel, place)
        print(f"{sdist.name}, {wheel.name}: {figures} figures of the demo drawn from the wheel alone")
        return 0 if figures == 4 else 1


if __name__ == "__main__":
    sys.exit(main())
