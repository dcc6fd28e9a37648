"""How much there is to compute for one client in one round, in the numbers that cost depends on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Work:
    """Sums over the batches of each client; every array has shape [clients]. A batch is B samples padded to L tokens.

    With these, any cost that is linear in B, quadratic in L and linear in the number of positions that the
    head is evaluated at can be priced without looking at a batch again.
    """

    batches: IntArray
    """Batches, which is also the number of optimizer steps."""
    samples: IntArray
    """Sum of B."""
    tokens: IntArray
    """Sum of B * L, padding included."""
    real_tokens: IntArray
    """Tokens without padding."""
    squared_tokens: IntArray
    """Sum of B * L * L."""
    positions: IntArray
    """Positions the head is evaluated at: masked ones (MLM), all (MLM at all positions, token labels), or B."""
    largest_batch: IntArray
    """[clients, 3]: B, L and head positions of the batch with the most activations."""
