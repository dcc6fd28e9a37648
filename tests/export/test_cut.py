import pytest

from fedsim.errors import UserError
from fedsim.export.cut import cut
from fedsim.trace.reader import Run


@pytest.mark.parametrize(
    ("given", "rounds"),
    [(None, [0, 1, 2, 3, 4]), ("1..3", [1, 2, 3]), ("3..", [3, 4]), ("..1", [0, 1]), ("2", [2]), ("7..", [])],
)
def test_a_range_of_rounds_includes_both_ends(run: Run, given: str | None, rounds: list[int]) -> None:
    part = cut(run, ["fedbt"], given)
    found = run.read("rounds", filters=part.filters("rounds"))
    assert found["round"].tolist() == rounds
    assert set(found["method"]) <= {"fedbt"}
    assert len(run.read("stages", filters=part.filters("stages"))) == (run.stages.method == "fedbt").sum()


@pytest.mark.parametrize("given", ["", "..", "a..b", "5..3", "1...3", "-1", "1..2..3"])
def test_what_is_no_range_is_refused(run: Run, given: str) -> None:
    with pytest.raises(UserError, match="--rounds"):
        cut(run, [], given)


def test_an_unknown_method_is_refused_with_those_there_are(run: Run) -> None:
    with pytest.raises(UserError, match="fedavg, fedbt, split_in_turn"):
        cut(run, ["fedbert"], None)
    assert cut(run, ["fedbt", "fedavg"], None).methods == ("fedavg", "fedbt")
