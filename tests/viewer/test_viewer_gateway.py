"""The page in other browsers and behind a real gateway: Firefox, and nginx with TLS and a path in front."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mil_heatmaps.scores.score_file import ScoreFile
from mil_heatmaps.viewer.catalog import Catalog, NamedFile, SlideEntry
from tests.helpers.browser import SIZE, new_page, show, words_of
from tests.helpers.firefox import Firefox
from tests.helpers.places import ROOT
from tests.helpers.viewer import running, write_score_file
from tests.helpers.waiting import LONG_S, free_port, wait_until

pytest.importorskip("starlette", reason="the extra 'viewer' is not installed")

from mil_heatmaps.viewer.security import Doors

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ROOT / "src/mil_heatmaps/viewer/page/vendor/openseadragon.min.js").is_file(),
        reason="OpenSeadragon was not fetched (python hatch_build.py)",
    ),
]

NGINX = """
daemon off; pid {home}/nginx.pid; error_log {home}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {home}/b; proxy_temp_path {home}/p; fastcgi_temp_path {home}/f;
  uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {home}/cert.pem; ssl_certificate_key {home}/key.pem;
    location /user/anna/proxy/8700/ {{
      proxy_pass http://127.0.0.1:{behind}/; proxy_set_header Host hub.example.org;
      proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def scored(tiny_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalog, ScoreFile]:
    path = tmp_path_factory.mktemp("scores") / "tiny.h5"
    written = write_score_file(path, SIZE)
    return Catalog("test", (SlideEntry("tiny", tiny_slide, (NamedFile(path, "a"),)),)), written


@pytest.fixture
def gateway(scored: tuple[Catalog, ScoreFile], tmp_path: Path) -> Iterator[str]:
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("no nginx or openssl on this machine (apt-get install nginx openssl)")
    port = free_port()
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days",
         "2", "-subj", "/CN=localhost"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    with running(scored[0], doors=Doors(hosts=("hub.example.org",))) as viewer:
        config = tmp_path / "nginx.conf"
        config.write_text(NGINX.format(home=tmp_path, port=port, behind=viewer.port))
        process = subprocess.Popen([nginx, "-c", str(config), "-p", str(tmp_path)], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: answers(port) or process.poll() is not None)
            assert process.poll() is None, (tmp_path / "error.log").read_text()
            yield f"https://127.0.0.1:{port}/user/anna/proxy/8700/?token={viewer.app.token}"
        finally:
            process.terminate()
            process.wait(LONG_S)


def answers(port: int) -> bool:
    """Return whether somebody listens there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def test_behind_a_gateway_with_tls_and_a_path_everything_loads(browser: Any, gateway: str) -> None:
    link = gateway
    page, faults = new_page(browser, ignore_https_errors=True), []
    page.on("console", lambda message: faults.append(words_of(message)) if message.type == "error" else None)
    page.on("response", lambda answer: faults.append(answer.url) if answer.status >= 400 else None)
    show(page, link + "#panes=slide;0.0")
    assert page.url.split("#")[0] == link.split("?")[0]  # the secret is gone, the path is kept
    (cookie,) = page.context.cookies()
    assert (cookie["path"], cookie["httpOnly"], cookie["secure"]) == ("/user/anna/proxy/8700", True, True)
    page.reload()
    show(page)
    copied = page.evaluate("heatmapViewer.data.link()")
    assert copied.startswith(link)
    assert faults == []
    page.context.close()


@contextmanager
def page_of_somebody_else(html: str) -> Iterator[int]:
    """Serve one page on a port of its own."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_link_clicked_on_another_site_opens(browser: Any, scored: tuple[Catalog, ScoreFile], host: str) -> None:
    with running(scored[0]) as viewer, page_of_somebody_else(f'<a href="{viewer.link}">look</a>') as port:
        page = new_page(browser)
        for _ in range(2):  # and again, in a browser that holds the cookie
            page.goto(f"http://{host}:{port}/")
            page.click("a")
            show(page)
        page.context.close()


def test_a_frame_shows_the_page_where_third_party_cookies_are_refused(
    browser: Any, scored: tuple[Catalog, ScoreFile]
) -> None:
    with running(scored[0], doors=Doors(frame_ancestors=("http://localhost:*",))) as viewer:
        source = f"http://127.0.0.1:{viewer.port}{viewer.app.frame_path}"
        with page_of_somebody_else(f'<iframe src="{source}" width=900 height=600></iframe>') as port:
            page = new_page(browser)
            page.goto(f"http://localhost:{port}/")
            page.frame_locator("iframe").locator("html[data-ready=true]").wait_for()
            assert page.context.cookies() == []
            page.context.close()


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    if not (shutil.which("firefox-esr") or shutil.which("firefox")):
        pytest.skip("no Firefox on this machine (apt-get install firefox-esr)")
    started = Firefox(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


def test_firefox_shows_the_same_scores_in_lockstep(firefox: Firefox, scored: tuple[Catalog, ScoreFile]) -> None:
    with running(scored[0]) as viewer:
        firefox.open(viewer.link + "#panes=slide;0.0")
        firefox.wait_for("return document.documentElement.dataset.ready === 'true'")
        firefox.wait_for("""return !heatmapViewer.underWay && heatmapViewer.panes.every((pane) => pane.isOpen
            && pane.views && pane.viewer.world.getItemAt(0).getFullyLoaded())""")
        index = 40
        described = firefox.run("return heatmapViewer.activeView.describe(arguments[0])", index)
        assert described["value"] == pytest.approx(float(scored[1].scores.values[index, 0]), abs=0)
        assert [described["x"], described["y"]] == scored[1].grid.coords_l0[index].tolist()
        firefox.run("heatmapViewer.lockstep.goTo({x: 1000, y: 700, scale: 0.5}, true)")
        places = firefox.run("return heatmapViewer.panes.map((pane) => heatmapViewer.lockstep.placeOf(pane, true))")
        for place in places:
            assert (place["x"], place["y"], place["scale"]) == pytest.approx((1000, 700, 0.5), abs=1e-6)
        firefox.run("heatmapViewer.store.set({patch: 40})")
        firefox.wait_for("return document.getElementById('chosen').textContent.includes('rank')")
        firefox.run("heatmapViewer.compare(); heatmapViewer.compare();")
        firefox.wait_for("return !heatmapViewer.underWay && heatmapViewer.panes.length === 4")
        assert firefox.run("return heatmapViewer.lockstep.place().scale") == pytest.approx(0.5, abs=1e-9)
        firefox.ask("WebDriver:Navigate", {"url": "about:blank"})
