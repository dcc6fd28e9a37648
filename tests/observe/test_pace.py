import pytest

from fedsim.observe.pace import Pace


def test_what_an_earlier_session_has_done_says_nothing_of_this_one_s_pace() -> None:
    now = [100.0]
    pace = Pace(40, lambda: now[0], done=20)
    assert pace.left_s is None
    now[0] += 30
    pace.advance(1)
    assert pace.done == 21
    assert pace.left_s == pytest.approx(19 * 30)
    now[0] += 10
    assert pace.left_s == pytest.approx(19 * 30 - 10)
    assert pace.elapsed_s == pytest.approx(40)
    now[0] += 1e6
    assert pace.left_s == 0.0


def test_without_an_end_there_is_no_time_left() -> None:
    pace = Pace(None, lambda: 1.0)
    pace.advance(5)
    assert pace.left_s is None
