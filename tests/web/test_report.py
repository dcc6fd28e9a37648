"""A report is one file that opens anywhere and has the numbers of its runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pytest

from fedsim.errors import UserError
from fedsim.trace.reader import read_run
from fedsim.web import report
from tests import runs
from tests.command import Desk
from tests.web.conftest import two
from tests.web.test_follow import begun
from tests.web.test_page import series

if TYPE_CHECKING:
    from playwright.sync_api import Page


def inside(text: str) -> dict[str, Any]:
    """What a report has to show."""
    found: dict[str, Any] = json.loads(text.partition('type="application/json">')[2].partition("</script>")[0])
    return found


@pytest.fixture(scope="module")
def seeds(world: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The trained run (seed 3), and the same with another seed."""
    folder = tmp_path_factory.mktemp("seeds") / "again"
    runs.run(two(seed=4), world, folder)
    return [trained, folder]


@pytest.mark.slow
def test_it_opens_without_a_network_and_shows_the_run(trained: Path, work: Desk, opened: "Callable[..., Page]") -> None:
    ended = work.run("report", trained, "--html", "mine.html", "--figures", "figures")
    assert (ended.code, ended.out) == (0, "")
    file = work.folder / "mine.html"
    assert file.stat().st_size < report.LARGEST_BYTES
    names = ("stragglers", "traffic", "waste", "memory", "quality", "tradeoff")
    expected = {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert {path.name for path in (work.folder / "figures").iterdir()} == expected
    page = opened(file.as_uri())
    read = read_run(trained)
    for method in ("fedavg", "fedbt"):
        loss = read.rounds[read.rounds["method"] == method]["loss"]
        assert series(page, "loss")[method] == [[i + 1, pytest.approx(value)] for i, value in enumerate(loss)]
    page.click("#before")
    page.wait_for_selector("#gantt-title:has-text('round 4 of fedbt')")
    trips = read.trips[(read.trips["method"] == "fedbt") & (read.trips["round"] == 3)]
    assert len(series(page, "gantt")["trip"]) == len(trips)
    assert "name: small" in (page.text_content("#scenario") or "")
    text = page.text_content("main") or ""
    assert "python -m fedsim scenario small.yaml" in text
    assert f"torch=={json.loads((trained / 'identity.json').read_text())['versions']['torch']}" in text
    assert "sent by the device" in text  # a column of the trace, explained
    assert page.is_hidden("#newest")


def test_the_scenario_in_it_makes_the_same_run(trained: Path, world: Path, work: Desk) -> None:
    (about,) = inside(report.document([trained]))["about"]
    shutil.copytree(world, work.folder, dirs_exist_ok=True)
    work.write(name="small.yaml", text=about["scenario"])
    words = about["command"].split()
    assert words[:4] == ["python", "-m", "fedsim", "scenario"]
    assert work.run(*words[3:], "--engine", "inline", "--out", "again").code == 0
    own, again = (json.loads((folder / "run.json").read_text()) for folder in (trained, work.folder / "again"))
    assert again["fingerprint"] == own["fingerprint"] == about["fingerprint"]
    assert runs.hashes(again) == runs.hashes(own)


@pytest.mark.slow
def test_seeds_are_one_with_their_deviation(seeds: list[Path], opened: "Callable[..., Page]", tmp_path: Path) -> None:
    file = report.save(seeds, tmp_path / "seeds.html")
    together = inside(file.read_text())["together"]
    summaries = [json.loads((folder / "run.json").read_text())["methods"] for folder in seeds]
    for point, method in zip(together["points"], ("fedavg", "fedbt"), strict=True):
        accuracy = [own[method]["quality"]["finetune/accuracy"] for own in summaries]
        traffic = [own[method]["upload_bytes"] + own[method]["download_bytes"] for own in summaries]
        assert point["label"] == method
        assert point["value"] == {"n": 2, "mean": fmean(accuracy), "deviation": pytest.approx(stdev(accuracy))}
        assert point["costs"]["traffic"] == {"n": 2, "mean": fmean(traffic), "deviation": pytest.approx(stdev(traffic))}
    page = opened(file.as_uri())
    assert "mean of 2 runs with seeds 3, 4" in page.inner_text("#together-table")
    assert set(series(page, "together-chart")) == {"fedavg", "fedbt"}
    page.select_option("#run", "1")
    loss = read_run(seeds[1]).rounds.query("method == 'fedavg'")["loss"]
    page.wait_for_selector("#facts:has-text('again')")
    assert [height for _, height in series(page, "loss")["fedavg"]] == pytest.approx(loss.tolist())


@pytest.mark.slow
def test_of_large_runs_it_holds_a_part_and_all_sums(priced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inside(report.document([priced]))
    assert list(whole["rounds"][0]["fedavg"]) == [str(round_) for round_ in range(5)]
    monkeypatch.setattr(report, "_TRIPS", 90)
    few = inside(report.document([priced]))
    assert list(few["rounds"][0]["everything"]) == [str(round_) for round_ in (0, 1, 2, 3, 4)]
    for round_, found in few["rounds"][0]["fedavg"].items():
        assert found["sums"] == whole["rounds"][0]["fedavg"][round_]["sums"]
    monkeypatch.setattr(report, "LARGEST_BYTES", 1000)
    with pytest.raises(UserError, match="1 runs do not fit into one file"):
        report.document([priced])


def test_a_stopped_run_can_be_reported(stopped: Path) -> None:
    (run,) = inside(report.document([stopped]))["runs"]
    assert (run["state"], [m["rounds"] for m in run["methods"]]) == ("stopped", [2, 0])


def test_mistakes_are_told_in_one_line(trained: Path, work: Desk, tmp_path: Path) -> None:
    empty = begun(trained, tmp_path)
    (work.folder / "taken").mkdir()
    for arguments, message in (
        (["nothing"], "nothing: there is no such folder"),
        ([empty], f"{empty}: no round is over yet, so there is nothing to report"),
        (
            [trained, "--html", tmp_path / "taken"],
            f"--html: is {tmp_path / 'taken'}, which cannot be written: Is a directory",
        ),
    ):
        ended = work.run("report", *arguments)
        assert (ended.code, ended.out, ended.err) == (2, "", f"error: {message}\n")


def test_a_fleet_that_is_gone_is_told_in_its_place(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "moved")
    (folder / "world.json").write_text(json.dumps({"fleet": "another"}))
    (fleet,) = inside(report.document([folder]))["fleets"]
    assert "the fleet is not what the run was made with" in fleet["error"]
