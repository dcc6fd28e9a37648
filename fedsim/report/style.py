"""How figures look, whatever they show.

The colours are those of Okabe and Ito (2008), which any colour vision tells apart; markers differ as well. Figures
belong to nobody: pyplot is not used, and no setting of matplotlib is changed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fedsim.errors import UserError
from fedsim.report.frames import Units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvPX"
LINES = ("-", "--", "-.", ":")
"""The next one where colours begin again."""
INK, GRID = "#444444", "#E4E4E4"


def best_unit(units: Units, largest: float) -> tuple[float, str]:
    """The largest unit of which there is more than one and a half."""
    return [unit for unit in units if largest >= 1.5 * unit[0] or unit is units[0]][-1]


def blank(width: float, height: float) -> "Figure":
    """A figure of so many inches.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("figures need matplotlib: pip install 'fedsim-ray[notebooks]'") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white", dpi=100)


def dress(axes: "Axes", x: str, y: str, grid: str = "both") -> None:
    """Labels and lines of one plot."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8.5, colors=INK, length=0)
    axes.locator_params(axis="x", nbins=6) if axes.get_xscale() == "linear" else None
    axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#AAAAAA")


def categories(axes: "Axes", names: Sequence[str]) -> None:
    """Names from the top down."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def legend_above(figure: "Figure", styles: Mapping[str, Mapping[str, Any]]) -> None:
    """One legend for all plots of a figure."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **{**style, "markersize": 6}) for style in styles.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7), frameon=False, fontsize=10)
