"""When devices can take part: always, at random by day and night, as recorded, or under several conditions."""

from fedsim.fleet.availability.base import Always, Availability, next_change_s, next_s
from fedsim.fleet.availability.conditions import AllOf
from fedsim.fleet.availability.local_time import LocalTime, local_offsets_s
from fedsim.fleet.availability.markov import Markov, Stretch
from fedsim.fleet.availability.recorded import Intervals, Recorded

__all__ = [
    "AllOf",
    "Always",
    "Availability",
    "Intervals",
    "LocalTime",
    "Markov",
    "Recorded",
    "Stretch",
    "local_offsets_s",
    "next_change_s",
    "next_s",
]
