"""The web application: a page, tiles, and scores as numbers. It reads and never writes.

Slides, score files, pictures and patches are addressed by their place in the catalog; no request names a
path.
"""

import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.files.byte_cache import ByteCache
from mil_heatmaps.viewer.assets import MEDIA_TYPES, page_files
from mil_heatmaps.viewer.catalog import Catalog
from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.security import Gate
from mil_heatmaps.words import said_by

logger = logging.getLogger(__name__)

_TILE_BYTES = 128 << 20
"""Most bytes of encoded tiles that are kept."""

_FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
"""For addresses that hold the nonce of this start: browsers keep tiles, and never take those of another
start.
"""


class ViewerApp:
    """Routes and what they share.

    Attributes
    ----------
    token : str
        Secret of the link.
    cache : ByteCache
        Encoded tiles.
    """

    def __init__(self, catalog: Catalog, *, port: int = 0, token: str | None = None) -> None:
        self.content = Content(catalog)
        self.cache: ByteCache[bytes] = ByteCache(_TILE_BYTES)
        self.token = token or secrets.token_urlsafe(24)
        self.nonce = secrets.token_urlsafe(8)
        cached = f"/data/{self.nonce}"
        app = Starlette(
            routes=[
                Route("/", self.page),
                Route("/page/{name:path}", self.page_file),
                Route("/api/slides.json", self.json(lambda _: self.content.index(self.nonce))),
                Route("/api/slides/{slide:int}.json", self.json(lambda at: self.content.describe(at["slide"]))),
                Route("/api/link.json", self.json(lambda _: {"token": self.token})),
                Route(cached + "/slides/{slide:int}/{level:int}/{column:int}/{row:int}", self.slide_tile),
                Route(
                    cached + "/pictures/{slide:int}/{picture:int}/{level:int}/{column:int}/{row:int}",
                    self.picture_tile,
                ),
                Route(cached + "/slides/{slide:int}/thumbnail", self.data(self._thumbnail, "image/jpeg")),
                Route(cached + "/slides/{slide:int}/tissue", self.data(self._tissue, "application/json")),
                Route(cached + "/scores/{slide:int}/{layer:int}/coords", self.data(self._coords)),
                Route(cached + "/scores/{slide:int}/{layer:int}/columns/{column:int}", self.data(self._column)),
                Route(
                    cached + "/scores/{slide:int}/{layer:int}/patches/{patch:int}",
                    self.data(self._patch, "image/jpeg"),
                ),
            ]
        )
        self.asgi = Gate(app, token=self.token, cookie_name=f"heatmap_viewer_{port}")

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return _file("index.html")

    async def page_file(self, request: Request) -> Response:
        """A script or style sheet of the page."""
        return _file(request.path_params["name"])

    def json(self, answer: Callable[[dict[str, int]], Any]) -> Callable[[Request], Any]:
        """Wrap a function of the path's numbers that gives JSON values."""

        async def endpoint(request: Request) -> Response:
            return await _guarded(lambda: JSONResponse(answer(request.path_params)))

        return endpoint

    def data(
        self, answer: Callable[[dict[str, int]], bytes], media_type: str = "application/octet-stream"
    ) -> Callable[[Request], Any]:
        """Wrap a function of the path's numbers that gives bytes which never change."""

        async def endpoint(request: Request) -> Response:
            return await _guarded(
                lambda: Response(answer(request.path_params), media_type=media_type, headers=_FOR_EVER)
            )

        return endpoint

    async def slide_tile(self, request: Request) -> Response:
        """A tile of the slide."""
        at = request.path_params
        return await self._tile(partial(self.content.slide_tile, at["slide"]), ("slide", at["slide"]), at)

    async def picture_tile(self, request: Request) -> Response:
        """A tile of a picture that lies over the slide."""
        at = request.path_params
        make = partial(self.content.picture_tile, at["slide"], at["picture"])
        return await self._tile(make, ("picture", at["slide"], at["picture"]), at)

    async def _tile(
        self, make: Callable[[int, int, int], tuple[bytes, str]], owner: tuple[Any, ...], at: dict[str, int]
    ) -> Response:
        place = at["level"], at["column"], at["row"]
        data = self.cache.get((*owner, *place))
        if data is not None:  # answered without changing threads: a third of the time of a warm tile
            return Response(data, media_type=_kind_of(data), headers=_FOR_EVER)

        def answer() -> Response:
            fresh, media_type = make(*place)
            self.cache.put((*owner, *place), fresh)
            return Response(fresh, media_type=media_type, headers=_FOR_EVER)

        return await _guarded(answer)

    def _thumbnail(self, at: dict[str, int]) -> bytes:
        key = ("thumbnail", at["slide"])
        data = self.cache.get(key)
        if data is None:
            data = self.content.thumbnail(at["slide"])
            self.cache.put(key, data)
        return data

    def _tissue(self, at: dict[str, int]) -> bytes:
        return self.content.tissue(at["slide"])

    def _coords(self, at: dict[str, int]) -> bytes:
        return self.content.layer(at["slide"], at["layer"]).coords()

    def _column(self, at: dict[str, int]) -> bytes:
        layer = self.content.layer(at["slide"], at["layer"])
        if at["column"] >= len(layer.scores.names):
            raise LookupError(f"no column {at['column']}")
        return layer.column(at["column"])

    def _patch(self, at: dict[str, int]) -> bytes:
        return self.content.patch(at["slide"], at["layer"], at["patch"])

    def close(self) -> None:
        """Close the slides."""
        self.content.close()


def _kind_of(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def _file(name: str) -> Response:
    path = page_files().get(name)
    if path is None:
        return Response("not found", status_code=404, media_type="text/plain")
    # Small files, read anew each time so that an edit shows on reload.
    return Response(path.read_bytes(), media_type=MEDIA_TYPES[path.suffix], headers={"cache-control": "no-cache"})


async def _guarded(answer: Callable[[], Response]) -> Response:
    """Run `answer` in a worker thread; what is wrong with a file becomes one line, not a traceback."""
    try:
        return await run_in_threadpool(answer)
    except LookupError:
        return Response("not found", status_code=404, media_type="text/plain")
    except (HeatmapError, OSError) as error:
        logger.warning("%s", error)
        return Response(said_by(error), status_code=422, media_type="text/plain")
