"""The figures that a run leaves in its folder."""

from importlib.util import find_spec
from pathlib import Path

from fedsim.errors import UserError

FOLDER = "figures"


def first(run: Path) -> Path | None:
    """The picture to look at first, where a run has any."""
    return next((file for file in sorted((run / FOLDER).glob("*.png"))), None)


def check() -> None:
    """Figures can be drawn.

    Raises:
        UserError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        fault = "needs matplotlib: pip install 'fedsim-ray[notebooks]', or set it to false"
        raise UserError(fault, key="outputs.figures")


def draw(run: Path) -> list[Path]:
    """An overview, and quality along the way and in the end against costs, as PNG and SVG; returns the files.

    Of more methods than one plot can tell apart there is no overview.

    Raises:
        UserError: nothing was evaluated.
    """
    from fedsim.report.figures import AT_ONCE, overview_figure, quality_figure
    from fedsim.report.style import write
    from fedsim.report.tradeoff import tradeoff_figure
    from fedsim.trace.reader import read_run

    read, files = read_run(run), []
    (run / FOLDER).mkdir(exist_ok=True)
    figures = {"overview": overview_figure, "quality": quality_figure, "tradeoff": tradeoff_figure}
    if len(read.methods) > AT_ONCE:
        del figures["overview"]
    for name, make in figures.items():
        figure = make(read)
        for kind in ("png", "svg"):
            file = run / FOLDER / f"{name}.{kind}"
            write(figure, file)
            files.append(file)
    return files
