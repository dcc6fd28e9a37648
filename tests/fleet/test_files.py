from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedsim.errors import UserError
from fedsim.fleet.devices import Fleet, build
from fedsim.fleet.files import UNNAMED, read
from fedsim.scenario.fleet import FileFleet
from fedsim.scenario.fleet import Fleet as FleetSpec

HEADER = "flops_per_s,memory_bytes,downlink_bits_per_s,uplink_bits_per_s,latency_s,compute_power_w,radio_power_w\n"
ROW = "4e9,3000000000,2e7,5e6,0.05,7.5,1.25\n"


def write(folder: Path, text: str | bytes, name: str = "fleet.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(path: Path, clients: int) -> Fleet:
    return build(FleetSpec(clients=clients, source=FileFleet(path=Path(path.name))), path.parent, seed=0)


def refusal(path: Path, clients: int = 2) -> UserError:
    with pytest.raises(UserError) as caught:
        load(path, clients)
    assert str(path) in str(caught.value)
    return caught.value


def columns() -> dict[str, list[float]]:
    values: list[list[float]] = [
        [4e9, 5e9],
        [3_000_000_000, 64],
        [2e7, 1e6],
        [5e6, 1e5],
        [0.05, 0.0],
        [7.5, 0.0],
        [1.25, 0.0],
    ]
    return dict(zip(HEADER.strip().split(","), values, strict=True))


def parquet(folder: Path, **changes: object) -> Path:
    path = folder / "fleet.parquet"
    pq.write_table(pa.table({**columns(), **changes}), path)
    return path


def test_csv_numbers_arrive_as_written(tmp_path: Path) -> None:
    fleet = load(write(tmp_path, HEADER + ROW + "5e9,64,1e6,1e5,0,0,0\n"), 2)
    assert fleet.flops_per_s.tolist() == [4e9, 5e9]
    assert fleet.memory_bytes.tolist() == [3_000_000_000, 64]
    assert fleet.memory_bytes.dtype == np.int64
    assert fleet.downlink_bits_per_s.tolist() == [2e7, 1e6]
    assert fleet.uplink_bits_per_s.tolist() == [5e6, 1e5]
    assert fleet.latency_s.tolist() == [0.05, 0.0]
    assert fleet.compute_power_w.tolist() == [7.5, 0.0]
    assert fleet.radio_power_w.tolist() == [1.25, 0.0]
    assert (fleet.devices, fleet.networks) == ((UNNAMED,), (UNNAMED,))
    assert fleet.device.tolist() == fleet.network.tolist() == [0, 0]


def test_parquet_is_the_same_fleet(tmp_path: Path) -> None:
    from_csv = load(write(tmp_path, HEADER + ROW + "5e9,64,1e6,1e5,0,0,0\n"), 2)
    from_parquet = load(parquet(tmp_path), 2)
    for column in columns():
        assert np.array_equal(getattr(from_csv, column), getattr(from_parquet, column))
        assert getattr(from_csv, column).dtype == getattr(from_parquet, column).dtype


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_class_names_become_codes(tmp_path: Path, ending: str) -> None:
    if ending == "csv":
        text = "device,network," + HEADER + "".join(f"{d},{n}," + ROW for d, n in [("a", "x"), ("b", "x"), ("a", "x")])
        path = write(tmp_path, text)
    else:
        table = pa.table({name: [values[0]] * 3 for name, values in columns().items()})
        table = table.append_column("device", pa.array(["a", "b", "a"]).dictionary_encode())
        path = tmp_path / "fleet.parquet"
        pq.write_table(table.append_column("network", pa.array(["x"] * 3)), path)
    fleet = load(path, 3)
    assert fleet.devices == ("a", "b")
    assert fleet.device.tolist() == [0, 1, 0]
    assert fleet.networks == ("x",)
    assert fleet.device.dtype == fleet.network.dtype == np.int16


def test_column_order_blanks_byte_order_mark_and_line_ends_do_not_matter(tmp_path: Path) -> None:
    plain = load(write(tmp_path, HEADER + ROW), 1)
    header, row = HEADER.strip().split(","), ROW.strip().split(",")
    text = "\ufeff" + " , ".join(reversed(header)) + "\r\n\r\n" + " , ".join(reversed(row)) + "\r\n\r\n"
    turned = load(write(tmp_path, text), 1)
    assert all(np.array_equal(getattr(plain, name), getattr(turned, name)) for name in header)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("flops_per_s", "-1", "is -1, it must be a number from 1 to 1e+24"),
        ("flops_per_s", "0", "is 0, it must be"),
        ("flops_per_s", "fast", "is 'fast', which is not a number"),
        ("flops_per_s", "", "has no value"),
        ("downlink_bits_per_s", "nan", "is nan"),
        ("uplink_bits_per_s", "inf", "is inf"),
        ("uplink_bits_per_s", "1e999", "is inf"),
        ("latency_s", "-0.1", "is -0.1, it must be a number from 0 to"),
        ("memory_bytes", "1.5", "is 1.5, it must be a whole number"),
        ("memory_bytes", "1e300", "is 1e+300, it must be a whole number"),
        ("radio_power_w", "1 W", "is '1 W', which is not a number"),
    ],
)
def test_a_bad_value_in_csv_is_named_by_line_and_column(tmp_path: Path, column: str, value: str, says: str) -> None:
    cells = dict(zip(HEADER.strip().split(","), ROW.strip().split(","), strict=True)) | {column: value}
    error = refusal(write(tmp_path, HEADER + ROW + "\n" + ",".join(cells.values()) + "\n"))
    assert (error.line, error.key) == (4, column)
    assert "row 2 " + says in str(error)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("flops_per_s", [4e9, None], "row 2 has no value"),
        ("flops_per_s", [4e9, float("nan")], "row 2 is nan"),
        ("latency_s", [-1.0, 0.0], "row 1 is -1"),
        ("uplink_bits_per_s", [True, False], "holds bool, it must hold numbers"),
        ("device", [1, 2], "holds int64, it must hold text"),
        ("network", ["wifi", None], "row 2 has no value"),
        ("network", ["", "wifi"], "row 1 has no value"),
    ],
)
def test_a_bad_value_in_parquet_is_named_by_row_and_column(
    tmp_path: Path, column: str, values: list[object], says: str
) -> None:
    error = refusal(parquet(tmp_path, **{column: values}))
    assert (error.line, error.key) == (None, column)
    assert says in str(error)


def test_parquet_numbers_may_be_integers_decimals_or_text(tmp_path: Path) -> None:
    power = pa.array([7.5, 2.25]).cast(pa.decimal128(5, 2))
    fleet = load(parquet(tmp_path, flops_per_s=pa.array([4, 2**60]), compute_power_w=power, latency_s=["0.5", "1"]), 2)
    assert fleet.flops_per_s.tolist() == [4.0, 2.0**60]
    assert fleet.compute_power_w.tolist() == [7.5, 2.25]
    assert fleet.latency_s.tolist() == [0.5, 1.0]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, HEADER.replace(",latency_s", "") + ROW.replace(",0.05", "")), 1)
    assert error.key == "latency_s"
    assert "missing" in str(error)


def test_an_unknown_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, HEADER.replace("uplink_bits", "uplink_bit") + ROW), 1)
    assert error.key == "uplink_bit_per_s"
    assert "did you mean 'uplink_bits_per_s'" in str(error)


def test_a_column_given_twice_is_refused(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, HEADER.replace("latency_s", "flops_per_s") + ROW), 1)
    assert error.key == "flops_per_s"
    assert "two columns" in str(error)


@pytest.mark.parametrize(("rows", "clients"), [(3, 2), (1, 2), (0, 1)])
def test_there_must_be_one_row_a_client(tmp_path: Path, rows: int, clients: int) -> None:
    error = refusal(write(tmp_path, HEADER + rows * ROW), clients)
    assert error.key == "fleet.clients"
    assert f"{rows} rows, fleet.clients is {clients}" in str(error)


def test_an_uneven_row_is_named_by_its_line(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, HEADER + ROW + "\n\n1,2,3\n"))
    assert error.line == 5
    assert "row 2 has 3 values for 7 columns" in str(error)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, (HEADER + ROW).encode() + "Ä".encode("latin-1")))
    assert error.line == 3
    assert "UTF-8" in str(error)


def test_an_empty_csv_file_is_refused(tmp_path: Path) -> None:
    assert "not a CSV table" in str(refusal(write(tmp_path, b"")))


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    assert "not a whole Parquet file" in str(refusal(path))


def test_a_csv_table_called_parquet_is_refused(tmp_path: Path) -> None:
    assert "not a whole Parquet file" in str(refusal(write(tmp_path, HEADER + ROW, "fleet.parquet"), 1))


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    rows = 2**15 + 1
    table = pa.table({name: [values[0]] * rows for name, values in columns().items()})
    path = tmp_path / "fleet.parquet"
    pq.write_table(table.append_column("device", pa.array([f"phone {n}" for n in range(rows)])), path)
    assert "at most 32768" in str(refusal(path, rows))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "No such file" in str(refusal(tmp_path / "absent.csv"))
    (tmp_path / "folder.csv").mkdir()
    assert "Is a directory" in str(refusal(tmp_path / "folder.csv"))


def test_a_file_without_read_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, HEADER + ROW)

    def denied(self: Path, mode: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in str(refusal(path, 1))


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown ending '\.xlsx'; allowed: \.csv, \.parquet"):
        read(tmp_path / "fleet.xlsx", 1)
