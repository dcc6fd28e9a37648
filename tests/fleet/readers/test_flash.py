import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.errors import UserError
from fedsim.fleet.availability import Recorded
from fedsim.fleet.readers.flash import CONDITIONS, Condition, read
from fedsim.fleet.readers.recordings import Recordings

KEY = "fleet.availability.path"
HOUR = 3600.0


def messages(*lines: str) -> dict[str, Any]:
    """A device; `02 08:00:00 wifi` is what happens in January 2020."""
    text = [f"2020-01-{when} {clock}\t{what}" for when, clock, what in (line.split(" ", 2) for line in lines)]
    return {"guid": "x", "model": "a phone", "messages": "\n".join(text)}


def load(
    folder: Path, leave_out: bool = False, require: tuple[Condition, ...] = CONDITIONS, **devices: Any
) -> Recordings:
    path = folder / "traces.json"
    path.write_text(json.dumps(devices), encoding="utf-8")
    return read(path, require, leave_out, KEY)


def spans(found: Recordings) -> list[tuple[float, float]]:
    return list(zip(found.intervals.start_s.tolist(), found.intervals.end_s.tolist(), strict=True))


NIGHT = messages(
    "02 00:00:00 screen_on",
    "02 01:00:00 WIFI",
    "02 02:00:00 battery_charged_on",
    "02 03:00:00 screen_lock",
    "02 04:00:00 87.5%",
    "02 05:00:00 screen_unlock",
    "02 06:00:00 screen_lock",
    "02 07:00:00 4G",
    "02 08:00:00 battery_charged_off",
    "02 20:00:00 screen_off",
)


def test_available_while_all_conditions_hold(tmp_path: Path) -> None:
    found = load(tmp_path, a=NIGHT)
    assert spans(found) == [(3 * HOUR, 5 * HOUR), (6 * HOUR, 7 * HOUR)]
    assert found.intervals.period_s.tolist() == [20 * HOUR]
    assert found.names == ("a",)


@pytest.mark.parametrize(
    ("require", "expected"),
    [
        (("charging",), [(2, 8)]),
        (("wifi",), [(1, 7)]),
        (("idle",), [(3, 5), (6, 20)]),
        (("charging", "wifi"), [(2, 7)]),
        ((), [(0, 20)]),
    ],
)
def test_conditions_can_be_chosen(
    require: tuple[Condition, ...], expected: list[tuple[float, float]], tmp_path: Path
) -> None:
    assert spans(load(tmp_path, require=require, a=NIGHT)) == [(a * HOUR, b * HOUR) for a, b in expected]


def test_time_0_is_the_beginning_of_2_january_and_recordings_begin_anew(tmp_path: Path) -> None:
    late = messages("03 06:00:00 wifi", "03 08:00:00 4g", "03 12:00:00 3g")  # six hours long
    early = messages("01 20:00:00 wifi", "01 22:00:00 2g", "02 20:00:00 5g")  # a day long
    found = load(tmp_path, require=("wifi",), late=late, early=early)
    times, both = Recorded(found.intervals, np.arange(2)), np.arange(2)
    # 3 January, 6 to 8 o'clock, is 30 to 32 h after the beginning; every 6 h that is 0 to 2, 6 to 8 ... h
    assert times.at(both, 1 * HOUR).tolist() == [True, False]
    assert times.at(both, 31 * HOUR).tolist() == [True, False]
    assert times.at(both, 33 * HOUR).tolist() == [False, False]
    assert times.at(both, 21 * HOUR).tolist() == [False, True]
    assert times.until(both, 45 * HOUR).tolist() == [0.0, 1 * HOUR]


def test_an_interval_over_the_seam_is_cut_in_two(tmp_path: Path) -> None:
    # 10 h long, from 5 to 15 o'clock; on Wi-Fi from 8 to 13, which is over the 10 that the recording is long
    one = messages("02 05:00:00 4g", "02 08:00:00 wifi", "02 13:00:00 4g", "02 15:00:00 4g")
    found = load(tmp_path, require=("wifi",), a=one)
    assert spans(found) == [(0.0, 3 * HOUR), (8 * HOUR, 10 * HOUR)]
    assert Recorded(found.intervals, np.array([0])).until(np.array([0]), 8 * HOUR).tolist() == [5 * HOUR]


def test_still_ready_at_the_end_never_ready_and_out_of_order(tmp_path: Path) -> None:
    still = messages("02 01:00:00 wifi", "02 04:00:00 50%")
    never = messages("02 01:00:00 4g", "02 04:00:00 50%")
    mixed = messages("02 04:00:00 4g", "02 02:00:00 wifi", "02 06:00:00 1%", "02 00:00:00 screen_on")
    found = load(tmp_path, require=("wifi",), still=still, never=never, mixed=mixed)
    assert np.diff(found.intervals.offsets).tolist() == [1, 0, 1]
    assert spans(found) == [(0.0, 3 * HOUR), (2 * HOUR, 4 * HOUR)]


@pytest.mark.parametrize(
    ("device", "line", "says"),
    [
        (
            messages("02 00:00:00 wifi", "02 01:00:00 dancing"),
            2,
            "is '2020-01-02 01:00:00\\tdancing'; a line is a time",
        ),
        (messages("02 00:00:00 wifi", "02 01:00:00 140%"), 2, "is '2020-01-02 01:00:00\\t140%'"),
        (messages("02 00:00:00 wifi", "02 25:00:00 4g"), 2, "has the time '2020-01-02 25:00:00', it must be like"),
        (messages("02 00:00:00 wifi", "32 01:00:00 4g"), 2, "has the time '2020-01-32 01:00:00'"),
        (messages("02 00:00:00 wifi", "02 01:00 4g"), 2, "has the time '2020-01-02 01:00'"),
        (
            {"messages": "2020-01-02 00:00:00 wifi"},
            1,
            "is '2020-01-02 00:00:00 wifi'; a line is a time, a tab, and one of",
        ),
        (messages("02 00:00:00 wifi", "02 00:00:00 4g"), 1, "the recording has no length"),
        ({"messages": "\n \n"}, 1, "there are no messages"),
        ({"guid": "x"}, 1, "a device must have `messages`, a text"),
        ([], 1, "a device must have `messages`, a text"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_broken_devices_are_named_with_their_line_or_left_out(
    device: Any, line: int, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, fine=NIGHT, odd=device)
    assert str(caught.value).startswith(f"{tmp_path / 'traces.json'}: odd.messages: line {line} of its messages ")
    assert says in str(caught.value)
    found = load(tmp_path, leave_out=True, fine=NIGHT, odd=device)
    assert (found.names, found.left_out) == (("fine",), ("odd",))
    with pytest.raises(UserError, match="holds no recording that can be used"):
        load(tmp_path, leave_out=True, odd=device)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": ', ":1: fleet.availability.path: is not JSON"),
        ("[1]", ": fleet.availability.path: must be a JSON object with an entry a device"),
        ("[" * 100_000, "is not JSON"),
        ("\x00\xff", "is not JSON"),
    ],
)
def test_files_that_are_something_else(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        read(path, CONDITIONS, True, KEY)
    assert says in str(caught.value)
