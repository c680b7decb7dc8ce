"""Addresses of marks and verdicts; they exist only where a folder for them was named."""

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from mil_heatmaps.viewer.content import Content
from mil_heatmaps.viewer.guarded import guarded
from mil_heatmaps.viewer.mark_features import MOST_BYTES, MarkError
from mil_heatmaps.viewer.reader_notes import ReaderNotes, order_of

BODY_S = 20.0
"""A body must be there within this time."""

Answer = Callable[[dict[str, Any]], Any]


def notes_routes(notes: ReaderNotes, content: Content) -> list[BaseRoute]:
    """Return the routes; slides are named by their place, as everywhere."""

    def name(at: dict[str, Any]) -> str:
        return content.entry(at["slide"]).slide_id

    def names() -> list[str]:
        return [entry.slide_id for entry in content.catalog.slides]

    def review(at: dict[str, Any]) -> dict[str, Any]:
        return {"rows": notes.review(at["reader"]), "order": order_of(at["reader"], names())}

    def save_review(at: dict[str, Any]) -> Any:
        return notes.save_review(at["reader"], name({"slide": _place(at["body"])}), at["body"], names())

    def _place(body: Any) -> int:
        slide = body.get("slide")
        if not isinstance(slide, int) or isinstance(slide, bool):
            raise MarkError("a verdict needs the place of its slide")
        return slide

    both = ["GET", "PUT"]
    return [
        Route("/api/notes/marks/{slide:place}.json", _endpoint(
            lambda at: notes.marks(name(at)),
            lambda at: notes.save_marks(name(at), at["body"].get("features"), str(at["body"].get("stamp", ""))),
        ), methods=both),
        Route("/api/notes/review/{reader}.json", _endpoint(review, save_review), methods=both),
        Route("/api/notes/way/{slide:place}/{reader}.json", _endpoint(
            lambda at: notes.way(at["reader"], name(at)),
            lambda at: notes.save_way(at["reader"], name(at), at["body"].get("steps")),
        ), methods=both),
        Route("/api/notes/presets.json", _endpoint(
            lambda _: notes.presets(), lambda at: notes.save_presets(at["body"])
        ), methods=both),
        Route("/api/notes/agreement.json", _endpoint(lambda _: notes.agreement(content.catalog.cases), None)),
    ]  # fmt: skip


def _endpoint(read: Answer, write: Answer | None) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        at: dict[str, Any] = dict(request.path_params)
        if request.method != "PUT":
            return await guarded(lambda: JSONResponse(read(at)))
        if write is None:
            return Response("only GET", status_code=405, media_type="text/plain")
        try:
            body = await asyncio.wait_for(_body_of(request), BODY_S)
        except (TimeoutError, ValueError, RecursionError):
            return Response("a JSON object was expected", status_code=400, media_type="text/plain")
        return await guarded(lambda: JSONResponse(_written(write, {**at, "body": body})))

    return endpoint


def _written(write: Answer, at: dict[str, Any]) -> Any:
    try:
        return write(at)
    except RecursionError:  # what was read may still be nested too deep to be written
        raise MarkError("it is nested too deeply to be kept") from None


async def _body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that was sent; ValueError for anything else, or more than a slide's marks can be."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise ValueError("too large")
    body = json.loads(data, parse_constant=_refuse, parse_float=_finite)
    if not isinstance(body, dict):
        raise ValueError("no object")
    return body


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value
