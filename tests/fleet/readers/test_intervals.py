from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedsim.errors import UserError
from fedsim.fleet.availability import Recorded
from fedsim.fleet.readers.intervals import read

KEY = "fleet.availability.path"
CSV = "client,start_s,end_s\nanna,0,10\nbert,5.5,20\nanna,30,40\n"


def write(folder: Path, text: str, name: str = "times.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_intervals_by_client_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = read(write(tmp_path, CSV), 100.0, KEY)
    assert found.names == ("anna", "bert")
    assert found.intervals.start_s.tolist() == [0, 30, 5.5]
    assert found.intervals.end_s.tolist() == [10, 40, 20]
    assert found.intervals.offsets.tolist() == [0, 2, 3]
    assert found.intervals.period_s.tolist() == [100, 100]
    times = Recorded(found.intervals, np.array([1, 0]))
    assert times.at(np.array([0, 1]), 106.0).tolist() == [True, True]
    assert times.until(np.array([0, 1]), 106.0).tolist() == [14.0, 4.0]


def test_rows_may_come_in_any_order_and_numbers_may_name_clients(tmp_path: Path) -> None:
    found = read(write(tmp_path, "end_s,client,start_s\n40,7,30\n20,3,5\n10,7,0\n"), 100.0, KEY)
    assert found.names == ("7", "3")
    assert found.intervals.start_s.tolist() == [0, 30, 5]


def test_parquet_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "times.parquet"
    pq.write_table(pa.table({"client": [7, 3, 7], "start_s": [30, 5, 0], "end_s": [40.0, 20.0, 10.0]}), path)
    found = read(path, 100.0, KEY)
    assert found.names == ("7", "3")
    assert found.intervals.start_s.tolist() == [0, 30, 5]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            "anna,0,10\nbert,1,2\nanna,9,12\n",
            ":4: client anna: row 3 is from 9 to 12 s: it must be longer than nothing, begin no sooner than the one "
            "before it ends (10 s), and end within the recording",
        ),
        ("anna,5,5\n", ":2: client anna: row 1 is from 5 to 5 s"),
        ("anna,1,2\nbert,9,3\n", ":3: client bert: row 2 is from 9 to 3 s"),
        ("anna,1,2\n\nanna,3,soon\n", ":4: end_s: row 2 is 'soon', which is not a number"),
        ("anna,1,2\nanna,3,101\n", ":3: end_s: row 2 is 101, it must be a number from 0 to 100"),
        ("anna,-1,2\n", ":2: start_s: row 1 is -1, it must be a number from 0 to 100"),
        ("anna,nan,2\n", ":2: start_s: row 1 is nan"),
        ("anna,1,2\n,3,4\n", ":3: client: row 2 has no value"),
        ("anna,1,2\nanna,3\n", ":3: row 2 has 2 values for 3 columns"),
        ("", ": has no rows"),
    ],
)
def test_mistakes_are_told_with_file_row_and_column(rows: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, "client,start_s,end_s\n" + rows)
    with pytest.raises(UserError) as caught:
        read(path, 100.0, KEY)
    assert str(caught.value).startswith(f"{path}{says}") or says in str(caught.value)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("client,start_s,end", "end: unknown column 'end'; did you mean 'end_s'?"),
        ("client,start_s,start_s", "there are two columns of this name"),
        ("client,start_s", "end_s: this column is missing; the file must have client, start_s, end_s"),
    ],
)
def test_wrong_columns(header: str, says: str, tmp_path: Path) -> None:
    row = ",".join("1" * (header.count(",") + 1))
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, f"{header}\n{row}\n"), 100.0, KEY)
    assert says in str(caught.value)


def test_files_that_are_not_there_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"fleet\.availability\.path: the file cannot be read: No such file"):
        read(tmp_path / "none.csv", 100.0, KEY)
    monkeypatch.setattr("fedsim.fleet.table.MOST_BYTES", 20)
    with pytest.raises(UserError, match=r"fleet\.availability\.path: has more than 0 MB, the most that is read"):
        read(write(tmp_path, CSV), 100.0, KEY)
