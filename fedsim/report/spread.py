"""Runs of one world with different seeds, as one: means, and how far apart single runs are."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from fedsim.errors import UserError
from fedsim.report.frames import BASELINES, HEADLINES
from fedsim.run_folder import SCENARIO, read_json, summary
from fedsim.scenario.identity import world

Summary = Mapping[str, Any]
"""What a run says of a method."""


@dataclass(frozen=True)
class Spread:
    """A number that was measured n times."""

    n: int
    mean: float
    deviation: float | None
    """Sample standard deviation, with n - 1 below the sum of squares; None: measured once."""


def spread(values: Iterable[float]) -> Spread | None:
    """Mean and deviation; None where there are no values."""
    found = [float(value) for value in values]
    if not found:
        return None
    alike = len(set(found)) == 1  # the mean of equal numbers may be off by a rounding
    mean = found[0] if alike else fmean(found)
    return Spread(len(found), mean, None if len(found) == 1 else 0.0 if alike else stdev(found, mean))


def quality_keys(summaries: Iterable[Summary]) -> list[str]:
    """The metrics that say how good a model is, as `PHASE/METRIC`: each phase's, and that of clients' own samples."""
    known = dict.fromkeys(key for own in summaries for key in own["quality"])
    phases = dict.fromkeys(key.partition("/")[0] for key in known)
    best = [(phase, next((m for m in HEADLINES if f"{phase}/{m}" in known), None)) for phase in phases]
    keys = [f"{phase}/{prefix}{metric}" for phase, metric in best if metric for prefix in ("", "personal_")]
    return [key for key in keys if key in known]


def quality(summaries: Iterable[Summary], key: str) -> Spread | None:
    """What was reached in a metric; None: it was not measured."""
    return spread(own["quality"][key] for own in summaries if key in own["quality"])


def without_model(summaries: Iterable[Summary], key: str) -> Spread | None:
    """What is reached in it without any model; None: not known."""
    phase, _, metric = key.rpartition("/")
    return quality(summaries, f"{phase}/{BASELINES.get(metric, '')}")


@dataclass(frozen=True)
class Repeats:
    """Runs that differ in nothing but their seeds, and perhaps in which methods they have."""

    labels: tuple[str, ...]
    """What the runs are called."""
    seeds: tuple[int, ...]
    methods: Mapping[str, Sequence[Summary]]
    """By name: one for each run that has the method, in the order of the runs."""


def repeats(runs: Sequence[Path], methods: Sequence[str] = ()) -> list[Repeats]:
    """Runs of the same world and with equal options of methods together, each seed once; every other run by itself.

    Args:
        runs: run folders.
        methods: names of those wanted; empty: all.

    Raises:
        UserError: not a run folder, a damaged one, one in which no method has ended; or no run has a method asked for.
    """
    names = [run.resolve().name for run in runs]
    groups: list[list[_Read]] = []
    for run, name in zip(runs, names, strict=True):
        one = _read(run, name if names.count(name) == 1 else str(run))
        group = next((group for group in groups if all(_repeat(one, other) for other in group)), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    ended = dict.fromkeys(name for group in groups for one in group for name in one.ended)
    for name in methods:
        if name not in ended:
            raise UserError(f"is {name}; methods that have ended: {', '.join(ended)}", key="--method")
    found = (_together(group, methods or list(ended)) for group in groups)
    return [group for group in found if group.methods]


def as_json(found: Sequence[Repeats]) -> list[dict[str, Any]]:
    """The same with n, mean and deviation (null: measured once) of every number, and all single values."""
    return [
        {
            "runs": list(group.labels),
            "seeds": list(group.seeds),
            "methods": {name: _numbers(summaries) for name, summaries in group.methods.items()},
        }
        for group in found
    ]


class _Read(NamedTuple):
    label: str
    seed: int
    world: str
    options: Mapping[str, Any]
    """Of every method of the scenario, by name."""
    ended: Mapping[str, Summary]


def _read(run: Path, label: str) -> _Read:
    read, scenario = summary(run), read_json(run / SCENARIO)
    try:
        key = json.dumps([world(scenario), bool(read.get("price"))], sort_keys=True)
        return _Read(label, int(scenario["seed"]), key, dict(scenario["methods"]), read["methods"])
    except (LookupError, AttributeError, TypeError, ValueError):
        raise UserError("damaged, or written by another version of fedsim", file=run / SCENARIO) from None


def _repeat(one: _Read, other: _Read) -> bool:
    shared = one.options.keys() & other.options.keys()
    alike = all(one.options[name] == other.options[name] for name in shared)
    return alike and one.world == other.world and one.seed != other.seed


def _together(group: Sequence[_Read], wanted: Sequence[str]) -> Repeats:
    names = dict.fromkeys(name for one in group for name in one.ended if name in wanted)
    methods = {name: [one.ended[name] for one in group if name in one.ended] for name in names}
    return Repeats(tuple(one.label for one in group), tuple(one.seed for one in group), methods)


def _numbers(summaries: Sequence[Summary]) -> dict[str, Any]:
    flat = [{**{f"quality/{key}": value for key, value in own["quality"].items()}, **own} for own in summaries]
    numbers: dict[str, Any] = {}
    for key in dict.fromkeys(key for own in flat for key in own):
        values = [own[key] for own in flat if isinstance(own.get(key), int | float)]
        if (found := spread(values)) is not None:
            numbers[key] = {"n": found.n, "mean": found.mean, "deviation": found.deviation, "values": values}
    return numbers
