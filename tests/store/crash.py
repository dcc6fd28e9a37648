"""Runs a small simulated run again and again in processes that are killed with SIGKILL, and checks what is left.

Every attempt is a forked child of a process that has imported everything, so hundreds of kills take seconds.

    python -m tests.store.crash steps FOLDER 1      killed before the first change on the disk, the second, ...
                                                    (with 5: before every fifth)
    python -m tests.store.crash moments FOLDER 25   killed 25 times at random moments, going on from what is left

Prints the number of kills.
"""

import itertools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # noqa: F401  (imported once, before the forks, and not in each of them)

from fedsim.rng import stream
from fedsim.store import CheckpointState, ClientStore, RunLock, load_latest, save
from fedsim.store.atomic import Array, write_json
from fedsim.trace import TraceWriter, read_run
from fedsim.trace.manifest import Manifest, trace_folder
from tests.trace.rows import some_rows

CLIENTS = 5
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}


def play(folder: Path, rounds: int, every: int) -> None:
    """A run as the simulation plays it, with a checkpoint every so many rounds; goes on from what is there."""
    with RunLock(folder):
        write_json(folder / "scenario.json", {"methods": {"m": {}}})
        trace, store = TraceWriter(folder, "m"), ClientStore(folder / "clients")
        state = load_latest(folder / "checkpoints")
        trace.restore(state.meta["trace"] if state else None)
        weights = state.arrays["weights"] if state else np.zeros(50, np.float32)
        versions = state.arrays["versions"] if state else np.full(CLIENTS, -1, np.int32)
        committed = versions
        for round_ in range(state.round + 1 if state else 0, rounds):
            client = round_ % CLIENTS
            before = store.read(client, int(versions[client]))
            own = before["own"] if before else np.zeros(3, np.float32)
            weights = weights / 2 + stream(1, "step", round_).random(50, dtype=np.float32) + own.sum()
            store.write(client, round_, {"own": own + np.float32(round_ + 1)})
            versions = np.where(np.arange(CLIENTS) == client, round_, versions).astype(np.int32)
            for table, rows in (("trips", 3), ("rounds", 1), ("events", 1)):
                trace.add(table, some_rows(table, round_, rows))
            trace.seal(round_)
            if (round_ + 1) % every == 0:
                trace.flush()
                meta = {"trace": trace.state(), "loss": float("nan")}
                save(folder / "checkpoints", CheckpointState(round_, {"weights": weights, "versions": versions}, meta))
                store.prune(committed, round_)
                committed = versions
        write_json(folder / "run.json", {"trace_sha256": trace.digest, "methods": {"m": {}}})


def outcome(folder: Path) -> str:
    run = read_run(folder)
    state = load_latest(folder / "checkpoints")
    assert state is not None
    assert run.trace_sha256("m") == run.summary["trace_sha256"]
    store, versions = ClientStore(folder / "clients"), state.arrays["versions"]
    result = {
        "trace": run.trace_sha256("m"),
        "rows": [len(frame) for frame in (run.trips, run.rounds, run.evals, run.events)],
        "weights": state.arrays["weights"].tobytes().hex(),
        "versions": versions.tolist(),
        "states": [_lists(store.read(client, version)) for client, version in enumerate(versions.tolist())],
    }
    return json.dumps(result)


def _lists(arrays: dict[str, Array] | None) -> dict[str, Any]:
    return {name: array.tolist() for name, array in (arrays or {}).items()}


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


def die_before(change: int) -> None:
    left = itertools.count(change, -1)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in CHANGES or writes) and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def complete(folder: Path, rounds: int, every: int) -> None:
    play(folder, rounds, every)
    (folder / "outcome.json").write_text(outcome(folder))


def finish(folder: Path, unbroken: Path, rounds: int, every: int) -> None:
    check(folder)
    play(folder, rounds, every)
    assert outcome(folder) == (unbroken / "outcome.json").read_text()


def steps(folder: Path, stride: int) -> int:
    """A run of three rounds killed before every `stride`-th change on the disk, and then resumed to its end."""
    unbroken = folder / "unbroken"
    done(lambda: complete(unbroken, 3, 1))
    for kills in itertools.count():
        target = folder / str(kills)

        def broken(target: Path = target, change: int = kills * stride) -> None:
            die_before(change)
            play(target, 3, 1)

        code = ended(child(broken))
        if code == 0:
            return kills
        if code != -signal.SIGKILL:
            raise SystemExit("a process failed")
        done(partial(finish, target, unbroken, 3, 1))
    raise AssertionError


def moments(folder: Path, kills: int) -> int:
    """A run of 150 rounds, killed at random moments; every process goes on from what the one before left."""
    unbroken, target, rounds, every = folder / "unbroken", folder / "killed", 150, 2
    done(lambda: complete(unbroken, rounds, every))
    delays = stream(3, "kills")
    killed = 0
    for _ in range(kills):
        pid = child(lambda: play(target, rounds, every))
        time.sleep(float(delays.uniform(0.0, 0.1)))
        os.kill(pid, signal.SIGKILL)
        code = ended(pid)
        if code == 1:
            raise SystemExit("a process failed")
        killed += code == -signal.SIGKILL
        done(lambda: check(target))
    done(lambda: finish(target, unbroken, rounds, every))
    return killed


if __name__ == "__main__":
    print({"steps": steps, "moments": moments}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
