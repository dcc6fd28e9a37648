import os
import sys
from pathlib import Path

import pytest

from benchmarks import machine, meter, systems
from benchmarks.workload import MLM


@pytest.mark.slow
def test_a_run_leaves_its_times_and_weights(tmp_path: Path) -> None:
    code = "import numpy as np; from benchmarks.meter import Meter; m = Meter(); m.mark(); m.mark(); m.mark(); "
    command = (sys.executable, "-c", code + "m.finish(np.ones(3, np.float32), torch='x')")
    environment = systems.environment(tmp_path, tmp_path)
    assert environment[meter.FOLDER] == str(tmp_path)
    started, used = machine.run(command, tmp_path, environment, 60, memory=True)
    outcome = systems.read(MLM, systems.System("x", "x", command), tmp_path)
    assert started < outcome.round_ends[0] <= outcome.round_ends[1] < started + used.seconds
    assert outcome.weights.tolist() == [1, 1, 1]
    assert outcome.versions == {"torch": "x"}
    assert used.peak_bytes > 1e6


@pytest.mark.slow
def test_a_run_that_fails_or_hangs_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 3: why"):
        machine.run(
            (sys.executable, "-c", "print('why', end='', flush=True); exit(3)"), tmp_path, os.environ, 60, False
        )
    with pytest.raises(RuntimeError, match=r"took more than 0\.1 s"):
        machine.run((sys.executable, "-c", "import time; time.sleep(60)"), tmp_path, os.environ, 0.1, False)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["cpu family\t: 25", "model\t\t: 17", "model name\t: A", "model\t\t: 18"], "A (family 25, model 17)"),
        (["model name : A"], "A"),
        ([], ""),
    ],
)
def test_processors_of_one_name_are_told_apart(lines: list[str], name: str) -> None:
    assert machine._processor(lines) == name
