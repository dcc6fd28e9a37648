from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench import Bench, Settings
from benchmarks.systems import REFERENCE, System

from .works import SMALL, first, trained

SETTINGS = Settings(turns=1, memory=False, wait_s=0, retries=0, timeout_s=60)


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    work = SMALL["classify"]
    right, start = trained(work), first(work)
    bench = Bench(work, tmp_path, SETTINGS)
    other = System("other", "other", ())
    with pytest.raises(RuntimeError, match="no reference"):
        bench.check(other, right)
    assert bench.check(System(REFERENCE, "reference", ()), right) == 0
    assert bench.check(other, np.nextafter(right, np.float32(1))) > 0
    with pytest.raises(RuntimeError, match=r"1\.0e-02 off those of the reference"):
        bench.check(other, right + np.float32(0.01) * (right - start))
    with pytest.raises(RuntimeError, match="nan off"):
        bench.check(other, right * np.float32("nan"))


def test_turns_are_interleaved_and_a_failure_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(SMALL["mlm"], tmp_path, Settings(turns=2, memory=True, wait_s=0, retries=0, timeout_s=60))
    order = []

    def once(system: System, turn: int) -> None:
        order.append((system.name, turn))
        if system.name == "bad":
            raise RuntimeError("no")

    monkeypatch.setattr(bench, "_once", once)
    bench.measure([System("a", "a", (), always=False), System("bad", "b", ()), System("c", "c", ())])
    assert order == [("a", 0), ("bad", 0), ("c", 0), ("c", 1), ("c", -1)]
    assert bench.failures == {"bad": "no"}
