"""Our Grafana dashboard as the JSON that Grafana reads."""

from collections.abc import Sequence
from typing import Any

from fedsim.monitor.panels import NAMES, ROWS, Panel

UID, DATASOURCE = "fedsim", "fedsim-prometheus"


def dashboard() -> dict[str, Any]:
    """The page as Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, y, 24, 1)})
        y += 1
        for i, one in enumerate(row):
            panels.append(_panel(one, _place(8 * (i % 3), y + 8 * (i // 3), 8, 8)))
        y += 8 * -(-len(row) // 3)
    for number, each in enumerate(panels, 1):
        each["id"] = number
    return {
        "uid": UID,
        "title": "fedsim",
        "tags": ["fedsim"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_choice("run", ""), _choice("method", '{run=~"$run"}')]},
        "panels": panels,
    }


def queries(page: dict[str, Any]) -> Sequence[str]:
    """All queries of a dashboard, those behind its choices included."""
    drawn = [target["expr"] for panel in page["panels"] for target in panel.get("targets", ())]
    return [*drawn, *(choice["query"] for choice in page["templating"]["list"])]


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _choice(label: str, among: str) -> dict[str, Any]:
    query = f"label_values({NAMES['fedsim_round']}{among}, {label})"
    return {
        "name": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": DATASOURCE},
        "query": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": DATASOURCE}
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if panel.stacked else {"fillOpacity": 0}
    defaults = {"unit": panel.unit, "min": 0, **({"custom": custom} if panel.kind == "timeseries" else {"max": 1})}
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": source, "expr": query, "legendFormat": legend}
            for i, (query, legend) in enumerate(panel.queries)
        ],
    }
