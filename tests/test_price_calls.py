"""What price mode does in Python does not grow with the cohort or the fleet: numpy and Arrow take whole columns."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fedsim.observe.observer import RoundReport, Silent
from tests import runs
from tests.test_workload import declared


class Counter(Silent):
    """Calls of functions, Python's and others', in every round but the first, which fills caches."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self._count = 0

    def _event(self, frame: FrameType, event: str, argument: Any) -> None:
        self._count += event in ("call", "c_call")

    def round(self, report: RoundReport) -> None:
        sys.setprofile(None)
        self.calls.append(self._count)
        self._count = 0
        if report.round < report.rounds:
            sys.setprofile(self._event)


def calls(method: dict[str, Any], cohort: int, clients: int, out: Path, **phase: Any) -> int:
    part = {"clients_per_round": cohort, "over_selection": 1.0}
    raw = declared({"median": 9, "sigma": 0.3, "most": 12}, clients, method, rounds=8, participation=part, **phase)
    counter = Counter()
    try:
        runs.run(raw, out.parent, out, None, observer=counter)
    finally:
        sys.setprofile(None)
    # the fifth round: all numbers of samples have been met by then
    return counter.calls[4]


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [{"kind": "fedavg"}, {"kind": "fedbt"}, {"kind": "fedbt", "pool": "needed", "optimizer_state": "keep"}]
)
def test_calls_do_not_grow(method: dict[str, Any], tmp_path: Path) -> None:
    few, many = (calls(method, cohort, 20 * cohort, tmp_path / str(cohort)) for cohort in (100, 1000))
    # what differs between the two: groups that a client sends by chance, numbers of samples that are met late
    assert many - few < 100
