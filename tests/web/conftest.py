"""Small runs to look at, and a browser to look with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fedsim.engine.inline import InlineEngine
from tests import runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="session")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two methods that has ended."""
    folder = tmp_path_factory.mktemp("web") / "trained"
    runs.run(two(), world, folder)
    return folder


@pytest.fixture(scope="session")
def priced(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Methods of every kind, in price mode, most of them with trips that come to nothing."""
    folder = tmp_path_factory.mktemp("web") / "priced"
    runs.run(runs.small(outputs__checkpoint_every_rounds=2), world, folder, None)
    return folder


@pytest.fixture
def stopped(world: Path, tmp_path: Path) -> Path:
    """A run that was killed in its first method, after two rounds."""
    with pytest.raises(runs.Killed):
        runs.run(two(), world, tmp_path / "run", lambda: runs.Dying(InlineEngine(), 11))
    return tmp_path / "run"


def two(**changes: object) -> dict[str, object]:
    """A scenario with FedAvg and FedBT."""
    return runs.small({"fedavg": {}, "fedbt": {}}, **changes)


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM.is_file(), f"these tests need {CHROMIUM}: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def opened(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """Opens a page, and in the end finds that nothing was asked for elsewhere and nothing went wrong in it."""
    faults, asked = list[str](), list[str]()
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_(address: str) -> "Page":
        page = context.new_page()
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("body[data-drawn]", state="attached")
        return page

    yield open_
    context.close()
    home = asked[0].rsplit("/", 1)[0]
    assert faults == []
    assert [url for url in asked if not url.startswith((home, "data:", "blob:"))] == []
