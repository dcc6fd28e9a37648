"""Makes docs/dashboard_{actors,jobs,tasks}.png, pictures of Ray's dashboard during a run, with Chromium.

``python docs/make_dashboard_pictures.py [SCENARIO] [FOLDER]``
"""

import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Locator, Page, Route, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ENOUGH = 3
"""Rounds after which there is something to see."""


def main(scenario: str = "quickstart", folder: str = str(Path(__file__).parent)) -> None:
    """Start a run, look at the dashboard while it goes, and end the run."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="fs") as place, sync_playwright() as playwright:
        command = [
            sys.executable,
            "-m",
            "fedsim",
            "scenario",
            scenario,
            "--hosts",
            "2",
            "--out",
            f"{place}/{scenario}-1",
        ]
        environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as run:
            assert run.stderr is not None
            address, rounds = "", 0
            while rounds < ENOUGH:
                line = run.stderr.readline()
                assert line, "the run has ended"
                if "dashboard at " in line:
                    address = line.split("dashboard at ", 1)[1].split()[0]
                rounds += " clients | simulated " in line
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            context = browser.new_context(
                viewport={"width": 1400, "height": 560}, extra_http_headers={"Authorization": f"Bearer {token}"}
            )
            # the path of this Python is nobody's business
            context.route("**/api/jobs/**", lambda route: _answer(route, sys.executable, "python"))
            page = context.new_page()
            for name, awaited in (("actors", "Host 2 of 2"), ("jobs", f"{scenario}-1")):
                page.goto(f"{address}/#/{name}")
                page.get_by_text(awaited, exact=True).first.wait_for()
                page.wait_for_timeout(2000)  # columns of numbers come after the names
                page.screenshot(path=Path(folder) / f"dashboard_{name}.png")
            page.set_viewport_size({"width": 1400, "height": 1100})
            page.get_by_role("link", name="01000000").first.click()
            _open(page, page.get_by_text(re.compile(r"^\d+ / \d+$")).first, 104)
            _open(page, page.get_by_text("Host 1 of 2", exact=True).first, 129)
            page.get_by_text("server/pretrain").or_(page.get_by_text("hosts/arrive")).first.wait_for()
            end = page.get_by_text("Logs", exact=True).last.bounding_box()
            assert end is not None
            shown = {"x": 0, "y": 380, "width": 1400, "height": end["y"] - 400}
            page.screenshot(path=Path(folder) / "dashboard_tasks.png", clip=shown)
            browser.close()
            run.terminate()
            run.stderr.close()


def _open(page: Page, row: Locator, x: int) -> None:
    """Open a group of tasks; the arrow at the left end of its row has no name."""
    row.wait_for()
    place = row.bounding_box()
    assert place is not None
    page.mouse.click(x, place["y"] + place["height"] / 2)
    page.wait_for_timeout(1500)


def _answer(route: Route, before: str, after: str) -> None:
    """What the dashboard's server says, with a text replaced."""
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace(before, after))


if __name__ == "__main__":
    main(*sys.argv[1:])
