"""Which libraries a command loads: the large ones take seconds, and only those who need them should wait for them."""

import subprocess
import sys

import pytest

from tests.command import Desk

TRAINING = {"torch", "transformers", "peft", "ray", "datasets", "tokenizers"}
TABLES = {"pandas", "pyarrow"}
DRAWING = {"matplotlib", "networkx", "sympy"}

LOADED = """
import sys
from fedsim.cli import main
try:
    main()
finally:
    print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded(work: Desk, *arguments: str) -> set[str]:
    """Top-level modules in a process of its own that has run this command."""
    ended = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], cwd=work.folder, capture_output=True, text=True, check=False
    )
    *_, last = ended.stderr.splitlines()
    assert last.startswith("loaded: "), ended.stderr
    return set(last.split()[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], TRAINING | TABLES | DRAWING | {"numpy", "pydantic", "yaml"}),
        (["scenario", "--help"], TRAINING | TABLES | DRAWING | {"numpy", "yaml"}),
        (["scenario", "typo"], TRAINING | TABLES | DRAWING | {"numpy", "yaml"}),
        (["scenario"], TRAINING | TABLES | DRAWING),
        (["paper"], TRAINING | TABLES | DRAWING),
        (["fleet"], TRAINING | {"pandas"} | DRAWING),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_only_tells_something_loads_no_large_library(work: Desk, arguments: list[str], unwanted: set[str]) -> None:
    assert "fedsim" in (found := loaded(work, *arguments))
    assert found & unwanted == set()


@pytest.mark.slow
def test_what_was_prepared_before_is_priced_and_shown_without_torch(work: Desk) -> None:
    price = ("scenario", "mine.yaml", "--method", "fedavg", "--price", "--out")
    assert work.run(*price, "first").code == 0
    for command in ((*price, "second"), ("show", "second"), ("compare", "first", "second")):
        assert loaded(work, *command) & (TRAINING | DRAWING) == set()
    assert (work.folder / "second" / "run.json").is_file()


HOST = """
import sys
import torch
from fedsim.engine.host import Host
from fedsim.model.architecture import Architecture, Head, LocalShape
from fedsim.model.local import LocalModel
from fedsim.plan import full
sizes = Architecture("bert", 60, 32, 2, 4, 64, 16, dropout=0.1)
LocalModel(LocalShape.of(sizes, Head("mlm"), full(2)))
print(*sorted(sys.modules))
"""


@pytest.mark.slow
def test_a_host_that_builds_a_model_loads_nothing_of_transformers_and_no_compiler() -> None:
    ended = subprocess.run([sys.executable, "-c", HOST], capture_output=True, text=True, check=True)
    found = set(ended.stdout.split())
    assert "torch" in found
    unwanted = {"transformers", "torch._dynamo", "torch._inductor", "sympy", "accelerate", "datasets", "pandas", "ray"}
    assert found & unwanted == set()
