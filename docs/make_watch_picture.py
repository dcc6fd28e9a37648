"""Makes docs/watch.png, a picture of the page that `fedsim watch` serves, with Chromium.

``python docs/make_watch_picture.py RUN [PICTURE]``
"""

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main(run: str, picture: str = str(Path(__file__).with_name("watch.png"))) -> None:
    """Serve a run's folder, look at it, and write what is seen."""
    command = [sys.executable, "-m", "fedsim", "watch", run, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        assert server.stderr is not None
        address = server.stderr.readline().split(": ", 1)[1].split()[0]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1180, "height": 900})
        page.goto(address)
        page.wait_for_selector("body[data-drawn]", state="attached")
        end = page.locator("#fleet-title").bounding_box()
        assert end is not None
        page.screenshot(path=picture, full_page=True, clip={"x": 0, "y": 0, "width": 1180, "height": end["y"] - 24})
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
