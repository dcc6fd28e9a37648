import subprocess
import sys

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedsim.cost.flops import flops
from fedsim.cost.memory import peak_bytes, peak_polynomial
from fedsim.cost.parameters import group_bytes
from fedsim.cost.price import NEVER, VersionArray, download_bytes, plan_cost, price
from fedsim.model.architecture import LocalShape
from fedsim.scenario.phases import Optimizer
from tests.cost.oracles import BERT_BASE, MLM, TINY, plan, works

SHAPE = LocalShape.of(TINY, MLM, plan(3, (1,), head=True))


def test_price_of_each_member_follows_its_work() -> None:
    batches = np.random.default_rng(0).integers(1, 64, (5, 3))
    download = np.arange(5, dtype=np.int64)
    prices = price(plan_cost(SHAPE, peak_polynomial(SHAPE, Optimizer())), works(batches), download)
    assert prices.download_bytes.tolist() == [0, 1, 2, 3, 4]
    layer = 4 * (24 * 24 + 24) + (24 * 40 + 40) + (40 * 24 + 24) + 4 * 24
    head = 24 * 24 + 24 + 2 * 24 + 211
    assert prices.upload_bytes.tolist() == [4 * (layer + head)] * 5
    for spent, part in ((prices.flops_forward, flops(SHAPE).forward), (prices.flops_backward, flops(SHAPE).backward)):
        assert spent.tolist() == [
            part.token * b * n + part.squared_token * b * n * n + part.position * p for b, n, p in batches.tolist()
        ]
    assert prices.memory_bytes.tolist() == peak_bytes(SHAPE, Optimizer(), batches).tolist()
    assert all(
        column.dtype == np.int64 and column.shape == (5,) for column in vars(prices).values() if column is not None
    )


def test_first_download_is_the_whole_model_and_later_ones_what_changed() -> None:
    sizes = group_bytes(BERT_BASE, MLM)
    current = np.zeros(14, dtype=np.int32)
    held = np.full((3, 14), NEVER, dtype=np.int32)
    everything = np.ones(14, dtype=np.bool_)
    assert download_bytes(held, current, everything, sizes).tolist() == [438_057_192] * 3
    held[1:] = 0
    current[[1, 13]] = 1  # a round trained layer 0 and the head
    held[2, [1, 13]] = 1
    assert download_bytes(held, current, everything, sizes).tolist() == [438_057_192, 4 * 7_710_522, 0]


def test_groups_that_are_not_needed_cost_nothing() -> None:
    held = np.full((2, 3), NEVER, dtype=np.int32)
    needed = np.array([[True, False, True], [False, False, False]])
    got = download_bytes(held, np.zeros(3, dtype=np.int32), needed, np.array([5, 7, 11], dtype=np.int64))
    assert got.dtype == np.int64
    assert got.tolist() == [16, 0]


versions = arrays.arrays(np.int32, (4, 6), elements=st.integers(-1, 3))


@given(
    held=versions, current=arrays.arrays(np.int32, 6, elements=st.integers(0, 3)), needed=arrays.arrays(bool, (4, 6))
)
def test_download_is_the_sum_over_stale_needed_groups(
    held: VersionArray, current: VersionArray, needed: npt.NDArray[np.bool_]
) -> None:
    sizes = np.array([2**40 + 7**i for i in range(6)], dtype=np.int64)
    expected = [sum(int(sizes[g]) for g in range(6) if needed[c, g] and held[c, g] != current[g]) for c in range(4)]
    assert download_bytes(held, current, needed, sizes).tolist() == expected


def test_bytes_and_flops_need_neither_torch_nor_transformers() -> None:
    program = (
        "import sys\n"
        "import fedsim.cost.flops, fedsim.cost.parameters, fedsim.cost.memory, fedsim.cost.price\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
