from pathlib import Path

import pytest

import fedsim
from fedsim.report.devices import by_class, devices
from tests import runs
from tests.runs import small


@pytest.fixture(scope="module")
def run(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classes") / "run"
    raw = small({"fedavg": {}, "fedbt": {}}, outputs__checkpoint_every_rounds=1, fleet__dropout={"per_s": 5.0})
    runs.run(raw, world, out, None)
    return out


def test_sums_are_those_of_the_trips(run: Path) -> None:
    trips = fedsim.read_run(run).trips
    for method in ("fedavg", "fedbt"):
        own = trips[trips.method == method]
        found = by_class(run, method).to_pandas().set_index("device")
        assert found.index.tolist() == sorted(set(own.device))
        for device, rows in own.groupby("device", observed=True):
            line = found.loc[device]
            assert line.trips == len(rows)
            for outcome in ("completed", "late", "dropped", "out_of_memory", "unused"):
                assert line[outcome] == (rows.outcome == outcome).sum()
            for name in ("download_bytes", "upload_bytes"):
                assert line[name] == rows[name].sum()
            assert line.energy_j == pytest.approx(rows.energy_j.sum(), rel=1e-12)
            assert line.device_seconds == pytest.approx((rows.end_s - rows.start_s).sum(), rel=1e-12)


def test_the_table_has_a_line_for_each_class_and_method(run: Path) -> None:
    grid = devices(run, ["fedavg", "fedbt"])
    classes = [row["device"] for row in by_class(run, "fedavg").to_pylist()]
    assert [row[:2] for row in grid.rows[: len(classes)]] == [("fedavg", name) for name in classes]
    assert grid.sections == {len(classes)}
    assert {row[0] for row in grid.rows} == {"fedavg", "fedbt"}
