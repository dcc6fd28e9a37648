import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedsim.errors import UserError
from fedsim.store.atomic import sha256
from fedsim.trace import TABLES, TraceWriter, read_run
from fedsim.trace.reader import Condition, Filters
from tests.trace.rows import some_rows

METHODS = ("zeta", "alpha")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of two methods, three rounds each."""
    run = tmp_path / "a=b" / "run"
    for method in METHODS:
        writer = TraceWriter(run, method)
        for round_ in range(3):
            for name in TABLES:
                writer.add(name, some_rows(name, round_, 0 if (name, round_) == ("trips", 1) else 4))
            writer.seal(round_)
            if round_ != 1:
                writer.flush()
    (run / "scenario.json").write_text(json.dumps({"name": "test", "methods": {method: {} for method in METHODS}}))
    (run / "run.json").write_text(json.dumps({"total": 1, "methods": {method: {} for method in METHODS}}))
    return run


def manifest(folder: Path, method: str = "zeta") -> Path:
    return folder / "trace" / method / "manifest.json"


def test_frames_hold_all_methods_in_the_scenario_s_order(folder: Path) -> None:
    run = read_run(str(folder))
    assert run.path == folder
    assert (run.methods, run.summary) == (METHODS, {"total": 1, "methods": {"zeta": {}, "alpha": {}}})
    for name, table in TABLES.items():
        frame = getattr(run, name)
        assert list(frame.columns) == table.schema.names
        assert frame["method"].unique().tolist() == list(METHODS)
        wanted = [
            table.conform({**some_rows(name, round_, 4), "method": method}).to_pandas()
            for method in METHODS
            for round_ in range(3)
            if (name, round_) != ("trips", 1)
        ]
        for column in table.columns:
            values = np.concatenate([part[column.name].to_numpy() for part in wanted])
            assert repr(frame[column.name].tolist()) == repr(values.tolist())


def test_types(folder: Path) -> None:
    run = read_run(folder)
    for name, table in TABLES.items():
        for column in table.columns:
            dtype = str(getattr(run, name)[column.name].dtype)
            if column.type != "string":
                assert dtype == column.type
            else:
                assert (dtype == "category") == (name == "trips")


def test_tables_without_rows_have_their_columns(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path, "m")
    writer.seal(0)
    writer.flush()
    (tmp_path / "scenario.json").write_text('{"methods": {"m": {}}}')
    (tmp_path / "run.json").write_text('{"methods": {"m": {}}}')
    run = read_run(tmp_path)
    for name, table in TABLES.items():
        assert list(getattr(run, name).columns) == table.schema.names
        assert len(getattr(run, name)) == 0
    assert str(run.trips["upload_bytes"].dtype) == "int64"
    assert run.trace_sha256("m") == writer.digest


def test_the_hash_is_computed_anew(folder: Path) -> None:
    run = read_run(folder)
    for method in METHODS:
        assert run.trace_sha256(method) == json.loads(manifest(folder, method).read_text())["trace_sha256"]
    with pytest.raises(UserError, match="no method 'beta': did you mean 'zeta'"):
        run.trace_sha256("beta")


def replace_part(folder: Path, rows: pa.Table) -> None:
    """Put other rows into a part, and make the manifest agree with them."""
    part = folder / "trace" / "zeta" / "trips" / "000001-from-round-1.parquet"
    listed = sha256(part)
    pq.write_table(rows, part)
    text = manifest(folder).read_text().replace(listed, sha256(part))
    manifest(folder).write_text(text.replace('"rows":4,', f'"rows":{rows.num_rows},') if rows.num_rows != 4 else text)


def part_rows(folder: Path) -> pa.Table:
    return pq.ParquetFile(folder / "trace" / "zeta" / "trips" / "000001-from-round-1.parquet").read()


def test_tampering_shows(folder: Path) -> None:
    rows = part_rows(folder)
    index = rows.column_names.index("upload_bytes")
    values = rows.column(index).to_numpy().copy()
    values[0] += 1
    replace_part(folder, rows.set_column(index, rows.schema.field(index), pa.array(values)))
    run = read_run(folder)
    assert run.trips["upload_bytes"].tolist()[4] == values[0]
    assert run.trace_sha256("zeta") != json.loads(manifest(folder).read_text())["trace_sha256"]
    assert run.trace_sha256("alpha") == json.loads(manifest(folder, "alpha").read_text())["trace_sha256"]


@pytest.mark.parametrize("rounds", [[2, 2, 2, 3], [2, 1, 2, 2], [-1, 2, 2, 2]])
def test_rows_of_rounds_that_cannot_be_show(folder: Path, rounds: list[int]) -> None:
    rows = part_rows(folder)
    index = rows.column_names.index("round")
    replace_part(folder, rows.set_column(index, rows.schema.field(index), pa.array(rounds)))
    with pytest.raises(UserError, match="trips has rows out of order or of rounds it cannot have"):
        read_run(folder).trace_sha256("zeta")


def test_another_part_in_the_folder_does_not_count(folder: Path) -> None:
    trips = folder / "trace" / "zeta" / "trips"
    (trips / "000002-from-round-3.parquet").write_bytes((trips / "000001-from-round-1.parquet").read_bytes())
    (trips / "000003-from-round-4.parquet.tmp-1-00000000").write_text("torn")
    assert len(read_run(folder).trips) == 16


def test_a_damaged_or_missing_part_is_named(folder: Path) -> None:
    part = folder / "trace" / "alpha" / "rounds" / "000001-from-round-1.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    with pytest.raises(UserError, match=rf"{part}: damaged or changed"):
        read_run(folder)
    part.unlink()
    with pytest.raises(UserError, match=rf"{part}: missing"):
        read_run(folder)


def test_a_part_of_other_columns_is_named(folder: Path) -> None:
    replace_part(folder, part_rows(folder).drop_columns(["loss"]))
    with pytest.raises(UserError, match=r"000001-from-round-1.parquet: it does not have the columns"):
        read_run(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": "x"}'])
def test_a_damaged_manifest_is_named(folder: Path, text: str) -> None:
    manifest(folder).write_text(text)
    with pytest.raises(UserError, match=r"zeta/manifest.json: damaged"):
        read_run(folder)


def test_a_trace_of_a_newer_fedsim(folder: Path) -> None:
    path = manifest(folder)
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(UserError, match=r"trace version 2 was written by a newer fedsim \(this one reads 1\): upgrade"):
        read_run(folder)


def test_methods_that_were_not_run_are_left_out(folder: Path) -> None:
    (folder / "run.json").write_text(json.dumps({"methods": {METHODS[0]: {}}}))
    run = read_run(folder)
    assert run.methods == (METHODS[0],)
    assert set(run.rounds["method"]) == {METHODS[0]}


def test_not_a_finished_run(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: there is no such folder"):
        read_run(tmp_path / "missing")
    (folder / "run.json").write_text('{"total":')
    with pytest.raises(UserError, match=r"run\.json: damaged"):
        read_run(folder)
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match="this run has not ended"):
        read_run(folder)
    (folder / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"run\.json: damaged: it lists no methods"):
        read_run(folder)
    (folder / "run.json").write_text(json.dumps({"methods": {method: {} for method in METHODS}}))
    manifest(folder).unlink()
    with pytest.raises(UserError, match=r"trace/zeta: no manifest\.json"):
        read_run(folder)


def test_some_columns_of_some_rows(folder: Path) -> None:
    run = read_run(folder)
    some = run.read("trips", ["round", "method", "upload_bytes"], [("method", "==", "alpha"), ("round", ">", 0)])
    whole = run.trips[(run.trips["method"] == "alpha") & (run.trips["round"] > 0)]
    assert list(some.columns) == ["round", "method", "upload_bytes"]
    assert some["upload_bytes"].tolist() == whole["upload_bytes"].tolist()
    assert len(some) == 4
    assert str(some["method"].dtype) == "category"
    # a filter may look at what is not wanted; of several lists any may hold
    any_of: list[list[Condition]] = [[("round", "==", 0)], [("method", "in", ["zeta"]), ("round", "==", 2)]]
    either = run.read("rounds", ["end_s"], any_of)
    rounds = run.rounds
    wanted = rounds[(rounds["round"] == 0) | ((rounds["method"] == "zeta") & (rounds["round"] == 2))]
    assert either["end_s"].tolist() == wanted["end_s"].tolist()
    assert run.read("trips", ["round"], [("round", "==", 99)]).empty


def test_nothing_is_read_before_it_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = pq.read_table

    def spy(file: Path, **options: object) -> pa.Table:
        seen.append(file.parent.name)
        return real(file, **options)

    monkeypatch.setattr(pq, "read_table", spy)
    run = read_run(folder)
    assert seen == []
    assert run.rounds is run.rounds
    assert set(seen) == {"rounds"}


@pytest.mark.parametrize(
    ("table", "columns", "filters", "message"),
    [
        ("trip", None, None, "no trace table 'trip': did you mean 'trips'"),
        ("trips", ["rounds"], None, "trips has no column 'rounds': did you mean 'round'"),
        ("trips", None, [("rond", "==", 1)], "filters of trace table trips do not fit: .*rond"),
        ("trips", None, [("round", "~", 1)], "filters of trace table trips do not fit"),
        ("trips", None, [("round", "==", "one")], "filters of trace table trips do not fit"),
    ],
)
def test_what_cannot_be_read_is_named(
    folder: Path, table: str, columns: list[str] | None, filters: Filters | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_run(folder).read(table, columns, filters)
