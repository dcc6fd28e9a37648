import io
import re
import time

import pytest
from rich.console import Console

from fedsim.observe import lines
from fedsim.observe.lines import Lines, line
from fedsim.observe.observer import RoundReport, RoundStart

START = RoundStart("fedbt", "finetune", "layers 2-3, head", round=4, rounds=40, cohort=6)
REPORT = RoundReport(
    method="fedbt",
    phase="finetune",
    stage="layers 2-3, head",
    round=5,
    rounds=40,
    cohort=6,
    completed=5,
    simulated_s=130.0,
    upload_bytes=1_600_000,
    download_bytes=4_700_000_000,
    loss=1.36449,
)


def again(round_: int, **quality: float) -> RoundReport:
    named = {name.replace("__", "/"): value for name, value in quality.items()}
    return RoundReport(**{**vars(REPORT), "round": round_, "quality": named})


class Log:
    """A file that lines go to."""

    def __init__(self) -> None:
        self.file = io.StringIO()

    def observer(self, silence_s: float = 60.0) -> Lines:
        return Lines(Console(file=self.file, width=40), silence_s)

    def lines(self) -> list[str]:
        """What is in it, without the times."""
        return [re.sub(r"^\[ *[0-9.]+ s\] ", "", text) for text in self.file.getvalue().splitlines()]

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 20
        while text not in self.lines():
            assert time.monotonic() < end, self.lines()
            time.sleep(0.01)


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_round_is_one_line() -> None:
    assert line(REPORT) == (
        "fedbt 5/40 | finetune: layers 2-3, head | 5 of 6 clients | simulated 2.2 min | 1.6 MB up, 4,700 MB down | "
        "loss 1.364"
    )
    tested = again(5, finetune__accuracy=0.71, further_pretrain__mlm_loss=6.0, finetune__loss=1.0)
    assert line(tested).endswith(" | loss 1.364 | accuracy 0.7100")


def test_a_long_line_is_not_broken(log: Log) -> None:
    with log.observer() as seen:
        seen.note("[x] " + 20 * "words " + "/a/path")
    assert log.lines() == ["[x] " + 20 * "words " + "/a/path"]


def test_rounds_are_told_now_and_then_and_always_when_it_matters(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with log.observer() as seen:
        for round_ in range(1, 41):
            now[0] += 0.1
            seen.begin(START)
            seen.round(again(round_, finetune__accuracy=0.5) if round_ == 7 else again(round_))
    told = [int(text.split()[1].split("/")[0]) for text in log.lines()]
    assert {1, 7, 40} <= set(told)
    assert 5 <= len(told) <= 8
    assert lines.EVERY_S == 1.0


def test_a_step_tells_its_start_and_its_end(log: Log) -> None:
    with log.observer() as seen, seen.task("reading", 10) as advance:
        advance(3)
    start, end = log.lines()
    assert start == "reading ..."
    assert re.fullmatch(r"reading: done in 0\.\d s", end)


def test_a_step_that_fails_does_not_claim_to_be_done(log: Log) -> None:
    with pytest.raises(ZeroDivisionError), log.observer() as seen, seen.task("reading", None):
        raise ZeroDivisionError
    assert log.lines() == ["reading ..."]


def test_silence_is_broken(log: Log) -> None:
    with log.observer(0.02) as seen:
        with seen.task("outer", None), seen.task("inner", 3500) as advance:
            log.wait_for("still at work: inner")
            advance(1200)
            log.wait_for("still at work: inner: 1,200 of 3,500")
        seen.begin(START)
        log.wait_for("still at work: fedbt, round 5 of 40, layers 2-3, head")
        seen.trained(0.25)
        log.wait_for("still at work: fedbt, round 5 of 40, layers 2-3, head, 25 % trained")
    count = len(log.lines())
    time.sleep(0.05)
    assert len(log.lines()) == count
