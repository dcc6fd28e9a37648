from benchmarks.watching import Timed, report


def test_the_cost_of_watching_is_a_median_over_pairs() -> None:
    pairs = [
        (Timed(240, 101.0, 12.0), Timed(240, 100.0, 10.5)),
        (Timed(240, 99.0, 12.0), Timed(240, 100.0, 11.0)),
        (Timed(240, 104.0, 13.0), Timed(240, 100.0, 11.0)),
    ]
    *_, time, driver = report(pairs).splitlines()
    assert time == "time: +1.00 % in the median, -1.00 to +4.00 %"
    assert driver == "processor time of the driver: +1.50 s, which is +1.50 % of the run's time"
