"""A fleet in tables: its classes, and what each method asks of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedsim.fleet import catalog
from fedsim.fleet.devices import Fleet
from fedsim.report.layout import Grid
from fedsim.report.units import duration, metric, share
from fedsim.survey import Demand, Survey

QUANTILES = (0.1, 0.5, 0.9)


def classes() -> list[Grid]:
    """The catalogue: every class of devices and of networks."""
    devices = [
        (one.name, metric(one.flops_per_s, "FLOP/s"), metric(one.memory_bytes, "B"), f"{one.compute_power_w:g} W",
         one.description)
        for one in catalog.devices().values()
    ]  # fmt: skip
    networks = [
        (one.name, metric(one.downlink_bits_per_s, "bit/s"), metric(one.uplink_bits_per_s, "bit/s"),
         f"{1000 * one.latency_s:g} ms", f"{one.radio_power_w:g} W", one.description)
        for one in catalog.networks().values()
    ]  # fmt: skip
    note = "where each number comes from: fedsim/fleet/tables; the fleet of a scenario: python -m fedsim fleet NAME"
    return [
        Grid(
            ("device", "speed", "memory", "power", ""), devices, "devices", left=frozenset({0, 4}), wraps=frozenset({4})
        ),
        Grid(
            ("network", "downlink", "uplink", "latency", "radio", ""),
            networks,
            "networks",
            [note],
            left=frozenset({0, 5}),
            wraps=frozenset({5}),
        ),
    ]


def makeup(fleet: Fleet) -> list[Grid]:
    """What the fleet is made of: how many of each class, and the p10, p50 and p90 of what differs within them."""
    return [
        _grid("device", fleet.device, fleet.devices, [
            _Column("speed", fleet.flops_per_s, lambda value: metric(value, "FLOP/s")),
            _Column("memory", fleet.memory_bytes, lambda value: metric(value, "B"), (0.5,)),
        ]),
        _grid("network", fleet.network, fleet.networks, [
            _Column("downlink", fleet.downlink_bits_per_s, lambda value: metric(value, "bit/s")),
            _Column("uplink", fleet.uplink_bits_per_s, lambda value: metric(value, "bit/s")),
            _Column("latency", fleet.latency_s, lambda value: f"{1000 * value:.0f} ms", (0.5,)),
        ]),
    ]  # fmt: skip


def demands(survey: Survey) -> Grid:
    """One row a method and phase: memory, who has it, and how long trips and rounds take."""
    rows = [
        (
            one.method,
            one.phase,
            metric(float(np.median(one.memory_bytes)), "B"),
            metric(float(one.memory_bytes.max()), "B"),
            "central" if one.central else share(float(one.able.mean()), 1.0),
            *_quantiles(one.trip_s[one.able], duration),
            *_quantiles(one.round_s if one.able.any() else np.zeros(0), duration),
        )
        for one in survey.demands
    ]
    headers = (
        *("method", "phase", "memory\np50", "memory\nmost", "able"),
        *(f"{what}\np{round(100 * q)}" for what in ("trip", "round") for q in QUANTILES),
    )
    looked, clients = len(survey.looked_at), len(survey.fleet)
    of = f"all {clients:,} clients" if looked == clients else f"{looked:,} of {clients:,} clients, drawn by the seed"
    notes = (
        f"memory, able, trip: {of}; able: the device has the memory for every stage",
        "trip: of those who are able, averaged over the rounds, with everything to download; round: until the last "
        "update that is wanted, over cohorts drawn among them",
        *_there(survey),
    )
    return Grid(headers, rows, "one round of each method", notes, left=frozenset({0, 1}))


def as_json(survey: Survey) -> dict[str, Any]:
    """The numbers of these tables."""
    fleet = survey.fleet
    columns = ("flops_per_s", "memory_bytes", "downlink_bits_per_s", "uplink_bits_per_s", "latency_s")
    return {
        "clients": len(fleet),
        "looked_at": len(survey.looked_at),
        "devices": _counts(fleet.device, fleet.devices),
        "networks": _counts(fleet.network, fleet.networks),
        "quantiles": list(QUANTILES),
        **{name: _numbers(getattr(fleet, name)) for name in columns},
        "there": None if survey.there is None else _numbers(survey.there),
        "methods": [_demand(one) for one in survey.demands],
    }


def _there(survey: Survey) -> tuple[str, ...]:
    """Between which shares the number of devices that are there swings."""
    if survey.there is None:
        return ()
    low, high = (share(float(value), 1.0) for value in (survey.there.min(), survey.there.max()))
    return (
        f"there, in the first two days: between {low} and {high} of them, {share(survey.there.mean(), 1.0)} on average",
    )


def _demand(one: Demand) -> dict[str, Any]:
    return {
        "method": one.method,
        "phase": one.phase,
        "central": one.central,
        "memory_bytes": _numbers(one.memory_bytes),
        "able": float(one.able.mean()),
        "trip_s": _numbers(one.trip_s[one.able]),
        "round_s": _numbers(one.round_s) if one.able.any() else None,
    }


@dataclass(frozen=True, eq=False)
class _Column:
    """A number of every device, and how to show it."""

    name: str
    values: npt.NDArray[Any]
    show: Callable[[float], str]
    quantiles: tuple[float, ...] = QUANTILES

    def cells(self, own: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        return _quantiles(self.values[own], self.show, self.quantiles)


def _grid(kind: str, codes: npt.NDArray[np.int16], names: Sequence[str], columns: Sequence[_Column]) -> Grid:
    headers = (kind, "clients", "", *(f"{one.name}\np{round(100 * q)}" for one in columns for q in one.quantiles))
    rows = []
    for code, name in enumerate(names):
        own = codes == code
        cells = (cell for one in columns for cell in one.cells(own))
        rows.append((name, f"{int(own.sum()):,}", share(float(own.mean()), 1.0), *cells))
    if len(names) > 1:
        everybody = np.ones(len(codes), np.bool_)
        rows.append(("all", f"{len(codes):,}", "", *(cell for one in columns for cell in one.cells(everybody))))
    return Grid(headers, rows, f"{kind}s", sections=frozenset({len(names)}))


def _quantiles(
    values: npt.NDArray[Any], show: Callable[[float], str], quantiles: Sequence[float] = QUANTILES
) -> tuple[str, ...]:
    if not len(values):
        return ("",) * len(quantiles)
    return tuple(show(float(value)) for value in np.quantile(values, quantiles))


def _numbers(values: npt.NDArray[Any]) -> list[float] | None:
    return np.quantile(values, QUANTILES).tolist() if len(values) else None


def _counts(codes: npt.NDArray[np.int16], names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))
