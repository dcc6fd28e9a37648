"""Several observers are told the same, in the same order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fedsim.observe.observer import RoundReport, RoundStart, Several

START = RoundStart("fedbt", "finetune", "full model", 0, 2, 3)
REPORT = RoundReport("fedbt", "finetune", "full model", 1, 2, 3, 3, 10.0, 5, 7)


class Diary:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def task(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        self.said.append((label, total))
        try:
            yield self.said.append
        finally:
            self.said.append("over")

    def begin(self, start: RoundStart) -> None:
        self.said.append(start)

    def trained(self, share: float) -> None:
        self.said.append(share)

    def round(self, report: RoundReport) -> None:
        self.said.append(report)


def test_each_is_told_everything() -> None:
    diaries = Diary(), Diary()
    several = Several(diaries)
    several.note("hello")
    with several.task("reading", 4) as advance:
        advance(3)
    several.begin(START)
    several.trained(0.5)
    several.round(REPORT)
    for diary in diaries:
        assert diary.said == ["hello", ("reading", 4), 3, "over", START, 0.5, REPORT]


def test_a_step_that_fails_ends_on_each_of_them() -> None:
    diaries = Diary(), Diary()
    with pytest.raises(ValueError, match="damaged"), Several(diaries).task("reading", None):
        raise ValueError("damaged")
    assert [diary.said for diary in diaries] == [[("reading", None), "over"]] * 2
