from fedsim.monitor.series import COMMON, SERIES
from fedsim.observe.observer import RoundReport
from tests import markdown


def test_names_are_those_of_prometheus() -> None:
    names = [series.name for series in SERIES]
    assert len(set(names)) == len(names)
    assert all(name.startswith("fedsim_") and name.replace("_", "").isalnum() and name.islower() for name in names)
    assert not any("client" in label for series in SERIES for label in (*COMMON, *series.labels))
    assert all(series.exported.endswith("_total") == (series.kind == "counter") for series in SERIES)
    assert all(bool(series.bounds) == (series.kind == "histogram") for series in SERIES)


def test_the_page_lists_every_series() -> None:
    page = markdown.ROOT / "docs/monitoring.md"
    (table,) = [table for table in markdown.tables(page) if table.header[0] == "series"]
    labels = [", ".join(f"`{label}`" for label in series.labels) for series in SERIES]
    assert [tuple(row) for row in table.rows] == [
        (f"`{series.exported}`", series.kind, series.meaning, own) for series, own in zip(SERIES, labels, strict=True)
    ]


def test_what_a_round_does_not_have_is_not_recorded() -> None:
    report = RoundReport("m", "p", "s", 1, 2, 0, 0, 0.0, 0, 0)
    recorded = {series.name for series in SERIES if list(series.read(report))}
    assert recorded.isdisjoint({"fedsim_loss", "fedsim_quality", "fedsim_host_utilisation", "fedsim_trips"})
