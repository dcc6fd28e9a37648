"""The models of tiers of clients, and the global model as their weighted mean (FedAT, Chai et al. 2021, section 4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedsim.model.layout import FloatArray, Groups


@dataclass(frozen=True)
class Tiers:
    """What tiers have sent so far in a phase."""

    models: Mapping[str, FloatArray] = field(default_factory=dict)
    """The last mean of each tier and group, by "tier/group"."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Steps of the server that each tier has led to."""

    def without(self, groups: frozenset[str]) -> "Tiers":
        """These groups have begun anew."""
        return Tiers({key: m for key, m in self.models.items() if key.partition("/")[2] not in groups}, self.steps)

    def counts(self, tiers: int) -> np.typing.NDArray[np.int64]:
        """Steps of each tier, [tiers]."""
        return np.array([self.steps.get(str(tier), 0) for tier in range(tiers)], np.int64)

    def after(self, tier: int, means: Groups) -> "Tiers":
        """This tier has sent these means."""
        sent = {f"{tier}/{name}": values for name, values in means.items()}
        return Tiers({**self.models, **sent}, {**self.steps, str(tier): self.steps.get(str(tier), 0) + 1})

    def mean(self, names: Groups, weights: np.typing.NDArray[np.float64], now: Groups) -> dict[str, FloatArray]:
        """The weighted mean of all tiers' models in these groups; a tier that has sent none has the global one.

        Args:
            names: Groups wanted.
            weights: Of the tiers; they add up to one.
            now: The global model.
        """
        found = {}
        for name in names:
            total = np.zeros_like(now[name])
            for tier, weight in enumerate(weights.tolist()):
                total += np.float32(weight) * self.models.get(f"{tier}/{name}", now[name])
            found[name] = total
        return found
