import hashlib
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fedsim.trace.digest import HASHED, START, chain
from fedsim.trace.schema import TABLES
from tests.trace.rows import some_rows

Rows = dict[str, Any]


def rows(**changes: Any) -> Rows:
    return {"trips": TABLES["trips"].conform({**some_rows("trips", 3, 4), **changes})}


def reference(previous: str, round_: int, content: dict[str, Rows]) -> str:
    """The hash by plain Python, from rows of two without nulls: what any machine must find."""
    data = bytes.fromhex(previous) + struct.pack("<q", round_)
    for table in HASHED:
        data += f"{table.name} 2\n".encode()
        for column in table.columns:
            values = content[table.name][column.name]
            data += f"{column.name} {column.type}\n".encode() + (b"\xc0" if column.nullable else b"")
            if column.type == "string":
                words = [value.encode() for value in values]
                data += struct.pack("<2q", *map(len, words)) + b"".join(words)
            else:
                data += struct.pack({"int64": "<2q", "float64": "<2d", "bool": "<2?"}[column.type], *values)
    return hashlib.sha256(data).hexdigest()


def test_the_hash_is_over_the_values_in_little_endian() -> None:
    values: dict[str, Any] = {"string": ["ab", "é"], "int64": [1, -2], "float64": [0.5, -0.0], "bool": [True, False]}
    content = {t.name: {column.name: values[column.type] for column in t.columns} for t in HASHED}
    tables = {name: TABLES[name].conform(rows) for name, rows in content.items()}
    assert chain(START, 7, tables) == reference(START, 7, content)
    assert hashlib.sha256(b"fedsim trace 1").hexdigest() == START


def test_encoding_and_chunks_do_not_matter() -> None:
    table = rows()["trips"]
    loss = table.column("loss").to_pylist()
    assert None in loss
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1, 0), table.slice(1, 3)])
    assert chain(START, 3, {"trips": pieces}) == chain(START, 3, {"trips": table})
    garbage_under_nulls = pa.array([7.0 if x is None else x for x in loss], mask=np.array([x is None for x in loss]))
    assert chain(START, 3, rows(loss=garbage_under_nulls)) == chain(START, 3, {"trips": table})


def test_every_nan_is_the_same() -> None:
    other = np.array([0xFFF8000000000001], np.uint64).view(np.float64)
    assert chain(START, 3, rows(loss=np.full(4, np.nan))) == chain(START, 3, rows(loss=np.repeat(other, 4)))


@pytest.mark.parametrize("name", [table.name for table in HASHED])
def test_every_column_matters(name: str) -> None:
    table = TABLES[name].conform(some_rows(name, 3, 4))
    digests = {chain(START, 3, {name: table})}
    for column in TABLES[name].columns:
        first = {"string": "other", "int64": 1, "float64": 2.0, "bool": not table.column(column.name)[0].as_py()}
        changed = [first[column.type], *table.column(column.name).to_pylist()[1:]]
        digests.add(chain(START, 3, {name: TABLES[name].conform({**_columns(table), column.name: changed})}))
    assert len(digests) == 1 + len(TABLES[name].columns)


def _columns(table: pa.Table) -> Rows:
    return {name: table.column(name) for name in table.column_names}


def test_values_that_look_alike_differ() -> None:
    alike: list[Rows] = [
        {"loss": None},
        {"loss": float("nan")},
        {"loss": 0.0},
        {"loss": -0.0},
        {"device": ["ab", "c", "", ""]},
        {"device": ["a", "bc", "", ""]},
        {"network": ["ab", "c", "", ""]},
        {},
    ]
    assert len({chain(START, 3, rows(**changes)) for changes in alike}) == len(alike)


def test_rounds_and_their_order_matter() -> None:
    table = rows()["trips"]
    turned = table.take([1, 0, 2, 3])
    digests = {
        START,
        chain(START, 3, {}),
        chain(START, 4, {}),
        chain(chain(START, 3, {}), 4, {}),
        chain(START, 3, {"trips": table}),
        chain(START, 3, {"trips": turned}),
        chain(START, 3, {"trips": table.slice(0, 3)}),
    }
    assert len(digests) == 7


def test_no_rows_and_no_table_are_the_same() -> None:
    assert chain(START, 0, {"trips": TABLES["trips"].schema.empty_table()}) == chain(START, 0, {})


def test_events_do_not_count() -> None:
    event = TABLES["events"].conform(some_rows("events", 0, 2))
    assert chain(START, 0, {"events": event}) == chain(START, 0, {})
