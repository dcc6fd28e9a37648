from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fedsim.errors import FedsimError
from fedsim.plan import Slot
from fedsim.trace.schema import TABLES, TRIPS, markdown, parse_slots, slots_text
from tests.trace.rows import some_rows

PAGE = (Path(__file__).parents[2] / "docs" / "trace.md").read_text()


@pytest.mark.parametrize("name", TABLES)
def test_the_page_lists_every_column(name: str) -> None:
    assert f"## {name}\n\n{markdown(TABLES[name])}\n\n" in PAGE


@pytest.mark.parametrize("name", TABLES)
def test_units_are_in_names(name: str) -> None:
    suffixes = {"s": ("_s", "seconds"), "byte": ("bytes", "bytes_per_client"), "J": ("_j",), "index": ()}
    for column in TABLES[name].columns:
        assert column.meaning
        assert bool(column.unit) == (column.type in ("int64", "float64"))
        assert column.name.endswith(suffixes.get(column.unit, ()) or "")
        assert column.unit != "FLOP" or "flops" in column.name


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_rows_come_out_with_the_schema(name: str, count: int) -> None:
    rows = some_rows(name, 3, count)
    table = TABLES[name].conform(rows)
    assert table.schema.equals(TABLES[name].schema)
    assert table.num_rows == count
    table.validate(full=True)
    for column in TABLES[name].columns:
        values = table.column(column.name).to_pylist()
        assert repr(values) == repr(np.asarray(rows[column.name]).tolist() if count else [])
    again = TABLES[name].conform(table)
    assert repr(again.to_pydict()) == repr(table.to_pydict())


def test_one_value_stands_for_all_rows() -> None:
    rows = some_rows("trips", 0, 3)
    table = TRIPS.conform({**rows, "phase": "finetune", "stage": np.int64(2), "useful": False, "loss": None})
    assert table.column("phase").to_pylist() == ["finetune"] * 3
    assert table.column("stage").to_pylist() == [2] * 3
    assert table.column("useful").to_pylist() == [False] * 3
    assert table.column("loss").null_count == 3
    single = {name: values[0] for name, values in rows.items()}
    assert TRIPS.conform(single).num_rows == 1


class Outcome(StrEnum):
    late = "late"


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("outcome", np.array([Outcome.late, Outcome.late], object), ["late", "late"]),
        ("outcome", Outcome.late, ["late", "late"]),
        ("outcome", np.array(["late", "x"]), ["late", "x"]),
        ("outcome", pa.array(["late", "x"]).dictionary_encode(), ["late", "x"]),
        ("outcome", pd.Categorical(["late", "x"]), ["late", "x"]),
        ("loss", np.ma.masked_array([1.5, 2.5], [False, True]), [1.5, None]),
        ("loss", pa.chunked_array([[1.5], [None]], pa.float64()), [1.5, None]),
        ("loss", np.array([1.5, 2.5], np.float32), [1.5, 2.5]),
        ("loss", 3, [3.0, 3.0]),
        ("client", np.array([1, 2], np.int32), [1, 2]),
        ("client", (1.0, 2.0), [1, 2]),
        ("useful", np.array([True, False]), [True, False]),
    ],
)
def test_what_a_column_takes(column: str, value: Any, stored: list[Any]) -> None:
    assert TRIPS.conform({**some_rows("trips", 0, 2), column: value}).column(column).to_pylist() == stored


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("client", [1, None], "column client of trace table trips may not be null"),
        ("client", [1.5, 2.0], "column client of trace table trips cannot hold this as int64"),
        ("client", [float("nan"), 2.0], "cannot hold this as int64"),
        ("client", ["1", "2"], "cannot hold this as int64: it is string"),
        ("client", [2**63, 0], "cannot hold this as int64"),
        ("client", 2**70, "cannot hold this as int64"),
        ("client", [1, "x"], "cannot hold this as int64"),
        ("client", [1], "column client of trace table trips has 1 rows, another has 2"),
        ("device", [1, 2], "cannot hold this as string: it is int64"),
        ("device", 1, "cannot hold this as string: it is int64"),
        ("klient", [1, 2], "trace table trips has no column 'klient': did you mean 'client'"),
    ],
)
def test_what_a_column_refuses(column: str, value: Any, message: str) -> None:
    with pytest.raises(FedsimError, match=message):
        TRIPS.conform({**some_rows("trips", 0, 2), column: value})


def test_a_missing_column_is_named() -> None:
    rows = some_rows("trips", 0, 2)
    del rows["upload_s"]
    with pytest.raises(FedsimError, match="column upload_s of trace table trips is missing"):
        TRIPS.conform(rows)


@pytest.mark.parametrize(
    ("slots", "text"), [((0, 3, 7, 7, 9, 11), "0 3 7 7 9 11"), ((0, (7, 8), 11), "0 7+8 11"), ((), "")]
)
def test_slots(slots: tuple[Slot, ...], text: str) -> None:
    assert slots_text(slots) == text
    assert parse_slots(text) == slots
