"""What an update counts that the server has meanwhile made steps without."""

import numpy as np

from fedsim.data.work import IntArray
from fedsim.fleet.devices import FloatArray
from fedsim.scenario.policy import Asynchronous, Buffered


def buffered(how: Buffered, staleness: IntArray) -> FloatArray:
    """(1 + s)^-exponent; Nguyen et al. 2022 (FedBuff, section 5) take 1 / sqrt(1 + s). Shape [n]."""
    weights: FloatArray = np.power(1.0 + staleness, -how.staleness_exponent)
    return weights


def mixing(how: Asynchronous, staleness: IntArray) -> FloatArray:
    """The weight of a client's model in the next global one (FedAsync, Xie et al. 2019, section 5.2), [n]."""
    if how.staleness == "constant":
        return np.full(len(staleness), how.mixing)
    if how.staleness == "polynomial":
        polynomial: FloatArray = how.mixing * np.power(1.0 + staleness, -how.exponent)
        return polynomial
    over = np.maximum(staleness - how.hinge_after, 0)
    hinge: FloatArray = how.mixing / (how.hinge_slope * over + 1.0)
    return hinge


def tiers(steps: IntArray, how: str) -> FloatArray:
    """How much the model of each tier, fastest first, counts in the global one; they add up to one. Shape [tiers].

    With `slow_first` after Chai et al. 2021 (FedAT, section 4.2): the m-th tier from one end counts as many as the m-th
    from the other end has made steps, so that slow tiers are heard. One step is added to each number, or else the first
    step of the fastest tier would count nothing.
    """
    if how == "equal":
        return np.full(len(steps), 1.0 / len(steps))
    counts = (steps + 1.0)[::-1]
    shares: FloatArray = counts / counts.sum()
    return shares
