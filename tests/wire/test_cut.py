import pytest
import torch

from fedsim.plan import CutType
from fedsim.wire.cut import Message, pack, row_bytes, unpack

CUTS: tuple[CutType, ...] = ("float32", "bfloat16", "int8")


def states() -> torch.Tensor:
    made = torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(2))
    made[1, 2] = 0.0
    return made * torch.logspace(-3, 3, 5)[:, None]


@pytest.mark.parametrize("cut", CUTS)
def test_a_message_is_as_long_as_its_numbers(cut: CutType) -> None:
    message = pack(states(), cut)
    assert message.size_bytes == len(message.serialised()) == 3 * 5 * row_bytes(24, cut)
    told = pack(states(), cut, torch.tensor([5, 3, 1], dtype=torch.int32))
    assert told.size_bytes == len(told.serialised()) == message.size_bytes + 3 * 4


def test_float32_crosses_unchanged_and_bfloat16_to_eight_bits_of_mantissa() -> None:
    assert torch.equal(unpack(pack(states(), "float32")), states())
    assert torch.equal(unpack(pack(states(), "bfloat16")), states().bfloat16().float())


def test_int8_is_off_by_at_most_half_a_step_of_its_token() -> None:
    message = pack(states(), "int8")
    assert message.scales is not None
    assert torch.equal(message.scales[..., 0], states().abs().amax(-1) / 127)
    error = (unpack(message) - states()).abs()
    assert (error <= message.scales / 2 * (1 + 1e-5)).all()
    assert torch.equal(unpack(message)[1, 2], torch.zeros(24))
    # what is sent once can be sent on without further loss
    assert torch.equal(pack(unpack(message), "int8").values, message.values)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_seen_at_the_other_end(cut: CutType, bad: float) -> None:
    broken = states()
    broken[0, 0, 3] = bad
    received = unpack(pack(broken, cut))
    assert not torch.isfinite(received.sum())


def test_a_message_is_outside_of_any_graph() -> None:
    made = states().requires_grad_()
    assert not unpack(pack(made * 2, "float32")).requires_grad
    assert Message(states()).tensors[0].shape == (3, 5, 24)
