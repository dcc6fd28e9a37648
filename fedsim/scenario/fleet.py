"""The `fleet` section: how many devices, of which classes, on which networks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Count, Positive, Problem

Shares = Annotated[dict[str, Positive], Field(min_length=1)]
Spread = Annotated[float, Strict(), Field(ge=0.0, le=5.0)]

FLEET_FILES = (".csv", ".parquet")


class CatalogFleet(Config):
    """Devices drawn from the classes of the shipped catalogues."""

    kind: Literal["catalog"] = "catalog"
    devices: Shares = {"phone_low": 0.3, "phone_mid": 0.5, "phone_high": 0.2}
    """Device classes and their shares (normalised)."""
    networks: Shares = {"wifi": 0.6, "4g": 0.3, "3g": 0.1}
    """Network classes and their shares (normalised)."""
    speed_sigma: Spread = 0.25
    """Log-normal spread of speed inside a device class (median kept)."""
    bandwidth_sigma: Spread = 0.35
    """Log-normal spread of both bandwidths inside a network class (median kept)."""


class FileFleet(Config):
    """Devices listed in a CSV or Parquet file, one row each."""

    kind: Literal["file"] = "file"
    path: Path
    """File with the columns of a fleet; relative to the scenario."""

    def problems(self) -> Iterator[Problem]:
        """The file's ending says how to read it."""
        if self.path.suffix.lower() not in FLEET_FILES:
            yield Problem(("path",), f"'{self.path}' must end in {' or '.join(FLEET_FILES)}")


class Fleet(Config):
    """All registered devices."""

    clients: Count
    """Number of registered clients."""
    source: Annotated[CatalogFleet | FileFleet, Field(discriminator="kind")] = CatalogFleet()
    """Where the devices' numbers come from."""
