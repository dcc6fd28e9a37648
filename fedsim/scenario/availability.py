"""`fleet.availability` and what else decides who is there: drop-out, and the server's own link."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Flag, NonNegative, Positive, Problem, Text

Hour = Annotated[float, Strict(), Field(ge=0.0, lt=24.0)]
Zone = Annotated[str, Field(pattern=r"^UTC([+-](\d|1[0-4])(:[0-5]\d)?)?$")]
Hazards = dict[str, NonNegative]

INTERVAL_FILES = (".csv", ".parquet")


class Always(Config):
    """Every device at any time."""

    kind: Literal["always"] = "always"


class Stretch(Config):
    """Mean lengths of the stretches in which a device is there, and is away."""

    available_s: Positive
    """Mean time for which it stays."""
    away_s: Positive
    """Mean time for which it is away."""


class Markov(Config):
    """Devices come and go at random, with other habits by night."""

    kind: Literal["markov"] = "markov"
    day: Stretch
    """Habits by day."""
    night: Stretch | None = None
    """Habits by night; null: as by day."""
    night_from_h: Hour = 22.0
    """Hour of the device's own day at which the night begins."""
    night_to_h: Hour = 6.0
    """Hour at which it ends."""
    zones: Annotated[dict[Zone, Positive], Field(min_length=1)] = {"UTC": 1.0}
    """Time zones, as UTC-8 or UTC+5:30, and their shares (normalised)."""
    starts_utc_h: Hour = 0.0
    """Hour of the day, UTC, at which the simulation begins."""
    sigma: Annotated[float, Strict(), Field(ge=0.0, le=5.0)] = 0.0
    """Log-normal spread, over devices, of how long they stay (median kept)."""

    def problems(self) -> Iterator[Problem]:
        """A night has habits and a length."""
        if self.night is not None and self.night_from_h == self.night_to_h:
            yield Problem(
                ("night_to_h",), f"is {self.night_to_h:g}, when the night begins: it must end at another hour"
            )
        for name in ("night_from_h", "night_to_h"):
            if self.night is None and self.changed(name):
                yield Problem((name,), "is not used without `night`, the habits by night")

    def offsets_s(self) -> dict[float, float]:
        """Shares by offset from UTC, in seconds."""
        return {_offset_s(zone): share for zone, share in self.zones.items()}


class Recordings(Config):
    """Availability that was recorded; each client lives through one of the recordings, over and over."""

    path: Path
    """The file; relative to the scenario."""
    assign: Literal["listed", "random"] = "listed"
    """`listed`: client i has recording i, from the first again at the end; `random`: the same in random order."""


class IntervalFile(Recordings):
    """Intervals of your own, a row each: client, start_s, end_s."""

    kind: Literal["intervals"] = "intervals"
    period_s: Positive
    """Length of every recording, after which it begins anew."""

    def problems(self) -> Iterator[Problem]:
        """The file's ending says how to read it."""
        if self.path.suffix.lower() not in INTERVAL_FILES:
            yield Problem(("path",), f"'{self.path}' must end in {' or '.join(INTERVAL_FILES)}")


class FlashTraces(Recordings):
    """FLASH's `state_traces.json`."""

    kind: Literal["flash"] = "flash"
    require: Annotated[tuple[Literal["charging", "wifi", "idle"], ...], Field(min_length=1)] = (
        "charging",
        "wifi",
        "idle",
    )
    """What must hold for a phone to be there."""
    leave_out_broken: Flag = False
    """Pass over phones with lines that cannot be read, as FLASH does, instead of refusing the file."""


class FedScaleTraces(Recordings):
    """FedScale's `client_behave_trace`, a pickle, which is read as data."""

    kind: Literal["fedscale"] = "fedscale"


Condition = Annotated[Always | Markov | IntervalFile | FlashTraces | FedScaleTraces, Field(discriminator="kind")]


class AllOf(Config):
    """There while all of several conditions hold, each with times of its own."""

    kind: Literal["all_of"] = "all_of"
    conditions: Annotated[dict[Text, Condition], Field(min_length=1)]
    """Conditions by a name of your choice, which names their random numbers."""


Availability = Annotated[
    Always | Markov | IntervalFile | FlashTraces | FedScaleTraces | AllOf, Field(discriminator="kind")
]


class Dropout(Config):
    """Devices vanish in the middle of a trip: hazards, in events a second, which add up."""

    per_s: NonNegative = 0.0
    """Of all devices."""
    devices: Hazards = {}
    """In addition, by device class."""
    networks: Hazards = {}
    """In addition, by network class."""


class ServerLink(Config):
    """The server's own connection, shared by whoever is sending at the moment."""

    downlink_bits_per_s: Positive | None = None
    """From the server to the devices; null: never the bottleneck."""
    uplink_bits_per_s: Positive | None = None
    """From the devices to the server; null: never the bottleneck."""

    def problems(self) -> Iterator[Problem]:
        """A link has a limit."""
        if self.downlink_bits_per_s is None and self.uplink_bits_per_s is None:
            yield Problem((), "give at least one of downlink_bits_per_s, uplink_bits_per_s")


def _offset_s(zone: str) -> float:
    hours, _, minutes = zone.removeprefix("UTC").partition(":")
    if not hours:
        return 0.0
    return int(hours) * 3600.0 + (-1 if hours.startswith("-") else 1) * int(minutes or 0) * 60.0
