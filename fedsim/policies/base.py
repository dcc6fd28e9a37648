"""The seam between a method's run and the policy that its participation names."""

from typing import NamedTuple, Protocol

from fedsim.clock.trips import Trips
from fedsim.data.work import IntArray
from fedsim.fleet.devices import FloatArray
from fedsim.rounds import Cohort, Flights, State, Turn
from fedsim.server.parameters import GlobalModel


class Play(NamedTuple):
    """The trips that ended in a round, and what became of each."""

    cohort: Cohort
    trips: Trips
    flights: Flights = Flights()
    """Trips that are still under way."""
    tier: int = -1
    """Whose round it was, where clients of like speed have rounds of their own; -1: everybody's."""


class Policy(Protocol):
    """Plays rounds on the clock. A round is what leads to one step of the server."""

    mixed: bool
    """An update is mixed into the global model as it is; otherwise how it changed the model that it started from."""

    def play(self, turn: Turn, model: GlobalModel, state: State, now_s: float) -> Play:
        """The trips that end in a round, and those that go on.

        Args:
            turn: The round.
            model: What clients who start in it are sent.
            state: Of the method, as the last round left it; it stays as it is.
            now_s: When the round opens.
        """

    def weights(self, staleness: IntArray) -> FloatArray:
        """What updates of this age, in steps of the server, are multiplied by; [n]."""
