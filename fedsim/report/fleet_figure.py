"""A fleet in a picture: speeds, bandwidths, memory against what methods need, and who is back after how long."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedsim.errors import UserError
from fedsim.fleet.devices import Fleet
from fedsim.report.frames import SECONDS
from fedsim.report.style import COLOURS, INK, LINES, best_unit, blank, dress, legend_above
from fedsim.survey import Demand, Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Styles = dict[str, dict[str, Any]]


def fleet_figure(survey: Survey) -> "Figure":
    """The fleet above, and below for each phase the share of it that is back after a time.

    Raises:
        UserError: matplotlib is not installed.
    """
    phases = list(dict.fromkeys(one.phase for one in survey.demands))
    figure = blank(10.5, 6.2 if phases else 3.1)
    rows: Any = figure.subfigures(2, 1) if phases else [figure]
    above = rows[0].subplots(1, 3)
    _speeds(above[0], survey.fleet)
    _bandwidths(above[1], survey.fleet)
    styles = _styles(survey.demands)
    _memory(above[2], survey, styles)
    if phases:
        below = rows[1].subplots(1, len(phases) + (survey.there is not None), squeeze=False, sharey=True)[0]
        for axes, phase in zip(below, phases, strict=False):
            _back(axes, phase, [one for one in survey.demands if one.phase == phase], styles)
        if survey.there is not None:
            _there(below[-1], survey)
        for axes in below[1:]:
            axes.set_ylabel("")
        legend_above(rows[1], styles)
    return figure


def save(survey: Survey, file: Path) -> Path:
    """Draw the picture into a file, whose ending says in which format; returns the file.

    Raises:
        UserError: matplotlib is not installed, or cannot write such a file there.
    """
    figure = fleet_figure(survey)
    try:
        figure.savefig(file, dpi=150)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be written: {error}", file=file, key="--out") from None
    return file


def _styles(demands: Sequence[Demand]) -> Styles:
    names = dict.fromkeys(one.method for one in demands)
    return {
        name: {
            "label": name,
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": LINES[i // len(COLOURS) % len(LINES)],
            "linewidth": 1.8,
        }
        for i, name in enumerate(names)
    }


def _speeds(axes: "Axes", fleet: Fleet) -> None:
    """Devices by speed, in columns of equal width on a logarithmic scale, one colour a class."""
    speeds = fleet.flops_per_s / 1e9
    low, high = float(speeds.min()), float(speeds.max())
    edges = np.geomspace(low / 1.02, high * 1.02, 31)
    # the slowest class first
    order = sorted(range(len(fleet.devices)), key=lambda code: float(np.median(speeds[fleet.device == code])))
    axes.hist(
        [speeds[fleet.device == code] for code in order],
        edges.tolist(),
        weights=[np.full((fleet.device == code).sum(), 100 / len(fleet)) for code in order],
        stacked=True,
        color=[COLOURS[i % len(COLOURS)] for i in range(len(order))],
        label=[fleet.devices[code] for code in order],
    )
    _logarithmic(axes)
    dress(axes, "speed, GFLOP/s", "devices, %")
    _key(axes)


def _bandwidths(axes: "Axes", fleet: Fleet) -> None:
    """Share of devices with at most this bandwidth."""
    for label, values, colour in (
        ("downlink", fleet.downlink_bits_per_s, COLOURS[5]),
        ("uplink", fleet.uplink_bits_per_s, COLOURS[4]),
    ):
        axes.plot(*_cumulated(values / 1e6, 1.0), color=colour, linewidth=1.8, label=label)
    _logarithmic(axes)
    dress(axes, "bandwidth, Mbit/s", "devices with at most this, %")
    axes.set_ylim(0, 101)
    _key(axes)


def _memory(axes: "Axes", survey: Survey, styles: Styles) -> None:
    """Share of devices with at least this much memory, and what each method needs: the median, and the most."""
    sizes = np.sort(survey.fleet.memory_bytes) / 1e6
    axes.step(sizes, 100 * (1 - np.arange(len(sizes)) / len(sizes)), color=INK, where="pre")
    needs = [(one, np.quantile(one.memory_bytes, [0.5, 1.0]) / 1e6) for one in survey.demands if not one.central]
    middle = np.sqrt(
        min([sizes[0], *(need[0] for _, need in needs)]) * max([sizes[-1], *(need[1] for _, need in needs)])
    )
    for i, (one, need) in enumerate(needs):
        height = 96 - 88 * (i + 0.5) / max(len(needs), 4)
        colour = styles[one.method]["color"]
        axes.plot(need, [height, height], color=colour, marker="o", markersize=5, linewidth=3)
        # Names stand on the side where there is room for them.
        place, side, shift = (need[1], "left", 6) if need[1] < middle else (need[0], "right", -6)
        axes.annotate(
            f"{one.method} {one.phase}", (place, height), xytext=(shift, 0), textcoords="offset points", va="center",
            ha=side, fontsize=7.5, color=INK,
        )  # fmt: skip
    _logarithmic(axes)
    dress(axes, "memory, MB; dots: needed, median and most", "devices with at least this, %")
    axes.set_ylim(0, 101)


def _back(axes: "Axes", phase: str, demands: Sequence[Demand], styles: Styles) -> None:
    """Share of the clients that would be back after this time; those without the memory never are."""
    longest = max((float(one.trip_s[one.able].max()) for one in demands if one.able.any()), default=1.0)
    size, unit = best_unit(SECONDS, longest / 10)
    for one in demands:
        if one.central:
            axes.axvline(float(one.trip_s[0]) / size, **styles[one.method])
        elif one.able.any():
            axes.plot(*_cumulated(one.trip_s[one.able] / size, float(one.able.mean())), **styles[one.method])
        else:
            axes.axhline(0.6, **styles[one.method])  # nobody, ever
    _logarithmic(axes)
    dress(axes, f"{phase}: length of a trip, {unit}", "clients back by then, %")
    axes.set_ylim(0, 101)


def _there(axes: "Axes", survey: Survey) -> None:
    """Share of the clients that are there, over two days."""
    assert survey.there is not None
    axes.plot(survey.there_h, 100 * survey.there, color=INK, linewidth=1.8)
    axes.set_xticks(range(0, 49, 6))
    dress(axes, "hours since the start; clients that are there, %", "")
    axes.set_xlim(0, 48)


def _logarithmic(axes: "Axes") -> None:
    """A logarithmic axis with numbers as people write them."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    few = high > 300 * low
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:,g}")


def _cumulated(values: npt.NDArray[np.float64], share: float) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Points of the curve "so many percent have at most this", up to this share of all; a thousand at most."""
    ranks = np.linspace(0.0, 1.0, min(len(values), 1000))
    return np.quantile(values, ranks), 100 * share * ranks


def _key(axes: "Axes") -> None:
    axes.legend(fontsize=7.5, edgecolor="none", framealpha=0.8)
