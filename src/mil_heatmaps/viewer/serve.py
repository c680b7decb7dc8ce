"""Run the viewer on this machine until it is interrupted."""

import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.viewer.assets import check_library
from mil_heatmaps.words import install_line, lacking, said_by

if TYPE_CHECKING:
    import uvicorn

    from mil_heatmaps.viewer.app import ViewerApp

HOST = "127.0.0.1"
LEAST_TOKEN = 20
"""Minimum number of characters of a secret read from a file."""


def listen(port: int = 0) -> socket.socket:
    """Return a socket bound to `port` on this machine only; 0 picks any free port."""
    # asyncio sends small packets at once only with the protocol named; otherwise every tile waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise HeatmapError(
            f"port {port} cannot be used ({error.strerror or said_by(error)}); leave --port out for any free one"
        ) from error
    return listener


def needed_for_serving() -> None:
    """Raise MissingDependencyError without the extra `viewer`, or without the page's library."""
    check_library()
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise lacking("the viewer", str(error.name), install_line("viewer")) from error


def token_of(path: Path) -> str:
    """Return the secret stored in a file, so that links outlive the viewer; writes a new one where there is no file.

    Raises
    ------
    ConfigError
        Others may read the file, or its text is too short for a secret.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: others may read this secret; chmod 600 it, or name a new file") from None
        token = path.read_text(encoding="utf-8", errors="replace").strip()
        if len(token) < LEAST_TOKEN or not token.isascii() or not token.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(
                f"{path} holds no secret of the viewer ({LEAST_TOKEN} or more letters, digits, - and _); "
                "name a new file"
            ) from None
        return token
    token = secrets.token_urlsafe(24)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(token + "\n")
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise
    return token


def server_of(app: "ViewerApp", on_ready: Callable[[], Any] | None = None) -> "uvicorn.Server":
    """Return a server of `app` that never waits without limit; `on_ready` is called once it listens."""
    import uvicorn

    from mil_heatmaps.viewer.connections import MOST_CONNECTIONS, ImpatientProtocol

    class Server(uvicorn.Server):
        """Reports when it listens: the link must not be opened earlier."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started and on_ready is not None:
                on_ready()

    return Server(
        uvicorn.Config(
            app.asgi,
            http=ImpatientProtocol,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=2,  # browsers keep their connections open
        )
    )


def serve(make_app: Callable[[int], "ViewerApp"], *, port: int = 0, on_ready: Callable[[str], None]) -> None:
    """Serve the app that `make_app` returns for the port in use; call `on_ready` with the link once it can be opened.

    Returns after Ctrl-C or SIGTERM.

    Raises
    ------
    MissingDependencyError
        The extra `viewer` or the page's library is not installed.
    """
    needed_for_serving()
    listener = listen(port)
    number = int(listener.getsockname()[1])
    app = make_app(number)
    link = f"http://{HOST}:{number}{app.doors.base_path}/?token={app.token}"
    try:
        server_of(app, lambda: on_ready(link)).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again once it has stopped
        pass
    finally:
        listener.close()
        app.close()
