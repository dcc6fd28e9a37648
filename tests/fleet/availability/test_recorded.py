from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim.fleet.availability import Intervals, Recorded
from fedsim.fleet.availability.recorded import Overlap

Spans = list[tuple[float, float]]


def one(spans: Spans, period_s: float) -> Recorded:
    return Recorded(Intervals.of([(spans, period_s)]), np.array([0]))


def asked(process: Recorded, now_s: float) -> tuple[bool, float, float]:
    device = np.array([0])
    return (
        bool(process.at(device, now_s)[0]),
        float(process.until(device, now_s)[0]),
        float(process.after(device, now_s)[0]),
    )


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        (0.0, (False, 0.0, 10.0)),
        (10.0, (True, 20.0, 0.0)),
        (29.5, (True, 0.5, 0.0)),
        (30.0, (False, 0.0, 20.0)),
        (55.0, (True, 5.0, 0.0)),
        (60.0, (False, 0.0, 50.0)),
        (99.0, (False, 0.0, 11.0)),
        (100.0, (False, 0.0, 10.0)),
        (1012.0, (True, 18.0, 0.0)),
    ],
)
def test_a_recording_is_played_again_and_again(now_s: float, expected: tuple[bool, float, float]) -> None:
    assert asked(one([(10, 30), (50, 60)], 100), now_s) == expected


def test_an_interval_goes_on_over_the_seam() -> None:
    process = one([(0, 10), (90, 100)], 100)
    assert asked(process, 95.0) == (True, 15.0, 0.0)
    assert asked(process, 5.0) == (True, 5.0, 0.0)
    assert asked(process, 50.0) == (False, 0.0, 40.0)


def test_always_there_and_never_there() -> None:
    assert asked(one([(0, 100)], 100), 42.0) == (True, np.inf, 0.0)
    assert asked(one([], 100), 42.0) == (False, 0.0, np.inf)


def test_recordings_of_many_devices_are_kept_apart() -> None:
    data = Intervals.of([([(10, 20)], 100), ([], 50), ([(0, 5), (7, 8)], 10)])
    process = Recorded(data, np.array([2, 0, 1, 2]))
    devices = np.array([0, 1, 2, 3, 1])
    now = np.array([7.5, 110.0, 3.0, 16.0, 0.0])
    assert process.at(devices, now).tolist() == [True, True, False, False, False]
    assert process.until(devices, now).tolist() == [0.5, 10.0, 0.0, 0.0, 0.0]
    assert process.after(devices, now).tolist() == [0.0, 0.0, np.inf, 1.0, 10.0]


def test_touching_intervals_are_one() -> None:
    data = Intervals.of([([(0, 5), (5, 7), (7, 9), (10, 11)], 20), ([(11, 12)], 20)])
    assert (data.start_s.tolist(), data.end_s.tolist()) == ([0, 10, 11], [9, 11, 12])
    assert data.offsets.tolist() == [0, 2, 3]
    assert len(data) == 2


@pytest.mark.parametrize(
    ("spans", "bad"),
    [
        ([(5.0, 5.0)], 0),
        ([(5.0, 4.0)], 0),
        ([(-1.0, 4.0)], 0),
        ([(0.0, 6.0), (5.0, 7.0)], 1),
        ([(6.0, 7.0), (1.0, 2.0)], 1),
        ([(0.0, 1.0), (5.0, 11.0)], 1),
        ([(0.0, 1.0), (np.nan, 7.0)], 1),
        ([(0.0, np.inf)], 0),
    ],
)
def test_impossible_intervals_are_found(spans: Spans, bad: int) -> None:
    with pytest.raises(Overlap, match="it must be longer than nothing, begin no sooner than") as caught:
        Intervals.of([([(1.0, 2.0)], 10.0), (spans, 10.0)])
    assert (caught.value.recording, caught.value.interval) == (1, 1 + bad)


@st.composite
def recordings(draw: st.DrawFn) -> list[tuple[Spans, float]]:
    """Recordings in whole seconds, some empty, some full, some with intervals at their ends."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        period = draw(st.integers(1, 40))
        marks = sorted(draw(st.sets(st.integers(0, period), max_size=8)))
        found.append(([(float(a), float(b)) for a, b in zip(marks[::2], marks[1::2], strict=False)], float(period)))
    return found


@settings(max_examples=200)
@given(recordings(), st.integers(0, 400))
def test_against_a_search_through_every_interval(data: list[tuple[Spans, float]], quarters: int) -> None:
    process = Recorded(Intervals.of(data), np.arange(len(data)))
    devices, now = np.arange(len(data)), Fraction(quarters, 4)
    answers = [process.at(devices, float(now)), process.until(devices, float(now)), process.after(devices, float(now))]
    for device, (spans, period) in enumerate(data):
        laps = [
            (Fraction(a) + k * Fraction(period), Fraction(b) + k * Fraction(period))
            for k in range(quarters // (4 * int(period)) + 4)
            for a, b in spans
        ]

        def there(t: Fraction, laps: list[tuple[Fraction, Fraction]] = laps) -> bool:
            return any(a <= t < b for a, b in laps)

        here = there(now)
        changes = sorted({edge for lap in laps for edge in lap if now < edge <= now + 2 * Fraction(period)})
        change = next((edge for edge in changes if there(edge) != here), None)
        wait = np.inf if change is None else float(change - now)
        assert [answer[device] for answer in answers] == [here, wait if here else 0.0, 0.0 if here else wait]


@settings(max_examples=100)
@given(st.floats(0, 1e10), st.floats(0.1, 1e5), st.floats(0.1, 1e5))
def test_what_is_said_of_the_future_comes_true(now_s: float, start_s: float, length_s: float) -> None:
    process, device = one([(start_s, start_s + length_s)], 3 * (start_s + length_s)), np.array([0])
    there, until, after = asked(process, now_s)
    assert bool(process.at(device, now_s + until + after)[0]) is not there
