import pytest
import torch
from torch import nn

from fedsim.model.embedding import Embedding, lookup, use_direct_gradients

IDS = torch.tensor([[1, 4, 4, 0], [2, 0, 1, 4]])


@pytest.mark.parametrize("padding", [None, 0, 4])
def test_gradient_is_that_of_the_table_of_torch_added_to_what_is_there(padding: int | None) -> None:
    plain = nn.Embedding(6, 3, padding_idx=padding)
    direct = nn.Embedding(6, 3, padding_idx=padding)
    direct.weight = nn.Parameter(plain.weight.detach().clone())
    use_direct_gradients(direct)
    slopes = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    for table in (plain, direct):
        table.weight.grad = torch.full((6, 3), 0.5)
        found = table(IDS)
        assert torch.equal(found, plain.weight[IDS])
        (found * slopes).sum().backward()
    assert type(direct) is Embedding
    assert plain.weight.grad is not None
    assert direct.weight.grad is not None
    assert (plain.weight.grad != 0.5).any()
    torch.testing.assert_close(direct.weight.grad, plain.weight.grad)


def test_each_client_has_its_own_table() -> None:
    tables = nn.Parameter(torch.randn(2, 6, 3))
    tables.grad = torch.zeros_like(tables)
    found = lookup(IDS.view(2, 1, 4), tables, 0)
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    for client in range(2):
        alone = nn.Embedding(6, 3, padding_idx=0)
        alone.weight = nn.Parameter(tables[client].detach().clone())
        wanted = alone(IDS[client : client + 1])
        assert torch.equal(found[client], wanted)
        wanted.square().sum().backward()
        assert alone.weight.grad is not None
        torch.testing.assert_close(tables.grad[client], alone.weight.grad)


def test_a_frozen_table_is_left_to_torch() -> None:
    table = nn.Embedding(6, 3)
    table.weight.requires_grad_(False)
    use_direct_gradients(table)
    assert not table(IDS).requires_grad
    assert table.weight.grad is None
