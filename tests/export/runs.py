"""A run in price mode, with clients that are late, too small for the model, or part of a split one."""

from pathlib import Path

import pytest

from fedsim.cost.memory import Polynomial
from fedsim.trace.reader import Run, read_run
from tests.runs import pretend_memory, run, small, uneven_fleet, write_texts

METHODS = {"fedavg": {}, "fedbt": {}, "split_in_turn": {"kind": "fedbert"}}


def priced(base: Path) -> Run:
    """Three methods, five rounds each."""
    write_texts(base)
    uneven_fleet(base / "fleet.csv", 1_000)
    with pytest.MonkeyPatch.context() as patch:
        pretend_memory(patch, lambda shape, optimizer: Polynomial(constant=2_000))
        run(small(METHODS, fleet__source={"kind": "file", "path": "fleet.csv"}), base, base / "run", None)
    return read_run(base / "run")
