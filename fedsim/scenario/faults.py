"""`faults`: what goes wrong on the way, to whom and when; decided by the seed before anything is trained."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Count, Problem, Rate, Text, Whole

Probability = Annotated[float, Strict(), Field(gt=0.0, le=1.0)]


class Fault(Config):
    """Whom a fault strikes: every trip that fits all of these."""

    clients: Annotated[tuple[Whole, ...], Field(min_length=1)] | None = None
    """These clients; null: any."""
    device: Text | None = None
    """Devices of this class; null: any."""
    rounds: Annotated[tuple[Whole, ...], Field(min_length=2, max_length=2)] | None = None
    """Trips that start in these rounds, the first and the last one, counted over the whole method; null: in any."""
    probability: Probability = 1.0
    """Of each such trip."""
    budget: Count | None = None
    """At most so many of the clients who start together; null: all that it strikes."""

    def problems(self) -> Iterator[Problem]:
        """Rounds are in order."""
        if self.rounds is not None and self.rounds[0] > self.rounds[1]:
            yield Problem(("rounds",), f"end with {self.rounds[1]}, before they begin with {self.rounds[0]}")


class Crash(Fault):
    """The device vanishes on the way."""

    kind: Literal["crash"] = "crash"
    at: Rate | None = None
    """After this share of the trip's time; null: half of it, or of the leg."""
    leg: Literal["download", "training", "upload"] | None = None
    """Within this leg of the trip; null: within the whole trip."""


class Slow(Fault):
    """The device computes more slowly than it should."""

    kind: Literal["slow"] = "slow"
    factor: Annotated[float, Strict(), Field(gt=1.0, le=1e6)]
    """So many times."""


class Error(Fault):
    """Local training raises an error."""

    kind: Literal["error"] = "error"


class NotANumber(Fault):
    """The update has a NaN in it."""

    kind: Literal["nan"] = "nan"


class Infinite(Fault):
    """The update has an infinity in it."""

    kind: Literal["inf"] = "inf"


class WrongShape(Fault):
    """A group of the update lacks an entry."""

    kind: Literal["wrong_shape"] = "wrong_shape"


class Corrupted(Fault):
    """Bits of a payload flip on the way."""

    kind: Literal["corrupted"] = "corrupted"
    bits: Annotated[int, Strict(), Field(ge=1, le=31)] = 1
    """How many, within a run of 32."""


class Duplicated(Fault):
    """The update is delivered twice."""

    kind: Literal["duplicated"] = "duplicated"


AnyFault = Annotated[
    Crash | Slow | Error | NotANumber | Infinite | WrongShape | Corrupted | Duplicated, Field(discriminator="kind")
]
