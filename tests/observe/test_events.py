import io
import json
import math
from typing import Any

import pytest

from fedsim.observe.events import Events
from fedsim.observe.observer import RoundReport
from fedsim.totals import Totals
from tests.observe.test_lines import REPORT, START


class Log:
    def __init__(self) -> None:
        self.file = io.StringIO()
        self.events = Events(self.file, lambda: 7.0)

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.getvalue().splitlines()]


@pytest.fixture
def log() -> Log:
    return Log()


def test_every_event_is_one_line_with_its_time(log: Log) -> None:
    log.events.note("two\nlines")
    log.events.begin(START)
    log.events.trained(0.5)
    assert log.read() == [
        {"event": "note", "wall_s": 7.0, "text": "two\nlines"},
        {"event": "round_started", "wall_s": 7.0, **vars(START)},
    ]


def test_a_step_says_how_it_ended(log: Log) -> None:
    with log.events.task("reading", 5) as advance:
        advance(2)
        advance(3)
    with pytest.raises(ValueError, match="damaged"), log.events.task("reading", None):
        raise ValueError("damaged")
    found = [(e["event"], e.get("total"), e.get("done"), e.get("failed")) for e in log.read()]
    assert found == [
        ("step_started", 5, None, None),
        ("step_ended", None, 5, False),
        ("step_started", None, None, None),
        ("step_ended", None, 0, True),
    ]


def test_a_round_tells_what_the_trace_will_say(log: Log) -> None:
    outcomes = {("phone", "completed"): 3, ("board", "completed"): 1, ("board", "late"): 2}
    spent = Totals(upload_bytes=5, wasted_upload_bytes=2)
    quality = {"finetune/accuracy": 0.5, "finetune/macro_f1": math.nan}
    log.events.round(RoundReport(**{**vars(REPORT), "outcomes": outcomes, "spent": spent, "quality": quality}))
    (found,) = log.read()
    assert found["round"] == REPORT.round - 1  # as in the trace
    assert found["outcomes"] == {"completed": 4, "late": 2}
    assert found["spent"] == spent.as_dict()
    assert found["quality"] == {"finetune/accuracy": 0.5, "finetune/macro_f1": None}
    assert (found["upload_bytes"], found["loss"]) == (REPORT.upload_bytes, REPORT.loss)
