"""One row a method: what it reached and what it cost, in as many columns as there is room for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fedsim.report.frames import BYTES, FLOPS, JOULES, SECONDS, Units
from fedsim.report.layout import Grid
from fedsim.report.spread import Spread, Summary, quality, quality_keys, spread, without_model
from fedsim.report.style import best_unit

World = Mapping[str, Sequence[Summary]]
"""By method, as a row is to be called: what each run says of it, runs of different seeds."""
WITHOUT = "without a model"
_PERCENT: Units = ((0.01, "%"),)


class _Row(NamedTuple):
    label: str
    summaries: Sequence[Summary]
    modelled: bool = True
    """False: what is reached without any model."""


class _Column(NamedTuple):
    header: str
    cells: Sequence[str]
    spare: int = 0
    """The higher, the sooner it is left out where there is no room; 0: never."""


def overview(worlds: Sequence[World], title: str = "", notes: Sequence[str] = ()) -> Grid:
    """A table with a row for each method, and one below those of each world for what is reached without a model.

    Quality is told as mean ± sample standard deviation where there are several seeds, costs as means.

    Args:
        worlds: methods whose quality can be compared, together.
        title: printed above.
        notes: printed below, before the one that explains the columns.
    """
    rows, sections = list[_Row](), set[int]()
    for world in worlds:
        sections.add(len(rows))
        rows += (_Row(" ".join(label.split()), own) for label, own in world.items())
        without = _Row(WITHOUT, next(iter(world.values())), modelled=False)
        if any(_reached(without, key) for key in quality_keys(without.summaries)):
            sections.add(len(rows))
            rows.append(without)
    columns = [*_quality(rows), *_costs(rows)]
    explained = [f"percentages: of what {rows[0].label} spent"] if sum(row.modelled for row in rows) > 1 else []
    return Grid(
        ("", *(column.header for column in columns)),
        [(row.label, *cells) for row, *cells in zip(rows, *(column.cells for column in columns), strict=True)],
        title,
        [*notes, *explained],
        sections=frozenset(sections - {0}),
        spare=tuple(sorted((i for i, c in enumerate(columns, 1) if c.spare), key=lambda i: -columns[i - 1].spare)),
    )


def _reached(row: _Row, key: str) -> Spread | None:
    return quality(row.summaries, key) if row.modelled else without_model(row.summaries, key)


def _quality(rows: Sequence[_Row]) -> Iterator[_Column]:
    keys = quality_keys(own for row in rows for own in row.summaries)
    metrics = [key.rpartition("/")[2] for key in keys]
    for key, metric in zip(keys, metrics, strict=True):
        phase = key.rpartition("/")[0]
        words = metric.removeprefix("personal_")
        lines = ["personal"] if words != metric else []
        lines = [phase, *lines] if metrics.count(metric) > 1 else lines
        cells = [_with_deviation(_reached(row, key)) for row in rows]
        yield _Column("\n".join([*lines, words]), cells, 0 if words == metric else 8 if words == "mlm_loss" else 5)


def _with_deviation(found: Spread | None) -> str:
    if found is None:
        return ""
    return f"{found.mean:.3f}" + ("" if found.deviation is None else f" ± {found.deviation:.3f}")


def _costs(rows: Sequence[_Row]) -> Iterator[_Column]:
    shared = rows[0] if sum(row.modelled for row in rows) > 1 else None

    def column(label: str, units: Units, spare: int, value: Callable[[Summary], float]) -> Iterator[_Column]:
        means = [_mean(row, value) for row in rows]
        if any(means):
            size, unit = best_unit(units, max(mean or 0.0 for mean in means))
            cells = ["" if mean is None else _decimals(mean / size) for mean in means]
            yield _Column(f"{label},\n{unit}" if label else unit, cells, spare)

    def shares(label: str, spare: int, value: Callable[[Summary], float]) -> Iterator[_Column]:
        if shared is not None and (whole := _mean(shared, value)):
            means = [_mean(row, value) for row in rows]
            yield _Column(
                f"{label},\n%", ["" if mean is None else f"{100 * mean / whole:,.1f}" for mean in means], spare
            )

    def computed(own: Summary) -> float:
        return float(own["flops_forward"] + own["flops_backward"])

    yield from column("upload", BYTES, 0, lambda own: own["upload_bytes"])
    yield from shares("upload", 4, lambda own: own["upload_bytes"])
    yield from column("download", BYTES, 2, lambda own: own["download_bytes"])
    yield from column("", FLOPS, 0, computed)
    yield from shares("FLOPs", 3, computed)
    yield from column("server", FLOPS, 7, lambda own: own["server_flops_forward"] + own["server_flops_backward"])
    yield from column("wasted", _PERCENT, 6, lambda own: _part(own["wasted_device_seconds"], own["device_seconds"]))
    yield from column("energy", JOULES, 9, lambda own: own["energy_j"])
    yield from column("simulated", SECONDS, 1, lambda own: own["simulated_seconds"])


def _mean(row: _Row, value: Callable[[Summary], float]) -> float | None:
    found = spread(value(own) for own in row.summaries) if row.modelled else None
    return None if found is None else found.mean


def _part(value: float, whole: float) -> float:
    return value / whole if whole else 0.0


def _decimals(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.{0 if value >= 1000 or value == 0 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"
