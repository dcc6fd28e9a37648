"""Transfers of a round whose trips all start together, over the server's own connection (`fedsim.clock.link`)."""

from dataclasses import dataclass, replace

import numpy as np

from fedsim.clock.booking import Flowed
from fedsim.clock.link import Flows, Sent, send
from fedsim.clock.trips import BoolArray, Durations
from fedsim.cost.price import Prices
from fedsim.data.work import IntArray
from fedsim.fleet.devices import Fleet, FloatArray


@dataclass(frozen=True)
class ServerLink:
    """Capacities of the server's connection; None: never the bottleneck."""

    downlink_bits_per_s: float | None = None
    """From the server to the devices."""
    uplink_bits_per_s: float | None = None
    """From the devices to the server."""


@dataclass(frozen=True, eq=False)
class Transfers:
    """Of one round's trips."""

    link: ServerLink
    prices: Prices
    fleet: Fleet
    own: Durations
    """Were there no server's link."""
    able: BoolArray
    """Who starts at all, [cohort]."""
    gone_s: FloatArray
    """When each device vanishes, from the start of the round; [cohort]."""

    def durations(self) -> Durations:
        """How long each leg takes; infinite for transfers that never end, since the device vanishes."""
        own, down, up = self.own, self._downloads(np.inf), None
        begin_s = own.download_s
        if down is not None:
            begin_s = np.where(self.able, down.end_s, own.download_s)
        begin_s = begin_s + own.training_s
        up = self._uploads(begin_s, np.inf)
        return replace(
            own,
            download_s=own.download_s if down is None else self._spent(down, np.zeros(len(begin_s)), own.download_s),
            upload_s=own.upload_s if up is None else self._spent(up, begin_s, own.upload_s),
        )

    def flowed(self, needed: Durations, until_s: float) -> Flowed:
        """Bytes that have flowed in each trip when the round closes.

        Args:
            needed: As `durations` gives.
            until_s: When it closes, from its start.
        """
        down = self._downloads(until_s)
        up = self._uploads(needed.download_s + needed.training_s, until_s)
        return Flowed(
            self._bytes(down, self.own.download_latency_s, self.fleet.downlink_bits_per_s, until_s),
            self._bytes(up, needed.download_s + needed.training_s + self.own.upload_latency_s,
                        self.fleet.uplink_bits_per_s, until_s),
        )  # fmt: skip

    def _downloads(self, until_s: float) -> Sent | None:
        if self.link.downlink_bits_per_s is None:
            return None
        own, fleet = self.own.download_latency_s, self.fleet.downlink_bits_per_s
        return self._send(own, self.prices.fetched_bytes, fleet, self.link.downlink_bits_per_s, until_s)

    def _uploads(self, begin_s: FloatArray, until_s: float) -> Sent | None:
        if self.link.uplink_bits_per_s is None:
            return None
        start_s, fleet = begin_s + self.own.upload_latency_s, self.fleet.uplink_bits_per_s
        return self._send(start_s, self.prices.delivered_bytes, fleet, self.link.uplink_bits_per_s, until_s)

    def _send(
        self, start_s: FloatArray, size_bytes: IntArray, own: FloatArray, bits_per_s: float, until_s: float
    ) -> Sent:
        """Transfers of those who get so far; the others never begin theirs."""
        there = self.able & np.isfinite(start_s) & (start_s <= until_s)
        flows = Flows.of(start_s[there], size_bytes[there], own[there], self.gone_s[there])
        sent = send(flows, bits_per_s, until_s)
        end_s, bits = np.full(len(start_s), np.inf), np.zeros(len(start_s))
        end_s[there], bits[there] = sent.end_s, sent.bits
        return Sent(end_s, bits)

    @staticmethod
    def _spent(sent: Sent, begin_s: FloatArray, alone_s: FloatArray) -> FloatArray:
        """Duration of a leg; to the bit what it would be alone, where nobody was in its way."""
        with np.errstate(invalid="ignore"):
            spent_s = np.maximum(sent.end_s - begin_s, 0.0)
        spent_s = np.where(np.isfinite(sent.end_s), spent_s, np.inf)
        return np.where(sent.end_s <= begin_s + alone_s, alone_s, spent_s)

    def _bytes(self, sent: Sent | None, start_s: FloatArray, own_bits_per_s: FloatArray, until_s: float) -> IntArray:
        if sent is None:
            given_s = np.minimum(self.gone_s, until_s)
            begun = self.able & np.isfinite(start_s)
            bits = np.maximum(np.where(begun, given_s - start_s, 0.0), 0.0) * own_bits_per_s
        else:
            bits = sent.bits
        whole: IntArray = np.floor(bits / 8).astype(np.int64)
        return whole
