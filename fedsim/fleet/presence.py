"""When a scenario's devices are there, and how they vanish: from its keys to functions of device and time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedsim import rng
from fedsim.fleet import availability as kinds
from fedsim.fleet.availability import LocalTime, Recorded, local_offsets_s
from fedsim.fleet.deal import deal
from fedsim.fleet.devices import Fleet
from fedsim.fleet.dropout import Dropout, hazards
from fedsim.fleet.readers import fedscale, flash, intervals
from fedsim.fleet.readers.recordings import Recordings
from fedsim.scenario import availability as specs
from fedsim.scenario.fleet import Fleet as FleetSpec

_HOUR_S = 3600.0
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Presence:
    """Of a fleet's devices."""

    availability: kinds.Availability
    dropout: Dropout | None
    """None: nobody vanishes."""
    notes: tuple[str, ...] = ()
    """What the user should know of the files that were read."""

    def ever(self, clients: int, enough: int) -> int:
        """How many devices of a fleet are ever there; no more are looked at than must be to find `enough`."""
        if isinstance(self.availability, kinds.Always | kinds.Markov):
            return clients
        found = 0
        for start in range(0, clients, _CHUNK):
            some = np.arange(start, min(start + _CHUNK, clients))
            found += int(np.isfinite(self.availability.after(some, 0.0)).sum())
            if found >= enough:
                break
        return found


EVER = Presence(kinds.Always(), None)
"""Of devices that are always there."""


def build(spec: FleetSpec, fleet: Fleet, base: Path, seed: int) -> Presence:
    """What a scenario says of its devices' presence.

    Args:
        spec: The `fleet` section.
        fleet: Its devices.
        base: Folder of the scenario file.
        seed: The scenario's seed.

    Raises:
        UserError: A file cannot be used, or a class of drop-out is not in the fleet.
    """
    notes: list[str] = []
    found = _availability(spec.availability, len(fleet), base, seed, "availability", "fleet.availability", notes)
    dropout = None
    if spec.dropout is not None:
        own = spec.dropout
        dropout = Dropout(hazards(fleet, own.per_s, own.devices, own.networks), seed)
    return Presence(found, dropout, tuple(notes))


def _availability(
    spec: specs.Availability, clients: int, base: Path, seed: int, name: str, key: str, notes: list[str]
) -> kinds.Availability:
    """One availability; `name` names its random numbers, `key` is where the scenario says it."""
    match spec:
        case specs.Always():
            return kinds.Always()
        case specs.Markov():
            return _markov(spec, clients, seed, name)
        case specs.AllOf():
            parts = [
                _availability(own, clients, base, seed, f"{name}/{part}", f"{key}.conditions.{part}", notes)
                for part, own in spec.conditions.items()
            ]
            return kinds.AllOf(tuple(parts))
        case specs.IntervalFile() | specs.FlashTraces() | specs.FedScaleTraces():
            read = _read(spec, clients, base / spec.path, f"{key}.path")
            if read.left_out:
                notes.append(f"{spec.path}: {len(read.left_out)} of its devices cannot be read and are left out")
            return Recorded(read.intervals, deal(name, spec.assign, len(read.names), clients, seed))


def _markov(spec: specs.Markov, clients: int, seed: int, name: str) -> kinds.Markov:
    offsets = local_offsets_s(spec.offsets_s(), clients, spec.starts_utc_h * _HOUR_S, seed)
    night_s = 0.0 if spec.night is None else (spec.night_to_h - spec.night_from_h) % 24 * _HOUR_S
    night = spec.night or spec.day
    factor = np.exp(spec.sigma * rng.stream(seed, "fleet", name, "factor").standard_normal(clients))
    return kinds.Markov(
        rng.field(seed, "fleet", name),
        LocalTime(offsets, spec.night_from_h * _HOUR_S, night_s),
        kinds.Stretch(spec.day.available_s, spec.day.away_s),
        kinds.Stretch(night.available_s, night.away_s),
        factor,
    )


def _read(
    spec: specs.IntervalFile | specs.FlashTraces | specs.FedScaleTraces, clients: int, path: Path, key: str
) -> Recordings:
    match spec:
        case specs.IntervalFile():
            return intervals.read(path, spec.period_s, key)
        case specs.FlashTraces():
            return flash.read(path, spec.require, spec.leave_out_broken, key)
        case specs.FedScaleTraces():
            return fedscale.behaviour(path, clients, key)
