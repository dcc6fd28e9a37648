import re
from itertools import combinations

from fedsim.monitor.dashboard import DATASOURCE, dashboard, queries
from fedsim.monitor.series import COMMON, SERIES

LABELS = {series.exported: {*COMMON, *series.labels} for series in SERIES if series.kind != "histogram"} | {
    f"{series.exported}_{part}": {*COMMON, *series.labels, *more}
    for series in SERIES
    if series.kind == "histogram"
    for part, more in (("bucket", {"le"}), ("count", set[str]()), ("sum", set[str]()))
}
"""What Prometheus has of fedsim: names, each with its labels."""
RAY = {"ray_object_store_memory": {"Location", "instance"}}
"""What is drawn of Ray's own; tests/monitor/test_prometheus.py asks Ray for it."""


def test_every_query_is_of_series_and_labels_that_exist() -> None:
    for query in queries(dashboard()):
        bare = re.sub(r'"[^"]*"', '""', query)
        names = re.findall(r"\bray_\w+", bare)
        assert names, query
        assert set(names) <= {*LABELS, *RAY}, query
        known = {label for name in names for label in (LABELS | RAY)[name]}
        for kept in re.findall(r"by \(([^)]*)\)", bare):
            assert set(kept.split(", ")) <= known, query
        assert set(re.findall(r"(\w+)=~?\"", bare)) <= known, query


def test_every_series_is_drawn() -> None:
    drawn = " ".join(queries(dashboard()))
    assert [s.name for s in SERIES if not re.search(rf"\b{s.exported}(_bucket)?\b", drawn)] == []


def test_legends_name_labels_that_their_query_keeps() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            kept = re.findall(r"by \(([^)]*)\)", target["expr"])
            (name, *_) = re.findall(r"\bray_\w+", target["expr"])
            left = set(kept[0].split(", ")) if kept else (LABELS | RAY)[name]
            assert wanted <= left, target


def test_panels_have_ids_places_and_our_source() -> None:
    panels = dashboard()["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {DATASOURCE}
