"""Clients that train one body: who fails is told, and does no harm."""

from collections.abc import Callable, Iterator

import pytest
import torch

from fedsim.cost.split import on_client
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import Split
from fedsim.scenario.phases import Optimizer
from fedsim.training.split import NotFinite
from fedsim.training.together import Member, Settings, lockstep, relay
from fedsim.training.update import OptimizerState, train

from ..cost.oracles import MLM
from .test_split import QUIET, batch, load, shape

ADAMW = Settings(Optimizer(learning_rate=1e-2), 1e-2, None, "float32", autocast=False)
SGD = Settings(Optimizer(kind="sgd", learning_rate=0.1), 0.1, None, "float32", autocast=False)


def model() -> LocalModel:
    return load(LocalModel(shape(QUIET)))


def flat(one: LocalModel, layers_only: bool = False) -> torch.Tensor:
    return torch.cat([p.flat for name, p in one.parts.items() if not layers_only or isinstance(name, int)])


def steps(*given: Batch) -> Callable[[], Iterator[Batch]]:
    return lambda: iter(given)


def broken() -> Iterator[Batch]:
    yield batch(MLM)
    raise OSError("the disk is gone")


def poisoned(one: LocalModel) -> Callable[[], Iterator[Batch]]:
    """After a step, the client's embeddings are not finite any more."""

    def batches() -> Iterator[Batch]:
        yield batch(MLM)
        one.parts["embeddings"].flat[:] = float("inf")
        yield batch(MLM)

    return batches


EMPTY = Batch(torch.full((2, 8), 7), None, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize("hand_on", [True, False], ids=["handed on", "anew"])
@pytest.mark.parametrize("settings", [ADAMW, SGD], ids=["adamw", "sgd"])
def test_a_relay_goes_on_as_if_those_who_fail_had_never_had_their_turn(settings: Settings, hand_on: bool) -> None:
    one, other = model(), model()
    good = [batch(MLM), batch(MLM, padded=False)]
    members = [
        Member(0, steps(good[0], EMPTY)),
        Member(1, broken),
        Member(2, poisoned(one)),
        Member(3, steps(*good)),
    ]
    left = relay(one, members, settings, {}, hand_on=hand_on)
    wanted = relay(other, [Member(0, steps(good[0])), Member(3, steps(*good))], settings, {}, hand_on=hand_on)
    assert torch.equal(flat(one), flat(other))
    assert left.keys() == wanted.keys()
    assert all(torch.equal(left[name], wanted[name]) for name in wanted)
    errors = [member.error for member in members]
    assert errors[0] is None is errors[3]
    assert isinstance(errors[1], OSError)
    assert isinstance(errors[2], NotFinite)
    assert any(name.startswith("client/") for name in left) == (hand_on and settings is ADAMW)


def test_a_relay_goes_on_from_its_state() -> None:
    whole, halves = model(), model()
    given = [batch(MLM), batch(MLM, padded=False)]
    relay(whole, [Member(0, steps(given[0])), Member(1, steps(given[1]))], ADAMW, {}, hand_on=True)
    state: OptimizerState = {}
    for one in given:
        state = relay(halves, [Member(0, steps(one))], ADAMW, state, hand_on=True)
    assert torch.equal(flat(whole), flat(halves))


def test_lockstep_is_one_step_along_the_sum_of_all_gradients() -> None:
    given = [batch(MLM), batch(MLM, padded=False)]
    body = model()
    clients = [load(LocalModel(on_client(shape(QUIET), Split("float32", 1.0)))) for _ in given]
    members = [Member(i, steps(one)) for i, one in enumerate(given)]
    lockstep(clients, body, members, SGD, [{}, {}], {}, lambda client, step: None)
    start, moved = flat(model(), layers_only=True), torch.zeros(())
    for one, client, member in zip(given, clients, members, strict=True):
        alone = model()
        update = train(alone, [one], SGD.optimizer, learning_rate=0.1)
        moved = moved + (flat(alone, layers_only=True) - start)
        assert torch.equal(client.parts["head"].flat, alone.parts["head"].flat)
        assert torch.equal(client.parts["embeddings"].flat, alone.parts["embeddings"].flat)
        assert member.update({}).loss == pytest.approx(update.loss, rel=1e-6)
    assert torch.allclose(flat(body, layers_only=True) - start, moved, rtol=1e-4, atol=1e-6)


def test_in_lockstep_the_others_go_on_without_those_who_fail() -> None:
    body, seeds = model(), list[tuple[int, int]]()
    clients = [load(LocalModel(on_client(shape(QUIET), Split("float32", 1.0)))) for _ in range(4)]
    long = [batch(MLM)] * 3
    members = [
        Member(0, steps(*long)),
        Member(1, broken),
        Member(2, poisoned(clients[2])),
        Member(3, steps(EMPTY, batch(MLM))),
    ]
    lockstep(clients, body, members, ADAMW, [{}] * 4, {}, lambda *key: seeds.append(key))
    assert [type(member.error) for member in members] == [type(None), OSError, NotFinite, type(None)]
    assert seeds == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (3, 1), (0, 2)]
    assert torch.isfinite(flat(body).sum())
    assert members[3].targets == 5


def test_a_body_that_is_not_finite_is_everybodys_failure() -> None:
    wild = Settings(Optimizer(kind="sgd", learning_rate=1e30), 1e30, None, "float32", autocast=False)
    one = model()
    client = load(LocalModel(on_client(shape(QUIET), Split("float32", 1.0))))
    member = Member(0, steps(batch(MLM), batch(MLM)))
    lockstep([client], one, [member], wild, [{}], {}, lambda client, step: None)
    assert isinstance(member.error, NotFinite)


@pytest.mark.parametrize("clip", [0.01, 1e9])
def test_each_side_clips_its_own_gradient(clip: float) -> None:
    settings = Settings(Optimizer(kind="sgd", learning_rate=1.0), 1.0, clip, "float32", autocast=False)
    one, before = model(), model()
    relay(one, [Member(0, steps(batch(MLM)))], settings, {}, hand_on=False)
    alone = model()
    train(alone, [batch(MLM)], settings.optimizer, learning_rate=1.0, clip_norm=clip, cut="float32")
    assert torch.equal(flat(one), flat(alone))
    for ends in (True, False):
        names = [name for name in one.parts if isinstance(name, str) == ends]
        moved = torch.cat([one.parts[name].flat - before.parts[name].flat for name in names]).norm().item()
        assert (moved == pytest.approx(clip, rel=1e-3)) == (clip < 1)
