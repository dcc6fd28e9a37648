import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from fedsim.errors import UserError
from fedsim.fleet import catalog
from fedsim.report import fleet as tables
from fedsim.report.fleet_figure import fleet_figure, save
from fedsim.survey import Demand, Survey
from tests.clock.cohorts import fleet


def demand(method: str, phase: str = "finetune", able: bool = True, central: bool = False) -> Demand:
    size = 1 if central else 5
    trips, may = np.arange(10.0, 10.0 + size), np.full(size, able)
    return Demand(method, phase, np.full(size, 3_000_000), trips, may, np.full(400, trips[-1]), central)


def survey(*demands: Demand) -> Survey:
    devices = fleet(
        [1e9, 2e9, 3e9, 4e9, 5e9], [1e6] * 5, [5e5] * 5, 0.05, memory_bytes=[10**6 * k for k in range(1, 6)]
    )
    return Survey(devices, np.arange(5), demands)


def test_the_catalogue_has_a_row_a_class() -> None:
    devices, networks = tables.classes()
    assert [row[0] for row in devices.rows] == list(catalog.devices())
    assert [row[0] for row in networks.rows] == list(catalog.networks())
    assert devices.rows[0][1:4] == ("111 MFLOP/s", "250 MB", "2.1 W")


def test_what_a_fleet_is_made_of() -> None:
    devices, networks = tables.makeup(survey().fleet)
    assert devices.headers == ("device", "clients", "", "speed\np10", "speed\np50", "speed\np90", "memory\np50")
    assert list(devices.rows) == [("device", "5", "100.0 %", "1.40 GFLOP/s", "3.00 GFLOP/s", "4.60 GFLOP/s", "3.00 MB")]
    assert networks.rows[0][3:] == (*["1.00 Mbit/s"] * 3, *["500 kbit/s"] * 3, "50 ms")


def test_classes_are_summed_up() -> None:
    from dataclasses import replace

    two = replace(survey().fleet, device=np.array([0, 1, 1, 1, 1], np.int16), devices=("slow", "fast"))
    rows = tables.makeup(two)[0].rows
    assert [row[:4] for row in rows] == [
        ("slow", "1", "20.0 %", "1.00 GFLOP/s"),
        ("fast", "4", "80.0 %", "2.30 GFLOP/s"),
        ("all", "5", "", "1.40 GFLOP/s"),
    ]


def test_what_methods_ask_of_it() -> None:
    grid = tables.demands(survey(demand("fedavg"), demand("large", able=False), demand("one", central=True)))
    fedavg, large, one = (dict(zip(grid.headers, row, strict=True)) for row in grid.rows)
    assert (fedavg["memory\nmost"], fedavg["able"]) == ("3.00 MB", "100.0 %")
    assert [fedavg[f"trip\np{q}"] for q in (10, 50, 90)] == ["10.4 s", "12.0 s", "13.6 s"]
    assert fedavg["round\np50"] == "14.0 s"
    assert (large["able"], large["trip\np50"], large["round\np50"]) == ("0.0 %", "", "")
    assert (one["able"], one["trip\np50"]) == ("central", "10.0 s")
    assert "all 5 clients" in grid.notes[0]


def test_a_sample_is_called_one() -> None:
    found = survey(demand("fedavg"))
    part = Survey(found.fleet, np.array([1, 2]), found.demands)
    assert "2 of 5 clients, drawn by the seed" in tables.demands(part).notes[0]


def test_the_same_as_numbers() -> None:
    numbers = tables.as_json(survey(demand("fedavg"), demand("large", able=False)))
    assert numbers["clients"] == numbers["looked_at"] == 5
    assert numbers["devices"] == {"device": 5}
    assert numbers["flops_per_s"] == pytest.approx([1.4e9, 3e9, 4.6e9])
    fedavg, large = numbers["methods"]
    assert (fedavg["able"], fedavg["trip_s"]) == (1.0, pytest.approx([10.4, 12.0, 13.6]))
    assert (large["able"], large["trip_s"], large["round_s"]) == (0.0, None, None)


def drawn(figure: Figure) -> Figure:
    """The figure, after it was really drawn: many mistakes show only then."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_the_picture_has_the_fleet_and_a_plot_a_phase() -> None:
    demands = [demand(method, phase) for method in ("fedavg", "fedbt") for phase in ("further_pretrain", "finetune")]
    figure = drawn(fleet_figure(survey(*demands)))
    labels = [axes.get_xlabel() for row in figure.subfigs for axes in row.axes]
    assert labels == [
        "speed, GFLOP/s",
        "bandwidth, Mbit/s",
        "memory, MB; dots: needed, median and most",
        "further_pretrain: length of a trip, s",
        "finetune: length of a trip, s",
    ]
    below = figure.subfigs[1].axes[0]
    lines = {str(line.get_label()): np.asarray(line.get_xydata()) for line in below.lines}
    assert set(lines) == {"fedavg", "fedbt"}
    assert lines["fedavg"].tolist() == [[10, 0], [11, 25], [12, 50], [13, 75], [14, 100]]


def test_those_without_the_memory_never_come_back() -> None:
    half = demand("half")
    half = Demand(
        half.method, half.phase, half.memory_bytes, half.trip_s, np.array([True] * 2 + [False] * 3), half.round_s
    )
    figure = drawn(fleet_figure(survey(half, demand("none", able=False), demand("one", central=True))))
    half_line, none, one = figure.subfigs[1].axes[0].lines
    assert np.asarray(half_line.get_xydata()).tolist() == [[10, 0], [11, 40]]
    assert np.ptp(np.asarray(none.get_ydata())) == 0
    assert np.asarray(one.get_xdata()).tolist() == [10, 10]


def test_a_fleet_of_equal_devices_without_methods() -> None:
    figure = drawn(fleet_figure(Survey(fleet([1e9]), np.array([0]), ())))
    assert len(figure.axes) == 3


def test_pictures_are_written_where_that_is_possible(tmp_path: Path) -> None:
    found = survey(demand("fedavg"))
    assert save(found, tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for file in (tmp_path / "none" / "a.png", tmp_path / "a.xyz"):
        with pytest.raises(UserError, match="--out: cannot be written"):
            save(found, file)
