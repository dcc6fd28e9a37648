from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.report.frames import LEGS
from fedsim.trace.reader import read_run
from fedsim.web.follow import Followed
from fedsim.web.trips import of_round


def test_a_round_is_its_trips_in_the_order_of_their_ends(priced: Path) -> None:
    read = read_run(priced)
    own = read.trips[(read.trips["method"] == "fedavg") & (read.trips["round"] == 4)]
    (round_,) = read.rounds[(read.rounds["method"] == "fedavg") & (read.rounds["round"] == 4)].to_dict("records")
    found = of_round(Followed(priced), "fedavg", 4)
    assert (found["phase"], found["end_s"], found["cohort"]) == ("finetune", round_["end_s"], len(own))
    for name in ("download_bytes", "upload_bytes", "flops_forward", "flops_backward"):
        assert found["sums"][name] == round_[name] == own[name].sum() == sum(found["trips"][name])
    assert found["outcomes"] == own["outcome"].astype(str).value_counts().to_dict()
    trips = found["trips"]
    assert trips["end_s"] == sorted(trips["end_s"])
    for i in range(len(own)):
        legs = sum(trips[leg][i] for leg in LEGS)
        assert trips["start_s"][i] + legs == pytest.approx(trips["end_s"][i])


def test_of_a_large_cohort_some_are_told_and_all_are_counted(priced: Path) -> None:
    whole, few = of_round(Followed(priced), "fedavg", 0), of_round(Followed(priced), "fedavg", 0, most=3)
    assert few["cohort"] == whole["cohort"] == len(whole["trips"]["client"]) == 5
    assert few["sums"] == whole["sums"]
    assert few["trips"]["client"] == [whole["trips"]["client"][i] for i in (0, 2, 4)]


def test_a_round_that_is_not_there_is_told(priced: Path) -> None:
    with pytest.raises(UserError, match="fedavg has no round 7 yet"):
        of_round(Followed(priced), "fedavg", 7)
