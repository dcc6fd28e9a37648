import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.clock.trips import OUTCOMES
from fedsim.trace.reader import read_run
from fedsim.web import curves
from fedsim.web.follow import Followed

HEIGHTS = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=300)


@given(HEIGHTS, st.integers(4, 60))
def test_a_thinned_curve_keeps_its_ends_and_its_extremes(heights: list[float], most: int) -> None:
    values = np.array(heights)
    kept = curves.thinned(values, most)
    assert len(kept) == len(values) if len(values) <= most else len(kept) <= most
    assert (np.diff(kept) > 0).all()
    if len(values):
        assert (kept[0], kept[-1]) == (0, len(values) - 1)
    if not np.isnan(values).all():
        assert np.nanmin(values[kept]) == np.nanmin(values)
        assert np.nanmax(values[kept]) == np.nanmax(values)


def test_losses_stand_beside_what_trips_have_spent_by_then(trained: Path) -> None:
    read, run = read_run(trained), Followed(trained)
    for method in run.methods:
        trips, rounds = read.trips[read.trips["method"] == method], read.rounds[read.rounds["method"] == method]
        found = curves.losses(run, method)
        assert found["round"] == rounds["round"].tolist()
        assert found["loss"] == pytest.approx(rounds["loss"].tolist())
        assert found["simulated_s"] == pytest.approx(rounds["end_s"].tolist())
        for i, round_ in enumerate(found["round"]):
            so_far = trips[trips["round"] <= round_]
            assert found["upload_bytes"][i] == so_far["upload_bytes"].sum()
            assert found["download_bytes"][i] == so_far["download_bytes"].sum()
            assert found["flops"][i] == (so_far["flops_forward"] + so_far["flops_backward"]).sum()


def test_evaluations_are_those_of_the_trace(trained: Path) -> None:
    read, run = read_run(trained), Followed(trained)
    found = curves.evaluations(run, "fedbt")
    own = read.evals[(read.evals["method"] == "fedbt") & (read.evals["metric"] == "accuracy")]
    assert found["finetune/accuracy"]["value"] == pytest.approx(own["value"].tolist())
    assert found["finetune/accuracy"]["upload_bytes"] == own["upload_bytes"].tolist()
    assert curves.baseline("finetune/accuracy", found) == found["finetune/majority_accuracy"]["value"][-1]
    assert curves.baseline("finetune/loss", found) is None


def test_nothing_was_trained_in_price_mode(priced: Path) -> None:
    assert set(curves.losses(Followed(priced), "fedavg")["loss"]) == {None}
    assert curves.evaluations(Followed(priced), "fedavg") == {}


@pytest.mark.parametrize("most", [2, 3, 5, 160])
def test_outcomes_of_pieces_add_up_to_the_trips(priced: Path, most: int) -> None:
    read, run = read_run(priced), Followed(priced)
    for method in run.methods:
        found = curves.outcomes(run, method, most)
        assert found["first"] == [0, *(last + 1 for last in found["last"][:-1])]
        assert (found["last"][-1], len(found["first"])) == (4, min(most, 5))
        counted = read.trips[read.trips["method"] == method]["outcome"].value_counts()
        expected = {o.value: counted.get(o.value, 0) for o in OUTCOMES if counted.get(o.value, 0)}
        assert {name: sum(counts) for name, counts in found["outcomes"].items()} == expected
