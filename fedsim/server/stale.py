"""Updates that started from an older model, in a mean with those that did not.

A client that started from model v while the server is at model t has sent w. Under FedBuff it stands for t + c (w - v):
what it changed, scaled by how stale it is. Under FedAsync it stands for (1 - c) t + c w: it is mixed in as it is. What
hosts sum up is w times share times c (or w - v, where changes are sent); here is the rest, for a whole block at once.
With c = 1 and v = t there is none, and the bits are those of a synchronous round.
"""

import numpy as np

from fedsim.model.layout import FloatArray


def carried(
    sums: FloatArray, share: float, scaled: float, now: FloatArray, start: FloatArray, *, mixed: bool, changes: bool
) -> FloatArray:
    """The sum over a block of shares times what its updates stand for; of changes, minus the present model.

    Args:
        sums: Over the block, what clients sent times `share` times c.
        share: Sum of their shares.
        scaled: Sum of their shares times c.
        now: The present model, as clients receive it.
        start: The model that they started from, as they received it.
        mixed: FedAsync's meaning; or FedBuff's.
        changes: They sent how their weights changed.
    """
    if changes:
        return sums + np.float32(scaled) * (start - now) if mixed else sums
    if mixed:
        return sums + np.float32(share - scaled) * now
    return sums + (np.float32(share) * now - np.float32(scaled) * start)
