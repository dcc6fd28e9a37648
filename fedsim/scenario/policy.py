"""`participation.policy`: when the server takes in updates, and makes a new model of them."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Count, NonNegative, Problem, Whole

Several = Annotated[int, Strict(), Field(ge=2)]
Mixing = Annotated[float, Strict(), Field(gt=0.0, le=1.0)]


class Synchronous(Config):
    """Everybody starts together, and the server waits for `clients_per_round` of them."""

    kind: Literal["synchronous"] = "synchronous"


class Overlapping(Config):
    """What all policies have under which updates may be older than the model that they meet."""

    max_staleness: Whole | None = None
    """An update is unused if the server has made more steps than this since its client started; null: no limit."""
    older_stage: Literal["discard", "map"] = "discard"
    """An update that was begun in an older stage is unused, or counts for those of its groups that this stage trains
    and that have not been replaced."""


class Buffered(Overlapping):
    """FedBuff: a new client starts whenever one is back, and the server makes a step of every `clients_per_round`."""

    kind: Literal["buffered"] = "buffered"
    concurrency: Count
    """Clients that are under way at any time."""
    staleness_exponent: NonNegative = 0.5
    """An update that is s steps old counts (1 + s) to the power of minus this; 0: like a new one."""


class Asynchronous(Overlapping):
    """FedAsync: as `buffered`, with a step for every single update, which is mixed into the global model."""

    kind: Literal["asynchronous"] = "asynchronous"
    concurrency: Count
    """Clients that are under way at any time."""
    mixing: Mixing = 0.6
    """Weight of a new update; the rest is that of the global model."""
    staleness: Literal["constant", "polynomial", "hinge"] = "polynomial"
    """What the weight of an update that is s steps old is multiplied by: 1; (1 + s)^-`exponent`; or 1 up to
    `hinge_after` steps, then 1 / (`hinge_slope` (s - `hinge_after`) + 1)."""
    exponent: NonNegative = 0.5
    """Of `polynomial`."""
    hinge_slope: NonNegative = 10.0
    """Of `hinge`."""
    hinge_after: Whole = 4
    """Of `hinge`."""

    def problems(self) -> Iterator[Problem]:
        """Nothing is set that this staleness does not look at."""
        for name, kind in (("exponent", "polynomial"), ("hinge_slope", "hinge"), ("hinge_after", "hinge")):
            if self.changed(name) and self.staleness != kind:
                yield Problem((name,), f"goes with staleness: {kind}; staleness is {self.staleness}")


class Tiered(Overlapping):
    """FedAT: clients of like speed make up a tier; each tier has synchronous rounds of its own, a step each."""

    kind: Literal["tiered"] = "tiered"
    tiers: Several = 3
    """Tiers of equal size, by expected length of a trip."""
    weighting: Literal["slow_first", "equal"] = "slow_first"
    """`slow_first`: the tier that has made the fewest steps counts as much as the one with the most has made, the next
    one as the second most, and so on; `equal`: every tier counts the same."""


Policy = Annotated[Synchronous | Buffered | Asynchronous | Tiered, Field(discriminator="kind")]
