"""From the clients' means to the next global model."""

from collections.abc import Collection, Mapping

import numpy as np

from fedsim.errors import FedsimError
from fedsim.model.layout import FloatArray
from fedsim.plan import CONTROL
from fedsim.scenario.server import Server
from fedsim.server import optimizer
from fedsim.server.optimizer import ServerState
from fedsim.server.parameters import GlobalModel


def step(
    server: Server,
    model: GlobalModel,
    changed: Collection[str],
    means: Mapping[str, FloatArray],
    state: ServerState,
) -> tuple[GlobalModel, ServerState]:
    """The model and the server's state after a round; those given stay as they are.

    Args:
        server: how means become the model.
        model: before the round.
        changed: groups that somebody sent.
        means: the weighted mean of what was sent, for each of them, and what control variates move by; empty in price
            mode.
        state: what the server kept.

    Raises:
        FedsimError: the step was so long that the model is no longer finite.
    """
    weights = {name: values for name, values in means.items() if not name.startswith(CONTROL)}
    with np.errstate(over="ignore", invalid="ignore"):
        after, kept = optimizer.step(server, model.groups, weights, state)
        for name, values in after.items():
            if not np.isfinite(values.sum(dtype=np.float64)):
                raise FedsimError(f"the server's step left no finite {name}: lower server.learning_rate")
    # c moves by the sum of the clients' changes over the number of all clients (Karimireddy et al. 2020, algorithm 1)
    controls = {name: values for name, values in means.items() if name not in weights}
    moved = {name: state[name] + values if name in state else values for name, values in controls.items()}
    return model.updated(changed, after), kept | moved


def begin(server: Server, state: ServerState, replaced: Collection[str], *, forget: bool) -> ServerState:
    """What the server still knows when a stage begins.

    A state is made of changes, so it goes with the weights that changed: groups with new numbers lose theirs, and all
    groups do when a phase begins, which learns something else.

    Args:
        server: may ask to forget everything in every stage.
        state: at the end of the last stage.
        replaced: groups that the new stage begins with other numbers in.
        forget: the stage is the first of its phase, or the method starts afresh with it.
    """
    if forget or server.on_new_stage == "reset":
        return {}
    for group in replaced:
        state = optimizer.without(state, group)
    return state
