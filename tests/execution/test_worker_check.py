"""With workers, model and encoder are checked in one of them, before any work and with the same words."""

from __future__ import annotations

import gc
import logging
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mil_heatmaps import machine
from mil_heatmaps.config.config import load_config
from mil_heatmaps.devices import cuda_devices, surely_without_gpu
from mil_heatmaps.errors import CheckpointError, HeatmapError, ModelError, WorkerError
from mil_heatmaps.execution import run_slides
from mil_heatmaps.execution.executors import LocalPool
from mil_heatmaps.execution.worker_server import WORKER_IMPORTS
from mil_heatmaps.pipeline.runner import Runner
from mil_heatmaps.stages import preflight
from tests.helpers.cohort import SmallCohort, make_small_cohort
from tests.helpers.waiting import LONG_S

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

OWN_MODEL = """
import logging, os, signal
from torch import nn

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        {what}

    def forward(self, h):
        return h.reshape(-1, h.shape[-1])[:, :2].mean(0, keepdim=True)

    def patch_scores(self, features):
        return features.reshape(-1, features.shape[-1]).sum(1)
"""

MINE = "mil_heatmaps.mine"


@pytest.fixture
def cohort(tmp_path: Path) -> SmallCohort:
    return make_small_cohort(tmp_path, {"run_arguments": {"workers": 2}})


def give_own_model(cohort: SmallCohort, what: str) -> None:
    path = cohort.root / "mine.py"
    path.write_text(OWN_MODEL.format(what=what))
    cohort.config["model_arguments"] = {"model_class": f"{path}:Mine", "device": "cpu"}


def message_of(cohort: SmallCohort, workers: int) -> str:
    cohort.config["run_arguments"]["workers"] = workers
    with pytest.raises(HeatmapError) as caught:
        Runner(load_config(cohort.write())).run()
    assert type(caught.value) is CheckpointError
    assert not list(cohort.raw.rglob("record.json"))
    return str(caught.value)


def test_a_checkpoint_that_does_not_fit_is_refused_by_a_worker_in_the_same_words(cohort: SmallCohort) -> None:
    cohort.checkpoint.write_bytes(b"no checkpoint")
    assert message_of(cohort, 2) == message_of(cohort, 1)


def test_what_loading_a_model_logs_in_a_worker_is_logged_by_the_run(
    cohort: SmallCohort, caplog: pytest.LogCaptureFixture
) -> None:
    give_own_model(cohort, f"logging.getLogger('{MINE}').warning('key %s is odd', {{'a': nn.Linear(1, 1)}}.keys())")
    with caplog.at_level(logging.WARNING, logger="mil_heatmaps"):
        Runner(load_config(cohort.write())).run()
    assert [r.getMessage() for r in caplog.records if r.name == MINE] == ["key dict_keys(['a']) is odd"]


@pytest.mark.parametrize("workers", [1, 2])
def test_lines_of_the_check_are_logged_at_the_level_the_run_logs_also_when_it_fails(
    cohort: SmallCohort, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    give_own_model(cohort, f"logging.getLogger('{MINE}').info('seen'); raise ValueError('no such layer')")
    cohort.config["run_arguments"]["workers"] = workers
    with caplog.at_level(logging.INFO, logger="mil_heatmaps"), pytest.raises(HeatmapError, match="no such layer"):
        Runner(load_config(cohort.write())).run()
    assert "seen" in [r.getMessage() for r in caplog.records if r.name == MINE]


class OfTheUsersOwn(CheckpointError):
    """An error as a user's own model may raise it; it does not travel between processes."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(f"{path}: line {line} is wrong")


@pytest.mark.parametrize(
    ("problem", "kind", "said"),
    [
        (OfTheUsersOwn("x.pt", 3), CheckpointError, "x.pt: line 3 is wrong"),
        (ModelError("no such model"), ModelError, "no such model"),
        (KeyError("a"), WorkerError, "unexpected KeyError: 'a'"),
    ],
)
def test_whatever_a_check_raises_comes_back_as_an_error_that_every_process_knows(
    problem: Exception, kind: type[HeatmapError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(settings: object, needed: object) -> None:
        raise problem

    monkeypatch.setattr(preflight, "check_needs", fail)
    told = pickle.loads(pickle.dumps(preflight.check_and_tell(None, (), logging.INFO)))  # type: ignore[arg-type]
    assert type(told.error) is kind
    assert said in str(told.error)
    traceback = "\n".join(record.getMessage() for record in told.records)
    assert ("Traceback" in traceback) is (kind is WorkerError)


def test_a_model_that_kills_the_worker_that_checks_it_ends_the_run_before_any_work(cohort: SmallCohort) -> None:
    give_own_model(cohort, "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(WorkerError, match=r"before any work died \(killed by signal 9"):
        Runner(load_config(cohort.write())).run()
    assert not list(cohort.raw.rglob("record.json"))


def test_the_process_that_keeps_the_lists_does_without_torch_where_workers_do_the_slides(cohort: SmallCohort) -> None:
    code = (
        "import sys; from mil_heatmaps.cli.create_heatmaps import main\n"
        f"code = main(['--config', {str(cohort.write())!r}])\n"
        "print('loaded:', *sorted({'torch', 'cv2', 'matplotlib', 'numpy'} & set(sys.modules))); sys.exit(code)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: numpy"
    assert {row["status"] for row in cohort.process_list().values()} == {"processed"}


def test_many_slides_go_to_workers_from_the_first_one_on_though_nobody_said_how_many(
    cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_slides, "MANY", 3)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(run_slides, "SerialExecutor", None)  # nothing may be done in this process
    cohort.config["run_arguments"]["workers"] = "auto"
    assert len(Runner(load_config(cohort.write())).run().processed) == 3
    assert {row["status"] for row in cohort.process_list().values()} == {"processed"}


def test_workers_begin_with_everything_imported() -> None:
    subprocess.run([sys.executable, "-c", f"import {WORKER_IMPORTS}"], cwd=ROOT, timeout=LONG_S, check=True)
    with LocalPool(1) as pool:
        assert pool.ask(eval, f"{{'torch', {WORKER_IMPORTS!r}}} <= set(__import__('sys').modules)")
        assert pool.ask(gc.get_freeze_count) > 10_000  # kept from the search for garbage


def test_torch_is_asked_for_gpus_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert not surely_without_gpu()
    assert cuda_devices("auto", "auto") == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize(("driver", "expected"), [(None, True), ("libcuda.so.1", False)])
def test_without_torch_the_driver_tells_whether_there_may_be_a_gpu(
    driver: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> object:
        if name == driver:
            return object()
        raise OSError(name)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr("ctypes.CDLL", load)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert surely_without_gpu() is expected


def test_the_server_of_workers_ends_without_a_word_at_ctrl_c_while_it_imports() -> None:
    code = (
        "import sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'matplotlib': print('importing', flush=True); time.sleep(60)\n"
        f"sys.meta_path.insert(0, Slow())\nimport {WORKER_IMPORTS}"
    )
    server = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"importing\n"
    server.send_signal(signal.SIGINT)
    _, said = server.communicate(timeout=LONG_S)
    assert (server.returncode, said) == (-signal.SIGINT, b"")
