"""What a run says where it is told to say little, or to say it to a program."""

import json
from pathlib import Path

import pytest

from fedsim.cost.memory import Polynomial
from tests.command import Desk, desk
from tests.runs import pretend_memory


@pytest.fixture
def work(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    pretend_memory(monkeypatch, lambda shape, optimizer: Polynomial(constant=10**6))
    return desk(tmp_path, capsys, monkeypatch)


def test_a_quiet_run_says_where_the_result_is(work: Desk) -> None:
    ended = work.run("scenario", "mine.yaml", "--price", "--quiet", "--out", "a")
    assert (ended.code, ended.err) == (0, "")
    first, second = ended.out.splitlines()
    assert (first, second.startswith("open it: ")) == ("run folder: a", True)
    again = work.run("scenario", "mine.yaml", "--price", "--quiet", "--out", "a")
    assert (again.code, again.out) == (2, "")
    assert again.err.startswith("error: a: holds a run already")
    assert json.loads(work.run("scenario", "mine.yaml", "--price", "--quiet", "--json", "--out", "b").out)["run"] == "b"


def test_every_line_for_programs_is_an_event(work: Desk) -> None:
    ended = work.run("scenario", "mine.yaml", "--price", "--log-format", "json", "--out", "a")
    assert ended.code == 0
    events = [json.loads(line) for line in ended.err.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("round_started") == kinds.count("round_ended") == 10
    assert (events[-1]["event"], events[-1]["run"], events[-1]["methods"]) == ("ended", "a", ["fedavg", "fedbt"])
    times = [event["wall_s"] for event in events]
    assert times == sorted(times)
    rounds = [event for event in events if event["event"] == "round_ended" and event["method"] == "fedbt"]
    assert [event["round"] for event in rounds] == [0, 1, 2, 3, 4]
    summary = json.loads((work.folder / "a" / "run.json").read_text())["methods"]["fedbt"]
    assert (
        sum(event["spent"]["upload_bytes"] for event in rounds) == summary["upload_bytes"] == rounds[-1]["upload_bytes"]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scenario", "nothing.yaml"), "nothing.yaml"),
        (("scenario", "mine.yaml", "--set", "seed=no"), "seed"),
        (("scenario", "mine.yaml", "--price", "--hosts", "2"), "--hosts"),
        (("scenario", "mine.yaml", "--quiet"), "--quiet"),
    ],
)
def test_a_mistake_is_an_event_too(work: Desk, words: tuple[str, ...], message: str) -> None:
    ended = work.run(*words, "--log-format", "json")
    (event,) = (json.loads(line) for line in ended.err.splitlines())
    assert (ended.code, ended.out) == (2, "")
    assert (event["event"], event["exit_code"]) == ("failed", 2)
    assert message in event["message"]


def test_a_failure_says_where_its_traceback_is_and_how_to_go_on(work: Desk) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no more paper")

    work.patch.setattr("fedsim.method_run.MethodRun._round", fail)
    ended = work.run("scenario", "mine.yaml", "--price", "--log-format", "json", "--out", "a")
    event = json.loads(ended.err.splitlines()[-1])
    assert (ended.code, event["event"], event["exit_code"]) == (1, "failed", 1)
    assert event["message"] == "RuntimeError: no more paper"
    assert "a/error.log" in event["hints"][0]
    (work.folder / "a" / "ray.log").write_text("core_worker.cc: lost\n")
    ended = work.run("scenario", "--resume", "a")
    assert "what Ray's processes wrote is in a/ray.log" in ended.err


def test_a_stopped_run_tells_how_to_go_on(work: Desk) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    work.patch.setattr("fedsim.telling.Teller.end", stop)
    ended = work.run("scenario", "mine.yaml", "--price", "--log-format", "json", "--out", "a")
    event = json.loads(ended.err.splitlines()[-1])
    assert (ended.code, event["event"], event["exit_code"]) == (130, "stopped", 130)
    assert event["go_on"] == "python -m fedsim scenario --resume a"


@pytest.mark.parametrize("words", [("--quiet",), ("--log-format", "json")])
def test_without_a_scenario_there_is_nothing_to_be_quiet_of(work: Desk, words: tuple[str, ...]) -> None:
    ended = work.run("scenario", *words)
    assert (ended.code, ended.out) == (2, "")
    assert f"{words[0]}: needs the NAME" in ended.err
