"""Server optimizers against numbers worked out by hand, torch, and each other."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedsim.model.layout import FloatArray
from fedsim.scenario.server import Server
from fedsim.server.optimizer import ServerState, step, without

FINITE = st.floats(-8.0, 8.0, width=32).filter(lambda x: abs(x) > 2**-20)


def vector(*values: float) -> FloatArray:
    return np.array(values, np.float32)


def changes(server: Server, deltas: Sequence[float]) -> list[float]:
    """How far one parameter moves in each of several rounds whose clients move it by `deltas` in the mean."""
    state: ServerState = {}
    moved = []
    for delta in deltas:
        after, state = step(server, {"head": vector(0.0)}, {"head": vector(delta)}, state)
        moved.append(float(after["head"][0]))
    return moved


# Three changes of 2 with tau = 1 (so the second moment starts at 1), eta = 1 and both betas 1/2. By hand:
# the first moment is 1, 3/2, 7/4 (FedAdagrad has beta_1 = 0 and 2 always), and the second is
#   FedAdagrad 1+4 = 5, 9, 13; FedAdam (1+4)/2 = 5/2, 13/4, 29/8; FedYogi 1+2 = 3, 3+2 = 5, 5-2 = 3.
BY_HAND = {
    "fedadagrad": [2 / (5**0.5 + 1), 2 / (3 + 1), 2 / (13**0.5 + 1)],
    "fedadam": [1 / (2.5**0.5 + 1), 1.5 / (3.25**0.5 + 1), 1.75 / (3.625**0.5 + 1)],
    "fedyogi": [1 / (3**0.5 + 1), 1.5 / (5**0.5 + 1), 1.75 / (3**0.5 + 1)],
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_three_steps_by_hand(kind: str) -> None:
    betas = {} if kind == "fedadagrad" else {"momentum": 0.5, "beta2": 0.5}
    server = Server.model_validate({"kind": kind, "learning_rate": 1.0, "tau": 1.0, **betas})
    assert changes(server, [2.0, 2.0, 2.0]) == pytest.approx(BY_HAND[kind], rel=1e-6)


def test_numbers_of_the_hand_computed_steps() -> None:
    assert BY_HAND["fedadagrad"] == pytest.approx([0.6180340, 0.5, 0.4342585], rel=1e-6)
    assert BY_HAND["fedadam"] == pytest.approx([0.3874259, 0.5351838, 0.6026291], rel=1e-6)
    assert BY_HAND["fedyogi"] == pytest.approx([0.3660254, 0.4635255, 0.6405445], rel=1e-6)


def test_defaults_are_those_of_the_paper() -> None:
    adagrad, yogi = Server(kind="fedadagrad"), Server(kind="fedyogi")
    assert (yogi.eta, yogi.beta1, yogi.beta2, yogi.tau) == (1e-3, 0.9, 0.99, 1e-3)
    assert (adagrad.beta1, Server(kind="sgd").eta, Server(kind="sgd").beta1) == (0.0, 1.0, 0.0)
    # beta_1 = 0.9 and v = tau^2 + 0.01 * 4 after a change of 2 (Yogi), tau^2 + 4 (Adagrad)
    assert changes(yogi, [2.0]) == pytest.approx([1e-3 * 0.2 / ((1e-6 + 0.04) ** 0.5 + 1e-3)], rel=1e-6)
    assert changes(adagrad, [2.0]) == pytest.approx([1e-3 * 2 / ((1e-6 + 4) ** 0.5 + 1e-3)], rel=1e-6)


def test_yogi_leaves_the_second_moment_alone_where_it_is_the_squared_change() -> None:
    server = Server(kind="fedyogi", tau=1.0, learning_rate=1.0, beta2=0.5)
    before, means = {"head": vector(0, 0, 0)}, {"head": vector(1.0, 0.5, 2.0)}
    _, state = step(server, before, means, {})
    # v starts at 1: it stays where the change is 1, falls where it is smaller, rises where it is larger
    assert state["variance/head"].tolist() == [1.0, 1.0 - 0.5 * 0.25, 1.0 + 0.5 * 4.0]


def test_second_moment_may_start_at_zero() -> None:
    adam = Server(kind="fedadam", tau=1.0, learning_rate=1.0, beta2=0.5, momentum=0.0, initial_variance="zero")
    assert changes(adam, [2.0]) == pytest.approx([2 / (2**0.5 + 1)], rel=1e-6)


def test_corrected_adam_is_that_of_torch() -> None:
    deltas = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32)
    server = Server(
        kind="fedadam", learning_rate=0.01, beta2=0.999, bias_correction=True, initial_variance="zero", tau=1e-30
    )
    theirs = torch.zeros(50, requires_grad=True)
    optimizer = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.999), eps=0.0)
    ours, state = {"head": np.zeros(50, np.float32)}, ServerState()
    for delta in deltas:
        ours, state = step(server, ours, {"head": ours["head"] + delta}, state)
        theirs.grad = -torch.from_numpy(delta)
        optimizer.step()
    assert np.abs(ours["head"] - theirs.detach().numpy()).max() < 2e-6
    assert state["steps/head"].tolist() == [6.0]


def test_sgd_with_momentum_is_that_of_torch() -> None:
    deltas = np.random.default_rng(1).normal(size=(6, 50)).astype(np.float32)
    server = Server(kind="sgd", learning_rate=0.3, momentum=0.9)
    theirs = torch.zeros(50, requires_grad=True)
    optimizer = torch.optim.SGD([theirs], lr=0.3, momentum=0.9)
    ours, state = {"head": np.zeros(50, np.float32)}, ServerState()
    for delta in deltas:
        ours, state = step(server, ours, {"head": ours["head"] + delta}, state)
        theirs.grad = -torch.from_numpy(delta)
        optimizer.step()
    assert np.abs(ours["head"] - theirs.detach().numpy()).max() < 1e-5


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20))
def test_sgd_with_a_rate_of_one_is_the_mean_bit_for_bit(pairs: list[tuple[float, float]]) -> None:
    before, mean = (vector(*column) for column in zip(*pairs, strict=True))
    after, state = step(Server(kind="sgd", learning_rate=1.0), {"head": before}, {"head": mean}, {})
    assert after["head"].tobytes() == mean.tobytes()
    assert state == {}


@given(st.lists(FINITE, min_size=1, max_size=5), st.sampled_from(["fedadagrad", "fedyogi", "fedadam"]))
def test_steps_go_the_clients_way_and_no_further_than_the_paper_allows(deltas: list[float], kind: str) -> None:
    server = Server.model_validate({"kind": kind, "learning_rate": 0.5, "momentum": 0.0})
    for moved, delta in zip(changes(server, deltas), deltas, strict=True):
        assert moved * delta > 0
        # m = delta, and the root of v is positive: no step is longer than eta * |delta| / tau
        assert abs(moved) <= 0.5 * abs(delta) / server.tau * 1.0001


def test_average_replaces_and_keeps_nothing() -> None:
    after, state = step(Server(), {"head": vector(1, 2)}, {"head": vector(3, 4)}, {})
    assert (after["head"].tolist(), state) == ([3, 4], {})


def test_groups_have_states_of_their_own_and_what_is_given_stays_as_it_is() -> None:
    server = Server(kind="fedadam", bias_correction=True)
    before = {name: vector(0.0) for name in ("layer.0", "head")}
    _, first = step(server, before, {"head": vector(1.0)}, {})
    kept = {name: values.copy() for name, values in first.items()}
    after, second = step(server, before, {"head": vector(1.0), "layer.0": vector(1.0)}, first)
    assert {name: values.tolist() for name, values in first.items()} == {n: v.tolist() for n, v in kept.items()}
    assert (second["steps/head"][0], second["steps/layer.0"][0]) == (2, 1)
    assert after["layer.0"] == step(server, before, {"layer.0": vector(1.0)}, {})[0]["layer.0"]
    assert before["head"].tolist() == [0.0]
    assert set(without(second, "head")) == {"momentum/layer.0", "variance/layer.0", "steps/layer.0"}


def test_everything_stays_float32() -> None:
    for kind in ("average", "sgd", "fedadagrad", "fedyogi", "fedadam"):
        server = Server.model_validate({"kind": kind} if kind == "average" else {"kind": kind, "momentum": 0.5})
        after, state = step(server, {"head": vector(1.0)}, {"head": vector(2.0)}, {})
        assert {values.dtype for values in (*after.values(), *state.values())} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"learning_rate": 0.1}, "learning_rate"),
        ({"kind": "sgd", "tau": 0.1}, "tau"),
        ({"kind": "fedadagrad", "beta2": 0.9}, "beta2"),
        ({"kind": "fedadagrad", "bias_correction": True}, "bias_correction"),
        ({"kind": "average", "on_new_stage": "reset"}, "on_new_stage"),
    ],
)
def test_options_of_another_optimizer_are_refused(given: dict[str, object], key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key}: goes with kind"):
        Server.model_validate(given)
