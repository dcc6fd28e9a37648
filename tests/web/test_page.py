"""The page in a real browser: charts have the run's numbers, and what is new appears by itself."""

import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import uvicorn

from fedsim.trace.reader import read_run
from fedsim.web.follow import Followed
from fedsim.web.server import address, application, listening
from tests import runs
from tests.command import Desk

if TYPE_CHECKING:
    from playwright.sync_api import Page

Watch = Callable[[Path], str]
SERIES = """id => echarts.getInstanceByDom(document.getElementById(id)).getOption().series.map(
    s => [s.name, s.data.map(d => Array.isArray(d) ? d.slice(0, 2) : d)])"""


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Serves a run on a free port, as the command does."""
    started: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(run: Path) -> str:
        listener = listening("127.0.0.1", 0)
        server = uvicorn.Server(
            uvicorn.Config(application(Followed(run)), log_level="warning", lifespan="off", ws="none")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        started.append((server, thread, listener))
        return address(listener)

    yield start
    for server, thread, listener in started:
        server.should_exit = True
        thread.join()
        listener.close()


def series(page: "Page", chart: str) -> dict[str, list[Any]]:
    return dict(page.evaluate(SERIES, chart))


@pytest.mark.slow
def test_charts_have_the_numbers_of_the_run(trained: Path, watch: Watch, opened: "Callable[..., Page]") -> None:
    page = opened(watch(trained))
    read = read_run(trained)
    assert page.title() == "small · fedsim"
    assert page.inner_text("#state") == "ended"
    losses = series(page, "loss")
    spent = series(page, "spent")
    for method in ("fedavg", "fedbt"):
        rounds = read.rounds[read.rounds["method"] == method]
        assert losses[method] == [[i + 1, pytest.approx(loss)] for i, loss in enumerate(rounds["loss"])]
        assert spent[method] == [[i + 1, pytest.approx(n / 1e6)] for i, n in enumerate(rounds["upload_bytes"].cumsum())]
        accuracy = read.evals[(read.evals["method"] == method) & (read.evals["metric"] == "accuracy")]
        expected = list(zip(accuracy["round"] + 1, accuracy["value"], strict=True))
        assert series(page, "quality")[method] == [[round_, pytest.approx(value)] for round_, value in expected]
    last = read.trips[(read.trips["method"] == "fedbt") & (read.trips["round"] == 4)]
    assert len(series(page, "gantt")["trip"]) == len(last)
    assert sum(len(data) for data in series(page, "fleet").values()) == runs.CLIENTS
    # every other round, method and axis by keyboard and menu
    page.focus("#round")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#gantt-title:has-text('round 4 of fedbt')")
    page.select_option("#method", "fedavg")
    page.wait_for_selector("#gantt-title:has-text('round 5 of fedavg')")
    page.click("#axis label:has(input[value=flops])")
    flops = read.rounds[read.rounds["method"] == "fedavg"][["flops_forward", "flops_backward"]].sum(axis=1).cumsum()
    assert [point[0] for point in series(page, "loss")["fedavg"]] == pytest.approx((flops / 1e6).tolist())
    page.click("#methods button:has-text('fedbt')")
    assert set(series(page, "loss")) == {"fedavg"}
    for chart in ("quality", "loss", "spent", "gantt", "stages", "fleet", "outcomes"):
        assert page.get_attribute(f"#{chart}", "aria-label"), chart


@pytest.mark.slow
def test_a_new_round_appears_without_reload(stopped: Path, watch: Watch, opened: "Callable[..., Page]") -> None:
    page = opened(watch(stopped))
    assert page.inner_text("#state") == "stopped before its end"
    assert [len(data) for data in series(page, "loss").values()] == [2]
    page.evaluate("window.untouched = true")
    runs.resume(stopped)
    page.wait_for_selector("#state:has-text('ended')", timeout=20_000)
    page.wait_for_selector("#gantt-title:has-text('round 5 of fedbt')")
    assert {name: len(data) for name, data in series(page, "loss").items()} == {"fedavg": 5, "fedbt": 5}
    assert page.evaluate("window.untouched")


@pytest.mark.slow
def test_a_run_that_has_just_begun_fills_by_itself(
    trained: Path, tmp_path: Path, watch: Watch, opened: "Callable[..., Page]"
) -> None:
    from tests.web.test_follow import begun

    folder = begun(trained, tmp_path)
    page = opened(watch(folder))
    assert page.inner_text("#state") == "stopped before its end; no round is over yet"
    (folder / "trace").symlink_to(trained / "trace")
    page.wait_for_selector("#gantt-title:has-text('round 5 of fedbt')", timeout=20_000)
    assert page.inner_text("#state") == "stopped before its end"


@pytest.mark.slow
def test_nothing_sticks_out_of_the_page(priced: Path, watch: Watch, opened: "Callable[..., Page]") -> None:
    page = opened(watch(priced))
    for width in (400, 1600):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(200)  # charts follow after a frame
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.is_hidden("#quality")
    assert page.is_hidden("#loss")  # nothing was trained
    assert set(series(page, "spent")) == set(runs.METHODS)


@pytest.mark.slow
def test_the_command_says_where_and_ends_on_ctrl_c(trained: Path, work: Desk) -> None:
    with work.start("watch", str(trained), "--port", "0") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        with urlopen(found[0], timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_mistakes_are_told_in_one_line(work: Desk, trained: Path, stopped: Path, tmp_path: Path) -> None:
    manifest = stopped / "trace/fedavg/manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    newer = "trace version 99 was written by a newer fedsim (this one reads 1): upgrade fedsim"
    with listening("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        for arguments, message in (
            ([str(stopped)], f"error: {manifest}: {newer}\n"),
            (["nothing"], "error: nothing: there is no such folder\n"),
            ([str(tmp_path)], f"error: {tmp_path}: not a run folder: it has no identity.json\n"),
            (
                [str(trained), "--port", port],
                f"error: --port: is {port}, which another program uses: choose another one, or 0\n",
            ),
        ):
            ended = work.run("watch", *arguments)
            assert (ended.code, ended.out, ended.err) == (2, "", message)
