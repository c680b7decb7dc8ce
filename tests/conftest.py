"""Tiny slides every test may use, and the folder of real and golden data where there is one."""

import gc
import math
import os
import random
import sys
from collections.abc import Generator, Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from tests.helpers.browser import SHARED_BROWSER
from tests.helpers.places import CURE, ROOT, SHARED
from tests.helpers.slides import make_blank, make_single_level, make_svs_like, make_tiled_pyramid
from tests.helpers.warm import WarmProgram


def pytest_configure() -> None:
    """Refuse to test another checkout's code; keep bytecode; give each test process its share of the cores."""
    import mil_heatmaps

    if not Path(mil_heatmaps.__file__).is_relative_to(ROOT):
        pytest.exit(f"mil_heatmaps is {mil_heatmaps.__file__}, not this checkout's: pip install -e {ROOT}", 2)
    # Where bytecode is not kept, every program that a test starts compiles the package for a second or two.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Threads that wait for a core spin meanwhile.
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        import torch

        from mil_heatmaps.machine import cores_each

        torch.set_num_threads(cores_each(processes))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage only among what comes after the imports and tests, which stay: each look would walk them all."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin every test, with its fixtures, at the same random numbers, whichever tests this process had before it.

    The viewer's browser ends with the viewer's tests: xdist may have moved tests of any room behind them.
    """
    if item.path.parent.name != "viewer":
        SHARED_BROWSER.end()
    random.seed(0)
    for name, seed in (("numpy", "random.seed"), ("torch", "manual_seed")):
        if name in sys.modules:
            attrgetter(seed)(sys.modules[name])(0)


def pytest_sessionfinish() -> None:
    """End the viewer's browser."""
    SHARED_BROWSER.end()


@pytest.fixture(scope="session", autouse=True)
def _workers_are_asked_for() -> Iterator[None]:
    """Start no workers because this machine is busy, which makes slides slow: tests that need workers ask for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mil_heatmaps.execution.run_slides.WORTH_WORKERS_S", math.inf)
        yield


@pytest.fixture(scope="session", autouse=True)
def _disk_need_not_keep_up() -> Iterator[None]:
    """Do not wait for the disk: a run asks it a hundred times whether its files are there, and no test cuts the power.

    That the program does ask, and in which order, is in tests/files/test_faults.py.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmProgram]:
    """The program's scripts as processes of their own, without the seconds of importing."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    started = WarmProgram({**os.environ, **threads, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"})
    yield started
    started.close()


@pytest.fixture(scope="session")
def slides_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the session's slides; tests that change a slide make their own."""
    return tmp_path_factory.mktemp("slides")


@pytest.fixture(scope="session")
def tiny_slide(slides_dir: Path) -> Path:
    """A generic tiled TIFF, 2048 x 1536, levels 1, 4, 16, 0.5 um/px, two pieces of tissue."""
    return make_tiled_pyramid(slides_dir / "tiny.tif")


@pytest.fixture(scope="session")
def tiny_svs(slides_dir: Path) -> Path:
    """A slide OpenSlide takes for an Aperio SVS, 2048 x 1536, tiles of 240, levels 1, 4, 16."""
    return make_svs_like(slides_dir / "tiny.svs")


@pytest.fixture(scope="session")
def single_level_slide(slides_dir: Path) -> Path:
    """A tiled TIFF of one level, 1024 x 768."""
    return make_single_level(slides_dir / "single.tif")


@pytest.fixture(scope="session")
def blank_slide(slides_dir: Path) -> Path:
    """A slide without tissue."""
    return make_blank(slides_dir / "blank.tif")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that holds golden/ and data/; tests that need it are skipped where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip(f"no golden data at {SHARED}; {CURE}")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """The folder golden/."""
    return shared / "golden"


@pytest.fixture(scope="session")
def real_slides(shared: Path) -> Path:
    """The folder of real slides."""
    folder = shared / "data" / "slides"
    if not folder.is_dir():
        pytest.skip(f"no real slides at {folder}")
    return folder
