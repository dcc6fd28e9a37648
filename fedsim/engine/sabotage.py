"""What faults do to an update on its way, for the server's checks to find."""

import math

import numpy as np

from fedsim.engine.tasks import Sabotage
from fedsim.model.part import Weights
from fedsim.plan import PartName

RUN_BITS = 32
"""Flipped bits lie within a run of so many."""


def prevent(what: Sabotage | None) -> None:
    """Keep a client from training, where that is what happens to it.

    Raises:
        RuntimeError: It is.
    """
    if what is not None and what.kind == "error":
        raise RuntimeError("local training was made to fail")


def spoil(model: Weights, private: tuple[PartName, ...], what: Sabotage | None) -> None:
    """Put a number that is not finite into the topmost part that is trained and sent, where that is what happens."""
    number = None if what is None else {"nan": math.nan, "inf": math.inf}.get(what.kind)
    if number is not None:
        sent = [part for name, part in model.trained.items() if name not in private]
        sent[-1].flat[-1] = number


def deliveries(what: Sabotage | None) -> int:
    """How often an update comes."""
    return 2 if what is not None and what.kind == "duplicated" else 1


def flip(payload: bytes, bits: int, draw: np.random.Generator) -> bytes:
    """A payload with some of its bits flipped, different ones, within a run of 32; where it is shorter, within it."""
    damaged = np.unpackbits(np.frombuffer(payload, np.uint8))
    run = min(RUN_BITS, len(damaged))
    start = int(draw.integers(len(damaged) - run + 1))
    damaged[start + draw.choice(run, min(bits, run), replace=False)] ^= 1
    return np.packbits(damaged).tobytes()
