"""Shared by the tests of the viewer's page: addresses, and ways to query the page."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.helpers.waiting import LONG_S

MARKUP = "<img src=x onerror=alert(1)>"
SIZE = 2048, 1536
PATCH = 128

Open = Callable[..., Any]


class SharedBrowser:
    """One Chromium for all tests of the viewer that a process has, started when the first of them asks for it.

    While it lives, Playwright keeps an event loop in the main thread, and no test may run one of its own there.
    """

    def __init__(self) -> None:
        self.idle: dict[str, list[Any]] = {}
        """Pages that a test has left, by the options of their contexts: a new one takes twice as long to begin."""
        self._playwright: Any = None
        self._chromium: Any = None

    def start(self, sync_playwright: Callable[[], Any], **options: Any) -> Any:
        """Return the browser; `options` are those of Playwright's `launch`."""
        if self._chromium is None:
            self._playwright = sync_playwright().start()
            self._chromium = self._playwright.chromium.launch(**options)
        return self._chromium

    def end(self) -> None:
        """End the browser with its pages, and the loop, if there are any."""
        self.idle.clear()
        if self._chromium is not None:
            self._chromium.close()
        if self._playwright is not None:
            self._playwright.stop()
        self._chromium = self._playwright = None


SHARED_BROWSER = SharedBrowser()


def new_page(browser: Any, **options: Any) -> Any:
    """Return a page in a context with `options`, which has patience."""
    context = browser.new_context(**options)
    context.set_default_timeout(1000 * LONG_S)
    return context.new_page()


def words_of(message: Any) -> str:
    """Return a console message with the address it is about: "Failed to load resource" does not name the resource."""
    return f"{message.text} [{message.location['url']}]"


def show(page: Any, address: str = "") -> None:
    """Go to an address of the viewer, if one is given, and wait until the page is ready and stands still."""
    if address:
        page.goto(address)
    page.wait_for_selector("html[data-ready=true]")
    settle(page)


def wait_until(page: Any, script: str, arg: Any = None, seconds: float = LONG_S) -> None:
    """Wait in the page until the answer is true. The page's policy blocks Playwright's `wait_for_function`."""
    asked = f"""async ([arg, ms]) => {{ const value = {script}, end = performance.now() + ms;
        const ask = typeof value === 'function' ? value : () => {script};
        while (!(await ask(arg))) {{
            if (performance.now() > end) return false;
            await new Promise((done) => setTimeout(done, 15));
        }} return true; }}"""
    assert page.evaluate(asked, [arg, 1000 * seconds]), f"still not so after {seconds} s: {script}"


def settle(page: Any) -> None:
    """Wait until all requests are answered, and all panes stand still with all their tiles."""
    still = """!heatmapViewer.underWay && heatmapViewer.panes.every(p => p.isOpen && !p.heat.moving()
        && p.viewer.world.getItemAt(0).getFullyLoaded())"""
    wait_until(page, still)
    # The effect of a resize or a move is drawn a frame later.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    wait_until(page, still)


def wait_for_pictures(page: Any) -> None:
    """Wait until the small pictures of slides and patches, which come after the slide, have come."""
    queue = "import('./page/js/queue.js').then(({pictures: all}) => !all.running.size && !all.waiting.length)"
    wait_until(page, f"() => {queue}")


def places(page: Any) -> list[list[float]]:
    """Return x, y (level-0 pixels), zoom and angle of every pane."""
    return page.evaluate("""heatmapViewer.panes.map(p => { const v = p.viewer.viewport, c = v.getCenter(true);
        return [c.x, c.y, v.getZoom(true) * p.width, v.getRotation(true)]; })""")


def assert_in_lockstep(page: Any, panes: int = 3) -> None:
    """Require that all panes show the same place at the same zoom and angle."""
    first, *others = places(page)
    assert len(others) == panes - 1
    for other in others:
        assert np.allclose(first, other, rtol=0, atol=1e-9), (first, other)


def pixel_at(page: Any, pane: int, x_l0: float, y_l0: float) -> list[int]:
    """The heat canvas's colour over a level-0 point."""
    return page.evaluate(
        """([pane, x, y]) => { const heat = heatmapViewer.panes[pane].heat, g = heat.geometry();
        const left = Math.floor((x - g.x) * g.scale + g.middleX), top = Math.floor((y - g.y) * g.scale +
        g.middleY); return [...heat.canvas.getContext('2d').getImageData(left, top, 1, 1).data]; }""",
        [pane, x_l0, y_l0],
    )


def go_to(page: Any, x: float, y: float, scale: float) -> None:
    """Centre a level-0 point, at `scale` screen pixels per level-0 pixel."""
    page.evaluate("([x, y, scale]) => heatmapViewer.lockstep.goTo({x, y, scale}, true)", [x, y, scale])
    settle(page)


def set_view(page: Any, **change: Any) -> None:
    """Change parts of the view, as the controls do."""
    page.evaluate("(change) => heatmapViewer.store.set(change)", change)
    settle(page)
