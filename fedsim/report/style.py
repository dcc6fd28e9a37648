"""How figures look, whatever they show.

The colours are those of Okabe and Ito (2008), which any colour vision tells apart; markers differ as well. Figures
belong to nobody: pyplot is not used, and no setting of matplotlib is changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.errors import UserError
from fedsim.report.frames import BASELINES, Units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^DvPX"
LINES = ("-", "--", "-.", ":")
"""The next one where colours begin again."""
LEG_COLOURS: Mapping[str, str] = {
    **{"download_s": "#56B4E9", "compute_s": "#BBBBBB", "exchange_s": "#009E73", "server_s": "#CC79A7"},
    **{"wait_s": "#F0E442", "upload_s": "#E69F00"},
}
"""Parts of a trip."""
OUTCOME_COLOURS: Mapping[str, str] = {
    **{"completed": "#009E73", "late": "#E69F00", "dropped": "#D55E00", "out_of_memory": "#CC79A7"},
    **{"unused": "#56B4E9", "failed": "#000000", "rejected": "#F0E442"},
}
"""What became of a trip."""
INK, GRID = "#444444", "#E4E4E4"
BACKGROUND: Mapping[str, Any] = {"color": "#D0D0D0", "linewidth": 1.0, "zorder": 1}
"""Lines that are there to compare with."""
LABELS = {
    "mlm_loss": "MLM loss, nats",
    "unigram_loss": "word frequencies",
    "majority_accuracy": "most frequent class",
    "span_f1": "span F1",
}
"""Metrics in words."""


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


def write(figure: "Figure", file: Path) -> None:
    """A figure as .png or .svg; the same figure gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl

    # neither a date nor a version inside, and names of parts that are not drawn at random
    metadata = {"Software": None} if file.suffix == ".png" else {"Date": None}
    with mpl.rc_context({"svg.hashsalt": file.name}):
        figure.savefig(file, dpi=150, metadata=metadata)


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


def styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line of every method by its place: the same in every figure of a run."""
    return {
        method: {
            "label": method,
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": LINES[i // len(COLOURS) % len(LINES)],
            "markersize": 4,
            "linewidth": 1.6,
        }
        for i, method in enumerate(methods)
    }


def draw_baseline(axes: "Axes", metric: str, value: float | None, named: bool = True) -> None:
    """A dotted line where a metric is without any model, if that is known; with its name or not."""
    if value is None:
        return
    axes.axhline(value, color=INK, linestyle=":", linewidth=1)
    if named:
        axes.annotate(
            LABELS[BASELINES[metric]], (0.99, value), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", fontsize=8, color=INK,
        )  # fmt: skip


def legend_above(figure: "Figure", styles: Mapping[str, Mapping[str, Any]]) -> None:
    """One legend for all plots of a figure, in as many columns as its width has room for."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **{**style, "markersize": 6}) for style in styles.values()]
    widest = 0.6 + 0.085 * max(map(len, styles))  # inches: a line, a gap, and letters of 10 points
    columns = max(1, min(len(handles), int(figure.bbox.width / figure.dpi / widest)))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, fontsize=10)
