"""The `fleet` section: how many devices, of which classes, on which networks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.availability import Always, Availability, Dropout, ServerLink
from fedsim.scenario.base import Config, Count, NonNegative, Positive, Problem, Text

Shares = Annotated[dict[str, Positive], Field(min_length=1)]
Spread = Annotated[float, Strict(), Field(ge=0.0, le=5.0)]

Ratio = Annotated[float, Strict(), Field(gt=0.0, le=1.0)]

FLEET_FILES = (".csv", ".parquet")


class Links(Config):
    """Connections of American homes, from the FCC's Measuring Broadband America; each client has one of them."""

    download: Path
    """Its `curr_httpgetmt.csv`; relative to the scenario, as the others."""
    upload: Path
    """Its `curr_httppostmt.csv`."""
    latency: Path
    """Its `curr_udplatency.csv` or `curr_ping.csv`."""


class CatalogFleet(Config):
    """Devices drawn from the classes of the shipped catalogues, and from classes of your own."""

    kind: Literal["catalog"] = "catalog"
    classes: Path | None = None
    """File with device classes of your own, as `calibrate` writes them; relative to the scenario."""
    devices: Shares = {"phone_low": 0.3, "phone_mid": 0.5, "phone_high": 0.2}
    """Device classes and their shares (normalised)."""
    networks: Shares = {"wifi": 0.6, "4g": 0.3, "3g": 0.1}
    """Network classes and their shares (normalised)."""
    speed_sigma: Spread = 0.25
    """Log-normal spread of speed inside a device class (median kept)."""
    bandwidth_sigma: Spread = 0.35
    """Log-normal spread of both bandwidths inside a network class (median kept)."""
    links: Links | None = None
    """Measured bandwidths and latencies in place of those of the network classes, which keep the radio's power."""

    def problems(self) -> Iterator[Problem]:
        """The file's ending says how to read it; measured connections have a spread of their own."""
        if self.classes is not None and self.classes.suffix.lower() not in FLEET_FILES:
            yield Problem(("classes",), f"'{self.classes}' must end in {' or '.join(FLEET_FILES)}")
        if self.links is not None and self.changed("bandwidth_sigma"):
            yield Problem(("bandwidth_sigma",), "is not used where `links` give every client a measured connection")


class FileFleet(Config):
    """Devices listed in a CSV or Parquet file, one row each."""

    kind: Literal["file"] = "file"
    path: Path
    """File with the columns of a fleet; relative to the scenario."""

    def problems(self) -> Iterator[Problem]:
        """The file's ending says how to read it."""
        if self.path.suffix.lower() not in FLEET_FILES:
            yield Problem(("path",), f"'{self.path}' must end in {' or '.join(FLEET_FILES)}")


class FedScaleFleet(Config):
    """Devices of FedScale's `client_device_capacity`, a pickle, which is read as data; client i is its i-th device."""

    kind: Literal["fedscale"] = "fedscale"
    path: Path
    """The file; relative to the scenario."""
    sample_flops: Positive
    """FLOPs of a forward pass on one sample of the model that its times were measured with."""
    device: Text
    """Class of the catalogue whose memory and power all devices have."""
    network: Text
    """Class of the catalogue whose latency and radio all devices have."""
    uplink_share: Ratio = 1.0
    """Uplink as a share of the file's bandwidth; 1.0, as FedScale has it, makes both directions alike."""


class Pace(Config):
    """Devices that do not always compute at the same speed."""

    backward_speed: Ratio = 1.0
    """Speed of the backward pass, as a share of that of the forward pass."""
    hot_after_s: Positive | None = None
    """Seconds of computing after which a device is hot; null: never. Every trip begins with a cool one."""
    hot_speed: Ratio = 1.0
    """Its speed then, as a share of that of a cool device."""

    def problems(self) -> Iterator[Problem]:
        """Who never gets hot has no speed then."""
        if self.hot_after_s is None and self.changed("hot_speed"):
            yield Problem(("hot_speed",), "is not used without `hot_after_s`")

    def columns(self) -> dict[str, float]:
        """The numbers of `fedsim.fleet.devices.Fleet`."""
        cool_s = float("inf") if self.hot_after_s is None else self.hot_after_s
        return {"backward_speed": self.backward_speed, "cool_s": cool_s, "hot_speed": self.hot_speed}


class Fleet(Config):
    """All registered devices."""

    clients: Count
    """Number of registered clients."""
    source: Annotated[CatalogFleet | FileFleet | FedScaleFleet, Field(discriminator="kind")] = CatalogFleet()
    """Where the devices' numbers come from."""
    pace: Pace = Pace()
    """How steadily devices compute."""
    latency_sigma: Spread = 0.0
    """Log-normal spread of latency from transfer to transfer (median kept)."""
    availability: Availability = Always()
    """When devices are there."""
    dropout: Dropout | None = None
    """How devices vanish in the middle of a trip; null: they do not."""
    server_link: ServerLink | None = None
    """The server's own connection; null: it is never the bottleneck."""
    carbon_g_per_kwh: NonNegative | None = None
    """Grams of CO2 that the grid emits for a kilowatt-hour; null: carbon is not worked out."""
