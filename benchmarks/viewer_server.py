"""A viewer in a separate process, and its slides and scores: shared by the viewer's benchmarks.

Run as a script it serves: ``viewer_server.py WAY SLIDE [SCORES ...]`` prints its address as JSON.
"""

import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SIZE = 16384, 12288
PATCHES = 500_000
LISTED, MANY = 2_000, 20_000
"""Number of slides in the lists of the ways ``list`` and ``many``."""


def serve(way: str, slide: Path, scores: Sequence[Path]) -> None:
    """Serve a slide and print the address as JSON.

    `way` is ``viewer``; ``plain``: tiles read by OpenSlide and encoded by Pillow; or a list with the same slide many
    times: ``list``; ``slow-list``, with half a second added to each thumbnail; ``many``, ten times as long.
    """
    import uvicorn

    from mil_heatmaps.viewer.app import ViewerApp
    from mil_heatmaps.viewer.catalog import catalog_of_files
    from mil_heatmaps.viewer.serve import listen

    listener = listen()
    port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bench_viewer_list_", dir=slide.parent) as folder:
        one = catalog_of_files(slide, [], scores, None)
        lengths = {"list": LISTED, "slow-list": LISTED, "many": MANY}
        several = listed(slide, scores, Path(folder), lengths[way]) if way in lengths else one
        app = ViewerApp(several, port=port)
        if way == "plain":
            app.content.slide_tile = plain_tiles(slide)  # type: ignore[method-assign]
        if way == "slow-list":
            quick = app.content.thumbnail
            app.content.thumbnail = lambda number: (time.sleep(0.5), quick(number))[1]  # type: ignore[method-assign]
        print(json.dumps({"port": port, "token": app.token, "data": f"/data/{app.nonce}"}), flush=True)
        config = uvicorn.Config(app.asgi, log_level="critical", access_log=False, lifespan="off", server_header=False)
        uvicorn.Server(config).run(sockets=[listener])


def listed(slide: Path, scores: Sequence[Path], folder: Path, count: int) -> Any:
    """Return a list of `count` slides, each a file with its own name, with labels and predictions."""
    from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry

    entries = []
    for number in range(count):
        name = f"TCGA-CR-{number:05d}-01A-01-TS1"
        path = folder / f"{name}{slide.suffix}"
        os.link(slide, path)
        named = tuple(NamedFile(score, score.stem) for score in scores)
        entries.append(
            SlideEntry(
                name, path, named, cells={"site": str(number % 7)}, status="processed", label="tumour",
                prediction="tumour" if number % 3 else "normal", probability=0.5 + number / 2 / count,
            )
        )  # fmt: skip
    return Catalog("list", tuple(entries), ("site",))


def plain_tiles(path: Path) -> Any:
    """Tiles in the plain way: OpenSlide reads and composes, Pillow encodes."""
    import openslide

    from mil_heatmaps.slides.reader import open_slide
    from mil_heatmaps.viewer.pyramid import view_levels

    with open_slide(path) as opened:
        levels = view_levels(opened)
    slide = openslide.OpenSlide(path)

    def tile(_: int, level: int, column: int, row: int) -> tuple[bytes, str]:
        view = levels[level]
        left, top, width, height = view.box_px(column, row)
        corner = round(left * view.downsample[0]), round(top * view.downsample[1])
        factor = view.factor
        region = slide.read_region(corner, view.source, (width * factor, height * factor)).convert("RGB")
        if factor > 1:
            region = region.resize((width, height))
        out = io.BytesIO()
        region.save(out, "JPEG", quality=85)
        return out.getvalue(), "image/jpeg"

    return tile


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen[str]
    port: int
    token: str
    data: str
    cookie: str = ""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def memory_mib(self, key: str = "VmHWM") -> float:
        """Peak (VmHWM) or present (VmRSS) resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        return float("nan")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextmanager
def started(way: str, slide: Path, scores: Sequence[Path] = ()) -> Iterator[Server]:
    command = [sys.executable, __file__, way, str(slide), *map(str, scores)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        server = Server(process, **json.loads(process.stdout.readline()))
        connection = server.connect()
        connection.request("GET", f"/?token={server.token}")
        answer = connection.getresponse()
        answer.read()
        server.cookie = (answer.getheader("set-cookie") or "").split(";")[0]
        connection.request("GET", "/api/slides/0.json", headers={"Cookie": server.cookie})
        connection.getresponse().read()
        connection.close()
        yield server
    finally:
        process.terminate()
        process.wait(10)


def drop_from_page_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def make_slide(path: Path) -> None:
    """Write a tiled JPEG pyramid of speckled tissue."""
    import numpy as np

    from mil_heatmaps.slides.write_pyramid import write_pyramid

    rng = np.random.default_rng(0)
    patch = rng.normal(0, 22, (1024, 1024, 3)).cumsum(0).cumsum(1)
    patch = (patch - patch.mean()) / patch.std() * 28 + np.array([205, 140, 185]) + rng.normal(0, 7, patch.shape)
    texture = np.clip(patch, 0, 255).astype(np.uint8)
    picture = np.tile(texture, (SIZE[1] // 1024, SIZE[0] // 1024, 1))
    write_pyramid(path, picture, mpp=0.25)


def make_scores(path: Path, count: int) -> None:
    """Write scores for about `count` patches that cover the slide."""
    import numpy as np

    from mil_heatmaps.scores.patch_scores import PatchScores
    from mil_heatmaps.scores.score_file import ScoreFile
    from mil_heatmaps.scores.score_schema import write_scores
    from mil_heatmaps.slides.patch_grid import PatchGrid

    step = max(4, int((SIZE[0] * SIZE[1] / count) ** 0.5))
    xs, ys = np.meshgrid(np.arange(0, SIZE[0] - step, step), np.arange(0, SIZE[1] - step, step))
    coords = np.stack([xs.ravel(), ys.ravel()], axis=1).astype(np.int64)[:count]
    values = np.random.default_rng(1).normal(size=(len(coords), 1)).astype(np.float32)
    grid = PatchGrid(coords, (step, step), (step, step))
    scores = PatchScores(grid, values, ("attention",), "attention_logit", "attention")
    write_scores(path, ScoreFile(grid=grid, scores=scores, slide_size_l0=SIZE))


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), [Path(score) for score in sys.argv[3:]])
