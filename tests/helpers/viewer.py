"""A viewer running in a thread, and slides with scores to show in it."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mil_heatmaps.scores.patch_scores import PatchScores, Prediction
from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.scores.score_schema import write_scores
from mil_heatmaps.slides.patch_grid import PatchGrid
from mil_heatmaps.viewer.catalog import Catalog
from mil_heatmaps.viewer.live import LiveCatalog
from mil_heatmaps.viewer.serve import listen
from tests.helpers.features import grid_coords
from tests.helpers.waiting import LONG_S

if TYPE_CHECKING:
    from mil_heatmaps.viewer.app import ViewerApp


@dataclass
class RunningViewer:
    """A viewer that answers on this machine.

    Attributes
    ----------
    app : ViewerApp
    port : int
    cookie : str
        The cookie of a browser that has opened the link.
    """

    app: "ViewerApp"
    port: int
    cookie: str = ""

    @property
    def link(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.app.token}"

    def ask(
        self, path: str, *, method: str = "GET", cookie: bool = True, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a request sent exactly as given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if cookie and "Cookie" not in sent:
                sent["Cookie"] = self.cookie
            connection.putrequest(method, path, skip_host="Host" in sent)
            for name, value in sent.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    @property
    def data(self) -> str:
        """Address of tiles and scores."""
        return f"/data/{self.app.nonce}"


# What pages do before the viewer that they show ends, by its port. A page asks for tiles and for what is new at
# any moment: one that still stands there when the server is gone has an error on its console.
LEAVING: dict[int, list[Callable[[], object]]] = {}


@contextmanager
def running(catalog: Catalog | LiveCatalog, **options: Any) -> Iterator[RunningViewer]:
    """Yield a viewer of `catalog` on any free port; `options` are those of `ViewerApp`."""
    from mil_heatmaps.viewer.app import ViewerApp
    from mil_heatmaps.viewer.serve import server_of

    listener = listen()
    port = listener.getsockname()[1]
    app = ViewerApp(catalog, port=port, **options)
    server = server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    viewer = RunningViewer(app, port)
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended before it began"
            time.sleep(0.005)
        _, headers, _ = viewer.ask(f"/?token={app.token}", cookie=False)
        viewer.cookie = headers["set-cookie"].split(";")[0]
        yield viewer
    finally:
        for leave in LEAVING.pop(port, ()):
            leave()
        server.should_exit = True
        server.force_exit = True
        thread.join(LONG_S)
        listener.close()
        app.close()


def lattice(size: tuple[int, int], patch: int, step: int | None = None) -> PatchGrid:
    """Return the patches that lie entirely on a slide of `size`, row by row."""
    step = step or patch
    columns, rows = ((side - patch) // step + 1 for side in size)
    return PatchGrid(grid_coords(columns, rows, step), (patch, patch), (step, step))


def write_score_file(
    path: Path, size: tuple[int, int], *, patch: int = 128, step: int | None = None, seed: int = 0, **more: Any
) -> ScoreFile:
    """Write attention and one score per class for a lattice of patches; return the written scores."""
    grid = lattice(size, patch, step)
    rng = np.random.default_rng(seed)
    attention = rng.normal(size=(len(grid), 1)).astype(np.float32)
    classes = rng.normal(size=(len(grid), 2)).astype(np.float32)
    scores = ScoreFile(
        grid=grid,
        scores=PatchScores(grid, attention, ("attention",), "attention_logit", "attention"),
        extra=(PatchScores(grid, classes, ("normal", "tumor"), "class_contribution", "contribution"),),
        prediction=Prediction(
            ("normal", "tumor"), np.array([0.25, 0.75], np.float32), np.array([-0.5, 0.6], np.float32)
        ),
        slide_size_l0=size,
        level0_mpp=0.5,
        model="abmil.base.uni_v2.none",
        checkpoint_sha256="0123456789abcdef" * 4,
        **more,
    )
    write_scores(path, scores)
    return scores
