import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.errors import UserError
from fedsim.fleet.availability import Recorded
from fedsim.fleet.readers.fedscale import behaviour, capacity

KEY = "fleet.source.path"
CAPACITY = {
    1: {"computation": np.float64(162.0), "communication": np.float64(5648.5)},
    2: {"computation": 40, "communication": 100_000.0},
    7: {"computation": 1e3, "communication": 1.0},
}
BEHAVIOUR = {
    1: {"duration": 50, "inactive": [30, 70], "finish_time": 100, "active": [10, 60], "model": "a phone"},
    5: {"duration": 0, "inactive": [], "finish_time": 10, "active": [], "model": "b"},
    6: {"duration": 9, "inactive": [9, 25], "finish_time": 20, "active": [0, 15], "model": "c"},
}


def write(folder: Path, value: Any, protocol: int = 3) -> Path:
    path = folder / "trace"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def told(read: Any, path: Path, count: int = 3) -> str:
    with pytest.raises(UserError) as caught:
        read(path, count, KEY)
    return str(caught.value).replace(str(path), "FILE")


def test_capacity_in_units_of_this_project(tmp_path: Path) -> None:
    found = capacity(write(tmp_path, CAPACITY), 3, KEY)
    assert found.sample_s.tolist() == [0.162, 0.04, 1.0]
    assert found.bits_per_s.tolist() == [5_648_500.0, 1e8, 1000.0]
    assert capacity(write(tmp_path, CAPACITY), 2, KEY).sample_s.tolist() == [0.162, 0.04]


def test_no_more_than_the_fleet_needs_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, {i: {"computation": 40, "communication": 1e5} for i in range(20_000)})
    path.write_bytes(path.read_bytes()[:300_000])  # the rest is torn off
    assert len(capacity(path, 1500, KEY).sample_s) == 1500
    assert "FILE: fleet.source.path: is not a pickle of plain data: it is damaged at byte" in told(
        capacity, path, 20_000
    )


def test_behaviour_is_played_as_fedscale_plays_it(tmp_path: Path) -> None:
    found = behaviour(write(tmp_path, BEHAVIOUR), 10, KEY)
    assert found.names == ("1", "5", "6")
    assert found.intervals.period_s.tolist() == [100, 10, 20]
    times, devices = Recorded(found.intervals, np.arange(3)), np.arange(3)
    assert times.at(devices, 110.0).tolist() == [True, False, False]
    assert times.at(devices, 165.0).tolist() == [True, False, True]
    assert times.until(devices, 16.0).tolist() == [14.0, 0.0, 13.0], "cut off at the end, and on at the beginning"
    assert behaviour(write(tmp_path, BEHAVIOUR), 1, KEY).names == ("1",)


def test_a_hostile_file_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/proof",)

    for read in (capacity, behaviour):
        path = write(tmp_path, {1: {"computation": Evil(), "active": [Evil()]}})
        fault = told(read, path)
        assert "FILE: fleet.source.path: is not a pickle of plain data: it asks for posix.system" in fault
        assert "nothing was run (byte " in fault
    assert not (tmp_path / "proof").exists()


def change(rows: dict[int, Any], client: int, **fields: Any) -> dict[int, Any]:
    return {**rows, client: {**rows[client], **fields}}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([1, 2], "FILE: fleet.source.path: holds a list, it must be a dictionary by client"),
        ({**CAPACITY, 2: 5.0}, "FILE: 2.computation: client 2 has no `computation`"),
        ({**CAPACITY, 2: {"computation": 5}}, "FILE: 2.communication: client 2 has no `communication`"),
        (
            change(CAPACITY, 2, computation=-1.0),
            "FILE: 2.computation: is -1.0, it must be a number from 1e-06 to 1e+12",
        ),
        (change(CAPACITY, 2, computation=0), "FILE: 2.computation: is 0, it must"),
        (change(CAPACITY, 2, communication=float("nan")), "FILE: 2.communication: is nan"),
        (change(CAPACITY, 2, communication="fast"), "FILE: 2.communication: is 'fast'"),
        (change(CAPACITY, 2, communication=True), "FILE: 2.communication: is True"),
        ({1: CAPACITY[1]}, "fleet.clients: FILE has 1 devices, fleet.clients is 3: at most that many are possible"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_mistakes_in_capacities(value: Any, says: str, tmp_path: Path) -> None:
    assert told(capacity, write(tmp_path, value)).startswith(says)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "FILE: fleet.source.path: holds no recording"),
        (change(BEHAVIOUR, 1, finish_time=0), "FILE: 1.finish_time: is 0, it must be a number from 0.001"),
        (change(BEHAVIOUR, 1, active=[10]), "FILE: 1.inactive: has 2 entries, `active` has 1: they belong together"),
        (change(BEHAVIOUR, 1, active="often"), "FILE: 1.active: is a str, it must be a list of numbers"),
        (change(BEHAVIOUR, 1, active=[10, "x"]), "FILE: 1.active.1: is 'x', it must be a number from 0"),
        (change(BEHAVIOUR, 1, active=[10, 20]), "FILE: 1.active: an interval of client 1 is from 20 to 70 s: it must"),
        (change(BEHAVIOUR, 6, active=[10, 15]), "FILE: 6.active: an interval of client 6 is from 10 to 9 s"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_mistakes_in_behaviour(value: Any, says: str, tmp_path: Path) -> None:
    assert told(behaviour, write(tmp_path, value)).startswith(says)
