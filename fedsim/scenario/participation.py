"""The `participation` section of a phase: who takes part in a round, and how long the server waits."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, Strict

from fedsim.scenario.base import Config, Count, Positive, Problem, Whole
from fedsim.scenario.policy import Asynchronous, Buffered, Policy, Synchronous, Tiered
from fedsim.scenario.selection import AnySelection, InTurn, PowerOfChoice, Uniform

Quantile = Annotated[float, Strict(), Field(gt=0.0, le=1.0)]

Late = Literal["drop", "partial"]
"""What a client does that cannot do all of its work before the deadline."""


class Participation(Config):
    """Who takes part in a round, and how long the server waits."""

    clients_per_round: Count
    """Updates the server wants each round."""
    over_selection: Annotated[float, Strict(), Field(ge=1.0)] = 1.0
    """The cohort is this many times larger; the first to arrive count, the rest are `late`."""
    policy: Policy = Synchronous()
    """When the server takes in updates."""
    deadline_s: Positive | None = None
    """Trips that take longer are `late`; null: the server waits."""
    deadline_quantile: Quantile | None = None
    """Instead of `deadline_s`: this quantile of the lengths that the trips of the cohort are expected to have."""
    quorum: Count = 1
    """With fewer updates than this a round is given up, and those that came are `unused`."""
    max_empty_rounds: Count = 10
    """After so many rounds in a row without a usable update the run stops."""
    late: Late = "drop"
    """A client too slow for the deadline comes to nothing, or hands in the batches that it has time for (`partial`)."""
    cohorts: tuple[tuple[Whole, ...], ...] | None = None
    """Cohorts to replay instead of drawing them, one a round."""
    selection: AnySelection = Uniform()
    """How the cohort is picked among the clients that are there."""

    @property
    def most_clients(self) -> int:
        """Clients that may be under way at the same time."""
        if isinstance(self.policy, Buffered | Asynchronous):
            return self.policy.concurrency
        return self.cohort_clients * (self.policy.tiers if isinstance(self.policy, Tiered) else 1)

    @property
    def cohort_clients(self) -> int:
        """Clients drawn for a round: `clients_per_round` times `over_selection`, rounded up."""
        # Rounded first: 10 * 1.1 is 11.000000000000002, and nobody means 12.
        return math.ceil(round(self.clients_per_round * self.over_selection, 9))

    def problems(self) -> Iterator[Problem]:
        """Replayed cohorts are sets of clients, and need no over-selection; only a deadline makes a client late."""
        if self.deadline_s is not None and self.deadline_quantile is not None:
            yield Problem(("deadline_quantile",), "give either deadline_s or deadline_quantile, not both")
        if self.quorum > self.clients_per_round:
            yield Problem(("quorum",), f"is {self.quorum}, more than clients_per_round ({self.clients_per_round})")
        yield from self._policy_problems()
        if self.late == "partial" and self.deadline_s is None and self.deadline_quantile is None:
            yield Problem(("late",), "is partial, but without `deadline_s` nobody is late: set one")
        for index, cohort in enumerate(self.cohorts or ()):
            if not cohort or len(set(cohort)) != len(cohort):
                yield Problem(("cohorts", index), "must list at least one client, and each only once")
        if self.cohorts is not None and self.changed("over_selection"):
            yield Problem(("over_selection",), "is not used where `cohorts` are given: list the larger cohorts there")
        if self.cohorts is not None and self.selection != Uniform():
            yield Problem(("selection",), "is not used where `cohorts` are given")
        overlapping = isinstance(self.policy, Buffered | Asynchronous)
        asked = self.most_clients if overlapping else self.cohort_clients
        if isinstance(self.selection, PowerOfChoice) and self.selection.candidates < asked:
            what = "policy.concurrency" if overlapping else "the cohort"
            few = f"is {self.selection.candidates}, {what} is {asked}: draw at least as many"
            yield Problem(("selection", "candidates"), few)

    def _policy_problems(self) -> Iterator[Problem]:
        """Every policy has keys of its own."""
        kind = self.policy.kind
        if isinstance(self.policy, Buffered | Asynchronous):
            for name in ("over_selection", "deadline_s", "deadline_quantile", "quorum", "late", "cohorts"):
                if self.changed(name):
                    yield Problem((name,), f"goes with policy: synchronous, and not with {kind}: remove it")
            if self.policy.concurrency < self.clients_per_round:
                few = f"is {self.policy.concurrency}, less than clients_per_round ({self.clients_per_round})"
                yield Problem(("policy", "concurrency"), few)
        if isinstance(self.policy, Asynchronous) and self.clients_per_round != 1:
            yield Problem(
                ("clients_per_round",),
                f"is {self.clients_per_round}; with policy: asynchronous every step is of 1 update (or take: buffered)",
            )
        if isinstance(self.policy, Tiered) and isinstance(self.selection, InTurn):
            yield Problem(("selection",), "is in_turn, which goes round all clients: with tiered, take another kind")
        if isinstance(self.policy, Tiered) and self.cohorts is not None:
            yield Problem(("cohorts",), "goes with policy: synchronous, and not with tiered: remove it")
