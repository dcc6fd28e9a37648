"""What the page shows of a run, as JSON, and the page itself with the first of it inside.

`static/page.js` draws it. While a run is watched it asks for more; in a report everything is in the page.
"""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from fedsim.report import style
from fedsim.report.frames import BASELINES, HEADLINES, WASTABLE
from fedsim.report.layout import Grid
from fedsim.report.overview import overview as grid_of
from fedsim.report.stages import of_rows
from fedsim.scenario.identity import fingerprint
from fedsim.scenario.schema import Scenario
from fedsim.trace.schema import TABLES
from fedsim.web import curves, stages
from fedsim.web.follow import Followed
from fedsim.web.numbers import encoded

_MODEL = "{{MODEL}}"


def overview(run: Followed, points: int = curves.POINTS) -> dict[str, Any]:
    """All of a run but its trips: header, table of methods, curves, outcomes, stages.

    Args:
        run: whose.
        points: the most of one curve.

    Raises:
        UserError: a file cannot be read.
    """
    version, begun = run.version(), run.summaries()
    evals = {name: curves.evaluations(run, name, points) for name in begun}
    keys = list(dict.fromkeys(key for own in evals.values() for key in own))
    looks = style.styles(run.methods)
    ended = run.ended
    return {
        "version": version,
        "state": run.state,
        "price": run.price,
        "name": run.scenario.name,
        "summary": run.scenario.summary,
        "folder": str(run.folder),
        "seed": run.scenario.seed,
        "clients": run.scenario.fleet.clients,
        "methods": [
            {
                "name": name,
                "colour": looks[name]["color"],
                "marker": looks[name]["marker"],
                "line": looks[name]["linestyle"],
                "rounds": begun[name]["rounds"] if name in begun else 0,
                "planned": [asdict(phase) for phase in run.planned[name]],
                "ended": name in ended,
            }
            for name in run.methods
        ],
        "table": table(grid_of([{name: [own] for name, own in begun.items()}])) if begun else None,
        "stage_table": table(of_rows((name, run.table(name, "stages").to_pylist()) for name in begun))
        if begun
        else None,
        "metrics": [
            {
                "key": key,
                "label": style.LABELS.get(key.rpartition("/")[2], key.rpartition("/")[2].replace("_", " ")),
                "phase": key.rpartition("/")[0],
                "headline": key.rpartition("/")[2] in HEADLINES,
                "baseline": curves.baseline(key, next(own for own in evals.values() if key in own)),
                "baseline_label": baseline_label(key),
            }
            for key in keys
            if key.rpartition("/")[2] not in BASELINES.values()
        ],
        "wasted": {name: _wasted(own) for name, own in begun.items()},
        "memory": {name: _memory(run, name) for name in begun},
        "evals": evals,
        "losses": {name: curves.losses(run, name, points) for name in begun},
        "outcomes": {name: curves.outcomes(run, name) for name in begun},
        "stages": {name: stages.timeline(run, name) for name in begun},
    }


def about(run: Followed) -> dict[str, Any]:
    """What does not change while a run goes on: colours, the scenario, what made the run, how to make it again."""
    command = ["python", "-m", "fedsim", "scenario", f"{run.scenario.name}.yaml"]
    command += [word for name in run.identity["methods"] for word in ("--method", name)]
    return {
        "outcomes": style.OUTCOME_COLOURS,
        "legs": {leg.removesuffix("_s"): colour for leg, colour in style.LEG_COLOURS.items()},
        "palette": list(style.COLOURS),
        "scenario": scenario_yaml(run.scenario),
        "fingerprint": fingerprint(run.scenario),
        "versions": run.identity["versions"],
        "machine": run.identity.get("machine"),
        "base": run.identity["base"],
        "command": shlex.join([*command, *(["--price"] if run.price else [])]),
        "glossary": [
            {"table": name, "meaning": found.meaning, "columns": [[c.name, c.unit, c.meaning] for c in found.columns]}
            for name, found in TABLES.items()
        ],
    }


def table(grid: Grid) -> dict[str, Any]:
    """A grid as JSON."""
    return {
        "title": grid.title,
        "headers": grid.headers,
        "rows": [list(row) for row in grid.rows],
        "left": sorted(grid.left),
        "sections": sorted(grid.sections),
        "notes": list(grid.notes),
    }


def baseline_label(key: str) -> str | None:
    """What a metric's line without a model is called; None: it has none."""
    name = BASELINES.get(key.rpartition("/")[2])
    return style.LABELS.get(name, name.replace("_", " ")) if name else None


def scenario_yaml(scenario: Scenario) -> str:
    """A scenario as YAML that makes the same run: what differs from the defaults, where that says it all."""
    whole = scenario.model_dump(mode="json")
    short = _kinds(scenario.model_dump(mode="json", exclude_defaults=True), whole)
    try:
        same = fingerprint(Scenario.model_validate(short)) == fingerprint(scenario)
    except ValidationError:
        same = False
    return yaml.safe_dump(short if same else whole, sort_keys=False, allow_unicode=True, width=100)


def _kinds(given: Any, whole: Any) -> Any:
    """What differs from the defaults, and what sort of thing it is of: a section without its `kind` cannot be read."""
    if isinstance(given, dict):
        own = {key: value for key, value in whole.items() if key in given or key == "kind"}
        return {key: _kinds(given[key], value) if key in given else value for key, value in own.items()}
    if isinstance(given, list):
        return [_kinds(*pair) for pair in zip(given, whole, strict=True)]
    return given


def _wasted(own: Mapping[str, Any]) -> dict[str, float]:
    """Share of bytes, FLOPs and device time that went into updates which nobody used."""
    shares = {}
    for label, names in WASTABLE.items():
        spent = sum(own[name] for name in names)
        shares[label] = float(f"{sum(own[f'wasted_{name}'] for name in names) / spent:.6g}") if spent else 0.0
    return shares


def _memory(run: Followed, method: str) -> dict[str, int]:
    """By phase, the most that a device needs in the first round of any of its stages, in bytes."""
    found: dict[str, int] = {}
    for row in run.table(method, "stages").select(["phase", "memory_bytes"]).to_pylist():
        found[row["phase"]] = max(found.get(row["phase"], 0), row["memory_bytes"])
    return found


@cache
def static(name: str) -> bytes:
    """A file of the page's."""
    return files("fedsim.web").joinpath(name).read_bytes()


def whole(model: Any) -> str:
    """The page as one file, with scripts, styles and all that it shows inside."""
    text = html(model)
    for name in ("page.js", "echarts.min.js"):
        text = text.replace(f'<script defer src="static/{name}"></script>\n', "")
    text = text.replace(
        '<link rel="stylesheet" href="static/page.css">', f"<style>\n{_text('static/page.css')}</style>"
    )
    scripts = "".join(f"<script>\n{_text(name)}</script>\n" for name in ("static/page.js", "echarts/echarts.min.js"))
    return text.replace("</body>", f"{scripts}</body>")


def html(model: Any) -> str:
    """The page that asks its server for scripts and styles, with what it shows first inside."""
    return _text("static/page.html").replace(_MODEL, encoded(model))


def _text(name: str) -> str:
    return static(name).decode()
