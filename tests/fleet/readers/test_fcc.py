from pathlib import Path

import pytest

from fedsim.errors import UserError
from fedsim.fleet.readers.fcc import Links, read

KEY = "fleet.source.links"
SPEED = "unit_id,dtime,target,address,fetch_time,bytes_total,bytes_sec,bytes_sec_interval,warmup_time,warmup_bytes"
SPEED += ",sequence,threads,successes,failures"
PING = "unit_id,dtime,target,rtt_avg,rtt_min,rtt_max,rtt_std,successes,failures"


def speed(unit: int, bytes_sec: object, successes: object = 1) -> str:
    return f"{unit},2022-09-01 00:01:02,server.example,192.0.2.1,5000000,9999,{bytes_sec},1,1,1,0,8,{successes},0"


def ping(unit: int, rtt_us: object, successes: object = 600) -> str:
    return f"{unit},2022-09-01 00:01:02,server.example,{rtt_us},1,1,1,{successes},0"


def load(
    folder: Path, down: list[str], up: list[str], rtt: list[str], headers: tuple[str, str] = (SPEED, PING)
) -> Links:
    files = {"curr_httpgetmt.csv": [headers[0], *down], "curr_httppostmt.csv": [SPEED, *up]}
    files["curr_udplatency.csv"] = [headers[1], *rtt]
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    down_csv, up_csv, rtt_csv = (folder / name for name in files)
    return read(down_csv, up_csv, rtt_csv, KEY)


def test_medians_in_units_of_this_project(tmp_path: Path) -> None:
    down = [speed(9, 3e6), speed(4, 1_000_000), speed(9, 1e6), speed(9, 9e6)]
    up = [speed(4, 500_000), speed(4, 700_000), speed(9, 250_000)]
    found = load(tmp_path, down, up, [ping(9, 20_000), ping(4, 15_000)])
    assert found.unit.tolist() == [4, 9]
    assert found.downlink_bits_per_s.tolist() == [8e6, 24e6]
    assert found.uplink_bits_per_s.tolist() == [4.8e6, 2e6]
    assert found.latency_s.tolist() == [0.015, 0.02]
    assert (len(found), found.left_out) == (2, 0)


def test_failed_tests_do_not_count_and_incomplete_units_are_left_out(tmp_path: Path) -> None:
    down = [speed(1, 1e6), speed(1, 0, successes=0), speed(2, 5e6), speed(3, 0), speed(4, 7e6, successes=0)]
    up = [speed(unit, 1e5) for unit in (1, 3, 4, 5)]
    found = load(tmp_path, down, up, [ping(unit, 1000) for unit in (1, 2, 3, 4)])
    assert found.unit.tolist() == [1]
    assert found.downlink_bits_per_s.tolist() == [8e6]
    assert found.left_out == 4


def test_headers_of_2011_begin_with_a_sign(tmp_path: Path) -> None:
    found = load(tmp_path, [speed(1, 1e6)], [speed(1, 1e6)], [ping(1, 1000)], (f"#{SPEED}", f"# {PING}"))
    assert found.unit.tolist() == [1]


@pytest.mark.parametrize(
    ("down", "rtt", "says"),
    [
        ([speed(1, "x")], [ping(1, 1)], "curr_httpgetmt.csv:2: bytes_sec: row 1 is 'x', which is not a number"),
        ([speed(1, 5), speed(1, -5)], [ping(1, 1)], "curr_httpgetmt.csv:3: bytes_sec: row 2 is -5, it must be"),
        ([speed(1, 5)], [ping(1, "")], "curr_udplatency.csv:2: rtt_avg: row 1 has no value"),
        ([speed(1, 5)], ["1,2,3"], "curr_udplatency.csv:2: row 1 has 3 values for 9 columns"),
        ([speed(1, 5)], [ping(2, 1)], "curr_udplatency.csv has tests in all three"),
        ([speed(1, 5, "no")], [ping(1, 1)], "successes: row 1 is 'no'"),
    ],
)
def test_mistakes_are_told_with_file_row_and_column(down: list[str], rtt: list[str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, down, [speed(1, 5)], rtt)
    assert says in str(caught.value)


def test_a_table_without_a_header_or_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unit_id: this column is missing; the file must have unit_id, bytes_sec"):
        load(tmp_path, [], [speed(1, 5)], [ping(1, 1)], (speed(1, 5), PING))
    with pytest.raises(UserError, match="rtt_avg: this column is missing"):
        load(tmp_path, [speed(1, 5)], [speed(1, 5)], [speed(1, 5)], (SPEED, SPEED))


def test_the_missing_file_is_named_by_its_key(tmp_path: Path) -> None:
    load(tmp_path, [speed(1, 5)], [speed(1, 5)], [ping(1, 1)])
    with pytest.raises(UserError, match=r"fleet\.source\.links\.upload: the file cannot be read"):
        read(tmp_path / "curr_httpgetmt.csv", tmp_path / "no.csv", tmp_path / "curr_udplatency.csv", KEY)
