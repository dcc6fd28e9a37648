"""`participation.selection`: how a cohort is picked."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Count, Flag, Problem, Share

Factor = Annotated[float, Strict(), Field(ge=0.0)]


class Selection(Config):
    """What every way to pick has."""

    stay: Flag = False
    """Pick only clients that will be there for as long as their trip is expected to take."""


class Uniform(Selection):
    """Everybody is equally likely."""

    kind: Literal["uniform"] = "uniform"


class BySamples(Selection):
    """In proportion to numbers of samples."""

    kind: Literal["samples"] = "samples"


class InTurn(Selection):
    """The next by number, then from the first again."""

    kind: Literal["in_turn"] = "in_turn"


class PowerOfChoice(Selection):
    """Out of some candidates, drawn by numbers of samples, those with the highest loss."""

    kind: Literal["power_of_choice"] = "power_of_choice"
    candidates: Count
    """How many are drawn; at least the cohort."""


class Oort(Selection):
    """By usefulness and speed, after Oort."""

    kind: Literal["oort"] = "oort"
    exploration: Share = 0.9
    """Share of a cohort that is new, in the first round."""
    exploration_decay: Share = 0.98
    """Times this from round to round."""
    exploration_least: Share = 0.3
    """Down to this share."""
    clip: Share = 0.9
    """Usefulness above this quantile counts as that."""
    preferred: Share = 0.3
    """Trips longer than this quantile of the known ones are slow."""
    penalty: Factor = 2.0
    """A trip twice as long as preferred divides usefulness by two to the power of this."""
    cut_off: Share = 0.95
    """Drawn are those with at least this share of the usefulness of the last one needed."""
    window: Annotated[float, Strict(), Field(ge=1.0)] = 5.0
    """New clients are drawn among this many times as many as are needed."""

    def problems(self) -> Iterator[Problem]:
        """Exploration goes down."""
        if self.exploration_least > self.exploration:
            yield Problem(
                ("exploration_least",), f"is {self.exploration_least:g}, more than `exploration` ({self.exploration:g})"
            )


AnySelection = Annotated[Uniform | BySamples | InTurn | PowerOfChoice | Oort, Field(discriminator="kind")]
