"""What the page shows of a run, as JSON, and the page itself with the first of it inside.

`static/page.js` draws it. While a run is watched it asks for more; in a report everything is in the page.
"""

import shlex
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from fedsim.report import style
from fedsim.report.frames import BASELINES, HEADLINES
from fedsim.report.layout import Grid
from fedsim.report.overview import overview as grid_of
from fedsim.report.stages import of_rows
from fedsim.scenario.identity import fingerprint
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
        "evals": evals,
        "losses": {name: curves.losses(run, name, points) for name in begun},
        "outcomes": {name: curves.outcomes(run, name) for name in begun},
        "stages": {name: stages.timeline(run, name) for name in begun},
    }


def about(run: Followed) -> dict[str, Any]:
    """What does not change while a run goes on: colours, the scenario, what made the run, how to make it again."""
    scenario = run.scenario.model_dump(mode="json", exclude_defaults=True)
    command = ["python", "-m", "fedsim", "scenario", f"{run.scenario.name}.yaml"]
    command += [word for name in run.identity["methods"] for word in ("--method", name)]
    return {
        "outcomes": style.OUTCOME_COLOURS,
        "legs": {leg.removesuffix("_s"): colour for leg, colour in style.LEG_COLOURS.items()},
        "palette": list(style.COLOURS),
        "scenario": yaml.safe_dump(scenario, sort_keys=False, allow_unicode=True, width=100),
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


@cache
def static(name: str) -> bytes:
    """A file of the page's."""
    return files("fedsim.web").joinpath(name).read_bytes()


def html(model: Any) -> str:
    """The page that asks its server for scripts and styles, with what it shows first inside."""
    return static("static/page.html").decode().replace(_MODEL, encoded(model))
