"""Photograph the viewer for the documents: `make_images.py` asks for it, in a browser without a window."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

SIZE = 1440, 860
# Slide, attention, and contribution to the class lesion.
VIEW = "slide=demo_02_svs&panes=slide;0.0;1.1"
READY = """!heatmapViewer.busy && heatmapViewer.panes.every(p => p.isOpen && !p.heat.moving()
    && p.viewer.world.getItemAt(0).getFullyLoaded())"""


def photograph(run: Path, picture: Path) -> None:
    """Open a run in the viewer and write what the browser shows as a PNG."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    command = [sys.executable, "-m", "mil_heatmaps.cli.view_heatmap_sync", "--run", str(run), "--no_browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        link = next(found[0] for line in lines if (found := re.search(r"http://\S+", line)))
        with sync_playwright() as started:
            flags = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]
            browser = started.chromium.launch(executable_path=program, args=flags)
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
            page.goto(f"{link}#{VIEW}")
            page.wait_for_selector("html[data-ready=true]", timeout=20000)
            for _ in range(200):
                if page.evaluate(READY):
                    break
                page.wait_for_timeout(50)
            page.wait_for_timeout(3000)  # thumbnails come after the slide
            page.screenshot(path=str(picture))
            browser.close()
    finally:
        server.terminate()
        server.wait()
