"""From the clients' means to the next global model."""

from collections.abc import Iterable, Mapping

from fedsim.model.layout import FloatArray
from fedsim.server.parameters import GlobalModel

ServerState = dict[str, FloatArray]
"""What the server keeps from step to step, by name."""


def step(
    model: GlobalModel, changed: Iterable[str], means: Mapping[str, FloatArray], state: ServerState
) -> tuple[GlobalModel, ServerState]:
    """The model and the server's state after a round; those given stay as they are.

    Args:
        model: before the round.
        changed: groups that somebody sent.
        means: the weighted mean of what was sent, for each of them; empty in price mode.
        state: what the server kept.
    """
    return model.updated(changed, means), state
