"""The global model as versioned groups, and which version each client holds."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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


@dataclass
class Pools:
    """What every client has downloaded."""

    held: npt.NDArray[np.int32]
    """Version of each group, -1 for never, [clients, groups]."""
    windows: npt.NDArray[np.int32]
    """Which part of the layers it was: a number for each window, 0 for everything, [clients]."""

    @classmethod
    def empty(cls, clients: int, groups: int) -> "Pools":
        """Nobody has anything."""
        return cls(np.full((clients, groups), -1, np.int32), np.zeros(clients, np.int32))

    def holding(self, clients: npt.NDArray[np.int64], window: int, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """Versions that these clients hold of what is in this window, [clients, groups].

        Another part of a layer than was downloaded last is like nothing.
        """
        layers = np.array([layer_index(name) is not None for name in names])
        moved = self.windows[clients] != window
        return np.where(moved[:, None] & layers, np.int32(-1), self.held[clients])

    def download(
        self,
        clients: npt.NDArray[np.int64],
        needed: npt.NDArray[np.bool_],
        current: npt.NDArray[np.int32],
        windows: npt.NDArray[np.int32],
    ) -> None:
        """These clients now hold, of what is in their window, the current version of the groups they needed.

        Args:
            clients: who, [n].
            needed: groups that they were to have, [n, groups].
            current: version of each group, [groups].
            windows: of each client, [n].
        """
        self.held[clients] = np.where(needed, current, self.held[clients])
        self.windows[clients] = windows


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
