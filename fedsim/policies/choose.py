"""The policy that a phase's participation names."""

from fedsim.policies.base import Policy
from fedsim.policies.ground import Ground
from fedsim.policies.overlapping import Overlapping
from fedsim.policies.synchronous import Synchronous
from fedsim.policies.tiered import Tiered
from fedsim.rounds import Turn
from fedsim.scenario import policy as specs


def choose(turn: Turn, ground: Ground) -> Policy:
    """The policy of a turn's phase; a method that pools its clients' data has nobody to wait for."""
    how = turn.phase.config.participation.policy
    if ground.cohorts.prepared.method.pooled or isinstance(how, specs.Synchronous):
        return Synchronous(ground)
    return Tiered(ground, how) if isinstance(how, specs.Tiered) else Overlapping(ground, how)
