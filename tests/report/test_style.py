import io

import matplotlib.colors
import pytest

from fedsim.report.style import blank, legend_above, styles


def test_a_few_methods_differ_in_hue_and_in_marker() -> None:
    looks = styles(["a", "b", "c"]).values()
    assert len({look["marker"] for look in looks}) == 3
    shades = [matplotlib.colors.rgb_to_hsv(matplotlib.colors.to_rgb(look["color"]))[0] for look in looks]
    assert min(abs(a - b) for i, a in enumerate(shades) for b in shades[:i]) > 0.1


def test_more_methods_than_colours_differ_in_their_lines() -> None:
    looks = styles([f"m{i}" for i in range(20)]).values()
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 20


@pytest.mark.parametrize(
    ("names", "columns"), [(["fedavg", "fedbt"], 2), ([f"fedbert-sequential-{i}" for i in range(20)], 4)]
)
def test_a_legend_is_as_wide_as_its_figure_at_most(names: list[str], columns: int) -> None:
    figure = blank(10.0, 5.0)
    legend_above(figure, styles(names))
    figure.savefig(io.BytesIO(), format="png")
    (legend,) = figure.legends
    assert legend._ncols == columns  # type: ignore[attr-defined]
    extent = legend.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= 1000
