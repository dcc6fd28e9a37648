"""Virtual time: how long a client's trip takes, and who is back when the round closes."""

from fedsim.clock.synchronous import play
from fedsim.clock.trips import OUTCOMES, Durations, Outcome, Trips, durations, energy

__all__ = ["OUTCOMES", "Durations", "Outcome", "Trips", "durations", "energy", "play"]
