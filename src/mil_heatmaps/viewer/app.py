"""The web application: a page, tiles, and scores as numbers. It reads; only marks are written, where a folder for
them was named.

Slides, score files, pictures and patches are addressed by their place in the catalog; no request names a
path.
"""

import asyncio
import gzip
import secrets
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from mil_heatmaps.files.byte_cache import ByteCache
from mil_heatmaps.viewer.assets import MEDIA_TYPES, page_files
from mil_heatmaps.viewer.catalog import Catalog
from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.guarded import guarded
from mil_heatmaps.viewer.layers import ScoreLayer
from mil_heatmaps.viewer.live import LiveCatalog
from mil_heatmaps.viewer.security import FRAME_ROOM, NO_DOORS, Doors, Gate

if TYPE_CHECKING:
    from mil_heatmaps.viewer.reader_notes import ReaderNotes

_TILE_BYTES = 128 << 20
"""Most bytes of encoded tiles that are kept."""

_FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
"""For addresses that hold the nonce of this start, and the stamp of the file: browsers keep what they have, and never
take that of another start.
"""


class _Place(Convertor[int]):
    """A number that can be a place: Python refuses to read one of thousands of digits."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("place", _Place())

At = dict[str, Any]


class ViewerApp:
    """Routes and what they share.

    Attributes
    ----------
    token : str
        Secret of the link.
    doors : Doors
        Ways in beyond this machine's own names.
    notes : ReaderNotes or None
        Where marks and verdicts are kept; without it nothing can be written.
    cache : ByteCache
        Encoded tiles.
    """

    def __init__(
        self,
        catalog: Catalog | LiveCatalog,
        *,
        port: int = 0,
        token: str | None = None,
        doors: Doors = NO_DOORS,
        notes: "ReaderNotes | None" = None,
    ) -> None:
        self.content = Content(catalog)
        self.cache: ByteCache[bytes] = ByteCache(_TILE_BYTES)
        self.token = token or secrets.token_urlsafe(24)
        self.nonce = secrets.token_urlsafe(8)
        self.doors = doors
        self.notes = notes
        self._few = asyncio.Semaphore(2)
        app = Starlette(routes=[*self._page_routes(), *self._data_routes(f"/data/{self.nonce}")])
        if notes is not None:
            from mil_heatmaps.viewer.notes_routes import notes_routes

            app.router.routes += notes_routes(notes, self.content)
        app.router.redirect_slashes = False
        self.gate = Gate(
            app,
            token=self.token,
            cookie_name=f"heatmap_viewer_{port}",
            doors=doors,
            writable=notes is not None,
        )
        self.asgi = self.gate

    @property
    def frame_path(self) -> str:
        """Where a frame finds the page, below the address of the server."""
        return f"{self.doors.base_path}{FRAME_ROOM}{self.gate.frame_token}/"

    def _page_routes(self) -> list[BaseRoute]:
        return [
            Route("/", self.page),
            Route("/page/{name:path}", self.page_file),
            Route("/api/slides.json", self.json(lambda _: self._index())),
            Route("/api/slides/{slide:place}.json", self.json(lambda at: self.content.describe(at["slide"]))),
            Route("/api/changes/{slide:place}.json", self.json(lambda at: self.content.changes(at["slide"]))),
            Route("/api/lists.json", self.json(lambda _: self.content.lists())),
            Route("/api/like/{slide:place}/{layer:place}/{of:place}/{of_layer:place}/{patch:place}.json",
                  self.json(self._about_like)),
            Route("/api/link.json", self.json(lambda _: {"token": self.token})),
        ]  # fmt: skip

    def _data_routes(self, cached: str) -> list[BaseRoute]:
        tile = "{level:place}/{column:place}/{row:place}"
        scores = cached + "/scores/{slide:place}/{layer:place}"
        like = "{of:place}/{of_layer:place}/{patch:place}"
        return [
            Route(cached + "/slides/{slide:place}/" + tile, self.slide_tile),
            Route(cached + "/pictures/{slide:place}/{picture:place}/" + tile, self.picture_tile),
            Route(cached + "/slides/{slide:place}/thumbnail", self.thumbnail),
            Route(cached + "/slides/{slide:place}/boxes/{x:place}/{y:place}/{width:place}/{height:place}",
                  self.data(self._box, "image/jpeg")),
            Route(cached + "/slides/{slide:place}/tissue", self.data(self._tissue, "application/json")),
            Route(scores + "/coords", self.data(self._coords)),
            Route(scores + "/columns/{column:place}", self.data(self._column)),
            Route(scores + "/inside", self.data(self._inside)),
            Route(scores + "/patches/{patch:place}", self.data(self._patch, "image/jpeg")),
            Route(scores + "/like/" + like, self.data(lambda at: self._like(at).column(0))),
        ]  # fmt: skip

    def _index(self) -> dict[str, Any]:
        told = self.content.index(self.nonce)
        return {**told, "canWrite": self.notes is not None}

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return _file("index.html", request)

    async def page_file(self, request: Request) -> Response:
        """A script or style sheet of the page."""
        return _file(request.path_params["name"], request)

    def json(self, answer: Callable[[At], Any]) -> Callable[[Request], Any]:
        """Wrap a function of the path's numbers that gives JSON values."""

        async def endpoint(request: Request) -> Response:
            return await guarded(lambda: JSONResponse(answer(request.path_params)))

        return endpoint

    def data(
        self, answer: Callable[[At], bytes], media_type: str = "application/octet-stream"
    ) -> Callable[[Request], Any]:
        """Wrap a function of the path's numbers that gives bytes which never change.

        The address may say of which version of a file (``v``); of another version there is nothing there.
        """

        async def endpoint(request: Request) -> Response:
            at = {**request.path_params, "v": request.query_params.get("v", "")}
            return await guarded(lambda: Response(answer(at), media_type=media_type, headers=_FOR_EVER))

        return endpoint

    async def slide_tile(self, request: Request) -> Response:
        """A tile of the slide."""
        at = request.path_params
        return await self._tile(partial(self.content.slide_tile, at["slide"]), at)

    async def picture_tile(self, request: Request) -> Response:
        """A tile of a picture that lies over the slide."""
        at = request.path_params
        return await self._tile(partial(self.content.picture_tile, at["slide"], at["picture"]), at)

    async def _tile(self, make: Callable[[int, int, int], tuple[bytes, str]], at: At) -> Response:
        place = at["level"], at["column"], at["row"]
        try:
            owner = self.content.tile_owner(at["slide"], at.get("picture"))
        except LookupError:
            return Response("not found", status_code=404, media_type="text/plain")
        data = self.cache.get((*owner, *place))
        if data is not None:  # answered without changing threads: a third of the time of a warm tile
            return Response(data, media_type=_kind_of(data), headers=_FOR_EVER)

        def answer() -> Response:
            fresh, media_type = make(*place)
            self.cache.put((*owner, *place), fresh)
            return Response(fresh, media_type=media_type, headers=_FOR_EVER)

        return await guarded(answer)

    async def thumbnail(self, request: Request) -> Response:
        """A slide as a small picture: two at a time, and none that nobody waits for any more."""
        async with self._few:
            if await request.is_disconnected():
                return Response(status_code=408)
            answer: Response = await self.data(self._thumbnail, "image/jpeg")(request)
            return answer

    def _thumbnail(self, at: At) -> bytes:
        key = ("thumbnail", *self.content.tile_owner(at["slide"]))
        data = self.cache.get(key)
        if data is None:
            data = self.content.thumbnail(at["slide"])
            self.cache.put(key, data)
        return data

    def _box(self, at: At) -> bytes:
        return self.content.box(at["slide"], (at["x"], at["y"]), (at["width"], at["height"]))

    def _tissue(self, at: At) -> bytes:
        return self.content.tissue(at["slide"])

    def _coords(self, at: At) -> bytes:
        return self.content.layer(at["slide"], at["layer"], at["v"]).coords()

    def _column(self, at: At) -> bytes:
        layer = self.content.layer(at["slide"], at["layer"], at["v"])
        if at["column"] >= len(layer.scores.names):
            raise LookupError(f"no column {at['column']}")
        return layer.column(at["column"])

    def _inside(self, at: At) -> bytes:
        return self.content.inside(at["slide"], at["layer"], at["v"])

    def _patch(self, at: At) -> bytes:
        return self.content.patch(at["slide"], at["layer"], at["patch"])

    def _like(self, at: At) -> ScoreLayer:
        return self.content.like(at["slide"], at["layer"], at["of"], at["of_layer"], at["patch"])

    def _about_like(self, at: At) -> dict[str, Any]:
        layer = self._like(at)
        return layer.describe() | layer.colours(self.content.catalog.defaults) | {"prediction": None}

    def close(self) -> None:
        """Close the slides."""
        self.content.close()


def _kind_of(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def _file(name: str, request: Request) -> Response:
    path = page_files().get(name)
    if path is None:
        return Response("not found", status_code=404, media_type="text/plain")
    # Small files, read again each time so that an edit shows on reload; packed, as the page may come from far away.
    data, headers = path.read_bytes(), {"cache-control": "no-cache", "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        data, headers = _packed(data), {**headers, "content-encoding": "gzip"}
    return Response(data, media_type=MEDIA_TYPES[path.suffix], headers=headers)


@lru_cache(maxsize=128)
def _packed(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)
