"""Server optimizers: one step of the global model along the mean of the clients' changes.

Reddi et al., *Adaptive Federated Optimization*, ICLR 2021, algorithms 1 and 2; SGD with momentum is FedAvgM (Hsu, Qi,
Brown 2019). All of it is arithmetic on the groups' float32 vectors, entry by entry, without torch.
"""

from collections.abc import Mapping

import numpy as np

from fedsim.model.layout import FloatArray
from fedsim.scenario.server import Server

ServerState = dict[str, FloatArray]
"""What the server keeps of each group: `momentum/GROUP`, `variance/GROUP` of the group's size, `steps/GROUP` [1]."""


def step(
    server: Server, before: Mapping[str, FloatArray], means: Mapping[str, FloatArray], state: ServerState
) -> tuple[dict[str, FloatArray], ServerState]:
    """The groups after a step, and what the server keeps for the next one; nothing that is given changes.

    A group is stepped in the rounds in which somebody sends it, and counts its own steps. A group without a state
    starts one, so a method may train other groups in every stage.

    Args:
        server: kind and constants.
        before: the groups that the clients started from.
        means: weighted mean of the weights that came back, for each group that somebody sent.
        state: what the last step left.
    """
    if server.kind == "average":
        return dict(means), state
    after, kept = {}, dict(state)
    for name, mean in means.items():
        delta = mean - before[name]
        if server.kind == "sgd":
            after[name] = _sgd(server, name, mean, delta, kept)
        else:
            after[name] = before[name] + _adaptive(server, name, delta, kept)
    return after, kept


def without(state: ServerState, group: str) -> ServerState:
    """The state with nothing known of this group, for weights that are not what they were."""
    return {name: values for name, values in state.items() if name.partition("/")[2] != group}


def _sgd(server: Server, name: str, mean: FloatArray, delta: FloatArray, state: ServerState) -> FloatArray:
    """``w + eta * b`` with ``b = momentum * b + delta``, written from the mean upwards.

    Since the mean is w + delta, both are the same; from here, eta = 1 without momentum gives the mean to the last bit.
    """
    if not server.beta1:
        return mean + (server.eta - 1.0) * delta
    buffer = state.get(f"momentum/{name}")
    state[f"momentum/{name}"] = buffer = delta if buffer is None else server.beta1 * buffer + delta
    return mean + (server.eta * buffer - delta)


def _adaptive(server: Server, name: str, delta: FloatArray, state: ServerState) -> FloatArray:
    """``eta * m / (sqrt(v) + tau)`` (algorithm 2)."""
    beta1, beta2 = server.beta1, server.beta2
    momentum, variance = state.get(f"momentum/{name}"), state.get(f"variance/{name}")
    if momentum is None or variance is None:
        first = server.tau**2 if server.initial_variance == "tau_squared" else 0.0
        momentum, variance = np.zeros_like(delta), np.full_like(delta, first)
    squared = delta * delta
    momentum = beta1 * momentum + (1.0 - beta1) * delta
    if server.kind == "fedadagrad":
        variance = variance + squared
    elif server.kind == "fedyogi":
        variance = variance - (1.0 - beta2) * squared * np.sign(variance - squared)
    else:
        variance = beta2 * variance + (1.0 - beta2) * squared
    state[f"momentum/{name}"], state[f"variance/{name}"] = momentum, variance
    eta = server.eta
    if server.bias_correction:
        steps = float(state.get(f"steps/{name}", np.zeros(1, np.float32))[0]) + 1.0
        state[f"steps/{name}"] = np.array([steps], np.float32)
        eta *= (1.0 - beta2**steps) ** 0.5 / (1.0 - beta1**steps)
    return np.asarray(eta * momentum / (np.sqrt(variance) + server.tau), np.float32)
