"""Answers of the application: an error in a file becomes one sentence for the page."""

import logging
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from mil_heatmaps.errors import HeatmapError
from mil_heatmaps.viewer.changed import Changed
from mil_heatmaps.words import said_by

logger = logging.getLogger(__name__)


async def guarded(answer: Callable[[], Response]) -> Response:
    """Run `answer` in a worker thread; an error in a file becomes one line, not a traceback."""
    try:
        return await run_in_threadpool(answer)
    except LookupError:
        return Response("not found", status_code=404, media_type="text/plain")
    except Changed as error:
        return Response(said_by(error), status_code=409, media_type="text/plain")
    except (HeatmapError, OSError) as error:
        logger.warning("%s", error)
        return Response(said_by(error), status_code=422, media_type="text/plain")
