import io
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from fedsim.errors import UserError
from fedsim.report import frames
from fedsim.report.spread import Repeats
from fedsim.report.tradeoff import Box, placed, repeats_figure, save, tradeoff_figure

from . import runs
from .summaries import method

RUN = runs.run()


def drawn(figure: Figure) -> Figure:
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_every_method_is_named_and_the_unbeaten_are_joined() -> None:
    table = frames.final(RUN, *frames.headline(RUN)[-1])
    for axes, cost in zip(drawn(tradeoff_figure(RUN)).axes, ("traffic", "flops"), strict=True):
        assert {text.get_text() for text in axes.texts} == {*RUN.methods, "most frequent class"}
        joined, *points, baseline = axes.lines
        assert len(joined.get_xdata()) == len(frames.front(table, cost, "accuracy"))  # type: ignore[arg-type]
        assert [float(line.get_ydata()[0]) for line in points] == table["value"].tolist()  # type: ignore[index, arg-type]
        assert list(baseline.get_ydata()) == [0.45, 0.45]  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [3, 20])
def test_names_cover_neither_each_other_nor_a_point_nor_the_edge(count: int) -> None:
    figure = drawn(tradeoff_figure(runs.many(count)))
    for axes in figure.axes:
        names = [text for text in axes.texts if isinstance(text, Annotation) and text.get_text().startswith("method-")]
        assert len(names) == count
        extents = [super(Annotation, name).get_window_extent() for name in names]
        assert not any(a.overlaps(b) for a, b in combinations(extents, 2))
        around = axes.get_window_extent()
        assert all(around.x0 <= extent.x0 and extent.x1 <= around.x1 for extent in extents)
        markers = axes.transData.transform([name.xy for name in names])
        assert not any(extent.contains(x, y) for extent in extents for x, y in markers)


def test_a_name_stands_to_the_right_where_that_is_free() -> None:
    room = Box(0.0, 0.0, 200.0, 100.0)
    ((left, bottom, right, top),) = placed([(40.0, 9.0)], [(50.0, 50.0)], room)
    assert (left, right) == (56.0, 96.0)
    assert (bottom, top) == (45.5, 54.5)
    (at_the_edge,) = placed([(40.0, 9.0)], [(180.0, 50.0)], room)
    assert at_the_edge.inside(room)
    first, second = placed([(40.0, 9.0)] * 2, [(50.0, 50.0), (50.0, 50.0)], room)
    assert first == (left, bottom, right, top)
    assert not second.meets(first)


def test_without_any_room_a_name_stands_beside_its_point_all_the_same() -> None:
    (box,) = placed([(40.0, 9.0)], [(5.0, 5.0)], Box(0.0, 0.0, 10.0, 10.0))
    assert box == (11.0, 0.5, 51.0, 9.5)


def repeated(*accuracies: float) -> Repeats:
    quality = [{"finetune__accuracy": value, "finetune__majority_accuracy": value / 2} for value in accuracies]
    methods = {"fedavg": [method(**own) for own in quality], "light": [method(0.5, **own) for own in quality]}
    return Repeats(tuple("abc"[: len(accuracies)]), tuple(range(len(accuracies))), methods)


def test_seeds_are_drawn_as_their_mean_with_a_bar_of_their_deviation() -> None:
    for axes, cost in zip(drawn(repeats_figure(repeated(0.3, 0.5, 0.4))).axes, (120.0, 6.0), strict=True):
        points = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_label() in ("fedavg", "light")]  # type: ignore[index, union-attr]
        assert points == [pytest.approx([cost, 0.4]), pytest.approx([cost / 2, 0.4])]
        (bars,) = axes.collections
        ends = bars.get_paths()[0].vertices[:, 1].tolist()  # type: ignore[index, union-attr]
        assert ends == pytest.approx([0.3, 0.5])
        (baseline,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert list(baseline.get_ydata()) == pytest.approx([0.2, 0.2])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_the_same_runs_give_the_same_file(name: str, tmp_path: Path) -> None:
    written = []
    for _ in range(2):
        save([repeated(0.3, 0.5)], tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_pictures_that_cannot_be_drawn_are_refused(tmp_path: Path) -> None:
    one = repeated(0.3)
    with pytest.raises(UserError, match=r"--picture: shows runs that differ in their seeds alone; a differs from a"):
        save([one, one], tmp_path / "a.png")
    with pytest.raises(UserError, match=r"--picture: must end in \.png or \.svg, given a\.gif"):
        save([one], tmp_path / "a.gif")
    with pytest.raises(UserError, match=r"--picture: cannot be written: No such file or directory"):
        save([one], tmp_path / "nowhere/a.png")
    with pytest.raises(UserError, match=r"--picture: nothing was evaluated"):
        save([Repeats(("a",), (1,), {"fedavg": [method()]})], tmp_path / "a.png")
