import io
import sys

import pytest
from matplotlib.figure import Figure

from fedsim.errors import UserError
from fedsim.report import figures

from . import runs

RUN = runs.run()
LIMITS = {"phone": 750_000_000, "board": 750_000_000, "server_gpu": 30_000_000_000}


def drawn(figure: Figure) -> Figure:
    """The figure, after it was really drawn: many mistakes show only then."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_quality_has_a_line_a_method_in_every_panel_with_the_units_that_fit() -> None:
    figure = drawn(figures.quality_figure(RUN))
    assert len(figure.axes) == 6
    loss = figure.axes[0]
    lines = {line.get_label(): line for line in loss.lines}
    assert set(RUN.methods) <= set(lines)
    assert lines["fedavg"].get_xydata().tolist() == [[0.0, 6.0], [9.0, 4.0]]  # type: ignore[union-attr]
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("sent and received, MB", "MLM loss, nats")
    assert [axes.get_xlabel() for axes in figure.axes[4:]] == ["computed, GFLOP", "simulated time, min"]
    baseline = [line for line in loss.lines if line.get_linestyle() == ":"]
    assert [float(line.get_ydata()[0]) for line in baseline] == [5.5]  # type: ignore[index, arg-type]


def test_costs_of_the_quality_figure_can_be_chosen() -> None:
    figure = figures.quality_figure(RUN, costs=["upload"])
    assert [axes.get_xlabel() for axes in figure.axes] == ["sent by devices, MB"] * 2


def test_stragglers_have_a_row_a_class_and_a_bar_a_method() -> None:
    figure = drawn(figures.straggler_figure(RUN))
    late = figure.axes[2]
    # board and phone, slowest first; fedavg above light; the central machine is no device
    assert [bar.get_width() for bar in late.patches] == [100.0, 0.0, 0.0, 0.0]  # type: ignore[attr-defined]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["board", "phone"]
    assert [label.get_text() for label in figure.axes[3].get_yticklabels()] == ["3g", "wifi"]


def test_traffic_shows_megabytes_each_way() -> None:
    figure = drawn(figures.traffic_figure(RUN))
    for axes in figure.axes:
        values = {line.get_label(): line.get_ydata() for line in axes.lines}
        assert list(values["fedavg"]) == [3.0, 3.0]  # type: ignore[arg-type]


def test_waste_and_memory_show_their_frames() -> None:
    waste = drawn(figures.waste_figure(RUN)).axes[0]
    assert [bar.get_width() for bar in waste.patches][::3] == [25.0, 10.0, 37.5]  # type: ignore[attr-defined]
    memory = drawn(figures.memory_figure(RUN, LIMITS)).axes[0]
    needs = [float(line.get_xdata()[0]) for line in memory.lines if line.get_marker() == "o"]  # type: ignore[index, arg-type]
    assert needs == [8.0, 8.000001]
    assert {text.get_text() for text in memory.texts} >= {"board, phone", "server_gpu"}


def test_the_overview_fits_one_page_width() -> None:
    figure = drawn(figures.overview_figure(RUN))
    assert len(figure.axes) == 6
    assert figure.get_size_inches().tolist() == [9.6, 5.3]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'fedsim-ray\[notebooks\]'"):
        figures.quality_figure(RUN)


def test_price_runs_have_no_quality_but_all_other_figures() -> None:
    priced = runs.run(evals=runs.no_evals())
    for draw in (figures.quality_figure, figures.overview_figure):
        with pytest.raises(UserError, match="nothing was evaluated"):
            draw(priced)
    for draw in (figures.straggler_figure, figures.traffic_figure, figures.waste_figure):
        drawn(draw(priced))


def test_many_methods_are_picked_out_row_by_row_before_the_others() -> None:
    many = runs.many(9)
    figure = drawn(figures.quality_figure(many))
    assert len(figure.axes) == 9  # rows of four, four and one; three costs
    for index, axes in enumerate(figure.axes):
        coloured = [line for line in axes.lines if line.get_marker() != "None"]
        assert [line.get_label() for line in coloured] == list(many.methods)[4 * (index // 3) :][:4]
        assert len([line for line in axes.lines if line.get_linestyle() == "-"]) == 9
    assert [axes.get_legend() is not None for axes in figure.axes] == [False, False, True] * 3
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        [], [], ["most frequent class"], *[[]] * 6,
    ]  # fmt: skip
