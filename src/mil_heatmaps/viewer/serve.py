"""Run the viewer on this machine until it is interrupted."""

import socket
from collections.abc import Callable

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.viewer.assets import check_library
from mil_heatmaps.viewer.catalog import Catalog
from mil_heatmaps.words import install_line, lacking, said_by

HOST = "127.0.0.1"


def listen(port: int = 0) -> socket.socket:
    """Return a socket bound to `port` of this machine alone, any free one for 0."""
    # Only with the protocol named does asyncio send small packets at once; otherwise every tile waits 40 ms.
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


def serve(catalog: Catalog, *, port: int = 0, on_ready: Callable[[str], None]) -> None:
    """Show `catalog`; call `on_ready` with the link once it can be opened, return after Ctrl-C or SIGTERM.

    Raises
    ------
    MissingDependencyError
        Without the extra `viewer`, or without the page's library.
    """
    check_library()
    try:
        import uvicorn

        from mil_heatmaps.viewer.app import ViewerApp
    except ImportError as error:
        raise lacking("the viewer", str(error.name), install_line("viewer")) from error

    listener = listen(port)
    number = int(listener.getsockname()[1])
    app = ViewerApp(catalog, port=number)

    class Server(uvicorn.Server):
        """Says when it listens: the link must not be opened earlier."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready(f"http://{HOST}:{number}/?token={app.token}")

    config = uvicorn.Config(
        app.asgi,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=2,  # a browser keeps its connections open
    )
    try:
        Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again once it has stopped
        pass
    finally:
        listener.close()
        app.close()
