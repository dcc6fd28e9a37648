"""Runs a scenario on the command line in processes that are killed with SIGKILL, each going on from what the last left.

Every attempt is a forked child of a process that has imported everything, so an attempt takes about a second. A
child is killed just before it changes something in the run's folder, after a random number of such changes.

    python -m tests.kills SCENARIO.yaml FOLDER SEED [price]

In price mode a checkpoint may follow every round, and a part of the trace has few rows, so that a thread writes one
while rounds go on.

Prints the places at which it was killed, one a line; the run in FOLDER has ended then.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch  # noqa: F401  (imported once, before the forks, and not in each of them)
from transformers.models.bert import modeling_bert  # noqa: F401

from fedsim import cli
from fedsim.engine import host, inline  # noqa: F401
from fedsim.rng import stream
from fedsim.run_folder import IDENTITY
from fedsim.simulation import simulate  # noqa: F401
from fedsim.store.checkpoint import Spacing
from fedsim.trace import writer

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
MOST = 45
"""Changes on the disk that a child may live through; a round needs about thirty."""


def die(folder: Path, change: int, report: int) -> None:
    """Kill this process before so many changes in the folder are made, and say where that was."""
    left = change

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not (event in CHANGES or writes):
            return
        path = os.fspath(args[0]) if isinstance(args[0], str | Path) else ""
        if not path.startswith(f"{folder}/"):
            return
        left -= 1
        if left < 0:
            os.write(report, f"{event} {path.removeprefix(f'{folder}/')}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def forked(work: Callable[[], None]) -> int:
    """Exit code of a child that does the work; negative: killed by that signal."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except SystemExit as ending:
            os._exit(ending.code if isinstance(ending.code, int) else 1)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fedsim(*arguments: str) -> None:
    sys.argv = ["fedsim", "scenario", *arguments]
    cli.main()


def main(scenario: Path, folder: Path, seed: int, price: bool) -> None:
    if price:
        Spacing.least_s, writer.PART_ROWS, writer.TOGETHER = 0.02, 9, 2
    report = os.dup(1)
    os.dup2(2, 1)
    with suppress(SystemExit):  # imports and measures, once for all children, what each of them would
        fedsim(str(scenario), "--out", str(folder.with_name("price")), "--price")
    draw = stream(seed, "kills")
    while True:
        begun = (folder / IDENTITY).is_file()
        arguments = ["--resume", str(folder)] if begun else [str(scenario), "--out", str(folder)]
        arguments += ["--engine", "inline"] if not price else [] if begun else ["--price"]
        change = int(draw.integers(MOST))

        def attempt(arguments: list[str] = arguments, change: int = change) -> None:
            die(folder, change, report)
            fedsim(*arguments)

        code = forked(attempt)
        if code == 0:
            return
        if code != -signal.SIGKILL:
            raise SystemExit(f"a process failed with exit code {code}")
        if not (folder / IDENTITY).is_file():
            # nothing can be gone on with yet: the folder is the user's to clear
            for path in sorted(folder.rglob("*"), reverse=True):
                path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["price"])
