"""The global model as versioned groups, and which version each client holds."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from fedsim.model.architecture import Architecture, Heads
from fedsim.model.layout import FloatArray, Layout
from fedsim.plan import layer_index
from fedsim.wire import PLAIN, Codec


@dataclass
class GlobalModel:
    """Groups by name, each with a version that counts its changes. A group's array is replaced, never written to."""

    layouts: dict[str, Layout]
    groups: dict[str, FloatArray]
    """Empty in price mode, where versions alone are kept."""
    versions: dict[str, int] = field(default_factory=dict)
    kept_heads: Heads | None = None
    """Attention heads that are left in each layer, where some were pruned on the way."""

    def __post_init__(self) -> None:
        self.versions = {name: self.versions.get(name, 0) for name in self.layouts}

    @property
    def names(self) -> tuple[str, ...]:
        """Groups from the embeddings up to the head: the columns of every table about groups."""
        return tuple(self.layouts)

    def architecture(self, first: Architecture) -> Architecture:
        """The model's sizes, which were `first` before heads were pruned."""
        return first if self.kept_heads is None else replace(first, kept_heads=self.kept_heads)

    def bytes(self, codec: Codec = PLAIN) -> npt.NDArray[np.int64]:
        """Bytes of each group on the wire."""
        return np.array([codec.payload_bytes(layout) for layout in self.layouts.values()], np.int64)

    def current(self) -> npt.NDArray[np.int32]:
        """Version of each group."""
        return np.array([self.versions[name] for name in self.names], np.int32)

    def replace(self, name: str, values: FloatArray | None) -> None:
        """A new version of a group; no values in price mode."""
        self.versions[name] += 1
        if values is not None:
            self.groups[name] = values

    def updated(self, changed: Iterable[str], means: Mapping[str, FloatArray]) -> "GlobalModel":
        """The model after a round; this one stays as it is. Groups that changed have a mean, except in price mode."""
        after = GlobalModel(self.layouts, dict(self.groups), dict(self.versions), self.kept_heads)
        for name in changed:
            after.replace(name, means.get(name))
        return after

    def sha256(self) -> str | None:
        """Hash of all weights; None without weights."""
        if not self.groups:
            return None
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(self.groups[name], "<f4").tobytes())
        return digest.hexdigest()


class Pools:
    """What every client has downloaded.

    Only those who have downloaded something have a row in the table, in the order in which they came: there is room for
    all, but memory that was never written to is not taken. So a fleet costs what its clients have, not what they could.
    """

    def __init__(self, clients: int, groups: int) -> None:
        self._row = np.full(clients, -1, np.int32)
        self._clients = np.empty(clients, np.int32)
        self._held = np.empty((clients, groups), np.int32)
        self._windows = np.empty(clients, np.int32)
        self._count = 0

    @property
    def tables(self) -> dict[str, npt.NDArray[np.int32]]:
        """All that it holds, by name; rows as there are clients that have something.

        `clients`: their numbers; `held`: version of each group, -1 for never, [rows, groups]; `windows`: which part of
        the layers it was, 0 for everything.
        """
        rows = slice(self._count)
        return {"clients": self._clients[rows], "held": self._held[rows], "windows": self._windows[rows]}

    @classmethod
    def of(cls, tables: Mapping[str, npt.NDArray[np.int32]], clients: int) -> Self:
        """Pools of so many clients, from what `tables` gave."""
        pools = cls(clients, tables["held"].shape[1])
        pools._count = len(tables["clients"])
        for name, values in pools.tables.items():
            values[:] = tables[name]
        pools._row[tables["clients"]] = np.arange(pools._count)
        return pools

    def holding(self, clients: npt.NDArray[np.int64], window: int, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """Versions that these clients hold of what is in this window, [clients, groups].

        Another part of a layer than was downloaded last is like nothing.
        """
        rows = self._row[clients]
        known = np.flatnonzero(rows >= 0)
        held = np.full((len(clients), self._held.shape[1]), -1, np.int32)
        held[known] = self._held[rows[known]]
        moved = known[self._windows[rows[known]] != window]
        layers = np.flatnonzero([layer_index(name) is not None for name in names])
        held[np.ix_(moved, layers)] = -1
        return held

    def download(
        self,
        clients: npt.NDArray[np.int64],
        needed: npt.NDArray[np.bool_],
        current: npt.NDArray[np.int32],
        windows: npt.NDArray[np.int32],
    ) -> None:
        """These clients now hold, of what is in their window, the current version of the groups they needed.

        Args:
            clients: who, [n], each once.
            needed: groups that they were to have, [n, groups].
            current: version of each group, [groups].
            windows: of each client, [n].
        """
        rows = self._rows(clients)
        self._held[rows] = np.where(needed, current, self._held[rows])
        self._windows[rows] = windows

    def _rows(self, clients: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Rows of these clients, which are given one where they have none."""
        new = clients[self._row[clients] < 0]
        rows = slice(self._count, self._count + len(new))
        self._row[new] = np.arange(rows.start, rows.stop)
        self._clients[rows], self._held[rows] = new, -1
        self._count = rows.stop
        own: npt.NDArray[np.int32] = self._row[clients]
        return own


def shares(sent: Mapping[int, tuple[str, ...]], weights: Mapping[int, float]) -> dict[int, dict[str, float]]:
    """Each client's share in the mean of each group it sends.

    A group that a client sends twice (a layer in two trained slots) counts twice, in the sum and in the total, so that
    shares * times sent add up to one for every group.
    """
    totals: dict[str, float] = {}
    for client, names in sent.items():
        for name in names:
            totals[name] = totals.get(name, 0.0) + weights[client]
    return {client: {name: weights[client] / totals[name] for name in names} for client, names in sent.items()}
