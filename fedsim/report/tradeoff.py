"""What methods reached in the end against what they had spent, each named beside its point."""

from collections.abc import Iterator, Sequence
from math import cos, pi, sin
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from fedsim.errors import UserError
from fedsim.report import frames
from fedsim.report.frames import COSTS
from fedsim.report.spread import Repeats, quality, quality_keys, without_model
from fedsim.report.style import GRID, INK, LABELS, best_unit, blank, draw_baseline, dress, styles, write

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fedsim.trace.reader import Run

_LETTERS = 8.0
"""Size of names, in points."""
_MARKER = 6.0
"""Size of markers, in points."""
SUMMED = {
    "upload": ("upload_bytes",),
    "traffic": ("upload_bytes", "download_bytes"),
    "flops": ("flops_forward", "flops_backward"),
    "time": ("simulated_seconds",),
}
"""The costs of `COSTS`, in a run's summary."""
_LEADER = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
"""From a name to a point that is not next to it."""


class Box(NamedTuple):
    """A rectangle, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """They have a common part."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.top <= other.bottom or other.top <= self.bottom)

    def inside(self, other: "Box") -> bool:
        """Nothing of it is outside of the other one."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


def tradeoff_figure(run: "Run", costs: Sequence[str] = ("traffic", "flops")) -> "Figure":
    """Quality in the end against each cost; the line joins the methods that no other one beats.

    Raises:
        UserError: The run has no evaluations, or matplotlib is not installed.
    """
    phase, metric = frames.headline(run)[-1]
    return _figure(frames.final(run, phase, metric), metric, frames.baseline(run, phase, metric), costs)


def repeats_figure(found: Repeats, costs: Sequence[str] = ("traffic", "flops")) -> "Figure":
    """The same of runs with different seeds: means, and bars as long as the sample standard deviation each way.

    Raises:
        UserError: Nothing was evaluated, or matplotlib is not installed.
    """
    import pandas as pd

    every = [own for summaries in found.methods.values() for own in summaries]
    keys = [key for key in quality_keys(every) if "/personal_" not in key]
    if not keys:
        raise UserError("nothing was evaluated: made with --price, or with phases.evaluate: null", key="--picture")
    rows = {}
    for name, summaries in found.methods.items():
        if (reached := quality(summaries, keys[-1])) is not None:
            rows[name] = {"value": reached.mean, "deviation": reached.deviation or 0.0}
            for cost, columns in SUMMED.items():
                rows[name][cost] = fmean(sum(own[column] for column in columns) for own in summaries)
    without = without_model(every, keys[-1])
    table = pd.DataFrame.from_dict(rows, "index")
    return _figure(table, keys[-1].rpartition("/")[2], without.mean if without else None, costs)


def save(found: Sequence[Repeats], file: Path) -> None:
    """Write the picture of runs of one world.

    Raises:
        UserError: They are of several worlds, or the file cannot be written; otherwise as `repeats_figure`.
    """
    if len(found) > 1:
        fault = f"shows runs that differ in their seeds alone; {found[1].labels[0]} differs from {found[0].labels[0]}"
        raise UserError(fault, key="--picture")
    if file.suffix not in (".png", ".svg"):
        raise UserError(f"must end in .png or .svg, given {file.name}", key="--picture")
    figure = repeats_figure(found[0])
    try:
        write(figure, file)
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", file=file, key="--picture") from error


def _figure(table: "pd.DataFrame", metric: str, baseline: float | None, costs: Sequence[str]) -> "Figure":
    """Of a table with a row a method: columns `value`, perhaps its `deviation`, and each cost."""
    figure = blank(5.6 * len(costs), 4.4 if len(table) < 10 else 5.4)
    plots = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    points: list[list[tuple[float, float]]] = []
    for axes, cost in zip(plots, costs, strict=True):
        size, unit = best_unit(COSTS[cost].units, float(table[cost].max()))
        best = frames.front(table, cost, metric)
        axes.plot(best[cost] / size, best["value"], color=GRID, linewidth=4, zorder=0)
        points.append([(float(x) / size, float(y)) for x, y in zip(table[cost], table["value"], strict=True)])
        for (x, y), style in zip(points[-1], styles(table.index).values(), strict=True):
            axes.plot(x, y, **{**style, "markersize": _MARKER})
        if "deviation" in table:
            bars = {"fmt": "none", "ecolor": "#BBBBBB", "elinewidth": 1.0, "zorder": 1}
            axes.errorbar(table[cost] / size, table["value"], yerr=table["deviation"], **bars)
        draw_baseline(axes, metric, baseline)
        dress(axes, f"{COSTS[cost].label}, {unit}", LABELS.get(metric, metric))
        axes.margins(y=0.1)
        axes.set_xlim(0, 1.22 * max(x for x, _ in points[-1]) or 1.0)  # room for names on the right
        axes.label_outer()
    figure.draw_without_rendering()  # axes have their final size from here on
    for axes, own in zip(plots, points, strict=True):
        _name(axes, list(table.index), own)
    return figure


def placed(names: Sequence[tuple[float, float]], points: Sequence[tuple[float, float]], room: Box) -> list[Box]:
    """A place for the name of each point, as near to it as the markers and the names before it allow.

    Args:
        names: width and height of each, in points.
        points: where they belong, in points.
        room: where names may be.
    """
    half = _MARKER / 2 + 1
    markers = [Box(x - half, y - half, x + half, y + half) for x, y in points]
    found: list[Box] = []
    for (width, height), (x, y) in zip(names, points, strict=True):
        free = (box for box in _around(x, y, width, height) if box.inside(room))
        found.append(
            next((box for box in free if not any(map(box.meets, [*markers, *found]))), _beside(x, y, width, height))
        )
    return found


def _beside(x: float, y: float, width: float, height: float) -> Box:
    return Box(x + _MARKER, y - height / 2, x + _MARKER + width, y + height / 2)


def _around(x: float, y: float, width: float, height: float) -> Iterator[Box]:
    """Boxes in rings of growing size; to the right first, and above before below."""
    for radius in (_MARKER, 12.0, 18.0, 26.0, 36.0, 48.0, 62.0, 80.0, 100.0):
        for turn in (0, 1, -1, 2, -2, 8, 7, -7, 6, -6, 3, -3, 5, -5, 4, -4):
            right, up = cos(turn * pi / 8), sin(turn * pi / 8)
            left = x + radius * right - (0.0 if right > 0.2 else width if right < -0.2 else width / 2)
            bottom = y + radius * up - (0.0 if up > 0.6 else height if up < -0.6 else height / 2)
            yield Box(left, bottom, left + width, bottom + height)


def _name(axes: "Axes", names: Sequence[str], values: Sequence[tuple[float, float]]) -> None:
    from matplotlib.textpath import TextPath

    scale = 72.0 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    points = [(float(x) * scale, float(y) * scale) for x, y in axes.transData.transform(values)]
    around = axes.get_window_extent()
    room = Box(*(float(edge) * scale for edge in (around.x0, around.y0, around.x1, around.y1)))
    sizes = [(float(TextPath((0, 0), name, size=_LETTERS).get_extents().width) + 2, _LETTERS + 1) for name in names]
    for name, value, (x, y), box in zip(names, values, points, placed(sizes, points, room), strict=True):
        nearest = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
        far = (nearest[0] - x) ** 2 + (nearest[1] - y) ** 2 > (1.5 * _MARKER) ** 2
        axes.annotate(
            name, value, xytext=(box.left - x, box.bottom - y), textcoords="offset points",
            arrowprops=_LEADER if far else None, fontsize=_LETTERS, color=INK, in_layout=False,
        )  # fmt: skip
