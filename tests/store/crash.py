"""Runs a small simulated run again and again in processes that are killed with SIGKILL, and checks what is left.

Every attempt is a forked child of a process that has imported everything, so hundreds of kills take seconds.

    python -m tests.store.crash steps FOLDER     killed before the first step on the disk, the second, the third ...
    python -m tests.store.crash moments FOLDER   killed after a random time, each time going on from what is left

Prints a JSON object with what was counted.
"""

import itertools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd  # noqa: F401  (imported once, before the forks, and not in each of them)

from fedsim.rng import stream
from fedsim.store import CheckpointState, ClientStore, RunLock, load_latest, save
from fedsim.store.atomic import write_json
from fedsim.trace import TraceWriter, read_run
from fedsim.trace.manifest import Manifest, trace_folder
from tests.trace.rows import some_rows

CLIENTS = 5
DISK_STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def play(folder: Path, rounds: int) -> None:
    """A run as the simulation plays it: weights, trace, client states, checkpoint; goes on from what is there."""
    with RunLock(folder):
        write_json(folder / "scenario.json", {"methods": {"m": {}}})
        trace, store = TraceWriter(folder, "m"), ClientStore(folder / "clients")
        state = load_latest(folder / "checkpoints")
        trace.restore(state.meta["trace"] if state else None)
        weights = state.arrays["weights"] if state else np.zeros(50, np.float32)
        versions = state.arrays["versions"] if state else np.full(CLIENTS, -1, np.int32)
        store.prune(versions, state.round if state else -1)
        for round_ in range(state.round + 1 if state else 0, rounds):
            client = round_ % CLIENTS
            before = store.read(client, int(versions[client]))
            own = before["own"] if before else np.zeros(3, np.float32)
            step = stream(1, "step", round_).random(50, dtype=np.float32) + own.sum()
            store.write(client, round_, {"own": own + np.float32(round_ + 1)})
            weights = weights * np.float32(0.5) + step
            trace.add("trips", some_rows("trips", round_, 3))
            trace.add("rounds", some_rows("rounds", round_, 1))
            trace.add("events", some_rows("events", round_, 1))
            trace.seal(round_)
            if round_ % 2 or round_ == rounds - 1:
                trace.flush()
                committed, versions = versions, versions.copy()
                for done in range(state.round + 1 if state else 0, round_ + 1):
                    versions[done % CLIENTS] = done
                state = CheckpointState(
                    round_, {"weights": weights, "versions": versions}, {"trace": trace.state(), "loss": float("nan")}
                )
                save(folder / "checkpoints", state)
                store.prune(committed, round_)
            else:
                versions = versions.copy()
                versions[client] = round_
        write_json(folder / "run.json", {"trace_sha256": trace.digest})


def outcome(folder: Path) -> dict[str, object]:
    run = read_run(folder)
    state = load_latest(folder / "checkpoints")
    assert state is not None
    assert run.trace_sha256("m") == run.summary["trace_sha256"]
    return {
        "trace": run.trace_sha256("m"),
        "rows": [len(frame) for frame in (run.trips, run.rounds, run.evals, run.events)],
        "weights": state.arrays["weights"].tobytes().hex(),
        "versions": state.arrays["versions"].tolist(),
        "states": sorted(path.name for path in (folder / "clients").glob("*/*.safetensors")),
    }


def check(folder: Path) -> None:
    """What a kill left: the checkpoint loads, and the trace that it counts on is all there."""
    if (folder / "checkpoints").is_dir():
        state = load_latest(folder / "checkpoints")
        if state is not None:
            assert not [note for note in state.notes if "damaged" in note], state.notes
            source = trace_folder(folder, "m")
            manifest = Manifest.load(source)
            assert manifest.rounds[-1] >= state.round
            for part in manifest.parts():
                part.check(source)


def child(work: Callable[[], None]) -> int:
    """The id of a forked process that does the work; its exit code is 1 when the work raises."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def done(work: Callable[[], None]) -> None:
    if ended(child(work)) != 0:
        raise SystemExit("a process failed")


def die_before(step: int) -> None:
    left = itertools.count(step, -1)

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in DISK_STEPS and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def steps(folder: Path) -> dict[str, object]:
    """One kill before each step on the disk of a run of four rounds, each followed by a resume to its end."""
    done(lambda: play(folder / "unbroken", 4))
    expected: set[str] = set()
    for step in itertools.count():
        target = folder / "killed" / str(step)

        def broken(target: Path = target, step: int = step) -> None:
            die_before(step)
            play(target, 4)

        code = ended(child(broken))
        if code == 0:
            return {"kills": step, "outcomes": len(expected)}
        if code != -signal.SIGKILL:
            raise SystemExit("a process failed")

        def resumed(target: Path = target) -> None:
            check(target)
            play(target, 4)
            assert outcome(target) == outcome(folder / "unbroken")

        done(resumed)
        expected.add("same")
    raise AssertionError


def moments(folder: Path) -> dict[str, object]:
    """Kills after random times; every process goes on from what the one before left."""
    rounds, kills, target = 60, 0, folder / "killed"
    done(lambda: play(folder / "unbroken", rounds))
    delays = stream(3, "kills")
    while True:
        pid = child(lambda: play(target, rounds))
        time.sleep(float(delays.uniform(0.0, 0.12)))
        os.kill(pid, signal.SIGKILL)
        code = ended(pid)
        if code == 1:
            raise SystemExit("a process failed")
        if code == 0:
            break
        kills += 1
        done(lambda: check(target))
    done(lambda: _same(target, folder / "unbroken"))
    return {"kills": kills, "rounds": rounds}


def _same(one: Path, other: Path) -> None:
    assert outcome(one) == outcome(other)


if __name__ == "__main__":
    print(json.dumps({"steps": steps, "moments": moments}[sys.argv[1]](Path(sys.argv[2]))))
