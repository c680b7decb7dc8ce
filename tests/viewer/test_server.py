"""What the viewer's server answers, and what it refuses."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.slides.reader import open_slide
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry, catalog_of_files
from mil_heatmaps.viewer.serve import listen
from tests.helpers.viewer import RunningViewer, running, write_score_file

pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")

MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def scores(tiny_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoreFile]:
    path = tmp_path_factory.mktemp("scores") / "tiny_blockmap.h5"
    return path, write_score_file(path, (2048, 1536))


@pytest.fixture(scope="module")
def viewer(tiny_slide: Path, scores: tuple[Path, ScoreFile], slides_dir: Path) -> Iterator[RunningViewer]:
    entries = (
        SlideEntry("tiny", tiny_slide, scores=(NamedFile(scores[0], "model a"),)),
        SlideEntry(MARKUP, None, status="failed", problem="open: slide not found"),
        SlideEntry("damaged", slides_dir / "not_a_slide.tif"),
    )
    (slides_dir / "not_a_slide.tif").write_bytes(b"II*\0 nothing of use")
    with running(Catalog("test", entries)) as started:
        yield started


def test_the_link_is_swapped_for_a_cookie_without_the_token(viewer: RunningViewer) -> None:
    status, headers, _ = viewer.ask(f"/?token={viewer.app.token}", cookie=False)
    assert (status, headers["location"]) == (303, "./")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie  # a Strict one is not sent where another site's link began
    assert cookie.startswith(f"heatmap_viewer_{viewer.port}=")
    assert viewer.app.token not in cookie


@pytest.mark.parametrize("path", ["/", "/api/slides.json", "/page/js/main.js", "/api/link.json"])
def test_nothing_is_answered_without_the_cookie(viewer: RunningViewer, path: str) -> None:
    assert viewer.ask(path, cookie=False)[0] == 403
    assert viewer.ask(path, Cookie=f"heatmap_viewer_{viewer.port}=guess")[0] == 403
    assert viewer.ask(path + "?token=guess", cookie=False)[0] == 403
    assert viewer.ask(path)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "192.168.0.7", ""])
def test_a_foreign_host_name_is_refused(viewer: RunningViewer, host: str) -> None:
    assert viewer.ask("/", Host=host)[0] == 400
    assert viewer.ask(f"/?token={viewer.app.token}", Host=host, cookie=False)[0] == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:9", "[::1]:80"])
def test_this_machines_names_are_answered_on_any_forwarded_port(viewer: RunningViewer, host: str) -> None:
    assert viewer.ask("/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_is_possible(viewer: RunningViewer, method: str) -> None:
    status, headers, _ = viewer.ask("/api/slides.json", method=method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_head_is_answered_without_a_body(viewer: RunningViewer) -> None:
    status, headers, body = viewer.ask("/api/slides.json", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_that_other_sites_start_are_refused(viewer: RunningViewer, site: str) -> None:
    assert viewer.ask("/", Sec_Fetch_Site=site)[0] == 403
    assert viewer.ask(f"/?token={viewer.app.token}", Sec_Fetch_Site=site, cookie=False)[0] == 403


@pytest.mark.parametrize("path", ["/", "/page/style.css", "/no/such/thing", "/api/slides/77.json"])
def test_every_answer_carries_the_protecting_headers(viewer: RunningViewer, path: str) -> None:
    _, headers, _ = viewer.ask(path)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/page/../security.py",
        "/page/..%2fsecurity.py",
        "/page/%2e%2e/security.py",
        "/page/js/../../app.py",
        "/page//etc/passwd",
        "/page/.gitignore",
        "/page/vendor/VERSION",
        "/../../etc/passwd",
        "/api/slides/-1.json",
        "/api/slides/3.json",
        "/api/slides/0.5.json",
        "/api/slides/%2fetc%2fpasswd.json",
        "/api/slides/" + "9" * 5000 + ".json",
        "/api/changes/" + "9" * 5000 + ".json",
        "/api/notes/presets.json",  # no folder of marks was named
    ],
)
def test_paths_lead_nowhere_else(viewer: RunningViewer, path: str) -> None:
    assert viewer.ask(path)[0] == 404


@pytest.mark.parametrize(
    "place",
    ["slides/0/0/1/0", "slides/0/99/0/0", "slides/0/-1/0/0", "slides/9/0/0/0", "slides/1/0/0/0", "pictures/0/0/0/0/0",
     "scores/0/2/coords", "scores/0/0/columns/1", "scores/0/0/patches/100000", "scores/1/0/coords", "slides/0/tissue",
     "slides/0/0/0/99999999999999999999", "slides/0/0/0/" + "9" * 5000, "slides/" + "1" * 5000 + "/thumbnail"],
)  # fmt: skip
def test_what_is_out_of_range_is_not_found(viewer: RunningViewer, place: str) -> None:
    assert viewer.ask(f"{viewer.data}/{place}")[0] == 404


def test_addresses_of_another_start_are_not_found(viewer: RunningViewer) -> None:
    assert viewer.ask("/data/other/slides/0/0/0/0")[0] == 404


def test_the_list_says_what_failed_and_keeps_markup_as_text(viewer: RunningViewer) -> None:
    _, headers, body = viewer.ask("/api/slides.json")
    slides = json.loads(body)["slides"]
    assert headers["content-type"] == "application/json"
    assert slides[1]["name"] == MARKUP
    assert (slides[1]["status"], slides[1]["canOpen"]) == ("failed", False)


def test_a_damaged_slide_is_a_sentence_and_no_traceback(viewer: RunningViewer) -> None:
    status, _, body = viewer.ask("/api/slides/2.json")
    assert status == 200
    about = json.loads(body)
    assert about["slide"] is None
    assert "not a slide" in about["problems"][0]
    status, _, body = viewer.ask(f"{viewer.data}/slides/2/0/0/0")
    assert status == 422
    assert b"Traceback" not in body


def test_every_tile_of_every_level_is_the_slide_to_a_few_grey_levels(viewer: RunningViewer, tiny_slide: Path) -> None:
    about = json.loads(viewer.ask("/api/slides/0.json")[2])["slide"]
    with open_slide(tiny_slide) as slide:
        finest = slide.read_level(0).astype(np.float32)
    seen = 0
    for number, level in enumerate(about["levels"]):
        factor = round(level["downsample"][0])
        width, height = level["size"]
        expected = finest[: height * factor, : width * factor].reshape(height, factor, width, factor, 3).mean((1, 3))
        for column in range(level["tiles"][0]):
            for row in range(level["tiles"][1]):
                status, headers, body = viewer.ask(f"{viewer.data}/slides/0/{number}/{column}/{row}")
                assert (status, headers["content-type"]) == (200, "image/jpeg")
                assert "immutable" in headers["cache-control"]
                tile = imagecodecs.jpeg8_decode(body)
                left, top = column * level["tile"][0], row * level["tile"][1]
                part = expected[top : top + level["tile"][1], left : left + level["tile"][0]]
                assert tile.shape == part.shape
                assert np.abs(tile - part).mean() < 4
                seen += 1
    assert seen == sum(level["tiles"][0] * level["tiles"][1] for level in about["levels"])
    assert max(about["levels"][0]["size"]) <= 256
    ratios = [
        a["downsample"][0] / b["downsample"][0] for a, b in zip(about["levels"], about["levels"][1:], strict=False)
    ]
    assert max(ratios) <= 2.1


def test_answers_are_not_held_back_for_want_of_acknowledgements() -> None:
    """Nagle's algorithm is off: with it a body waits 0.04 s until its headers are acknowledged."""

    async def accept_one() -> int:
        held_back: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            held_back.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen()
        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            nodelay = await held_back
            writer.close()
        return nodelay

    assert asyncio.run(accept_one())


def test_scores_arrive_bit_for_bit(viewer: RunningViewer, scores: tuple[Path, ScoreFile]) -> None:
    written = scores[1]
    layers = json.loads(viewer.ask("/api/slides/0.json")[2])["layers"]
    assert [(layer["score"], layer["kind"], layer["names"]) for layer in layers] == [
        ("attention", "attention_logit", ["attention"]),
        ("contribution", "class_contribution", ["normal", "tumor"]),
    ]
    assert [layer["signed"] for layer in layers] == [False, True]
    coords = np.frombuffer(viewer.ask(f"{viewer.data}/scores/0/1/coords")[2], "<i4").reshape(-1, 2)
    np.testing.assert_array_equal(coords, written.grid.coords_l0)
    for layer, group in enumerate((written.scores, *written.extra)):
        for column in range(len(group.names)):
            body = viewer.ask(f"{viewer.data}/scores/0/{layer}/columns/{column}")[2]
            np.testing.assert_array_equal(np.frombuffer(body, "<f4"), group.values[:, column])


def test_a_patch_picture_shows_the_patch(
    viewer: RunningViewer, scores: tuple[Path, ScoreFile], tiny_slide: Path
) -> None:
    index = 40
    body = viewer.ask(f"{viewer.data}/scores/0/0/patches/{index}")[2]
    x, y = scores[1].grid.coords_l0[index].tolist()
    with open_slide(tiny_slide) as slide:
        expected = slide.read_region((x, y), 0, (128, 128))
    assert np.abs(imagecodecs.jpeg8_decode(body).astype(int) - expected).mean() < 4


def test_scores_of_another_slide_are_shown_with_a_warning(tiny_slide: Path, tmp_path: Path) -> None:
    write_score_file(tmp_path / "other.h5", (1024, 1024))
    with running(catalog_of_files(tiny_slide, [], [tmp_path / "other.h5"], None)) as started:
        about = json.loads(started.ask("/api/slides/0.json")[2])
    assert len(about["layers"]) == 2
    assert re.search(r"1024 x 1024 pixels, this one has 2048 x 1536", about["problems"][0])
