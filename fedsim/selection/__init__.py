"""Who is asked to take part: pure functions of a random stream, columns, and who is able to."""

from fedsim.selection.draws import Able, Weights, uniform, weighted
from fedsim.selection.oort import Oort, Record, oort
from fedsim.selection.policies import in_turn, power_of_choice, replayed, staying

__all__ = [
    "Able",
    "Oort",
    "Record",
    "Weights",
    "in_turn",
    "oort",
    "power_of_choice",
    "replayed",
    "staying",
    "uniform",
    "weighted",
]
