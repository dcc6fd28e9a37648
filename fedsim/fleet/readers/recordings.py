"""What every reader of recorded availability gives: intervals of several devices, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedsim.fleet.availability.recorded import Intervals

Spans = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recorded devices."""

    intervals: Intervals
    names: tuple[str, ...]
    """What each recording is called in its file, [recordings]."""
    left_out: tuple[str, ...] = ()
    """Recordings of the file that cannot be used."""
