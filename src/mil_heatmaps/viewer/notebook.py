"""The viewer in a cell of a notebook: JupyterLab, VS Code, JupyterHub with jupyter-server-proxy."""

import atexit
import html
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.viewer.live import LiveCatalog
from mil_heatmaps.viewer.security import Doors
from mil_heatmaps.viewer.serve import HOST, listen, needed_for_serving, server_of

if TYPE_CHECKING:
    import socket

    import uvicorn

    from mil_heatmaps.viewer.app import ViewerApp
    from mil_heatmaps.viewer.catalog import Catalog

HUB_PREFIX = "JUPYTERHUB_SERVICE_PREFIX"
"""The variable that tells a kernel of JupyterHub where its server's addresses begin."""

NOTEBOOKS = (
    "http://localhost:*", "http://127.0.0.1:*", "https://localhost:*", "https://127.0.0.1:*", "vscode-webview:",
)  # fmt: skip
"""Who may frame the page when the notebook runs on this machine."""

_START_S = 15.0


class Frame:
    """A viewer at work in a cell; it ends with the kernel, or with `close`.

    Attributes
    ----------
    address : str
        What the frame shows. It holds a secret: whoever has it can look.
    """

    def __init__(self, app: "ViewerApp", listener: "socket.socket", address: str, height: int) -> None:
        self.address = address
        self.height = height
        self._app = app
        self._listener = listener
        self._server: uvicorn.Server = server_of(app)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        end = time.monotonic() + _START_S
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                self.close()
                raise HeatmapError("the viewer did not start")
            time.sleep(0.01)
        atexit.register(self.close)

    def _repr_html_(self) -> str:
        """The frame, as notebooks show it."""
        return (
            f'<iframe src="{html.escape(self.address)}" width="100%" height="{self.height}" '
            'style="border:1px solid #8888" title="Heatmap viewer" allow="clipboard-write"></iframe>'
        )

    def close(self) -> None:
        """End the viewer; its frame shows nothing new from then on."""
        atexit.unregister(self.close)
        self._server.should_exit = True
        self._thread.join(5)
        self._listener.close()
        self._app.close()


def show(
    run: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    slide: str | os.PathLike[str] | None = None,
    scores: Sequence[str | os.PathLike[str]] = (),
    slide_dir: Sequence[str | os.PathLike[str]] = (),
    marks: str | os.PathLike[str] | None = None,
    height: int = 720,
    host: str | None = None,
    prefix: str | None = None,
    port: int = 0,
) -> Frame:
    """Show a run, several runs, or one slide with its scores in the cell.

    Parameters
    ----------
    run : name, folder or config, or several of them
    slide, scores : one slide and its score files, in place of a run
    slide_dir : where slides are, if they moved
    marks : folder for marks and verdicts
    height : of the frame, in pixels
    host : name of the JupyterHub or JupyterLab as its address has it; a notebook on this machine needs none
    prefix : path of the notebook's server there. Default: what JupyterHub tells its kernels
    port : to listen on, where it is forwarded by number (VS Code on another machine); any free one for 0

    Raises
    ------
    HeatmapError
        There is nothing to show, or the host of a hub is not known.
    MissingDependencyError
        Without the extra ``viewer``.
    """
    needed_for_serving()
    from mil_heatmaps.viewer.app import ViewerApp
    from mil_heatmaps.viewer.reader_notes import ReaderNotes

    catalog = _catalog(run, slide, scores, slide_dir)
    prefix = prefix if prefix is not None else os.environ.get(HUB_PREFIX)
    if prefix and not host:
        raise HeatmapError(
            "this notebook runs on a JupyterHub: give show(..., host='hub.example.org'), the name in the browser's bar"
        )
    listener = listen(port)
    port = listener.getsockname()[1]
    if prefix:
        doors = Doors(hosts=(str(host),), frame_ancestors=("'self'",))
    else:
        doors = Doors(hosts=(host,) if host else (), frame_ancestors=NOTEBOOKS)
    app = ViewerApp(catalog, port=port, doors=doors, notes=None if marks is None else ReaderNotes(Path(marks)))
    # jupyter-server-proxy hands /proxy/PORT/… on without its own part of the address.
    root = f"/{prefix.strip('/')}/proxy/{port}".replace("//", "/") if prefix else f"http://{HOST}:{port}"
    return Frame(app, listener, root + app.frame_path, height)


def _catalog(
    run: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    slide: str | os.PathLike[str] | None,
    scores: Sequence[str | os.PathLike[str]],
    slide_dir: Sequence[str | os.PathLike[str]],
) -> LiveCatalog:
    from mil_heatmaps.cohort.experiments import find_experiment
    from mil_heatmaps.viewer.catalog import catalog_of_files
    from mil_heatmaps.viewer.run_folder import catalog_of_runs, sign_of_runs

    if (run is None) == (slide is None):
        raise HeatmapError("give show a run, or slide= with scores=")
    if slide is not None:
        return LiveCatalog(catalog_of_files(Path(slide), [], [Path(path) for path in scores], None))
    runs = [run] if isinstance(run, str | os.PathLike) else list(run or ())
    folders = [find_experiment(os.fspath(one), any_folder=True) for one in runs]
    places = [Path(place) for place in slide_dir]

    def read() -> "Catalog":
        return catalog_of_runs(folders, places)

    return LiveCatalog(read(), read, lambda: sign_of_runs(folders))
