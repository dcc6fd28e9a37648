"""What clients have downloaded, against a table that has a row for everybody."""

import numpy as np
import psutil
from hypothesis import given
from hypothesis import strategies as st

from fedsim.server.parameters import Pools

NAMES = ("embeddings", "layer.0", "layer.1", "head")
CLIENTS = 9
ROUND = st.tuples(
    st.lists(st.integers(0, CLIENTS - 1), unique=True, max_size=CLIENTS),
    st.integers(0, 2**36 - 1),
    st.integers(0, 2),
    st.booleans(),
)
"""Who downloads, a bit for every client and group that it needs, its window, and whether a checkpoint follows."""


@given(st.lists(ROUND, max_size=6))
def test_pools_are_as_a_table_of_everybody(rounds: list[tuple[list[int], int, int, bool]]) -> None:
    table, windows = np.full((CLIENTS, 4), -1), np.zeros(CLIENTS, int)
    pools, everybody = Pools(CLIENTS, 4), np.arange(CLIENTS)
    for version, (members, bits, window, saved) in enumerate(rounds):
        clients = np.array(members, np.int64)
        needed = np.array([[bits >> (4 * client + group) & 1 for group in range(4)] for client in members], bool)
        needed = needed.reshape(len(members), 4)
        current = np.arange(4, dtype=np.int32) + version
        pools.download(clients, needed, current, np.full(len(members), window, np.int32))
        table[clients] = np.where(needed, current, table[clients])
        windows[clients] = window
        if saved:
            pools = Pools.of({name: values.copy() for name, values in pools.tables.items()}, CLIENTS)
        for asked in range(3):
            own = table.copy()
            moved = (windows != asked) & (table >= 0).any(axis=1) | (windows != asked)
            own[np.ix_(moved, [1, 2])] = -1
            assert (pools.holding(everybody, asked, NAMES) == own).all()
        seen = {client for members, *_ in rounds[: version + 1] for client in members}
        assert set(pools.tables["clients"].tolist()) == seen


def test_a_large_fleet_costs_what_its_clients_have() -> None:
    """Four million clients and 14 groups would take 224 MB in full; one number for each of them takes 16."""
    clients, process = 4_000_000, psutil.Process()
    before = process.memory_info().rss
    pools, draw = Pools(clients, 14), np.random.default_rng(0)
    for version in range(10):
        cohort = draw.choice(clients, 1000, replace=False)
        everything = np.ones((1000, 14), bool)
        pools.download(cohort, everything, np.full(14, version, np.int32), np.zeros(1000, np.int32))
    assert process.memory_info().rss - before < 40e6
    assert sum(values.nbytes for values in pools.tables.values()) < 1e6
