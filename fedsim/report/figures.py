"""A run in pictures: quality against cost, who straggles and why, traffic, waste, memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedsim.report import frames
from fedsim.report.frames import COSTS, SECONDS, By
from fedsim.report.style import (
    BACKGROUND,
    INK,
    LABELS,
    LEG_COLOURS,
    best_unit,
    blank,
    categories,
    draw_baseline,
    dress,
    legend_above,
    styles,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fedsim.trace.reader import Run

AT_ONCE = 7
"""Methods whose lines are told apart in one plot."""
ROW = 4
"""Methods that are picked out in one plot where there are more."""


def quality_figure(run: "Run", costs: Sequence[str] = ("traffic", "flops", "time")) -> "Figure":
    """Every headline metric against every cost; dotted: what is reached without any model.

    Of more than seven methods the last phase's metric alone, a few methods a row, before all others in grey.

    Raises:
        UserError: The run has no evaluations, or matplotlib is not installed (as for every figure).
    """
    pairs = frames.headline(run)
    if len(run.methods) > AT_ONCE:
        return _quality_in_rows(run, pairs[-1], costs)
    figure = blank(3.3 * len(costs), 2.4 * len(pairs) + 0.5)
    grid = figure.subplots(len(pairs), len(costs), squeeze=False, sharey="row")
    for row, pair in zip(grid, pairs, strict=True):
        for axes, cost in zip(row, costs, strict=True):
            _quality(axes, run, pair, cost)
        for axes in row[1:]:
            axes.set_ylabel("")
    legend_above(figure, styles(run.methods))
    return figure


def _quality_in_rows(run: "Run", pair: tuple[str, str], costs: Sequence[str]) -> "Figure":
    methods = list(run.methods)
    rows = [methods[first : first + ROW] for first in range(0, len(methods), ROW)]
    figure = blank(3.3 * len(costs) + 1.6, 1.9 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), len(costs), squeeze=False, sharex="col", sharey=True)
    for index, (line, chosen) in enumerate(zip(grid, rows, strict=True)):
        for axes, cost in zip(line, costs, strict=True):
            _quality(axes, run, pair, cost, chosen, named=index == 0 and cost == costs[-1])
            axes.label_outer()
        line[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    return figure


def straggler_figure(run: "Run") -> "Figure":
    """By device and by network class: how long trips take, where the time goes, and how many come back too late."""
    figure = blank(10.0, 5.6)
    grid: Any = figure.subplots(2, 3)
    classes: tuple[By, By] = ("device", "network")
    for row, by in zip(grid, classes, strict=True):
        _trip_boxes(row[0], run, by)
        _legs(row[1], run, by)
        _late(row[2], run, by)
        for axes in row[1:]:
            axes.set_yticklabels([])
    legend_above(figure, styles(run.methods))
    return figure


def traffic_figure(run: "Run") -> "Figure":
    """Bytes each way by round."""
    figure = blank(10.0, 2.9)
    for axes, way in zip(figure.subplots(1, 2, sharey=True), ("download", "upload"), strict=True):
        for method, style in styles(run.methods).items():
            rounds = run.rounds[run.rounds["method"] == method]
            axes.plot(rounds["round"] + 1, rounds[f"{way}_bytes"] / 1e6, **style)
        dress(axes, "round", f"{way} of the cohort, MB")
        for phase, first in run.stages.groupby("phase", sort=False)["first_round"].min().items():
            axes.axvline(first + 0.5, color=INK, linestyle=":", linewidth=1)
            axes.annotate(
                f" {phase}", (first + 0.5, 1), xycoords=("data", "axes fraction"), va="bottom", fontsize=8, color=INK
            )
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
    legend_above(figure, styles(run.methods))
    return figure


def waste_figure(run: "Run") -> "Figure":
    """Share of bytes, FLOPs and device time that was spent on updates nobody used."""
    table = 100 * frames.wasted(run)
    shares = table.to_dict("index")
    figure = blank(6.0, 1.2 + 0.22 * table.size)
    axes = figure.subplots()
    for label, place, method, style in _bars(table.columns, table.index, run):
        share = shares[method][label]
        axes.barh(place, share, height=_thick(table.index), color=style["color"])
        axes.annotate(f" {share:.1f} %", (share, place), va="center", fontsize=8, color=INK)
    categories(axes, list(table.columns))
    dress(axes, "wasted, % of what the method spent", "", grid="x")
    axes.margins(x=0.15)
    legend_above(figure, styles(run.methods))
    return figure


def memory_figure(run: "Run", limits: Mapping[str, int]) -> "Figure":
    """The most that a trip needs, beside what devices have.

    Args:
        run: A run.
        limits: Bytes that training may use, by device class.
    """
    table = frames.peak_memory(run) / 1e6
    needs = table.to_dict("index")
    figure = blank(7.5, 1.5 + 0.3 * table.size)
    axes = figure.subplots()
    for phase, place, method, style in _bars(table.index, table.columns, run):
        need = needs[phase][method]
        axes.plot(need, place, **{**style, "markersize": 8})
        axes.annotate(f"{need:,.0f}", (need, place), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8)
    by_size: dict[int, list[str]] = {}
    for name, size in limits.items():
        by_size.setdefault(size, []).append(name)
    for size, names in by_size.items():
        axes.axvline(size / 1e6, color=INK, linestyle=":", linewidth=1)
        axes.annotate(
            ", ".join(sorted(names)), (size / 1e6, 0.5), xytext=(-3, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", rotation=90, ha="right", va="center", fontsize=8, color=INK,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    categories(axes, [str(phase) for phase in table.index])
    dress(axes, "peak memory of the most demanding trip, MB", "", grid="x")
    axes.margins(x=0.08)
    legend_above(figure, styles(run.methods))
    return figure


def overview_figure(run: "Run") -> "Figure":
    """For a page's width: quality against what devices send and against simulated time, and who straggles.

    Raises:
        UserError: The run has no evaluations.
    """
    pairs = frames.headline(run)[::-1]
    figure = blank(9.6, 2.4 * len(pairs) + 0.5)
    grid = figure.add_gridspec(2 * len(pairs), 3, width_ratios=(1, 1, 1.05))
    for i, pair in enumerate(pairs):
        rows = slice(2 * i, 2 * i + 2)
        first = figure.add_subplot(grid[rows, 0])
        second = figure.add_subplot(grid[rows, 1], sharey=first)
        _quality(first, run, pair, "upload")
        _quality(second, run, pair, "time")
        second.set_ylabel("")
        second.tick_params(labelleft=False)
    _trip_boxes(figure.add_subplot(grid[: len(pairs), 2]), run, "network")
    _late(figure.add_subplot(grid[len(pairs) :, 2]), run, "network")
    legend_above(figure, styles(run.methods))
    return figure


def _quality(
    axes: "Axes",
    run: "Run",
    pair: tuple[str, str],
    cost: str,
    chosen: Sequence[str] | None = None,
    named: bool = True,
) -> None:
    phase, metric = pair
    points = frames.curve(run, phase, metric, cost)
    size, unit = best_unit(COSTS[cost].units, float(points["cost"].max()))
    looks = styles(run.methods if chosen is None else chosen)
    for method in run.methods:
        own = points[points["method"] == method]
        axes.plot(own["cost"] / size, own["value"], **looks.get(method, BACKGROUND))
    draw_baseline(axes, metric, frames.baseline(run, phase, metric), named)
    dress(axes, f"{COSTS[cost].label}, {unit}", LABELS.get(metric, metric))
    axes.set_xlim(left=0)


def _trip_boxes(axes: "Axes", run: "Run", by: By) -> None:
    table, trips = frames.trip_times(run, by), frames.device_trips(run)
    size, unit = best_unit(SECONDS, float(table["median_s"].max()))
    classes, methods = _levels(table)
    for name, place, method, style in _bars(classes, methods, run):
        own = trips[(trips[by] == name) & (trips["method"] == method)]["trip_s"] / size
        axes.boxplot(
            own, positions=[place], widths=_thick(methods), orientation="horizontal", whis=(5, 95), showfliers=False,
            patch_artist=True, boxprops={"facecolor": style["color"], "linewidth": 0}, medianprops={"color": "white"},
            whiskerprops={"color": style["color"]}, capprops={"color": style["color"]},
        )  # fmt: skip
    categories(axes, classes)
    dress(axes, f"length of a trip, {unit}", "", grid="x")
    axes.set_xlim(left=0)


def _legs(axes: "Axes", run: "Run", by: By) -> None:
    table = frames.trip_times(run, by)
    rows = table.to_dict("index")
    size, unit = best_unit(SECONDS, float(table["median_s"].max()))
    classes, methods = _levels(table)
    for name, place, method, style in _bars(classes, methods, run):
        left = 0.0
        for leg, colour in LEG_COLOURS.items():
            width = rows[name, method][leg] / size
            axes.barh(place, width, left=left, height=_thick(methods), color=colour)
            left += width
        axes.plot(left, place, marker=style["marker"], color=style["color"], markersize=4, clip_on=False)
    for leg, colour in LEG_COLOURS.items():
        if table[leg].any():
            axes.barh(0, 0, color=colour, label=leg.removesuffix("_s"))
    axes.legend(fontsize=8, loc="lower right", edgecolor="none", framealpha=0.8)
    categories(axes, classes)
    dress(axes, f"mean time of each leg, {unit}", "", grid="x")


def _late(axes: "Axes", run: "Run", by: By) -> None:
    table = frames.trip_times(run, by)
    rows = table.to_dict("index")
    classes, methods = _levels(table)
    for name, place, method, style in _bars(classes, methods, run):
        late = 100 * rows[name, method]["late"]
        axes.barh(place, late, height=_thick(methods), color=style["color"])
        axes.annotate(f" {late:.0f} %", (late, place), va="center", fontsize=8, color=INK)
    categories(axes, classes)
    dress(axes, "trips that come back too late, %", "", grid="x")
    axes.margins(x=0.15)


def _bars(
    groups: "Sequence[str] | pd.Index[Any]", methods: "Sequence[str] | pd.Index[Any]", run: "Run"
) -> Iterator[tuple[str, float, str, dict[str, Any]]]:
    """Group, place on the axis, method and its style: one a bar, the methods of a group side by side."""
    looks = styles(run.methods)
    for i, group in enumerate(groups):
        for j, method in enumerate(methods):
            yield str(group), i + 0.8 * ((j + 0.5) / len(methods) - 0.5), str(method), looks[str(method)]


def _thick(methods: "Sequence[str] | pd.Index[Any]") -> float:
    return 0.7 / len(methods)


def _levels(table: "pd.DataFrame") -> tuple[list[str], list[str]]:
    """Classes and methods of a table of trip times, each once, in its order."""
    classes, methods = zip(*table.index, strict=True)
    return list(dict.fromkeys(classes)), list(dict.fromkeys(methods))
