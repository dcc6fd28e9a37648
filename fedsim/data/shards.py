"""Who has which samples: a partition as two arrays.

Never an object a client, so a hundred thousand clients cost a few megabytes.
"""

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Counts = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


def offsets(sizes: Counts) -> Counts:
    """[n + 1]: where each of n runs of these sizes starts and ends."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes, dtype=np.int64)))


@dataclass(frozen=True, eq=False)
class Shards:
    """The sample indices of every client, in one array: client `c` has ``indices[offsets[c]:offsets[c + 1]]``."""

    indices: Codes
    """[samples]: ascending inside a client."""
    offsets: Counts
    """[clients + 1]."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, client: int) -> Codes:
        if not 0 <= client < len(self):
            raise IndexError(f"client {client} of {len(self)}")
        return self.indices[self.offsets[client] : self.offsets[client + 1]]

    @property
    def sizes(self) -> Counts:
        """[clients]: samples of each client."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Codes:
        """[samples]: the client of each entry of `indices`."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.sizes)

    def save(self, folder: Path) -> None:
        """Write both arrays; the folder appears, or is replaced, complete or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        # a name that the store knows for a killed writer's, and clears when the run goes on
        work = folder.with_name(f"{folder.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        work.mkdir()
        try:
            (work / "new").mkdir()
            np.save(work / "new" / "indices.npy", self.indices)
            np.save(work / "new" / "offsets.npy", self.offsets)
            if folder.exists():
                folder.rename(work / "old")
            (work / "new").rename(folder)
        finally:
            shutil.rmtree(work)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Memory-map what `save` wrote."""
        return cls(np.load(folder / "indices.npy", mmap_mode="r"), np.load(folder / "offsets.npy", mmap_mode="r"))


def describe(shards: Shards, labels: Mapping[str, Codes] | None) -> "pd.DataFrame":
    """How unequal the clients are: one measure a row; min, p10, median, p90, max and mean over clients.

    `samples` is the shard size. For each label column: `<label>.classes` (distinct classes of a client),
    `<label>.entropy_bits` (of the client's label shares) and `<label>.distance` (total variation between them
    and the shares over all clients, 0 to 1).
    """
    import pandas as pd

    sizes, owners = shards.sizes, shards.owners
    measures: dict[str, Floats] = {"samples": sizes.astype(np.float64)}
    for name, column in (labels or {}).items():
        label = np.asarray(column[shards.indices], dtype=np.int64)
        width = int(label.max()) + 1
        overall = np.bincount(label, minlength=width) / len(label)
        cells, counts = np.unique(owners.astype(np.int64) * width + label, return_counts=True)
        client, kind = np.divmod(cells, width)
        share = counts / sizes[client]
        # A class that the client lacks adds its overall share: 1 less those it has.
        apart = np.abs(share - overall[kind]) - overall[kind]
        measures[f"{name}.classes"] = _totals(client, np.ones(len(client)), len(sizes))
        measures[f"{name}.entropy_bits"] = _totals(client, -share * np.log2(share), len(sizes))
        measures[f"{name}.distance"] = 0.5 * (1.0 + _totals(client, apart, len(sizes)))
    rows = {
        name: [*np.quantile(values, [0.0, 0.1, 0.5, 0.9, 1.0]), np.mean(values)] for name, values in measures.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["min", "p10", "median", "p90", "max", "mean"])


def _totals(client: Counts, values: Floats, clients: int) -> Floats:
    return np.bincount(client, values, minlength=clients).astype(np.float64)
