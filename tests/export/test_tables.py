import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedsim.export.cut import Cut, cut
from fedsim.export.tables import csv, flat_json
from fedsim.trace.reader import Run
from fedsim.trace.schema import TABLES
from tests.report.runs import run as handmade


def same(found: pd.DataFrame, run: Run, name: str, part: Cut) -> bool:
    """The values that were read back are those of the run."""
    wanted = run.read(name, filters=part.filters(name))
    assert list(found.columns) == list(wanted.columns)
    for column in TABLES[name].columns:
        one, other = found[column.name], wanted[column.name].astype(found[column.name].dtype)
        assert one.isna().equals(other.isna())
        assert (one.dropna().to_numpy() == other.dropna().to_numpy()).all()
    return len(found) == len(wanted)


@pytest.mark.parametrize("rounds", [None, "1..2"])
def test_csv_holds_every_value_of_every_table(run: Run, rounds: str | None, tmp_path: Path) -> None:
    part = cut(run, [], rounds)
    files = csv(run, part, tmp_path)
    assert [file.stem for file in files] == ["methods", *TABLES]
    for file in files[1:]:
        columns = {
            column.name: {"string": "object"}.get(column.type, column.type) for column in TABLES[file.stem].columns
        }
        assert same(pd.read_csv(file, dtype=columns, keep_default_na=False, na_values=[""]), run, file.stem, part)


def test_flat_json_holds_every_value_of_every_table(run: Run, tmp_path: Path) -> None:
    part = cut(run, ["fedbt"], None)
    for file in flat_json(run, part, tmp_path)[1:]:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert all(not isinstance(value, dict | list) for row in rows for value in row.values())
        found = pd.DataFrame(rows, columns=TABLES[file.stem].schema.names)
        for name in TABLES[file.stem].schema.names:  # all of a column may be null
            found[name] = found[name].astype("float64") if found[name].isna().all() else found[name]
        assert same(found, run, file.stem, part)


def test_the_summary_is_a_table_too(run: Run, tmp_path: Path) -> None:
    part = cut(run, [], None)
    csv(run, part, tmp_path)
    flat_json(run, part, tmp_path)
    frames = pd.read_csv(tmp_path / "methods.csv"), pd.read_json(tmp_path / "methods.jsonl", lines=True)
    for frame in frames:
        assert frame["method"].tolist() == list(run.methods)
        for row in frame.to_dict("records"):
            own = run.summary["methods"][row["method"]]
            assert (row["upload_bytes"], row["trace_sha256"]) == (own["upload_bytes"], own["trace_sha256"])


def test_metrics_have_columns_of_their_own_and_no_number_is_an_empty_cell(tmp_path: Path) -> None:
    made = handmade()
    made.summary["methods"] = {
        "fedavg": {"quality": {"finetune/accuracy": 0.5}, "rounds": 2},
        "light": {"quality": {}, "rounds": 2},
        "centralized": {"quality": {"finetune/accuracy": 0.75}, "rounds": 2},
    }
    csv(made, cut(made, [], None), tmp_path)
    frame = pd.read_csv(tmp_path / "methods.csv")
    np.testing.assert_array_equal(frame["quality/finetune/accuracy"], [0.5, np.nan, 0.75])


def test_only_what_is_written_is_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    for _ in range(2):
        csv(run, cut(run, [], None), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", *(f"{name}.csv" for name in ("methods", *TABLES))}
