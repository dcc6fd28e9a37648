from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from fedsim.cost.flops import flops
from fedsim.cost.memory import peak_polynomial
from fedsim.cost.parameters import group_sizes
from fedsim.cost.split import SplitCost, on_client, split_cost
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.local import Batch, LocalModel
from fedsim.plan import CutType, Split, full
from fedsim.scenario.phases import Optimizer
from fedsim.training.split import ClientSide
from fedsim.wire.cut import pack
from tests.cost.oracles import BERT_BASE, LINEAR, MEAN, MLM, POOLER, TAGS, TINY, positions_of, work

SPLIT = Split("float32", 1e12)
CUTS: tuple[CutType, ...] = ("float32", "bfloat16", "int8")
HEADS = pytest.mark.parametrize("head", [MLM, POOLER, LINEAR, MEAN, TAGS], ids=lambda head: head.kind)


def shape(architecture: Architecture = BERT_BASE, head: Head = MLM) -> LocalShape:
    return LocalShape.of(architecture, head, full(architecture.layers))


def cost_of(shape: LocalShape, cut: CutType) -> SplitCost:
    return split_cost(shape, replace(SPLIT, cut=cut), Optimizer())


@pytest.mark.parametrize(
    ("samples", "length", "megabytes", "steps"),
    [(16, 512, 100.7, Fraction(870, 100)), (32, 128, 50.3, Fraction(1741, 100))],
)
def test_bytes_of_a_step_of_bert_base(samples: int, length: int, megabytes: float, steps: Fraction) -> None:
    price = cost_of(shape(), "float32").price(work(samples, length, 20 * samples))
    tensors = 4 * samples * length * 768 * 4
    assert price.cut_download_bytes.tolist() == [tensors // 2]
    assert price.cut_upload_bytes.tolist() == [tensors // 2 + 4 * samples]
    assert price.messages.tolist() == [4]
    assert round(tensors / 1e6, 1) == megabytes
    # where it overtakes FedAvg, which sends the model once each way
    model = sum(size.bytes for size in group_sizes(BERT_BASE, MLM).values())
    assert 2 * model == 876_114_384
    assert round(Fraction(2 * model, tensors), 2) == steps


def test_smaller_numbers_cross_in_fewer_bytes() -> None:
    one = work(16, 512, 320)
    up = {cut: int(cost_of(shape(), cut).price(one).cut_upload_bytes[0]) - 64 for cut in CUTS}
    assert up["bfloat16"] * 2 == up["float32"]
    assert up["int8"] == 2 * 16 * 512 * (768 + 4)


@HEADS
def test_both_sides_compute_what_the_whole_model_does(head: Head) -> None:
    one = shape(head=head)
    whole, client, server = flops(one), flops(on_client(one, SPLIT)), cost_of(one, "int8").server
    assert client.forward + server.forward == whole.forward
    assert client.backward + server.backward == whole.backward
    assert client.forward.token == client.backward.squared_token == 0
    assert server.forward.position == server.backward.position == 0
    assert server.backward == server.forward + server.forward


@HEADS
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_memory_of_the_client_is_what_it_holds_before_its_backward(head: Head, dropout: float) -> None:
    """Weights, gradients, optimizer, what autograd saved, and the two messages in hand."""
    architecture = Architecture("bert", 211, 24, 3, 3, 40, 64, dropout)
    one, optimizer = shape(architecture, head), Optimizer()
    samples, length, masked = 3, 7, 5
    positions = positions_of(head, samples, length, masked)
    client = ClientSide(LocalModel(on_client(one, SPLIT)), "float32")
    for part in client.model.parts.values():
        part.flat.zero_()
    client.model.module.train()
    ids = torch.zeros(samples, length, dtype=torch.long)
    index = torch.zeros(positions, dtype=torch.long)
    real = torch.ones(samples, length, dtype=torch.bool)
    given = Batch(ids, real, index if head.kind == "mlm" else None, torch.zeros_like(index))
    own = {
        tensor.untyped_storage().data_ptr()
        for tensor in (*client.model.module.parameters(), *client.model.module.buffers())
    }
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage
        return tensor

    states = pack(torch.zeros(samples, length, 24), "float32")
    received = states.values.untyped_storage().data_ptr()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        client.embed(given)
        client.predict(states, given)
    saved.pop(received, None)
    held = sum(storage.nbytes() for storage in saved.values()) + 2 * samples * length * 24 * 4
    parameters = sum(part.layout.size for part in client.model.parts.values())
    found = peak_polynomial(on_client(one, SPLIT), optimizer).at(
        np.array([[samples, length, masked if head.kind == "mlm" else 0]])
    )
    assert int(found[0]) == held + 4 * 4 * parameters


@pytest.mark.slow
def test_a_client_of_bert_base_needs_a_fraction_of_the_memory() -> None:
    batch = np.array([[16, 128, 320]])
    whole = peak_polynomial(shape(), Optimizer()).at(batch)[0]
    client = peak_polynomial(on_client(shape(), SPLIT), Optimizer()).at(batch)[0]
    assert 4 < whole / client < 20


def test_a_client_builds_no_layers() -> None:
    model = LocalModel(on_client(shape(TINY), SPLIT))
    assert set(model.parts) == {"embeddings", "head"}
