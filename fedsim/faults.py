"""Faults of a scenario: whom they strike, and what the clock and the account make of them.

Who is struck follows from the seed, the client and the round alone, before anything is trained. What the server can
only find out when an update is there (a NaN, a missing entry, flipped bits) is done for real on the hosts, and found by
the checks that every update goes through; in price mode it is booked as these would find it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fedsim import rng
from fedsim.clock.trips import Durations, Outcome, Trips, energy
from fedsim.data.work import IntArray
from fedsim.engine.tasks import DAMAGED, MISSHAPEN, NOT_FINITE, SABOTAGED, ClientReport, Sabotage, Status
from fedsim.errors import FedsimError, UserError, choose
from fedsim.fleet.devices import Fleet, FloatArray
from fedsim.scenario import faults as specs

if TYPE_CHECKING:
    from fedsim.rounds import Cohort

NONE = -1
"""Nothing happens to a trip."""
FOUND: Mapping[str, tuple[Status, str]] = {
    "error": ("failed", SABOTAGED),
    "nan": ("rejected", NOT_FINITE),
    "inf": ("rejected", NOT_FINITE),
    "wrong_shape": ("rejected", MISSHAPEN),
    "corrupted": ("rejected", DAMAGED),
}
"""What the server finds of an update that a fault of this kind has struck."""


def check(faults: Sequence[specs.AnyFault], fleet: Fleet) -> None:
    """Every class of devices that a fault names is there.

    Raises:
        UserError: It is not.
    """
    for index, fault in enumerate(faults):
        if fault.device is not None and fault.device not in fleet.devices:
            raise UserError(
                f"the fleet has no device class '{fault.device}'; {choose(fault.device, fleet.devices)}",
                key=f"faults.{index}.device",
            )


@dataclass(frozen=True)
class Faults:
    """Those of a scenario."""

    listed: tuple[specs.AnyFault, ...]
    seed: int

    def strike(self, clients: IntArray, devices: Fleet, phase: str, phase_round: int, round_: int) -> IntArray:
        """The fault of each trip of clients who start together, an index into `listed` or `NONE`; [n].

        A trip has at most one: the first in the list that strikes it.

        Args:
            clients: Who starts.
            devices: Theirs.
            phase: Names the random numbers, with the round within it: all methods meet the same faults.
            phase_round: Within the phase.
            round_: Over the whole method.
        """
        struck = np.full(len(clients), NONE, np.int64)
        for index, fault in enumerate(self.listed):
            if fault.rounds is not None and not fault.rounds[0] <= round_ <= fault.rounds[1]:
                continue
            chance = rng.field(self.seed, "faults", index, phase, phase_round).at(clients)[0]
            hit = (struck == NONE) & (chance < fault.probability)
            if fault.clients is not None:
                hit &= np.isin(clients, fault.clients)
            if fault.device is not None:
                hit &= devices.device == devices.devices.index(fault.device)
            if fault.budget is not None and hit.sum() > fault.budget:
                # of those who are struck, the ones with the smallest numbers: any of them is as likely
                unlucky = np.argsort(np.where(hit, chance, np.inf), kind="stable")[: fault.budget]
                hit = np.isin(np.arange(len(clients)), unlucky)
            struck[hit] = index
        return struck

    def slowed(self, struck: IntArray, devices: Fleet) -> Fleet:
        """The devices as fast as they really compute."""
        factors = np.ones(len(struck))
        for index, fault in enumerate(self.listed):
            if isinstance(fault, specs.Slow):
                factors[struck == index] = fault.factor
        return devices if (factors == 1.0).all() else replace(devices, flops_per_s=devices.flops_per_s / factors)

    def crash_s(self, struck: IntArray, needed: Durations) -> FloatArray:
        """Time from its start after which each device has crashed, [n]; infinite: it does not."""
        crash_s = np.full(len(struck), np.inf)
        if not self.listed:
            return crash_s
        legs = {
            None: (np.zeros(len(struck)), needed.total_s),
            "download": (np.zeros(len(struck)), needed.download_s),
            "training": (needed.download_s, needed.training_s),
            "upload": (needed.download_s + needed.training_s, needed.upload_s),
        }
        for index, fault in enumerate(self.listed):
            if isinstance(fault, specs.Crash):
                begins_s, length_s = legs[fault.leg]
                at_s = begins_s + length_s * (0.5 if fault.at is None else fault.at)
                crash_s = np.where(struck == index, at_s, crash_s)
        return crash_s

    def sabotage(self, index: int) -> Sabotage | None:
        """What a fault, by its place in the list, has a host do."""
        if index == NONE:
            return None
        match self.listed[index]:
            case specs.Crash() | specs.Slow():
                return None
            case specs.Corrupted() as fault:
                return Sabotage(fault.kind, fault.bits)
            case fault:
                return Sabotage(fault.kind)

    def expected(self, clients: IntArray, struck: IntArray, arrived: IntArray) -> dict[int, ClientReport]:
        """What the server will find of updates that cannot be used.

        Args:
            clients: Of a cohort.
            struck: Their faults.
            arrived: Places of those whose updates arrive.
        """
        found: dict[int, ClientReport] = {}
        for i in arrived[struck[arrived] != NONE].tolist():
            if (kind := self.listed[struck[i]].kind) in FOUND:
                status, cause = FOUND[kind]
                found[int(clients[i])] = ClientReport(int(clients[i]), status, None, cause)
        return found

    def judged(self, trips: Trips, cohort: "Cohort", reports: Mapping[int, ClientReport]) -> Trips:
        """Trips with what became of their updates, and what was at fault.

        Args:
            trips: As the clock has played them.
            cohort: Who made them, in the same order.
            reports: Of those whose updates arrived, or of those that cannot be used.

        Raises:
            FedsimError: A fault has come to pass without being noticed.
        """
        clients, struck = cohort.clients, cohort.fault
        if not reports and (struck == NONE).all():
            return trips
        outcome, cause = trips.outcome.copy(), np.full(len(trips), None, object)
        arrived = trips.having(Outcome.completed)
        for i in np.flatnonzero(arrived).tolist() if reports else ():
            report = reports.get(int(clients[i]))
            if report is not None and report.status != "completed":
                outcome[i], cause[i] = Outcome(report.status).code, report.cause
        repeated = np.zeros(len(trips), np.int64)
        for i in np.flatnonzero(struck != NONE).tolist():
            fault = self.listed[struck[i]]
            if fault.kind in FOUND and arrived[i] and (OUTCOME_OF[fault.kind], FOUND[fault.kind][1]) != (
                outcome[i], cause[i]
            ):  # fmt: skip
                raise FedsimError(f"client {clients[i]}: {fault.kind} was to be found, and was not: {cause[i]}")
            cause[i] = _cause(fault, arrived=bool(arrived[i]), dropped=outcome[i] == Outcome.dropped.code)
            if fault.kind == "duplicated" and arrived[i]:
                repeated[i] = cohort.prices.delivered_bytes[i]
        if not repeated.any():
            return replace(trips, outcome=outcome, cause=cause)
        upload_bytes = trips.upload_bytes + repeated
        energy_j = energy(trips.download_bytes, upload_bytes, trips.compute_s, cohort.devices)
        return replace(
            trips,
            outcome=outcome,
            cause=cause,
            upload_bytes=upload_bytes,
            repeated_upload_bytes=repeated,
            energy_j=energy_j,
        )


OUTCOME_OF = {kind: Outcome(status).code for kind, (status, _) in FOUND.items()}
"""Codes of the outcomes that go with what is found."""


def _cause(fault: specs.AnyFault, *, arrived: bool, dropped: bool) -> str | None:
    """What to tell of a trip that this fault was meant for; None where it has not come to pass."""
    match fault:
        case specs.Crash() if dropped:
            share = "half-way" if fault.at is None else f"at {fault.at:g}"
            return f"crash: {share} in the {fault.leg or 'trip'}"
        case specs.Slow():
            return f"slow: computing took {fault.factor:g} times as long"
        case specs.Duplicated() if arrived:
            return "duplicated: delivered twice"
        case _ if fault.kind in FOUND and arrived:
            return f"{fault.kind}: {FOUND[fault.kind][1]}"
        case _:
            return None
