"""The figures of a run as files: those that it leaves in its folder, and all of them."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fedsim.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedsim.trace.reader import Run

FOLDER = "figures"


def first(run: Path) -> Path | None:
    """The picture to look at first, where a run has any."""
    return next((file for file in sorted((run / FOLDER).glob("*.png"))), None)


def check(key: str = "outputs.figures", instead: str = "set it to false") -> None:
    """Figures can be drawn.

    Args:
        key: what asks for them.
        instead: what else can be done about it.

    Raises:
        UserError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UserError(f"needs matplotlib: pip install 'fedsim-ray[notebooks]', or {instead}", key=key)


def draw(run: Path) -> list[Path]:
    """An overview, and quality along the way and in the end against costs, as PNG and SVG; returns the files.

    Of more methods than one plot can tell apart there is no overview.

    Raises:
        UserError: nothing was evaluated.
    """
    from fedsim.report.figures import AT_ONCE, overview_figure, quality_figure
    from fedsim.report.tradeoff import tradeoff_figure
    from fedsim.trace.reader import read_run

    read = read_run(run)
    (run / FOLDER).mkdir(exist_ok=True)
    figures = {"overview": overview_figure, "quality": quality_figure, "tradeoff": tradeoff_figure}
    if len(read.methods) > AT_ONCE:
        del figures["overview"]
    return [file for name, make in figures.items() for file in _written(make(read), run / FOLDER / name)]


def draw_every(run: Path, folder: Path) -> list[Path]:
    """Every figure of a run as PNG and SVG; of a run without evaluations, those that need none. Returns the files.

    Raises:
        UserError: not a run's folder, a run that has not ended, or nothing can be written there.
    """
    from fedsim.report import figures
    from fedsim.report.tradeoff import tradeoff_figure
    from fedsim.trace.reader import read_run
    from fedsim.web.fleet import FleetView
    from fedsim.web.follow import Followed

    read = read_run(run)
    makers: dict[str, Callable[[Run], Figure]] = {
        "stragglers": figures.straggler_figure,
        "traffic": figures.traffic_figure,
        "waste": figures.waste_figure,
        "memory": lambda read: figures.memory_figure(read, FleetView(Followed(run)).memory_bytes()),
    }
    if len(read.evals):
        makers |= {"quality": figures.quality_figure, "tradeoff": tradeoff_figure}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [file for name, make in makers.items() for file in _written(make(read), folder / name)]
    except OSError as error:
        raise UserError(f"cannot be written to: {error.strerror}", file=folder, key="--figures") from error


def _written(figure: "Figure", stem: Path) -> list[Path]:
    from fedsim.report.style import write

    files = [stem.with_suffix(f".{kind}") for kind in ("png", "svg")]
    for file in files:
        write(figure, file)
    return files
