"""Ctrl-C and SIGTERM: a run ends cleanly, says how to go on, and goes on as if nothing had happened."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedsim.engine.inline import InlineEngine
from fedsim.observe.observer import Silent
from fedsim.request import fresh
from fedsim.scenario.load import load
from fedsim.simulation import simulate
from tests.command import SCENARIO, Desk, interrupt

Hashes = dict[str, tuple[str, str]]
SLOWLY = ("--set", "phases.further_pretrain.rounds=300")


def hashes(summary: dict[str, Any]) -> Hashes:
    return {name: (own["weights_sha256"], own["trace_sha256"]) for name, own in summary["methods"].items()}


@pytest.fixture(scope="module")
def whole(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Hashes:
    """What `mine.yaml` comes to when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mine.yaml").write_text(SCENARIO)
    request = fresh(load(folder / "mine.yaml"), [], folder / "run", price=False)
    return hashes(simulate(replace(request, base=world), InlineEngine, Silent()))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_tells_how_to_go_on_and_does(number: int, code: int, work: Desk, whole: Hashes) -> None:
    interrupt(work, number, 4)
    ended = work.run("scenario", "mine.yaml", "--out", "a b")
    assert (ended.code, ended.out) == (code, "")
    assert "Traceback" not in ended.err
    assert "fedavg: 4 rounds are saved" in ended.err
    assert "stopped; go on with: python -m fedsim scenario --resume 'a b'\n" in ended.err
    assert "no method has ended yet: go on with --resume" in work.run("show", "a b").err
    resumed = work.run("scenario", "--resume", "a b", "--json")
    assert hashes(json.loads(resumed.out)) == whole


@pytest.mark.slow
def test_a_second_interrupt_does_not_disturb_the_end(work: Desk, whole: Hashes) -> None:
    interrupt(work, signal.SIGINT, 2)
    closed: list[bool] = []
    real = InlineEngine.close

    def close(self: InlineEngine) -> None:
        for number in () if closed else (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        real(self)
        closed.append(True)

    work.patch.setattr(InlineEngine, "close", close)
    assert work.run("scenario", "mine.yaml", "--out", "a").code == 130
    assert closed
    resumed = work.run("scenario", "--resume", "a", "--json")
    assert hashes(json.loads(resumed.out)) == whole


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ray_leaves_no_process_behind(number: int, code: int, work: Desk) -> None:
    process = work.start("scenario", "mine.yaml", "--engine", "ray", "--hosts", "2", "--out", "a", *SLOWLY)
    assert process.stderr is not None
    for line in process.stderr:
        if "fedavg 1/" in line:
            break
    own = psutil.Process(process.pid).children(recursive=True)
    assert sum("ray::" in " ".join(each.cmdline()) for each in own) >= 2
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "stopped; go on with: python -m fedsim scenario --resume a\n" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(own, timeout=60)
    assert not alive
    checkpoints = [path.name for path in (work.folder / "a/checkpoints/fedavg").iterdir()]
    assert checkpoints
    assert all(name.startswith("round-") for name in checkpoints)
