"""The machine: what it is, what a process tree uses of it, and what others use meanwhile."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MEMORY_EVERY_S, TREE_EVERY_S = 0.2, 1.0
MB = 1e6


@dataclass
class Used:
    """What a process and all its descendants used."""

    seconds: float = 0.0
    elsewhere_cores: float = 0.0
    """Processors kept busy by everything else, on average."""
    peak_bytes: int = 0
    """Proportional set size, summed: pages shared by several processes count once. 0 where it was not sampled."""


@dataclass
class _Tree:
    root: psutil.Process
    cpu_s: dict[int, float] = field(default_factory=dict)

    def sample(self, memory: bool) -> int:
        """Note the processor time of every process so far; returns the memory of all, or 0."""
        total = 0
        with suppress(psutil.Error):
            for process in [self.root, *self.root.children(recursive=True)]:
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    self.cpu_s[process.pid] = times.user + times.system
                    total += process.memory_full_info().pss if memory else 0
        return total


def describe() -> dict[str, str | int]:
    """Processor, cores, memory and Python."""
    return {
        "processor": _processor(_lines(Path("/proc/cpuinfo"))) or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _processor(info: Sequence[str]) -> str:
    """Its name with family and model, since virtual machines may tell no more than the maker; empty if not there."""
    found: dict[str, str] = {}
    for line in info:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    name, family, model = (found.get(key, "") for key in ("model name", "cpu family", "model"))
    return f"{name} (family {family}, model {model})" if name and family and model else name


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def wait_until_quiet(limit_s: float, busy_cores: float = 0.1) -> None:
    """Return when everything on the machine keeps less than `busy_cores` busy, or after `limit_s`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if psutil.cpu_percent(0.5) / 100 * (os.cpu_count() or 1) < busy_cores:
            return


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float, memory: bool
) -> tuple[float, Used]:
    """Run a command to its end; returns when it was started (seconds since 1970) and what was used.

    Args:
        command: what to run.
        folder: where its output goes (`log.txt`).
        environment: of the command.
        timeout_s: most seconds that it may take.
        memory: sample the memory as well, which takes a little time of its own.

    Raises:
        RuntimeError: it failed or took too long; with the end of its output.
    """
    log = folder / "log.txt"
    root = Path(__file__).resolve().parent.parent
    busy = _busy_s()
    started = time.time()
    with log.open("w", encoding="utf-8") as output:
        child = subprocess.Popen(command, cwd=root, env=dict(environment), stdout=output, stderr=output)
        tree, used = _Tree(psutil.Process(child.pid)), Used()
        try:
            while child.poll() is None:
                used.peak_bytes = max(used.peak_bytes, tree.sample(memory))
                if time.time() - started > timeout_s:
                    raise RuntimeError(f"took more than {timeout_s:g} s: {_tail(log)}")
                with suppress(subprocess.TimeoutExpired):
                    child.wait(MEMORY_EVERY_S if memory else TREE_EVERY_S)
        finally:
            _end(child, list(tree.cpu_s))
    used.seconds = time.time() - started
    used.elsewhere_cores = max(0.0, _busy_s() - busy - sum(tree.cpu_s.values())) / used.seconds
    if child.returncode:
        raise RuntimeError(f"exit code {child.returncode}: {_tail(log)}")
    return started, used


def _busy_s() -> float:
    """Processor seconds of all processes since the machine started."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0) + getattr(times, "steal", 0.0))


def _end(child: "subprocess.Popen[bytes]", ids: Sequence[int]) -> None:
    """End what is still running of this tree."""
    if child.poll() is not None:
        return
    for number in reversed(ids):
        with suppress(psutil.Error):
            psutil.Process(number).kill()
    child.wait()


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
