import json
from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.report.frames import LEGS
from fedsim.trace.reader import read_run
from fedsim.web.fleet import FleetView
from fedsim.web.follow import Followed
from tests import runs
from tests.web.test_follow import begun


@pytest.mark.parametrize("method", ["fedavg", "fedbt", "centralized"])
def test_devices_took_part_as_often_as_the_trace_says(priced: Path, method: str) -> None:
    trips = read_run(priced).trips
    own = trips[trips["method"] == method]
    found = FleetView(Followed(priced)).of(method)
    assert found["points"]["client"] == list(range(runs.CLIENTS))
    assert found["points"]["trips"] == [int((own["client"] == client).sum()) for client in range(runs.CLIENTS)]
    late = own[own["outcome"] == "late"]
    assert found["points"]["late"] == [int((late["client"] == client).sum()) for client in range(runs.CLIENTS)]
    assert found["took_part"] == own[own["client"] >= 0]["client"].nunique()
    assert {c["device"]: c["trips"] for c in found["classes"]} == own["device"].astype(str).value_counts().to_dict()
    for one in found["classes"]:
        rows = own[own["device"] == one["device"]]
        assert one["outcomes"] == rows["outcome"].astype(str).value_counts().to_dict()
        assert one["seconds"] == pytest.approx({leg: rows[leg].sum() for leg in LEGS})


def test_devices_are_those_that_the_run_had(priced: Path) -> None:
    run = Followed(priced)
    found = FleetView(run).of("fedavg")
    trips = read_run(priced).trips
    for client, device, network in trips[trips["client"] >= 0][["client", "device", "network"]].itertuples(index=False):
        assert found["devices"][found["points"]["device"][client]] == device
        assert found["networks"][found["points"]["network"][client]] == network


def test_of_many_devices_the_same_ones_are_drawn_every_time(priced: Path) -> None:
    first, again = (FleetView(Followed(priced)).of("fedavg", most=3) for _ in range(2))
    assert first == again
    whole = FleetView(Followed(priced)).of("fedavg")
    assert (first["clients"], len(first["points"]["client"])) == (runs.CLIENTS, 3)
    for i, client in enumerate(first["points"]["client"]):
        assert all(first["points"][name][i] == whole["points"][name][client] for name in whole["points"])


def test_what_was_counted_once_is_added_to(stopped: Path) -> None:
    view = FleetView(Followed(stopped))
    before = view.of("fedavg")
    runs.resume(stopped)
    assert view.of("fedavg") == FleetView(Followed(stopped)).of("fedavg") != before


def test_a_fleet_that_is_another_now_is_refused(priced: Path, tmp_path: Path) -> None:
    folder = begun(priced, tmp_path)
    (folder / "world.json").write_text(json.dumps({"fleet": "another"}))
    with pytest.raises(UserError, match="the fleet is not what the run was made with"):
        FleetView(Followed(folder)).of("fedavg")
