"""A request to the viewer as bytes: method and address, headers, an empty line, a body. It must be answered."""

from __future__ import annotations

import asyncio
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mil_heatmaps.viewer.app import ViewerApp

METHODS = (b"GET", b"HEAD", b"PUT", b"POST", b"OPTIONS", b"TRACE")


@lru_cache(maxsize=1)
def _viewer() -> ViewerApp:
    """Return a viewer of one slide with scores, whose readers' marks go to a folder of its own."""
    from mil_heatmaps.viewer.app import ViewerApp
    from mil_heatmaps.viewer.catalog import catalog_of_files
    from mil_heatmaps.viewer.reader_notes import ReaderNotes
    from tests.helpers.slides import make_tiled_pyramid
    from tests.helpers.viewer import write_score_file

    folder = Path(tempfile.mkdtemp(prefix="fuzz_viewer_"))
    make_tiled_pyramid(folder / "s.tif", (256, 192), downsamples=(1,))
    write_score_file(folder / "s.h5", (256, 192), patch=64)
    catalog = catalog_of_files(folder / "s.tif", [], [folder / "s.h5"], None)
    return ViewerApp(catalog, port=7, notes=ReaderNotes(folder / "marks"))


def answered(path: Path) -> int:
    """Send a request in this process and return the status; AssertionError for 500 and above, or for no answer."""
    from mil_heatmaps.viewer.security import PAGE_HEADER

    app = _viewer()
    head, _, body = path.read_bytes().partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, address = first.partition(b" ")
    raw_path, _, query = address.partition(b"?")
    nonce = app.nonce.encode()
    raw_path = raw_path.replace(b"/data/", b"/data/" + nonce + b"/")
    headers = [(name.strip().lower(), value.strip()) for name, colon, value in (line.partition(b":") for line in lines)]
    cookie = f"{app.gate.cookie_name}={app.gate._cookie_value}".encode()
    headers += [(b"host", b"127.0.0.1:7"), (b"cookie", cookie), (b"content-length", str(len(body)).encode()),
                (PAGE_HEADER.encode(), b"1")]  # fmt: skip
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": method.decode("latin-1") if method in METHODS else "GET", "raw_path": raw_path, "query_string": query,
        "path": raw_path.decode("utf-8", "replace") or "/", "headers": headers, "client": ("127.0.0.1", 9),
        "server": ("127.0.0.1", 7),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app.asgi(scope, receive, send))  # type: ignore[arg-type]
    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert statuses, "no answer"
    assert statuses[0] < 500, statuses
    return int(statuses[0])
