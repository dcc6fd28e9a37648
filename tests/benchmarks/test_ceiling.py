"""The products that the ceiling times are those that the price counts."""

import pytest

from benchmarks import ceiling
from benchmarks.scenario import Positions
from benchmarks.workload import CLASSIFY, MASKED, MLM, Workload
from fedsim.cost.flops import flops
from fedsim.model.architecture import Architecture, Head, LocalShape


def priced(work: Workload, positions: Positions) -> int:
    """FLOPs of a step, but for those between all pairs of tokens."""
    everywhere, tokens = positions == "all", work.batch_samples * work.tokens
    head = Head("mlm", everywhere=everywhere) if work.task == "mlm" else Head("pooler", work.classes, everywhere)
    sizes = work.vocabulary, work.hidden, work.layers, work.heads, work.feed_forward, work.tokens
    architecture = Architecture("bert", *sizes, dropout=0.0)
    price = flops(LocalShape(architecture, head, work.layers, tuple(range(work.layers)), True, True))
    answers = work.batch_samples
    if work.task == "mlm":
        answers = tokens if everywhere else round(MASKED * tokens)
    each = price.forward + price.backward
    return each.token * tokens + each.position * answers


def counted(work: Workload, positions: Positions) -> int:
    return sum(3 * 2 * rows * inputs * outputs for rows, inputs, outputs in ceiling.sizes(work, positions))


@pytest.mark.parametrize("work", [MLM, CLASSIFY], ids=lambda work: work.name)
def test_everywhere_they_are_all_of_them(work: Workload) -> None:
    assert counted(work, "all") == priced(work, "all")


def test_at_masked_positions_too() -> None:
    assert counted(MLM, "needed") == priced(MLM, "needed")


def test_of_one_query_a_sample_those_with_states_of_all_tokens_are_left_out() -> None:
    tokens = CLASSIFY.batch_samples * CLASSIFY.tokens
    # scores and what they pick: of every head and token a product as wide as the states, forward and twice back
    left_out = 2 * 3 * 2 * CLASSIFY.heads * CLASSIFY.hidden * tokens
    assert counted(CLASSIFY, "needed") + left_out == priced(CLASSIFY, "needed")
