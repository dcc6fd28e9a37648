"""The two sides of a split model against the model in one piece."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fedsim import rng
from fedsim.cost.flops import flops
from fedsim.cost.split import on_client, split_cost
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.layout import initialise, layouts
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import CutType, Split
from fedsim.scenario.phases import Optimizer
from fedsim.training.split import ClientSide, NotFinite, ServerSide, Traffic, step
from tests.cost.oracles import LINEAR, MEAN, MLM, POOLER, TAGS, TINY, TINY_DISTILBERT, work

SPLIT = Split("float32", 1e12)
QUIET = replace(TINY, dropout=0.0)
HEADS = pytest.mark.parametrize("head", [MLM, POOLER, LINEAR, MEAN, TAGS], ids=lambda head: head.kind)
FAMILIES = pytest.mark.parametrize("architecture", [TINY, TINY_DISTILBERT], ids=["bert", "distilbert"])


def shape(architecture: Architecture = TINY, head: Head = MLM) -> LocalShape:
    return LocalShape(architecture, head, 3, (0, 1, 2), True, True)


def load(model: LocalModel) -> LocalModel:
    """Weights by name, so that a model without layers gets the same embeddings and head."""
    a, head = model.shape.architecture, model.shape.head
    groups = {name: initialise(layout, rng.stream(3, name)) for name, layout in layouts(a, head).items()}
    model.load({name: torch.from_numpy(values) for name, values in groups.items()}, tuple(range(model.shape.depth)))
    model.module.train()
    return model


def batch(head: Head, padded: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(5, 200, (4, 9), generator=generator)
    real = torch.arange(9) < torch.tensor([9, 4, 6, 1])[:, None] if padded else None
    if real is not None:
        ids[~real] = 0
    if head.per_sample:
        return Batch(ids, real, None, torch.tensor([0, 3, 1, 12]))
    if head.kind == "tokens":
        targets = torch.where(ids.flatten() > 0, ids.flatten() % 5, -100)
        return Batch(ids, real, None, targets)
    positions = torch.tensor([1, 8, 9, 11, 20])
    return Batch(ids, real, positions, ids.flatten()[positions].clone())


def gradients(model: LocalModel) -> torch.Tensor:
    parts = [part.grad for part in model.parts.values() if part.grad is not None]
    return torch.cat(parts)


def whole(model: LocalModel, given: Batch) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(7)
    loss = model.loss(given)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), gradients(model).clone()


def split(model: LocalModel, given: Batch, cut: CutType = "float32") -> tuple[float, torch.Tensor, Traffic]:
    model.zero_grad()
    torch.manual_seed(7)
    traffic = Traffic()
    loss = step(ClientSide(model, cut), ServerSide(model, cut), given, traffic)
    return loss.item(), gradients(model).clone(), traffic


@FAMILIES
@HEADS
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
def test_loss_and_all_gradients_are_those_of_the_whole_model(
    architecture: Architecture, head: Head, padded: bool
) -> None:
    """Dropout included: both draw the same numbers in the same order."""
    model, given = load(LocalModel(shape(architecture, head))), batch(head, padded)
    wanted, found = whole(model, given), split(model, given)
    assert found[0] == wanted[0]
    assert torch.equal(found[1], wanted[1])
    assert wanted[1].abs().min() == 0 < wanted[1].abs().max()


@HEADS
def test_the_sides_need_only_their_own_parts(head: Head) -> None:
    """A client without layers and a server whose embeddings and head are rubbish train the same."""
    together, given = load(LocalModel(shape(head=head))), batch(head)
    _, wanted = whole(together, given)
    client, server = load(LocalModel(on_client(shape(head=head), SPLIT))), load(LocalModel(shape(head=head)))
    for name in ("embeddings", "head"):
        server.parts[name].flat.fill_(float("nan"))
    torch.manual_seed(7)
    step(ClientSide(client, "float32"), ServerSide(server, "float32"), given, Traffic())
    layers = torch.cat([part.grad for name, part in server.parts.items() if isinstance(name, int)])  # type: ignore[misc]
    ends = {name: part.grad for name, part in client.parts.items()}
    assert torch.equal(torch.cat([ends["embeddings"], layers, ends["head"]]), wanted)  # type: ignore[list-item]
    assert all(not server.parts[name].grad.any() for name in ("embeddings", "head"))  # type: ignore[union-attr]


def test_gradients_of_several_clients_add_up_on_one_body() -> None:
    model, given = load(LocalModel(shape())), [batch(MLM), batch(MLM, padded=False)]
    alone = [split(model, one)[1] for one in given]
    model.zero_grad()
    torch.manual_seed(7)
    client, server = ClientSide(model, "float32"), ServerSide(model, "float32")
    for one in given:
        torch.manual_seed(7)
        step(client, server, one, Traffic())
    assert torch.allclose(gradients(model), alone[0] + alone[1], rtol=1e-6, atol=1e-7)


@HEADS
@pytest.mark.parametrize("cut", ["float32", "bfloat16", "int8"])
def test_what_crosses_is_what_is_priced(head: Head, cut: CutType) -> None:
    given = batch(head)
    _, _, traffic = split(load(LocalModel(shape(head=head))), given, cut)
    price = split_cost(shape(head=head), replace(SPLIT, cut=cut), Optimizer()).price(work(4, 9, len(given.targets)))
    assert [traffic.upload_bytes] == price.cut_upload_bytes.tolist()
    assert [traffic.download_bytes] == price.cut_download_bytes.tolist()
    row = {"float32": 4 * 24, "bfloat16": 2 * 24, "int8": 24 + 4}[cut]
    assert traffic.upload_bytes + traffic.download_bytes == 4 * (4 * 9) * row + 4 * 4


@pytest.mark.parametrize(("cut", "close"), [("bfloat16", 0.02), ("int8", 0.04)])
def test_fewer_bits_change_the_gradients_a_little(cut: CutType, close: float) -> None:
    model = load(LocalModel(shape(QUIET)))
    wanted, found = whole(model, batch(MLM)), split(model, batch(MLM), cut)
    distance = (found[1] - wanted[1]).norm() / wanted[1].norm()
    assert 0 < distance < close
    assert found[0] == pytest.approx(wanted[0], rel=close)


def test_the_server_refuses_numbers_that_are_not_finite_and_keeps_its_gradients() -> None:
    model = load(LocalModel(shape()))
    _, before, _ = split(model, batch(MLM))
    model.parts["embeddings"].flat[:] = float("inf")
    with pytest.raises(NotFinite, match="not finite"):
        step(ClientSide(model, "float32"), ServerSide(model, "float32"), batch(MLM), Traffic())
    own = [part.grad for name, part in model.parts.items() if isinstance(name, int)]
    start = model.parts["embeddings"].layout.size
    layers = torch.cat(own)  # type: ignore[arg-type]
    assert torch.equal(layers, before[start : start + len(layers)])


@FAMILIES
@HEADS
def test_flops_of_each_side_are_those_that_pytorch_dispatches(architecture: Architecture, head: Head) -> None:
    one = shape(architecture, head)
    client, server = ClientSide(LocalModel(on_client(one, SPLIT)), "float32"), ServerSide(LocalModel(one), "float32")
    load(client.model), load(server.model)
    given = batch(head)

    def counted(part: Callable[[], Any]) -> tuple[int, Any]:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
            result = part()
        return mode.get_total_flops(), result

    _, embedded = counted(lambda: client.embed(given))
    server_forward, hidden = counted(lambda: server.forward(embedded))
    with torch.no_grad():
        client_forward, _ = counted(lambda: client.model.answers(hidden.values, given))
    both, (_, gradient) = counted(lambda: client.predict(hidden, given))
    server_backward, below = counted(lambda: server.backward(gradient))
    counted(lambda: client.finish(below))
    counts = [client_forward, both - client_forward, server_forward, server_backward]
    positions = 36 if head.kind == "tokens" else len(given.targets)
    todo = work(4, 9, positions)
    own, cost = flops(on_client(one, SPLIT)), split_cost(one, SPLIT, Optimizer())
    priced = (own.forward, own.backward, cost.server.forward, cost.server.backward)
    assert counts == [int(part.total(todo)[0]) for part in priced]
    total = flops(one)
    assert counts[0] + counts[2] == int(total.forward.total(todo)[0])
    assert counts[1] + counts[3] == int(total.backward.total(todo)[0])
