"""Ways into the viewer beyond this machine's own names, and who may write: what is refused stays refused."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mil_heatmaps.errors import ConfigError, HeatmapError
from mil_heatmaps.viewer.catalog import Catalog, Defaults, SlideEntry
from tests.helpers.browser import SIZE
from tests.helpers.viewer import RunningViewer, running, write_score_file
from tests.helpers.waiting import LONG_S

pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")

from mil_heatmaps.viewer import connections
from mil_heatmaps.viewer.reader_notes import ReaderNotes
from mil_heatmaps.viewer.security import Doors

LINK = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
FRAME = {**LINK, "Sec_Fetch_Dest": "iframe"}
PAGE = {"x_heatmap_viewer": "1", "Content_Type": "application/json"}
CATALOG = Catalog("test", (SlideEntry("a", None), SlideEntry("b", None)))


@pytest.fixture(scope="module")
def plain() -> Iterator[RunningViewer]:
    with running(CATALOG) as started:
        yield started


@pytest.fixture(scope="module")
def open_doors() -> Iterator[RunningViewer]:
    doors = Doors("/node/c1/8700/", ("Hub.example.org",), ("https://hub.example.org",))
    with running(CATALOG, doors=doors) as started:
        yield started


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[RunningViewer]:
    with running(CATALOG, notes=ReaderNotes(tmp_path / "marks")) as started:
        yield started


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_on_another_site_opens_the_page_and_nothing_else(plain: RunningViewer, site: str) -> None:
    link = {**LINK, "Sec_Fetch_Site": site}
    assert plain.ask(f"/?token={plain.app.token}", cookie=False, **link)[0] == 303
    assert plain.ask("/", **link)[0] == 200  # a browser that holds the cookie already
    assert plain.ask("/", cookie=False, **link)[0] == 403
    assert plain.ask("/?token=guess", cookie=False, **link)[0] == 403
    for path in ("/api/slides.json", "/api/link.json", "/page/js/main.js", f"{plain.data}/slides/0/thumbnail"):
        assert plain.ask(path, **link)[0] == 403
    for kind in ({"Sec_Fetch_Mode": "no-cors"}, {"Sec_Fetch_Dest": "iframe"}, {"Sec_Fetch_Dest": "embed"}):
        assert plain.ask(f"/?token={plain.app.token}", cookie=False, **{**link, **kind})[0] == 403


def test_a_gateway_must_be_named(plain: RunningViewer, open_doors: RunningViewer) -> None:
    token = open_doors.app.token
    assert plain.ask("/", Host="hub.example.org")[0] == 400
    status, headers, _ = open_doors.ask(
        f"/node/c1/8700/?token={token}", cookie=False, Host="hub.example.org:443", X_Forwarded_Proto="https"
    )
    assert (status, headers["location"]) == (303, "./")
    assert "Path=/node/c1/8700/" in headers["set-cookie"]
    assert "Secure" in headers["set-cookie"]
    assert open_doors.ask("/node/c1/8700/api/slides.json", Host="hub.example.org")[0] == 200
    assert open_doors.ask("/node/c1/87001/api/slides.json", Host="hub.example.org")[0] == 404
    assert open_doors.ask("/", Host="evil.example")[0] == 400
    assert open_doors.ask("/node/c1/8700/", cookie=False, Host="hub.example.org")[0] == 403


def test_a_frame_needs_its_secret_and_a_site_that_was_named(plain: RunningViewer, open_doors: RunningViewer) -> None:
    path = open_doors.app.frame_path
    assert path.startswith("/node/c1/8700/k/")
    status, headers, _ = open_doors.ask(path, cookie=False, **FRAME)
    assert status == 200
    assert "frame-ancestors https://hub.example.org" in headers["content-security-policy"]
    inside = {"Sec_Fetch_Site": "same-origin"}
    assert open_doors.ask(path + "api/slides.json", cookie=False, **inside)[0] == 200
    assert open_doors.ask(path + "api/slides.json", cookie=False, Sec_Fetch_Site="cross-site")[0] == 403
    assert open_doors.ask("/k/guess/", cookie=False, **FRAME)[0] == 403
    frame = f"/k/{plain.app.gate.frame_token}/"  # nobody may frame this one, not even with its secret
    assert plain.ask(frame, cookie=False, **FRAME)[0] == 403


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("marks/0", {"features": [], "stamp": ""}),
        ("review/anna", {"slide": 0, "verdict": "unsure"}),
        ("way/0/anna", {"steps": []}),
        ("presets", {}),
    ],
)
def test_only_the_page_itself_writes_and_only_with_a_folder(
    plain: RunningViewer, writable: RunningViewer, path: str, body: dict[str, object]
) -> None:
    place, sent = f"/api/notes/{path}.json", json.dumps(body).encode()
    assert plain.ask(place, method="PUT", body=sent, **PAGE)[0] == 405
    assert writable.ask(place, method="PUT", body=sent, cookie=False, **PAGE)[0] == 403
    assert writable.ask(place, method="PUT", body=sent)[0] == 403
    for site in ("cross-site", "same-site", "none"):
        assert writable.ask(place, method="PUT", body=sent, **PAGE, Sec_Fetch_Site=site)[0] == 403
    assert writable.ask(place, method="PUT", body=sent, **PAGE, Origin="https://evil.example")[0] == 403
    for method in ("POST", "DELETE", "PATCH", "OPTIONS"):
        assert writable.ask(place, method=method, body=sent, **PAGE)[0] == 405
    assert not list(writable.app.notes.folder.rglob("*"))  # type: ignore[union-attr]
    assert writable.ask(place, method="PUT", body=sent, **PAGE)[0] == 200


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"features": NaN}', b'{"features": 1e999}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_json_object_is_refused(writable: RunningViewer, body: bytes) -> None:
    assert writable.ask("/api/notes/marks/0.json", method="PUT", body=body, **PAGE)[0] in (400, 422)


@pytest.mark.parametrize("reader", ["..", ".hidden", "a%2Fb", "a%20b", "x" * 41, "%00"])
def test_a_reader_cannot_lead_out_of_the_folder(writable: RunningViewer, reader: str) -> None:
    body = json.dumps({"slide": 0, "verdict": "unsure"}).encode()
    assert writable.ask(f"/api/notes/review/{reader}.json", method="PUT", body=body, **PAGE)[0] in (404, 422)
    assert not list(writable.app.notes.folder.parent.rglob("*review*"))  # type: ignore[union-attr]


def test_half_a_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.ImpatientProtocol, "request_s", 0.3)
    with running(CATALOG) as started:
        silent = [socket.create_connection(("127.0.0.1", started.port)) for _ in range(20)]
        for half in silent[10:]:
            half.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert started.ask("/api/slides.json")[0] == 200
        for half in silent:
            half.settimeout(LONG_S)
            assert half.recv(100) == b""  # the other side has closed
            half.close()


def test_a_small_picture_that_nobody_waits_for_is_not_made(tmp_path: Path) -> None:
    slides = tuple(SlideEntry(f"s{number}", tmp_path / "slide.tif") for number in range(60))
    with running(Catalog("test", slides)) as viewer:
        made: list[int] = []
        given_up_all = threading.Event()

        def slowly(number: int) -> bytes:
            made.append(number)
            given_up_all.wait(LONG_S)
            return b"picture"

        viewer.app.content.thumbnail = slowly  # type: ignore[method-assign]
        for number in range(50):
            with socket.create_connection(("127.0.0.1", viewer.port)) as given_up:
                place = f"{viewer.data}/slides/{number}/thumbnail"
                given_up.sendall(f"GET {place} HTTP/1.1\r\nHost: localhost\r\nCookie: {viewer.cookie}\r\n\r\n".encode())
        for _ in range(3):  # answered after what came before: the viewer knows by then that nobody waits
            assert viewer.ask("/api/slides.json")[0] == 200
        given_up_all.set()
        status, _, body = viewer.ask(f"{viewer.data}/slides/55/thumbnail")
        assert (status, body) == (200, b"picture")
        assert len(made) <= 3  # the two that were begun, and this one


def test_an_unknown_colour_map_is_said_and_replaced() -> None:
    catalog = Catalog("test", CATALOG.slides, defaults=Defaults(cmap="no_such_map"))
    with running(catalog) as started:
        index = json.loads(started.ask("/api/slides.json")[2])
    assert "cmap" not in index["defaults"]
    assert "no_such_map" in index["notes"][0]
    assert index["palettes"][0]["name"] == "jet"


def test_a_kept_secret_is_the_same_again_and_nobody_elses(tmp_path: Path) -> None:
    from mil_heatmaps.viewer.serve import token_of

    path = tmp_path / "token"
    first = token_of(path)
    assert len(first) >= 20
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_of(path) == first
    os.chmod(path, 0o644)
    with pytest.raises(ConfigError, match="others may read"):
        token_of(path)
    os.chmod(path, 0o600)
    path.write_text("short\n")
    with pytest.raises(ConfigError, match="holds no secret"):
        token_of(path)


def test_a_notebook_frames_the_viewer_by_its_own_address(tmp_path: Path, tiny_slide: Path) -> None:
    import http.client

    import mil_heatmaps.viewer

    scores = tmp_path / "run" / "tumor" / tiny_slide.stem / f"{tiny_slide.stem}_blockmap.h5"
    scores.parent.mkdir(parents=True)
    write_score_file(scores, SIZE)
    for given, title in (
        ({"slide": tiny_slide, "scores": [scores]}, tiny_slide.stem),
        ({"run": tmp_path / "run", "slide_dir": [tiny_slide.parent]}, "run"),
    ):
        frame = mil_heatmaps.viewer.show(**given, height=300)  # type: ignore[arg-type]
        try:
            html = frame._repr_html_()
            assert 'height="300"' in html
            host, _, path = frame.address.removeprefix("http://").partition("/")
            connection = http.client.HTTPConnection(host, timeout=LONG_S)
            connection.request("GET", f"/{path}api/slides.json", headers={"Sec-Fetch-Site": "same-origin"})
            index = json.loads(connection.getresponse().read())
            assert index["title"] == title
            assert [slide["layers"] for slide in index["slides"]] == [1]
            connection.close()
        finally:
            frame.close()
    with pytest.raises(HeatmapError, match="host="):
        mil_heatmaps.viewer.show(slide=tiny_slide, prefix="/user/anna/")
