"""The picture docs/benchmarks.png, from what results/*.json hold."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import summary
from benchmarks.summary import Content, Row
from fedsim.report import style

BEST = "best bare loop"
SHOWN = {
    BEST: BEST,
    "fedsim-ray-2-all": "fedsim, Ray",
    "fedsim-ray-2-needed": "fedsim, needed positions",
    "fedsim-inline-all": "fedsim, inline",
    "pfl": "pfl-research",
    "blazefl": "BlazeFL",
    "flower": "Flower",
}
"""System, or peer in its fastest way -> what the legend calls it; in the order of the legend."""


def draw(contents: Sequence[Content], file: Path) -> None:
    """Both plots as .png or .svg.

    Raises:
        UserError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    figure = style.blank(9.5, 1.6 + 0.45 * len(contents))
    speed, first = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    found = [shown(content) for content in contents]
    styles = {name: look | {"label": SHOWN[name]} for name, look in style.styles(SHOWN).items()}
    used = {name: look for name, look in styles.items() if any(name in rows for rows in found)}
    for name, look in used.items():
        places = [place for place, rows in enumerate(found) if name in rows and rows[name].relative is not None]
        marks = {**look, "linestyle": "none", "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.6}
        speed.plot([found[place][name].relative for place in places], places, **marks)
        first.plot([found[place][name].first_round_done_s for place in places], places, **marks)
    speed.axvline(1, **style.BACKGROUND)
    style.categories(speed, [content["work"]["name"] for content in contents])
    style.dress(speed, "updates per second, relative to the best bare loop", "")
    style.dress(first, "seconds from the start to the end of the first round", "")
    for axes in (speed, first):
        axes.set_xlim(left=0)
    style.legend_above(figure, {SHOWN[name]: {**look, "linestyle": "none"} for name, look in used.items()})
    style.write(figure, file)


def shown(content: Content) -> dict[str, Row]:
    """What the picture has of a work."""
    rows = {row.name: row for row in summary.rows(content)}
    names = {BEST: summary.best_loop(content)}
    names |= {name: summary.fastest(content, name) if "-" not in name else name for name in SHOWN if name != BEST}
    return {shown: rows[name] for shown, name in names.items() if name in rows}
