"""The fleet, and what its devices have done so far: points in a plane, and sums by class of device."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fedsim import rng
from fedsim.errors import UserError
from fedsim.fleet.devices import Fleet, build
from fedsim.report.frames import LEGS
from fedsim.run_folder import WORLD, fleet_hash, read_json
from fedsim.trace.manifest import Part
from fedsim.web.follow import Followed
from fedsim.web.numbers import plain

DEVICES = 3000
"""The most points that are drawn."""

Counts = npt.NDArray[np.int64]


@dataclass
class _Tally:
    """What a method's devices have done in the parts counted so far."""

    parts: tuple[Part, ...] = ()
    trips: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    late: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: list[pa.Table] = field(default_factory=list)


class FleetView:
    """The fleet of a run that is followed. Every file of trips is read once.

    Raises:
        UserError: the fleet cannot be built again, or is not the one that the run was made with.
    """

    def __init__(self, run: Followed) -> None:
        self._run = run
        self._fleet: Fleet | None = None
        self._tallies: dict[str, _Tally] = {}

    def of(self, method: str, most: int = DEVICES) -> dict[str, Any]:
        """`devices` and `taken` as one; their points have the same order.

        Raises:
            UserError: as the class, or a file cannot be read.
        """
        every, own = self.devices(most), self.taken(method, most)
        return {**every, **own, "points": {**every["points"], **own["points"]}}

    def devices(self, most: int = DEVICES) -> dict[str, Any]:
        """Devices; of more than `most`, so many are drawn at random, the same ones every time.

        Returns:
            `clients`: how many there are; `devices` and `networks`: names of classes; `points`: columns of those told.

        Raises:
            UserError: as the class.
        """
        fleet, chosen = self._built(), self._chosen(most)
        columns = ("device", "network", "flops_per_s", "uplink_bits_per_s", "downlink_bits_per_s", "memory_bytes")
        points = {name: plain(getattr(fleet, name)[chosen]) for name in columns}
        return {
            "clients": len(fleet),
            "devices": list(fleet.devices),
            "networks": list(fleet.networks),
            "points": {"client": plain(chosen), **points},
        }

    def taken(self, method: str, most: int = DEVICES) -> dict[str, Any]:
        """What devices did under a method.

        Returns:
            `took_part`: how many did; `points`: trips, and late ones, of the devices that `devices` tells; `classes`:
            for each class of device with trips their number, outcomes, and seconds on each leg.

        Raises:
            UserError: as the class, or a file cannot be read.
        """
        tally, chosen = self._tallied(method), self._chosen(most)
        return {
            "method": method,
            "took_part": int((tally.trips > 0).sum()),
            "points": {"trips": plain(tally.trips[chosen]), "late": plain(tally.late[chosen])},
            "classes": _together(tally.classes),
        }

    def memory_bytes(self) -> dict[str, int]:
        """What training may use, by class of device: the most of any device of the class.

        Raises:
            UserError: as the class.
        """
        fleet = self._built()
        found = np.zeros(len(fleet.devices), np.int64)
        np.maximum.at(found, fleet.device, fleet.memory_bytes)
        return dict(zip(fleet.devices, found.tolist(), strict=True))

    def _chosen(self, most: int) -> Counts:
        clients = self._run.scenario.fleet.clients
        if clients <= most:
            return np.arange(clients)
        draw = rng.stream(self._run.scenario.seed, "watch", "fleet")
        return np.sort(draw.choice(clients, most, replace=False))

    def _built(self) -> Fleet:
        if self._fleet is None:
            run = self._run
            fleet = build(run.scenario.fleet, run.base, run.scenario.seed)
            if read_json(run.folder / WORLD).get("fleet") != fleet_hash(fleet):
                fault = "the fleet is not what the run was made with: put its file back as it was"
                raise UserError(fault, file=run.folder)
            self._fleet = fleet
        return self._fleet

    def _tallied(self, method: str) -> _Tally:
        parts = tuple(self._run.manifest(method).parts_of("trips"))
        tally = self._tallies.get(method)
        if tally is None or tally.parts != parts[: len(tally.parts)]:
            clients = self._run.scenario.fleet.clients
            tally = self._tallies[method] = _Tally(trips=np.zeros(clients, np.int64), late=np.zeros(clients, np.int64))
        for part in parts[len(tally.parts) :]:
            rows = self._run.read(method, part, ["client", "device", "outcome", *LEGS])
            clients = rows["client"].to_numpy()
            of_devices = clients >= 0  # -1: the machine that has everybody's data
            late = pc.equal(rows["outcome"], "late").to_numpy()
            tally.trips += np.bincount(clients[of_devices], minlength=len(tally.trips))
            tally.late += np.bincount(clients[of_devices & late], minlength=len(tally.late))
            tally.classes.append(_sums(rows))
        tally.parts = parts
        return tally


def _sums(rows: pa.Table) -> pa.Table:
    one = rows.append_column("trips", pa.array(np.ones(len(rows), np.int64)))
    names = ("trips", *LEGS)
    sums = one.group_by(["device", "outcome"]).aggregate([(name, "sum") for name in names])
    return sums.select(["device", "outcome", *(f"{name}_sum" for name in names)]).rename_columns(
        ["device", "outcome", *names]
    )


def _together(tables: list[pa.Table]) -> list[Mapping[str, Any]]:
    """By class of device, slowest trips first."""
    found: dict[str, dict[str, Any]] = {}
    for row in (row for table in tables for row in table.to_pylist()):
        own = found.setdefault(row["device"], {"trips": 0, "outcomes": {}, "seconds": dict.fromkeys(LEGS, 0.0)})
        own["trips"] += row["trips"]
        own["outcomes"][row["outcome"]] = own["outcomes"].get(row["outcome"], 0) + row["trips"]
        for leg in LEGS:
            own["seconds"][leg] += row[leg]
    slowest = sorted(found, key=lambda name: (-sum(found[name]["seconds"].values()) / found[name]["trips"], name))
    return [{"device": name, **found[name]} for name in slowest]
