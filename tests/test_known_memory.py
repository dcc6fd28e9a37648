import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fedsim import known_memory, plan_costs
from fedsim.cost.memory import Polynomial, peak_polynomial
from fedsim.engine.base import Engine
from fedsim.known_memory import KnownMemory, Wanted
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.plan import full
from fedsim.scenario.phases import Optimizer
from tests import runs
from tests.runs import small

SIZES = Architecture("bert", 50, 8, 2, 2, 16, 12, 0.1)
SHAPE = LocalShape.of(SIZES, Head("mlm"), full(2))
ADAMW, SGD = Optimizer(), Optimizer(kind="sgd")


def test_found_again_as_it_was_measured(tmp_path: Path) -> None:
    measured = {(SHAPE, ADAMW): peak_polynomial(SHAPE, ADAMW), (SHAPE, SGD): peak_polynomial(SHAPE, SGD)}
    assert KnownMemory(tmp_path).find(measured) == {}
    KnownMemory(tmp_path).keep(measured)
    assert KnownMemory(tmp_path).find(measured) == measured
    assert measured[SHAPE, ADAMW] != measured[SHAPE, SGD]
    deeper = LocalShape.of(SIZES, Head("mlm"), full(1))
    assert KnownMemory(tmp_path).find([(deeper, ADAMW), (SHAPE, SGD)]) == {(SHAPE, SGD): measured[SHAPE, SGD]}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"constant": 1, "unknown": 2}'])
def test_a_damaged_file_is_measured_again(tmp_path: Path, text: str) -> None:
    known = KnownMemory(tmp_path)
    known.keep({(SHAPE, ADAMW): Polynomial(constant=7)})
    (file,) = tmp_path.rglob("*.json")
    assert json.loads(file.read_text())["constant"] == 7
    file.write_text(text)
    assert known.find([(SHAPE, ADAMW)]) == {}


def test_other_code_or_libraries_measure_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KnownMemory(tmp_path).keep({(SHAPE, ADAMW): Polynomial(constant=7)})
    known_memory._fingerprint.cache_clear()
    monkeypatch.setattr(known_memory, "version", lambda name: f"{name} of another day")
    assert KnownMemory(tmp_path).find([(SHAPE, ADAMW)]) == {}
    known_memory._fingerprint.cache_clear()


def test_a_second_run_measures_nothing(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))
    raw, calls = small({"fedavg": {}}, phases__pretrain=None), list[int]()
    measured = plan_costs._measured

    def counted(
        wanted: Sequence[Wanted], engine: Engine | None, advance: Callable[[int], None]
    ) -> dict[Wanted, Polynomial]:
        calls.append(len(wanted))
        return measured(wanted, engine, advance)

    monkeypatch.setattr(plan_costs, "_measured", counted)
    first = runs.run(raw, world, tmp_path / "first", None)
    assert calls == [2]
    second = runs.run(raw, world, tmp_path / "second", None)
    assert calls == [2]
    assert runs.hashes(first) == runs.hashes(second)
