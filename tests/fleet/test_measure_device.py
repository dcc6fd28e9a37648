import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from fedsim.calibration.measurement import step_flops, whole
from fedsim.data.batches import mask_counts
from fedsim.fleet import measure_device
from fedsim.fleet.measure_device import Bert, flops, positions_of

FILE = Path(measure_device.__file__)
TINY = {"hidden": 16, "layers": 2, "heads": 2, "feed_forward": 24, "vocabulary": 50}
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The file alone, copied to where no fedsim is."""
    copy = folder / "measure_device.py"
    copy.write_bytes(FILE.read_bytes())
    command = [sys.executable, "-I", str(copy), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = run(tmp_path_factory.mktemp("device"), *OPTIONS, "--batch=3", "--tokens=9", "--seconds=0", "--threads=1")
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_it_runs_alone_and_its_flops_are_those_of_fedsim(found: dict[str, Any]) -> None:
    assert found["sizes"] == TINY
    assert (found["samples"], found["tokens"], found["positions"]) == (3, 9, 3)
    assert (found["flops_forward"], found["flops_backward"]) == step_flops(whole(TINY, 9), 3, 9, 3)
    assert found["machine"]["threads"] == 1


def test_it_takes_the_time_of_every_step_but_the_first(found: dict[str, Any]) -> None:
    assert len(found["forward_s"]) == len(found["backward_s"]) == measure_device.LEAST_STEPS
    assert all(second > 0 for second in (*found["forward_s"], *found["backward_s"]))


def test_it_can_be_read_by_an_old_python() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"), feature_version=(3, 8))
    # annotations are not evaluated: `int | None` may stand there
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)


def test_it_knows_nothing_of_fedsim() -> None:
    lines = [line.strip() for line in FILE.read_text(encoding="utf-8").splitlines()]
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"torch"}


@given(*(st.integers(1, 7) for _ in range(4)), st.integers(3, 40), st.integers(1, 5), st.integers(1, 99))
def test_flops_are_fedsims_own(
    layers: int, heads: int, feed_forward: int, samples: int, tokens: int, size: int, vocabulary: int
) -> None:
    sizes = {"hidden": heads * size, "layers": layers, "heads": heads, "feed_forward": feed_forward}
    sizes["vocabulary"] = vocabulary
    positions = samples * positions_of(tokens)
    assert flops(sizes, samples, tokens, positions) == step_flops(whole(sizes, tokens), samples, tokens, positions)


@given(st.integers(3, 600))
@settings(max_examples=50)
def test_as_many_tokens_are_hidden_as_in_fedsim(tokens: int) -> None:
    assert positions_of(tokens) == mask_counts(torch.tensor([tokens]).numpy(), measure_device.MASKED)[0]


def test_flops_are_what_torch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch counts nothing for the fused attention of a CPU: written out, as for a torch that has none
    monkeypatch.delattr(torch.nn.functional, "scaled_dot_product_attention")
    model = Bert(TINY, 9)
    ids = torch.randint(50, (3, 9))
    with FlopCounterMode(display=False) as forward:
        loss = model(ids, torch.tensor([1, 12, 20]), torch.tensor([3, 4, 5]))
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert (forward.get_total_flops(), backward.get_total_flops()) == flops(TINY, 3, 9, 3)


def test_attention_written_out_is_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = torch.randn(3, 2, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    fused = measure_device.attention(query, key, value, 0.0)
    monkeypatch.delattr(torch.nn.functional, "scaled_dot_product_attention")
    torch.testing.assert_close(measure_device.attention(query, key, value, 0.0), fused)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--hidden=0"], "sizes must be at least 1"),
        (["--tokens=2"], "tokens at least 3"),
        (["--seconds=nan"], "seconds at least 0"),
        (["--hidden=10", "--heads=3"], "--heads must divide --hidden (10), given 3"),
        (["--device=gpu"], "--device must be cpu or cuda"),
    ],
)
def test_nonsense_is_refused(
    options: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["measure_device.py", *options])
    with pytest.raises(SystemExit) as ended:
        measure_device.main()
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_memory_of_this_machine_is_known() -> None:
    free, peak = measure_device.available_bytes("cpu"), measure_device.peak_bytes("cpu")
    assert free is not None
    assert peak is not None
    assert free > 10**6
    assert peak > 10**7


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_device, "Path", lambda path: tmp_path / path.lstrip("/"))
    assert measure_device.available_bytes("cpu") is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 900 kB\nMemAvailable:    500 kB\n", encoding="ascii")
    assert measure_device.available_bytes("cpu") == 512_000
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for limit, free in (("max", 512_000), ("300000", 200_000), ("900000000", 512_000), ("1", 0)):
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n", encoding="ascii")
        (tmp_path / "sys/fs/cgroup/memory.current").write_text("100000\n", encoding="ascii")
        assert measure_device.available_bytes("cpu") == free
